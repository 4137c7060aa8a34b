//! Whole plans, from a JobSet and its Jobs in short form.

use crate::*;
use jobset_api::{JobSetStatus, ReplicatedJobStatus};
use k8s_openapi::{api::batch::v1::Job, apimachinery::pkg::apis::meta::v1::Condition};

/// The JobSet of the specification's golden objects: `rj` once, `w` twice.
fn jobset(extra: &str) -> JobSet {
    let text = format!(
        "
metadata: {{name: js, namespace: default, uid: U, resourceVersion: '1'}}
spec:
  network: {{enableDNSHostnames: true, publishNotReadyAddresses: true}}
  successPolicy: {{operator: All}}
  replicatedJobs:
  - name: rj
    template: {{spec: {{completionMode: Indexed, template: {{spec: {{restartPolicy: OnFailure, containers: [{{name: one}}]}}}}}}}}
  - name: w
    replicas: 2
    template: {{spec: {{completionMode: Indexed, template: {{spec: {{restartPolicy: OnFailure, containers: [{{name: two}}]}}}}}}}}
{extra}"
    );
    serde_yaml::from_str(&text).unwrap()
}

fn job(name: &str, replicated_job: &str) -> JobRecord {
    JobRecord {
        name: name.into(),
        uid: format!("uid-of-{name}"),
        replicated_job: Some(replicated_job.into()),
        restart_attempt: LabelValue::Number(0),
        job_restart_attempt: LabelValue::Missing,
        job_index: LabelValue::read(name.rsplit('-').next()),
        parallelism: 1,
        completions: Some(1),
        suspended: false,
        started: true,
        active: 1,
        ready: 0,
        succeeded: 0,
        verdict: None,
        deleting: false,
    }
}

fn ended(mut job: JobRecord, outcome: Outcome, second: i64) -> JobRecord {
    job.active = 0;
    job.verdict = Some(Verdict {
        outcome,
        reason: "Because".into(),
        message: "of something".into(),
        at: Timestamp::from_second(second).unwrap(),
    });
    job
}

fn all(make: impl Fn(JobRecord) -> JobRecord) -> Vec<JobRecord> {
    [("js-rj-0", "rj"), ("js-w-0", "w"), ("js-w-1", "w")].map(|(name, rj)| make(job(name, rj))).into()
}

fn now() -> Timestamp {
    "2026-05-04T03:02:01.9Z".parse().unwrap()
}

fn planned(jobset: &JobSet, jobs: &[JobRecord]) -> Plan {
    let claims = std::collections::BTreeSet::default();
    let snapshot = Snapshot { jobset, jobs, service_exists: !jobs.is_empty(), claims: &claims };
    plan(&snapshot, now(), &Gates::default())
}

/// As after the plan was carried out and its status stored.
fn stored(mut jobset: JobSet, plan: &Plan) -> JobSet {
    if let Some(status) = &plan.status {
        jobset.status = Some(status.clone());
    }
    jobset
}

fn created(plan: &Plan) -> Vec<&Job> {
    let jobs = plan.actions.iter().filter_map(|action| match action {
        Action::CreateJob(job) => Some(job.as_ref()),
        _ => None,
    });
    jobs.collect()
}

fn counts(status: &JobSetStatus) -> Vec<(&str, [i32; 5])> {
    let count = |s: &ReplicatedJobStatus| [s.ready, s.succeeded, s.failed, s.active, s.suspended];
    status.replicated_jobs_status.iter().map(|status| (status.name.as_str(), count(status))).collect()
}

fn condition<'a>(status: &'a JobSetStatus, type_: &str) -> &'a Condition {
    status.conditions.iter().find(|condition| condition.type_ == type_).unwrap()
}

#[test]
fn a_new_jobset_gets_its_service_and_all_its_jobs() {
    let plan = planned(&jobset(""), &[]);
    assert!(
        matches!(&plan.actions[0], Action::CreateService(service) if service.metadata.name.as_deref() == Some("js"))
    );
    let names: Vec<_> = created(&plan).iter().map(|job| job.metadata.name.clone().unwrap()).collect();
    assert_eq!(names, ["js-rj-0", "js-w-0", "js-w-1"]);
    assert_eq!(counts(plan.status.as_ref().unwrap()), [("w", [0; 5]), ("rj", [0; 5])]);
    assert_eq!(plan.events, []);
}

/// Appendix A of the specification, to the letter.
#[test]
fn the_golden_job() {
    let plan = planned(&jobset(""), &[]);
    let expected: Job = serde_yaml::from_str(
        r#"
metadata:
  name: js-w-1
  namespace: default
  ownerReferences:
  - {apiVersion: jobset.x-k8s.io/v1alpha2, kind: JobSet, name: js, uid: U, controller: true, blockOwnerDeletion: true}
  labels: &m
    jobset.sigs.k8s.io/jobset-name: js
    jobset.sigs.k8s.io/jobset-uid: U
    jobset.sigs.k8s.io/replicatedjob-name: w
    jobset.sigs.k8s.io/restart-attempt: "0"
    jobset.sigs.k8s.io/replicatedjob-replicas: "2"
    jobset.sigs.k8s.io/global-replicas: "3"
    jobset.sigs.k8s.io/job-index: "1"
    jobset.sigs.k8s.io/job-key: 7c2f7dec9c9e27a2c52afd400be98d053137dcdf
    jobset.sigs.k8s.io/job-global-index: "2"
    jobset.sigs.k8s.io/group-name: default
    jobset.sigs.k8s.io/group-replicas: "3"
    jobset.sigs.k8s.io/job-group-index: "2"
  annotations: *m
spec:
  completionMode: Indexed
  suspend: false
  template:
    metadata: {labels: *m, annotations: *m}
    spec: {subdomain: js, restartPolicy: OnFailure, containers: [{name: two}]}
"#,
    )
    .unwrap();
    assert_eq!(created(&plan)[2], &expected);
}

