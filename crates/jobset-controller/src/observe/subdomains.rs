//! The JobSets that use each headless Service.

use super::named::Key;
use std::collections::{BTreeSet, HashMap};

/// UIDs of JobSets by namespace and name of the Service that gives their pods host names.
#[derive(Default)]
pub(super) struct Subdomains(HashMap<Key, BTreeSet<String>>);

impl Subdomains {
    pub(super) fn add(&mut self, uid: &str, service: Option<Key>) {
        if let Some(key) = service {
            self.0.entry(key).or_default().insert(uid.to_owned());
        }
    }

    pub(super) fn remove(&mut self, uid: &str, service: Option<Key>) {
        let Some(key) = service else { return };
        if let Some(uids) = self.0.get_mut(&key) {
            uids.remove(uid);
            if uids.is_empty() {
                self.0.remove(&key);
            }
        }
    }

    /// The JobSets that use the Service with this namespace and name.
    pub(super) fn users(&self, service: &Key) -> impl Iterator<Item = &str> {
        self.0.get(service).into_iter().flatten().map(String::as_str)
    }
}
