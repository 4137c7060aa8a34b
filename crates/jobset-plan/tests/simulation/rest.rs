//! Rules that hold when no event is left: every Job that should run has run, no object is left behind, and another
//! reconcile writes nothing.

use crate::{
    api_server::Watched,
    job::Job,
    observe::observed_service,
    schedule::ScheduledEvent,
    world::{Violation, World, timestamp},
};
use jobset_api::{JobSet, JobSetStatus, conditions as types, jobset::Operator};
use jobset_plan::{InPlacePods, Plan, Snapshot, claim_names, plan, subdomain};
use std::sync::Arc;

impl World {
    /// Checks a world at rest.
    pub(crate) fn check_rest(&mut self) -> Result<(), Violation> {
        for jobset in self.server.jobsets.values().cloned().collect::<Vec<_>>() {
            self.check_jobset_at_rest(&jobset);
        }
        self.check_orphans();
        self.check_reports();
        if let Some(violation) = self.checker.violation.take() {
            return Err(violation);
        }
        self.check_no_writes()
    }

    /// The plan for the objects that the API server stores, not for those that a process observes.
    fn plan_for_stored_objects(&self, jobset: &JobSet) -> Plan {
        let uid = jobset.metadata.uid.as_deref().unwrap_or("");
        let jobs: Vec<_> = self.server.jobs_of(uid).map(|job| Arc::new(job.record())).collect();
        let claims = claim_names(jobset).filter(|name| self.server.claims.contains_key(name)).collect();
        let service =
            self.server.services.get(subdomain(jobset)).map(|service| observed_service(service).record());
        let scheduling = self.server.scheduling_of(uid);
        let snapshot = Snapshot {
            jobset,
            jobs: &jobs,
            service: service.as_ref(),
            claims: &claims,
            topologies: &[],
            placed_leaders: &self.placed_leaders(),
            in_place_pods: &InPlacePods::default(),
            scheduling: scheduling.api(),
            creation_wait: None,
        };
        plan(&snapshot, timestamp(self.now), &self.gates)
    }

