//! The garbage collector: deletes objects whose owner is gone, and an object of a foreground deletion after its children.

use crate::{observe::Kind, world::World};
use std::collections::BTreeSet;

impl World {
    /// Looks at everything once.
    pub(crate) fn collect_garbage(&mut self) {
        let uid_of = |jobset: &jobset_api::JobSet| jobset.metadata.uid.clone().unwrap_or_default();
        let alive: BTreeSet<String> = self.server.jobsets.values().map(|jobset| uid_of(jobset)).collect();
        let leaving: Vec<(String, String)> = self
            .server
            .jobsets
            .iter()
            .filter(|(_, jobset)| jobset.metadata.deletion_timestamp.is_some())
            .map(|(name, jobset)| (name.clone(), uid_of(jobset)))
            .collect();

        let orphans: Vec<_> = self.server.jobs.values().filter(|job| !job.deleting).cloned().collect();
        for job in orphans {
            let Some(owner) = job.owner() else { continue };
            if leaving.iter().any(|(_, uid)| uid == owner) || !alive.contains(owner) && self.rng.bool() {
                self.note("garbage", || format!("Job {} ({}) is being deleted", job.name, job.uid));
                self.server.update_job(&job.uid, |job| job.deleting = true);
            } else if !alive.contains(owner) {
                self.note("garbage", || format!("Job {} ({}) is gone", job.name, job.uid));
                self.end_job(&job.uid);
            }
        }
        for (name, uid) in leaving {
            if self.server.jobs_of(&uid).next().is_none() {
                self.note("garbage", || format!("JobSet {name} ({uid}) is gone"));
                self.server.end_jobset(&name);
            }
        }
        for kind in [Kind::Services, Kind::Claims] {
            let all = if kind == Kind::Services { &self.server.services } else { &self.server.claims };
            let dead = |owner: Option<&String>| owner.is_some_and(|uid| !alive.contains(uid));
            let doomed: Vec<String> = all
                .iter()
                .filter(|(_, object)| {
                    dead(object.owner_references.iter().flatten().next().map(|owner| &owner.uid))
                })
                .map(|(name, _)| name.clone())
                .collect();
            for name in doomed {
                self.note("garbage", || format!("{kind:?} {name} is gone"));
                self.server.end_named(kind, &name);
            }
        }
    }
}
