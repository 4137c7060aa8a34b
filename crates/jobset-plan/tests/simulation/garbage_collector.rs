//! The garbage collector: deletes objects whose owner does not exist, and completes a foreground deletion after the
//! deletion of the children.

use crate::{observe::Kind, request::SchedulingRequest, world::World};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeSet;

impl World {
    /// Checks every object once.
    pub(crate) fn collect_garbage(&mut self) {
        let uid_of = |jobset: &jobset_api::JobSet| jobset.metadata.uid.clone().unwrap_or_default();
        let existing: BTreeSet<String> = self.server.jobsets.values().map(|jobset| uid_of(jobset)).collect();
        let terminating: Vec<(String, String)> = self
            .server
            .jobsets
            .iter()
            .filter(|(_, jobset)| jobset.metadata.deletion_timestamp.is_some())
            .map(|(name, jobset)| (name.clone(), uid_of(jobset)))
            .collect();

        let orphans: Vec<_> = self.server.jobs.values().filter(|job| !job.deleting).cloned().collect();
        for job in orphans {
            let Some(owner) = job.owner() else { continue };
            if terminating.iter().any(|(_, uid)| uid == owner) || !existing.contains(owner) && self.rng.bool()
            {
                self.note("garbage", || format!("Job {} ({}) is being deleted", job.name, job.uid));
                self.server.update_job(&job.uid, |job| job.deleting = true);
            } else if !existing.contains(owner) {
                self.note("garbage", || format!("Job {} ({}) is deleted", job.name, job.uid));
                self.end_job(&job.uid);
            }
        }
        for (name, uid) in terminating {
            if self.server.jobs_of(&uid).next().is_none() {
                self.note("garbage", || format!("JobSet {name} ({uid}) is deleted"));
                self.server.end_jobset(&name);
            }
        }
        for kind in [Kind::Services, Kind::Claims] {
            let all = if kind == Kind::Services { &self.server.services } else { &self.server.claims };
            let is_orphan = |owner: Option<&String>| owner.is_some_and(|uid| !existing.contains(uid));
            let orphans: Vec<String> = all
                .iter()
                .filter(|(_, object)| {
                    is_orphan(
                        object.metadata.owner_references.iter().flatten().next().map(|owner| &owner.uid),
                    )
                })
                .map(|(name, _)| name.clone())
                .collect();
            for name in orphans {
                self.note("garbage", || format!("{kind:?} {name} is deleted"));
                self.server.end_named(kind, &name);
            }
        }
        for (kind, metadata) in self.server.scheduling_metadata() {
            if !self.has_no_owner(&metadata) || metadata.deletion_timestamp.is_some() {
                continue;
            }
            let (name, uid) = (metadata.name.unwrap_or_default(), metadata.uid.unwrap_or_default());
            self.note("garbage", || format!("{kind} {name} is deleted"));
            let _ = self.server.handle_scheduling(&SchedulingRequest::Delete { kind, name, uid }, self.now);
        }
        self.protect_pod_groups();
    }

    /// Whether no owner of the object exists.
    pub(crate) fn has_no_owner(&self, metadata: &ObjectMeta) -> bool {
        let mut owners = metadata.owner_references.iter().flatten();
        owners.all(|owner| self.server.jobset(&owner.uid).is_none())
    }
}