#[test]
fn the_key_of_the_specification() {
    assert_eq!(child_job::job_key("default", "js-rjob-0"), "594cb5c93756409379daf5f78db3fa5c78663cd1");
}

#[test]
fn groups_are_counted_apart() {
    let mut jobset = jobset("");
    jobset.spec.replicated_jobs[0].group_name = "front".into();
    let plan = planned(&jobset, &[]);
    let keys = |job: &Job| {
        let label = |key: &str| job.metadata.labels.as_ref().unwrap()[key].clone();
        [labels::JOB_GLOBAL_INDEX, labels::JOB_GROUP_INDEX, labels::GROUP_REPLICAS].map(label).join("/")
    };
    let got: Vec<_> = created(&plan).into_iter().map(keys).collect();
    assert_eq!(got, ["0/0/1", "1/0/2", "2/1/2"]);
}

#[test]
fn coordinator_and_subdomain() {
    let mut jobset = jobset("  coordinator: {replicatedJob: w, jobIndex: 1, podIndex: 0}");
    jobset.spec.network.as_mut().unwrap().subdomain = Some("net".into());
    let plan = planned(&jobset, &[]);
    for job in created(&plan) {
        let pod = &job.spec.as_ref().unwrap().template;
        for metadata in [&job.metadata, pod.metadata.as_ref().unwrap()] {
            assert_eq!(metadata.labels.as_ref().unwrap()[labels::COORDINATOR], "js-w-1-0.net");
            assert_eq!(metadata.annotations.as_ref().unwrap()[labels::COORDINATOR], "js-w-1-0.net");
        }
        assert_eq!(pod.spec.as_ref().unwrap().subdomain.as_deref(), Some("net"));
    }
}

#[test]
fn what_the_user_wrote_on_the_template_stays_and_reserved_keys_win() {
    let mut jobset = jobset("");
    let template = &mut jobset.spec.replicated_jobs[0].template;
    let metadata = serde_yaml::from_str("{labels: {team: red, jobset.sigs.k8s.io/job-index: '9'}}").unwrap();
    template.metadata = Some(metadata);
    let plan = planned(&jobset, &[]);
    let labels = created(&plan)[0].metadata.labels.as_ref().unwrap();
    assert_eq!((labels["team"].as_str(), labels[labels::JOB_INDEX].as_str()), ("red", "0"));
}

#[test]
fn exclusive_placement_is_copied_and_nodes_are_selected() {
    let mut jobset = jobset("");
    jobset.metadata.annotations = Some(serde_yaml::from_str(
        "{alpha.jobset.sigs.k8s.io/exclusive-topology: rack, alpha.jobset.sigs.k8s.io/node-selector: 'true', other: kept-away}",
    ).unwrap());
    let plan = planned(&jobset, &[]);
    let job = created(&plan)[0];
    let annotations = job.metadata.annotations.as_ref().unwrap();
    assert_eq!(annotations[labels::EXCLUSIVE_TOPOLOGY], "rack");
    assert!(!annotations.contains_key("other"));
    let pod = job.spec.as_ref().unwrap().template.spec.as_ref().unwrap();
    assert_eq!(pod.node_selector.as_ref().unwrap()[labels::NAMESPACED_JOB], "default_js-rj-0");
    assert_eq!(pod.tolerations.as_ref().unwrap()[0].key.as_deref(), Some(labels::NO_SCHEDULE_TAINT));
}

#[test]
fn ready_and_active_are_counted() {
    let mut jobs = all(|job| job);
    jobs[1].ready = 1;
    jobs[2].active = 0;
    jobs[2].suspended = true;
    let plan = planned(&jobset(""), &jobs);
    assert_eq!(counts(plan.status.as_ref().unwrap()), [("w", [1, 0, 0, 1, 1]), ("rj", [0, 0, 0, 1, 0])]);
}

#[test]
fn a_settled_jobset_causes_nothing() {
    for jobs in [
        all(|job| job),
        all(|job| ended(job, Outcome::Complete, 7)),
        all(|job| ended(job, Outcome::Failed, 7)),
    ] {
        let first = jobset("");
        let second = stored(first.clone(), &planned(&first, &jobs));
        assert_eq!(planned(&second, &jobs), Plan::default());
    }
}

