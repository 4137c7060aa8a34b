//! Objects that decisions find by name: Services and claims.

use super::versioned::{Source, Versioned};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::HashMap;

/// Namespace and name of an object.
pub(crate) type Key = (String, String);

/// Objects by UID and by name, each with a record.
pub(crate) struct Named<V> {
    objects: Versioned<(Key, V)>,
    /// The UID of the object that has the name now.
    by_name: HashMap<Key, String>,
}

impl<V> Default for Named<V> {
    fn default() -> Self {
        Self { objects: Versioned::default(), by_name: HashMap::new() }
    }
}

impl<V: PartialEq> Named<V> {
    /// The record of the object with this name.
    pub(crate) fn get(&self, key: &Key) -> Option<&V> {
        self.objects.get(self.by_name.get(key)?).map(|(_, record)| record)
    }

    pub(crate) fn len(&self) -> usize {
        self.objects.len()
    }

    /// Stores a version of an object. Returns its key if the object with this name is new or its record changed.
    pub(crate) fn apply(&mut self, metadata: &ObjectMeta, source: Source, record: V) -> Option<Key> {
        let (uid, version) = (metadata.uid.as_ref()?, metadata.resource_version.as_ref()?);
        let key = key_of(metadata);
        let before = self.objects.apply(uid, version, source, (key.clone(), record)).ok()?;
        // The watch may deliver the predecessor of this name after the response that contains the current object.
        if !self.objects.succeeds(self.by_name.get(&key).map(String::as_str), uid) {
            return None;
        }
        let same = before.as_ref().is_some_and(|before| Some(before) == self.objects.get(uid));
        self.by_name.insert(key.clone(), uid.clone());
        (!same).then_some(key)
    }

    /// Removes a deleted object. Returns its key.
    pub(crate) fn end(&mut self, uid: &str) -> Option<Key> {
        let (key, _) = self.objects.end(uid)?;
        self.forget_name(&key, uid);
        Some(key)
    }

    /// Removes an object that only a response contained, and that a list does not contain. Unlike after [`Self::end`],
    /// a watch event may add it again.
    pub(crate) fn forget_unconfirmed(&mut self, uid: &str) -> Option<Key> {
        let (key, _) = self.objects.forget(uid)?;
        self.forget_name(&key, uid);
        Some(key)
    }

    fn forget_name(&mut self, key: &Key, uid: &str) {
        // The name may already belong to a successor.
        if self.by_name.get(key).is_some_and(|known| known == uid) {
            self.by_name.remove(key);
        }
    }

    /// See [`Versioned::begin_list`].
    pub(crate) fn begin_list(&mut self) {
        self.objects.begin_list();
    }

    /// See [`Versioned::finish_list`].
    pub(crate) fn finish_list(&mut self) -> (Vec<String>, Vec<String>) {
        self.objects.finish_list()
    }
}

fn key_of(metadata: &ObjectMeta) -> Key {
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}
