//! A JobSet as text, and what the index looks up without decoding the text.
//!
//! Decoded, a JobSet takes about ten times the memory of its text, because the types of Kubernetes have room for every
//! field. A reconcile decodes its JobSet, and most JobSets of a cluster are not reconciled for hours.

use super::named::Key;
use jobset_api::JobSet;
use jobset_plan::{
    claim_names, in_place_restart::restarts_in_place, subdomain, topology_keys, validation::headless_service,
};
use std::sync::Arc;

/// A JobSet in the index.
#[allow(clippy::struct_excessive_bools, reason = "independent facts about a JobSet")]
pub(super) struct JobSetRecord {
    pub(super) namespace: Box<str>,
    pub(super) name: Box<str>,
    pub(super) is_deleting: bool,
    pub(super) restarts_in_place: bool,
    pub(super) uses_scheduling: bool,
    /// The name of its Service.
    pub(super) subdomain: Box<str>,
    /// Whether this Service gives its pods host names.
    has_host_names: bool,
    /// The topology keys of exclusive placement.
    pub(super) topology_keys: Box<[Box<str>]>,
    /// The names of its claims.
    pub(super) claims: Box<[Box<str>]>,
    text: Arc<[u8]>,
}

/// The text of a JobSet.
pub(super) struct Text(Arc<[u8]>);

impl JobSetRecord {
    pub(super) fn new(jobset: &JobSet) -> serde_json::Result<Self> {
        Ok(Self {
            namespace: jobset.metadata.namespace.as_deref().unwrap_or_default().into(),
            name: jobset.metadata.name.as_deref().unwrap_or_default().into(),
            is_deleting: jobset.metadata.deletion_timestamp.is_some(),
            restarts_in_place: restarts_in_place(jobset),
            uses_scheduling: jobset.spec.scheduling.is_some(),
            subdomain: subdomain(jobset).into(),
            has_host_names: headless_service(jobset).is_some(),
            topology_keys: topology_keys(jobset).map(Into::into).collect(),
            claims: claim_names(jobset).map(Into::into).collect(),
            text: serde_json::to_vec(jobset)?.into(),
        })
    }

    /// Namespace and name of the Service that gives its pods host names.
    pub(super) fn headless_service_key(&self) -> Option<Key> {
        self.has_host_names.then(|| (self.namespace.to_string(), self.subdomain.to_string()))
    }

    /// The text, which can be decoded while the index is not locked.
    pub(super) fn text(&self) -> Text {
        Text(self.text.clone())
    }
}

impl Text {
    pub(super) fn decode(&self) -> serde_json::Result<JobSet> {
        serde_json::from_slice(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_jobset_is_the_same_after_decoding() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/examples");
        let mut count = 0;
        for file in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            for document in serde_yaml::Deserializer::from_str(&text) {
                let mut object: Value = serde::Deserialize::deserialize(document).unwrap();
                if object["kind"] != "JobSet" {
                    continue;
                }
                count += 1;
                object["metadata"]["creationTimestamp"] = json!("2026-03-01T09:00:00Z");
                object["status"] = json!({
                    "restarts": 2, "startTime": "2026-03-01T09:00:01Z",
                    "conditions": [{"type": "Suspended", "status": "False", "reason": "ResumeJobs", "message": "\u{e9}",
                        "lastTransitionTime": "2026-03-01T09:00:02Z"}],
                    "replicatedJobsStatus": [{"name": "w", "ready": 1, "succeeded": 0, "failed": 0, "active": 1,
                        "suspended": 0}],
                });
                let jobset: JobSet = serde_json::from_value(object).unwrap();
                assert_eq!(JobSetRecord::new(&jobset).unwrap().text().decode().unwrap(), jobset);
            }
        }
        assert!(count >= 10, "{count} JobSets");
    }
}