#[test]
fn it_completes_when_every_job_did() {
    let jobset = jobset("");
    let jobs = all(|job| ended(job, Outcome::Complete, 7));
    assert_eq!(planned(&jobset, &jobs[..2]).status.unwrap().terminal_state, "");

    let plan = planned(&jobset, &jobs);
    let status = plan.status.as_ref().unwrap();
    let condition = condition(status, "Completed");
    assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("True", "AllJobsCompleted"));
    assert_eq!(condition.message, "jobset completed successfully");
    assert_eq!(condition.last_transition_time.0.to_string(), "2026-05-04T03:02:01Z", "in whole seconds");
    assert_eq!(status.terminal_state, "Completed");
    assert_eq!(counts(status), [("w", [0, 2, 0, 0, 0]), ("rj", [0, 1, 0, 0, 0])]);
    let event = Event {
        kind: EventKind::Normal,
        reason: "AllJobsCompleted".into(),
        note: "jobset completed successfully".into(),
    };
    assert_eq!(plan.events, [event]);
}

#[test]
fn success_any_of_some() {
    let mut jobset = jobset("");
    let policy = serde_yaml::from_str("{operator: Any, targetReplicatedJobs: [w]}").unwrap();
    jobset.spec.success_policy = Some(policy);
    let mut jobs = all(|job| job);
    jobs[0] = ended(jobs[0].clone(), Outcome::Complete, 7);
    assert_eq!(planned(&jobset, &jobs).status.unwrap().terminal_state, "", "rj does not count");
    jobs[2] = ended(jobs[2].clone(), Outcome::Complete, 8);
    let first = planned(&jobset, &jobs);
    assert_eq!(first.status.as_ref().unwrap().terminal_state, "Completed");
    assert_eq!(first.actions, [], "what still runs is deleted once the end is stored");
    let after = planned(&stored(jobset, &first), &jobs);
    assert_eq!(after.actions, [Action::DeleteJob { name: "js-w-0".into(), uid: "uid-of-js-w-0".into() }]);
}

#[test]
fn a_removed_success_policy_reads_as_all() {
    let mut jobset = jobset("");
    jobset.spec.success_policy = None;
    let plan = planned(&jobset, &all(|job| ended(job, Outcome::Complete, 7)));
    assert_eq!(plan.status.unwrap().terminal_state, "Completed");
}

#[test]
fn without_a_policy_it_fails_with_the_first_failed_job() {
    let mut jobs = all(|job| job);
    jobs[1] = ended(jobs[1].clone(), Outcome::Failed, 9);
    jobs[2] = ended(jobs[2].clone(), Outcome::Failed, 8);
    let plan = planned(&jobset(""), &jobs);
    let status = plan.status.unwrap();
    assert_eq!(status.terminal_state, "Failed");
    let message = "jobset failed due to one or more job failures (first failed job: js-w-1)";
    assert_eq!(condition(&status, "Failed").message, message);
    assert_eq!(condition(&status, "Failed").reason, "FailedJobs");
    let event = Event { kind: EventKind::Warning, reason: "FailedJobs".into(), note: message.into() };
    assert_eq!(plan.events, [event]);
}

#[test]
fn jobs_of_other_attempts() {
    let mut jobset = jobset("");
    jobset.status = Some(JobSetStatus { restarts: 2, ..Default::default() });
    let mut jobs = all(|job| ended(job, Outcome::Failed, 7));
    jobs[0].restart_attempt = LabelValue::Number(1);
    jobs[1].restart_attempt = LabelValue::Number(3);
    jobs[2].restart_attempt = LabelValue::Malformed("two".into());
    let plan = planned(&jobset, &jobs);
    let deleted = [Action::DeleteJob { name: "js-rj-0".into(), uid: "uid-of-js-rj-0".into() }];
    assert_eq!(plan.actions, deleted, "only the earlier attempt; names are held by the others");
    assert_eq!(plan.status.unwrap().terminal_state, "", "and none of them is a failure of this attempt");
}

#[test]
fn hands_off() {
    let mut elsewhere = jobset("");
    elsewhere.spec.managed_by = Some("kueue.x-k8s.io/multikueue".into());
    assert_eq!(planned(&elsewhere, &[]), Plan::default());
    elsewhere.spec.managed_by = Some("jobset.sigs.k8s.io/jobset-controller".into());
    assert_ne!(planned(&elsewhere, &[]), Plan::default());

    let mut deleted = jobset("");
    deleted.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
    assert_eq!(planned(&deleted, &[]), Plan::default());
}

#[test]
fn without_host_names_there_is_no_service() {
    let mut jobset = jobset("");
    jobset.spec.network.as_mut().unwrap().enable_dns_hostnames = Some(false);
    let plan = planned(&jobset, &[]);
    assert_eq!(plan.actions.len(), 3);
    assert_eq!(created(&plan)[0].spec.as_ref().unwrap().template.spec.as_ref().unwrap().subdomain, None);
}

#[test]
fn no_jobs_at_all() {
    let mut jobset = jobset("");
    jobset.spec.replicated_jobs.clear();
    let plan = planned(&jobset, &[]);
    assert_eq!(plan.actions.len(), 1, "only the Service");
    assert_eq!(plan.status, None, "and it never completes");
}
