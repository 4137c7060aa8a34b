//! Objects by UID. An older version never replaces a newer one.
//!
//! Objects come from two sources, in no common order: the watch, and the responses to the controller's own writes. The
//! resource version decides which one is newer. A deleted object is never added again, however late a response comes.

use std::collections::{HashMap, HashSet, VecDeque};

/// The number of deleted UIDs to remember. It exceeds the number of requests that can be in flight.
const REMEMBERED_ENDS: usize = 8192;

/// The latest known version of an object.
#[derive(Debug)]
struct Item<V> {
    value: V,
    version: u64,
    /// Whether the watch delivered the object. If not, only the response to a write contained it.
    watched: bool,
}

/// Objects by UID; see the module documentation.
#[derive(Debug)]
pub(crate) struct Versioned<V> {
    items: HashMap<String, Item<V>>,
    ended: HashSet<String>,
    ended_order: VecDeque<String>,
    /// While the watch reads a list: the UIDs in it.
    listed: Option<HashSet<String>>,
    /// The latest resource version that the watch delivered.
    passed: u64,
}

impl<V> Default for Versioned<V> {
    fn default() -> Self {
        Self {
            items: HashMap::new(),
            ended: HashSet::new(),
            ended_order: VecDeque::new(),
            listed: None,
            passed: 0,
        }
    }
}

/// The source of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A list or a watch event.
    Watch,
    /// The response to a request of the controller.
    Answer,
}

impl<V> Versioned<V> {
    pub(crate) fn get(&self, uid: &str) -> Option<&V> {
        self.items.get(uid).map(|item| &item.value)
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether the object was deleted before the response about it came: the watch did not deliver the object, and has
    /// delivered later versions. This is valid only for kinds whose objects are all watched, because a watch delivers
    /// in order.
    pub(crate) fn is_already_deleted(&self, uid: &str, version: &str) -> bool {
        let version = version.parse().unwrap_or(u64::MAX);
        self.listed.is_none() && version < self.passed && !self.items.contains_key(uid)
    }

    /// Whether the second object has a later version than the first, or the first is unknown. Of two objects with the
    /// same name, the one with the later version is the successor.
    pub(crate) fn succeeds(&self, first: Option<&str>, second: &str) -> bool {
        let version = |uid: &str| self.items.get(uid).map(|item| item.version);
        first.and_then(version) <= version(second)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        self.items.iter().map(|(uid, item)| (uid.as_str(), &item.value))
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.items.values().map(|item| &item.value)
    }

    /// The memory of all objects, with `heap` bytes for each value in addition to its struct.
    #[cfg(test)]
    pub(super) fn bytes(&self, heap: impl Fn(&V) -> usize) -> usize {
        // A hash table is full at seven eighths.
        let table = (self.items.capacity() * 8).div_ceil(7) * (size_of::<(String, Item<V>)>() + 1);
        table + self.items.iter().map(|(uid, item)| uid.len() + heap(&item.value)).sum::<usize>()
    }

    /// Stores a version of an object. Returns the value that it replaces, or `Err` if it is not newer.
    pub(crate) fn apply(
        &mut self,
        uid: &str,
        version: &str,
        source: Source,
        value: V,
    ) -> Result<Option<V>, ()> {
        if let (Source::Watch, Some(listed)) = (source, &mut self.listed) {
            listed.insert(uid.to_owned());
        }
        if self.ended.contains(uid) {
            return Err(());
        }
        // Kubernetes orders the resource versions of one resource as numbers. A version that is not a number counts as
        // new.
        let version = version.parse().unwrap_or(u64::MAX);
        if source == Source::Watch && version != u64::MAX {
            self.passed = self.passed.max(version);
        }
        if let Some(item) = self.items.get_mut(uid) {
            item.watched |= source == Source::Watch;
            if version <= item.version && version != u64::MAX {
                return Err(());
            }
            item.version = version;
            return Ok(Some(std::mem::replace(&mut item.value, value)));
        }
        self.items.insert(uid.to_owned(), Item { value, version, watched: source == Source::Watch });
        Ok(None)
    }

    /// Removes a deleted object. It is never added again.
    pub(crate) fn end(&mut self, uid: &str) -> Option<V> {
        if self.ended.insert(uid.to_owned()) {
            self.ended_order.push_back(uid.to_owned());
            if self.ended_order.len() > REMEMBERED_ENDS
                && let Some(oldest) = self.ended_order.pop_front()
            {
                self.ended.remove(&oldest);
            }
        }
        self.items.remove(uid).map(|item| item.value)
    }

    /// Removes an object that may still exist. It can be added again.
    pub(crate) fn forget(&mut self, uid: &str) -> Option<V> {
        self.items.remove(uid).map(|item| item.value)
    }

    /// Marks an undecodable object as existing.
    pub(crate) fn mark_listed(&mut self, uid: &str) {
        if let Some(listed) = &mut self.listed {
            listed.insert(uid.to_owned());
        }
    }

    /// Removes an object that, since this version, does not belong here.
    pub(crate) fn dismiss(&mut self, uid: &str, version: &str) -> Option<V> {
        let version = version.parse().unwrap_or(u64::MAX);
        self.items.get(uid).filter(|item| item.version < version)?;
        self.forget(uid)
    }

    /// Begins a list.
    pub(crate) fn begin_list(&mut self) {
        self.listed = Some(HashSet::new());
    }

    /// Completes a list. A missing object that the watch delivered before is deleted. A missing object that only a
    /// response contained may be newer than the list, and is unconfirmed. Returns the deleted and the unconfirmed UIDs.
    pub(crate) fn finish_list(&mut self) -> (Vec<String>, Vec<String>) {
        let listed = self.listed.take().unwrap_or_default();
        let missing = self.items.iter().filter(|(uid, _)| !listed.contains(*uid));
        let (gone, unconfirmed): (Vec<_>, Vec<_>) = missing.partition(|(_, item)| item.watched);
        let uids = |items: Vec<(&String, &Item<V>)>| items.into_iter().map(|(uid, _)| uid.clone()).collect();
        (uids(gone), uids(unconfirmed))
    }
}

#[cfg(test)]
mod tests {
    use super::{Source::*, *};