    fn check_jobset_at_rest(&mut self, jobset: &Arc<JobSet>) {
        let (name, uid) = (
            jobset.metadata.name.clone().unwrap_or_default(),
            jobset.metadata.uid.clone().unwrap_or_default(),
        );
        let status = jobset.status.clone().unwrap_or_default();
        // The controller ignores Jobs with an edited label. A JobSet that they block waits for a user.
        let (edited, jobs): (Vec<_>, Vec<_>) =
            self.server.jobs_of(&uid).cloned().partition(|job| job.is_edited());
        let mut wrong: Vec<(&'static str, String)> = Vec::new();
        let is_true = |type_: &str| {
            status.conditions.iter().any(|condition| condition.type_ == type_ && condition.status == "True")
        };
        let is_suspended = jobset.spec.suspend.unwrap_or(false);
        if jobset.metadata.deletion_timestamp.is_some() {
            wrong.push(("the deletion of an object ends", name.clone()));
        }
        if let Some(how) = Self::later_job(&status, &jobs) {
            wrong.push(("a lost status is restored", format!("JobSet {name}: {how}")));
        }
        if let Some(job) = jobs.iter().find(|job| job.deleting) {
            wrong.push(("the deletion of an object ends", job.name.clone()));
        }
        let plan = self.plan_for_stored_objects(jobset);
        // After a failure to which no policy can be applied, the whole JobSet waits.
        let gate_is_missing = plan.waiting.iter().any(|why| why.contains("feature gate RestartJob"));
        let unused_group = self.group_without_use(&uid, is_suspended, &status);
        if let Some(group) = unused_group.filter(|_| !gate_is_missing) {
            wrong.push(("a suspended or finished JobSet holds no group", group));
        }
        let alone = |job: &&Arc<Job>| job.leader_first && !job.suspend && job.unfinished();
        if let Some(job) = jobs.iter().find(alone).filter(|_| !gate_is_missing) {
            wrong.push(("a Job that starts with its leader gets its followers", job.name.clone()));
        }
        let Plan { actions, status: new_status, events, requeue_after, .. } = &plan;
        if !actions.is_empty() || new_status.is_some() || !events.is_empty() || requeue_after.is_some() {
            wrong.push(("nothing is left to do", format!("JobSet {name}: {plan:?}")));
        }
        if !status.terminal_state.is_empty() {
            if let Some(job) = jobs.iter().find(|job| job.unfinished()) {
                wrong.push(("no Job of a finished JobSet runs", job.name.clone()));
            }
            if jobset.spec.ttl_seconds_after_finished.is_some() {
                wrong.push(("a finished JobSet is deleted after its ttlSecondsAfterFinished", name.clone()));
            }
        } else if let Some(how) = self.wrong_run_at_rest(jobset, &status) {
            wrong.push(("a running JobSet has a start time and a number", format!("JobSet {name}: {how}")));
        } else if jobset.spec.suspend.unwrap_or(false) {
            if let Some(job) = jobs.iter().find(|job| job.unfinished() && (!job.suspend || job.active > 0)) {
                wrong.push(("no Job of a suspended JobSet runs", job.name.clone()));
            }
            let has_finished_job = jobs.iter().any(|job| !job.unfinished());
            if !is_true(types::SUSPENDED) && !has_finished_job {
                wrong.push(("a suspended JobSet has the condition Suspended", name.clone()));
            }
        } else {
            // Pods that wait for other pods keep a PodGroup that a user deleted.
            let lost_group = self.checker.ledgers.get(&uid).is_some_and(|ledger| ledger.lost_group)
                && plan.waiting.iter().any(|why| why.contains("suspend and resume"));
            let wanted: i32 = jobset.spec.replicated_jobs.iter().map(|rj| rj.replicas).sum();
            let completed = jobs.iter().filter(|job| !job.unfinished()).count();
            let has_run = usize::try_from(wanted) == Ok(completed) && !can_complete(jobset);
            if !has_run && !gate_is_missing && !lost_group && edited.is_empty() {
                let how = format!("JobSet {name}: {:?}", plan.waiting);
                wrong.push(("Jobs that should run have run and finished", how));
            }
        }
        for (rule, how) in wrong {
            self.violated(rule, how);
        }
    }

    /// Describes a start time or a number that an unfinished JobSet lacks, or should not have.
    fn wrong_run_at_rest(&self, jobset: &JobSet, status: &JobSetStatus) -> Option<String> {
        let runs = !jobset.spec.suspend.unwrap_or(false);
        let wrong_start = status.start_time.is_some() != (runs && self.gates.active_deadline_seconds);
        let no_number = status.execution_attempts.is_none() && runs && self.gates.execution_attempts_tracking;
        (wrong_start || no_number)
            .then(|| format!("{:?}, {:?}", status.start_time, status.execution_attempts))
    }

    fn check_orphans(&mut self) {
        let gone = |uid: &str| self.server.jobset(uid).is_none();
        let jobs =
            self.server.jobs.values().filter(|job| job.owner().is_none_or(gone)).map(|job| job.name.clone());
        let named = self.server.services.iter().chain(&self.server.claims);
        let named = named.filter(|(_, object)| {
            object.metadata.owner_references.iter().flatten().any(|owner| gone(&owner.uid))
        });
        let groups = self.server.scheduling_metadata().into_iter().map(|(_, metadata)| metadata);
        let groups = groups
            .filter(|metadata| metadata.owner_references.iter().flatten().any(|owner| gone(&owner.uid)))
            .map(|metadata| metadata.name.unwrap_or_default());
        let orphans: Vec<String> = jobs.chain(named.map(|(name, _)| name.clone())).chain(groups).collect();
        if !orphans.is_empty() {
            self.violated("no object is left behind", orphans.join(", "));
        }
    }

    fn check_reports(&mut self) {
        if self.faults.may_lose_events() {
            return;
        }
        let unreported = self.checker.ledgers.iter().find(|(_, ledger)| {
            let ended = ledger.jobset.status.as_ref().is_some_and(|status| !status.terminal_state.is_empty());
            ended && ledger.terminal_events == 0
        });
        if let Some(uid) = unreported.map(|(uid, _)| uid.clone()) {
            self.violated("a terminal state is reported", format!("JobSet {uid}"));
        }
    }

    /// Checks that no reconcile writes: in the same process, after new lists, and in a new process.
    fn check_no_writes(&mut self) -> Result<(), Violation> {
        let writes = self.writes;
        let process = self.processes.len() - 1;
        let uids: Vec<String> =
            self.server.jobsets.values().filter_map(|jobset| jobset.metadata.uid.clone()).collect();
        for uid in &uids {
            self.requeue(process, uid.clone());
        }
        self.run_to_rest()?;
        for kind in Watched::ALL {
            if self.gates.workload_aware_scheduling || matches!(kind, Watched::Core(_)) {
                self.after(1, ScheduledEvent::ListRequested { process, kind });
            }
        }
        self.run_to_rest()?;
        self.after(1, ScheduledEvent::Crash);
        self.run_to_rest()?;
        if self.writes != writes {
            self.violated("a settled object causes no write", format!("{} writes", self.writes - writes));
        }
        self.checker.violation.take().map_or(Ok(()), Err)
    }
}

/// Whether the JobSet has Jobs that can satisfy its success policy.
fn can_complete(jobset: &JobSet) -> bool {
    let policy = jobset.spec.success_policy.as_ref();
    let any = policy.is_some_and(|policy| policy.operator == Operator::Any);
    let targets = policy.map_or(&[][..], |policy| &policy.target_replicated_jobs);
    let targeted = |name: &String| !any || targets.is_empty() || targets.contains(name);
    jobset.spec.replicated_jobs.iter().any(|rj| rj.replicas > 0 && targeted(&rj.name))
}
