//! Objects that JobSets control: records by UID, and by the UID of the owner.

use super::versioned::{Source, Versioned};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::{collections::HashMap, sync::Arc};

/// The record of an object, for decisions.
pub(crate) trait Record {
    /// Name of the object.
    fn name(&self) -> &str;
    /// UID of the object.
    fn uid(&self) -> &str;
}

/// The record of an object, and the JobSet that controls it.
#[derive(Debug)]
pub(crate) struct Item<R> {
    owner: String,
    pub(crate) namespace: String,
    pub(crate) record: Arc<R>,
}

/// Objects of one kind. It holds no object of another owner.
#[derive(Debug)]
pub(crate) struct Owned<R> {
    objects: Versioned<Item<R>>,
    /// By owner: one record for each name, sorted by name.
    pub(super) by_owner: HashMap<String, Arc<Vec<Arc<R>>>>,
}

impl<R> Default for Owned<R> {
    fn default() -> Self {
        Self { objects: Versioned::default(), by_owner: HashMap::new() }
    }
}

impl<R: Record> Owned<R> {
    /// The object with this UID.
    pub(crate) fn get(&self, uid: &str) -> Option<&Item<R>> {
        self.objects.get(uid)
    }

    /// The records of a JobSet, sorted by name.
    pub(crate) fn of(&self, owner: &str) -> Arc<Vec<Arc<R>>> {
        self.by_owner.get(owner).cloned().unwrap_or_default()
    }

    /// The number of objects.
    pub(crate) fn len(&self) -> usize {
        self.objects.len()
    }

    /// Stores an object of the JobSet `owner`. Returns the JobSet, or the previous one if a user removed the owner
    /// reference.
    pub(crate) fn apply(
        &mut self,
        metadata: &ObjectMeta,
        owner: Option<&str>,
        source: Source,
        record: impl FnOnce() -> R,
    ) -> Option<String> {
        let (uid, version) = (metadata.uid.as_ref()?, metadata.resource_version.as_ref()?);
        let Some(owner) = owner.map(str::to_owned) else {
            let before = self.objects.dismiss(uid, version)?;
            self.remove_from_owner(&before);
            return Some(before.owner);
        };
        if source == Source::Answer && self.objects.is_already_deleted(uid, version) {
            return None;
        }
        let record = Arc::new(record());
        let namespace = metadata.namespace.clone().unwrap_or_default();
        let known = Item { owner: owner.clone(), namespace, record: record.clone() };
        let before = self.objects.apply(uid, version, source, known).ok()?;
        if let Some(before) = before.filter(|before| before.owner != owner) {
            self.remove_from_owner(&before);
        }
        self.add_to_owner(&owner, record);
        Some(owner)
    }

    /// Removes a deleted object. Returns the JobSet that controlled it.
    pub(crate) fn end(&mut self, uid: &str) -> Option<String> {
        let item = self.objects.end(uid)?;
        self.remove_from_owner(&item);
        Some(item.owner)
    }

    /// Removes an object that may still exist. It can be added again. Returns the JobSet that controlled it.
    pub(crate) fn forget(&mut self, uid: &str) -> Option<String> {
        let item = self.objects.forget(uid)?;
        self.remove_from_owner(&item);
        Some(item.owner)
    }

    /// Marks an undecodable object as existing. Its last record stays valid.
    pub(crate) fn mark_listed(&mut self, uid: &str) {
        self.objects.mark_listed(uid);
    }

    /// See [`Versioned::begin_list`].
    pub(crate) fn begin_list(&mut self) {
        self.objects.begin_list();
    }

    /// See [`Versioned::finish_list`]. Removes the deleted objects, and returns the JobSets that controlled them, and
    /// the unconfirmed UIDs.
    pub(crate) fn finish_list(&mut self) -> (Vec<String>, Vec<String>) {
        let (gone, unconfirmed) = self.objects.finish_list();
        (gone.iter().filter_map(|uid| self.end(uid)).collect(), unconfirmed)
    }

    /// The memory of all objects, with `record` bytes for each record.
    #[cfg(test)]
    pub(super) fn bytes(&self, record: impl Fn(&R) -> usize) -> usize {
        // A record is behind an Arc with two counts, and its list has one pointer to it.
        let item = |item: &Item<R>| item.owner.len() + item.namespace.len() + record(&item.record) + 24;
        self.objects.bytes(item)
    }

    /// Adds a record to the list of its owner. It replaces an older record with the same name.
    fn add_to_owner(&mut self, owner: &str, record: Arc<R>) {
        let Self { objects, by_owner } = self;
        let siblings = by_owner.entry(owner.to_owned()).or_default();
        match position(siblings, record.name()) {
            Err(place) => Arc::make_mut(siblings).insert(place, record),
            Ok(place) => {
                let known = siblings.get(place);
                // The watch may deliver the predecessor of this name after the response that contains the current object.
                if known.is_some_and(|known| objects.succeeds(Some(known.uid()), record.uid()))
                    && let Some(known) = Arc::make_mut(siblings).get_mut(place)
                {
                    *known = record;
                }
            }
        }
    }

    fn remove_from_owner(&mut self, Item { owner, record, .. }: &Item<R>) {
        let Some(siblings) = self.by_owner.get_mut(owner) else { return };
        // The name may already belong to a successor.
        if let Ok(place) = position(siblings, record.name())
            && siblings.get(place).is_some_and(|known| known.uid() == record.uid())
        {
            Arc::make_mut(siblings).remove(place);
        }
        if siblings.is_empty() {
            self.by_owner.remove(owner);
        }
    }
}

/// The position of the record with this name, or the position at which to insert it.
fn position<R: Record>(records: &[Arc<R>], name: &str) -> Result<usize, usize> {
    records.binary_search_by(|record| record.name().cmp(name))
}