    #[test]
    fn an_older_version_is_ignored() {
        let mut objects = Versioned::default();
        assert_eq!(objects.apply("u", "7", Answer, "created"), Ok(None));
        assert_eq!(objects.apply("u", "7", Watch, "created"), Err(()));
        assert_eq!(objects.apply("u", "10", Watch, "running"), Ok(Some("created")));
        assert_eq!(objects.apply("u", "9", Answer, "suspended"), Err(()));
        assert_eq!(objects.get("u"), Some(&"running"));
    }

    #[test]
    fn a_response_can_come_after_the_deletion() {
        let mut objects = Versioned::default();
        assert!(!objects.is_already_deleted("ours", "7"), "the watch may be late");
        objects.begin_list();
        objects.apply("other", "9", Watch, "").unwrap();
        assert!(!objects.is_already_deleted("ours", "7"), "the list may still contain it");
        objects.finish_list();
        assert!(objects.is_already_deleted("ours", "7"), "created and deleted before the list");
        assert!(!objects.is_already_deleted("ours", "10"));
        assert!(!objects.is_already_deleted("other", "8"));
    }

    #[test]
    fn a_deleted_object_is_not_added_again() {
        let mut objects = Versioned::default();
        objects.apply("u", "7", Watch, "created").unwrap();
        assert_eq!(objects.end("u"), Some("created"));
        assert_eq!(objects.apply("u", "8", Answer, "late response"), Err(()));
        assert_eq!(objects.get("u"), None);
    }

    #[test]
    fn a_list_removes_the_objects_that_it_does_not_contain() {
        let mut objects = Versioned::default();
        objects.apply("kept", "1", Watch, "").unwrap();
        objects.apply("lost", "2", Watch, "").unwrap();
        objects.apply("ours", "3", Answer, "").unwrap();
        objects.begin_list();
        assert!(objects.apply("kept", "1", Watch, "").is_err());
        objects.apply("new", "4", Watch, "").unwrap();
        assert_eq!(objects.finish_list(), (vec!["lost".to_owned()], vec!["ours".to_owned()]));
    }
}
