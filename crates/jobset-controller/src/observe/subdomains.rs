//! The JobSets that use each headless Service.

use jobset_api::JobSet;
use jobset_plan::validation::headless_service;
use std::collections::{BTreeSet, HashMap};

/// UIDs of JobSets by namespace and name of the Service that gives their pods host names.
#[derive(Default)]
pub(super) struct Subdomains(HashMap<(String, String), BTreeSet<String>>);

impl Subdomains {
    pub(super) fn add(&mut self, uid: &str, jobset: &JobSet) {
        if let Some(key) = key(jobset) {
            self.0.entry(key).or_default().insert(uid.to_owned());
        }
    }

    pub(super) fn remove(&mut self, uid: &str, jobset: &JobSet) {
        let Some(key) = key(jobset) else { return };
        if let Some(uids) = self.0.get_mut(&key) {
            uids.remove(uid);
            if uids.is_empty() {
                self.0.remove(&key);
            }
        }
    }

    /// The JobSets that use the Service with this namespace and name.
    pub(super) fn users(&self, service: &(String, String)) -> impl Iterator<Item = &str> {
        self.0.get(service).into_iter().flatten().map(String::as_str)
    }
}

fn key(jobset: &JobSet) -> Option<(String, String)> {
    let namespace = jobset.metadata.namespace.clone().unwrap_or_default();
    Some((namespace, headless_service(jobset)?.to_owned()))
}
