//! `status.executionAttempts`.

use super::*;
use serde_json::json;

const GATE: &str = "ExecutionAttemptsTracking";
const SUSPENDED: &str = "Suspended=True SuspendedJobs: jobset is suspended";
const RESUMED: &str = "Suspended=False ResumeJobs: jobset is resumed";
const RESTARTS: &str = "failurePolicy: {maxRestarts: 9}";

fn with(spec: &str) -> Scene {
    jobset(spec).gates(GATE)
}

/// The number after a plan.
fn counted(scene: &Scene) -> Option<i32> {
    let status = scene.plan().status.or_else(|| scene.jobset.status.clone()).unwrap_or_default();
    status.execution_attempts
}

/// Rows: the stored number, the restarts, the Jobs, and the number after the plan.
#[track_caller]
fn expect_counts(base: &Scene, rows: &[(Option<i32>, i32, &str, Option<i32>)]) {
    for (stored, restarts, jobs, expected) in rows {
        let scene = base.clone().restarted(*restarts, 0).attempt(*stored).jobs(jobs);
        assert_eq!(counted(&scene), *expected, "{stored:?} {restarts} {jobs}");
    }
}

#[test]
fn a_suspended_jobset_keeps_its_number() {
    let jobs = "driver-0 suspended, worker-0 suspended, worker-1 suspended";
    for base in [with("suspend: true"), with("suspend: true").condition(SUSPENDED)] {
        expect_counts(&base, &[(None, 0, "", None), (None, 0, jobs, None), (Some(3), 1, "", Some(3))]);
        expect_counts(&base, &[(Some(3), 0, jobs, Some(3)), (Some(3), 0, RUNNING, Some(3))]);
    }
}

#[test]
fn the_first_run_has_the_number_of_restarts() {
    expect_counts(&with(""), &[(None, 0, "", Some(0)), (None, 0, RUNNING, Some(0))]);
    expect_counts(&with(""), &[(None, 2, "driver-0 attempt=2", Some(2)), (Some(5), 2, "", Some(5))]);
    // A condition that is False is no suspension.
    let resumed = with("").condition("Suspended=False ResumeJobs: jobset is resumed");
    expect_counts(
        &resumed,
        &[(None, 0, RUNNING, Some(0)), (Some(1), 0, "driver-0 run=1 suspended", Some(1))],
    );
}

#[test]
fn a_resume_counts_once() {
    let resumes = with("").condition(SUSPENDED);
    expect_counts(
        &resumes,
        &[
            // The first run of a JobSet that was created suspended, or suspended before the gate was on.
            (None, 0, "driver-0 suspended", Some(0)),
            (None, 2, "driver-0 attempt=2 suspended", Some(3)),
            // Not counted yet.
            (Some(3), 0, "driver-0 run=3 suspended, worker-0 run=3 suspended", Some(4)),
            (Some(0), 0, "driver-0 run=0 suspended, worker-0 run=0 complete", Some(1)),
            (Some(i32::MAX), 0, "driver-0 run=2147483647 suspended", Some(i32::MAX)),
            // Counted: a Job is resumed already.
            (Some(3), 0, "driver-0 run=3, worker-0 run=3 suspended", Some(3)),
            // Counted: a Job still has a lower number, or none.
            (Some(3), 0, "driver-0 run=2 suspended, worker-0 run=3 suspended", Some(3)),
            (Some(3), 0, "driver-0 suspended, worker-0 run=3 suspended", Some(3)),
            (Some(3), 0, "driver-0 run=x suspended", Some(3)),
            // A finished Job shows it only if no other Job is left.
            (Some(3), 0, "driver-0 run=3 suspended, worker-0 run=2 complete", Some(4)),
            (Some(3), 0, "driver-0 run=3 complete", Some(4)),
            (Some(3), 0, "driver-0 run=2 complete", Some(3)),
            // Counted: the Job finished after the suspension, and the startup policy still resumes others.
            (Some(3), 0, "driver-0 run=3 complete@9", Some(3)),
            (Some(3), 0, "driver-0 complete", Some(3)),
            (Some(3), 0, "", Some(3)),
            // Jobs of an earlier attempt show nothing.
            (Some(3), 1, "driver-0 run=2 attempt=0 suspended", Some(3)),
            (Some(3), 1, "driver-0 attempt=0, worker-0 attempt=1 run=3 suspended", Some(4)),
        ],
    );
}

/// The number is stored before a Job is resumed. Otherwise a controller that ends in between would count twice or not
/// at all.
#[test]
fn a_resume_is_stored_before_jobs_are_touched() {
    let jobs = "driver-0 run=3 suspended, worker-0 run=3 suspended, worker-1 run=3 complete";
    let resumes = with("").gates("ElasticJobSet").condition(SUSPENDED).attempt(3).jobs(jobs);
    resumes.expect(&["executionAttempts: 4"]);
    assert!(resumes.plan().status_is_urgent);
    let stored = resumes.stored();
    let plan = stored.plan();
    assert_eq!(actions(&plan), ["resume train-driver-0", "resume train-worker-0"]);
    for action in &plan.actions {
        let Action::ResumeJob(resume) = action else { panic!("{action:?}") };
        let patch = resume.patch(None);
        let attempt = json!({(labels::EXECUTION_ATTEMPT): "4"});
        assert_eq!(patch["metadata"]["annotations"], attempt);
        assert_eq!(patch["spec"]["template"]["metadata"]["annotations"], attempt);
    }
    let partly = stored.clone().jobs("driver-0 run=4, worker-0 run=3 suspended, worker-1 run=3 complete");
    assert_eq!(actions(&partly.plan()), ["resume train-worker-0"]);
    assert_eq!(counted(&partly), Some(4));
    assert!(partly.outcome_lines().contains(&RESUMED.to_owned()));
}

/// The first resume has a number already when it is stored, so it waits, too.
#[test]
fn the_first_resume_of_a_jobset_created_suspended() {
    let created = with("suspend: true");
    assert_eq!(created_attempts(&created), [None, None, None]);
    let jobs = "driver-0 suspended, worker-0 suspended, worker-1 suspended";
    let resumes = created.stored().suspend(false).jobs(jobs);
    resumes.expect(&["executionAttempts: 0"]);
    assert_eq!(actions(&resumes.stored().plan()).len(), 3);
}

/// The Service and the claims do not depend on the number.
#[test]
fn only_jobs_wait_for_the_number() {
    let mut scene = with("network: {enableDNSHostnames: true}").condition(SUSPENDED).attempt(1);
    scene.service = None;
    let scene = scene.jobs("driver-0 run=1 suspended, worker-0 attempt=0 run=1 suspended");
    scene.expect(&["create Service train", "executionAttempts: 2"]);
}

/// The annotations of the Jobs that a plan creates.
fn created_attempts(scene: &Scene) -> Vec<Option<String>> {
    let plan = scene.plan();
    let of = |job: &&Job| {
        let own = job.metadata.annotations.as_ref().unwrap().get(labels::EXECUTION_ATTEMPT).cloned();
        let pod = job.spec.as_ref().unwrap().template.metadata.as_ref().unwrap();
        assert_eq!(pod.annotations.as_ref().unwrap().get(labels::EXECUTION_ATTEMPT), own.as_ref());
        for all in [&job.metadata.labels, &pod.labels] {
            assert!(!all.as_ref().unwrap().contains_key(labels::EXECUTION_ATTEMPT), "it is no label");
        }
        own
    };
    created(&plan).iter().map(of).collect()
}

#[test]
fn new_jobs_have_the_number_as_an_annotation() {
    let number = |number: &str| vec![Some(number.to_owned()); 3];
    assert_eq!(created_attempts(&with("")), number("0"), "also before the number is stored");
    assert_eq!(created_attempts(&with("").attempt(4)), number("4"));
    assert_eq!(created_attempts(&with("suspend: true").attempt(4)), number("4"));
    assert_eq!(created_attempts(&with("suspend: true")), vec![None; 3]);
    assert_eq!(created_attempts(&jobset("").attempt(4)), vec![None; 3], "the gate is off");
    // The template cannot set it.
    let template = format!("{{metadata: {{annotations: {{{}: '9'}}}}}}", labels::EXECUTION_ATTEMPT);
    let spec = format!("replicatedJobs: [{{name: solo, template: {template}}}]");
    assert_eq!(created_attempts(&with(&spec)), [Some("0".to_owned())]);
    assert_eq!(created_attempts(&with(&format!("{spec}\nsuspend: true"))), [None]);
}

#[test]
fn a_restart_of_all_jobs_counts_and_other_restarts_do_not() {
    let failed = "driver-0 failed@9, worker-0, worker-1";
    let row = |stored, expected| [(stored, 0, failed, expected)];
    expect_counts(&with(RESTARTS), &row(None, Some(1)));
    expect_counts(&with(RESTARTS), &row(Some(5), Some(6)));
    expect_counts(&with(RESTARTS), &row(Some(i32::MAX), Some(i32::MAX)));
    expect_counts(&with(RESTARTS).suspend(true).condition(SUSPENDED), &row(Some(5), Some(6)));
    let ignoring =
        "failurePolicy: {maxRestarts: 9, rules: [{name: a, action: RestartJobSetAndIgnoreMaxRestarts}]}";
    expect_counts(&with(ignoring), &row(Some(5), Some(6)));
    let single = "failurePolicy: {maxRestarts: 9, rules: [{name: a, action: RestartJob}]}";
    expect_counts(&with(single).gates("RestartJob"), &row(Some(5), Some(5)));
    expect_counts(&with(""), &row(Some(5), Some(5)));
    let restarted = with(RESTARTS).attempt(5).jobs(failed).stored();
    assert_eq!(counted(&restarted), Some(6), "once");
    assert_eq!(
        created_attempts(&restarted.jobs("driver-0 deleting, worker-0 deleting")),
        [Some("6".to_owned())]
    );
}

#[test]
fn a_restart_in_place_does_not_count() {
    let template = "template: {spec: {parallelism: 1, completions: 1}}";
    let mut scene = with(&format!(
        "failurePolicy: {{maxRestarts: 9, restartStrategy: InPlaceRestart}}\nreplicatedJobs: [{{name: driver, {template}}}]"
    ))
    .gates("InPlaceRestart")
    .attempt(2)
    .jobs("driver-0 run=2");
    scene.pods.attempts = [(1, 1)].into();
    scene.expect(&["current attempt in place: 1"]);
}

#[test]
fn without_the_gate_the_number_is_kept() {
    let off = jobset(RESTARTS).attempt(4);
    off.clone().jobs("driver-0 run=4, worker-0 run=4, worker-1 run=4").expect(&[]);
    assert_eq!(counted(&off.clone().jobs("driver-0 failed@9")), Some(4));
    let resumed = off.condition(SUSPENDED).jobs("driver-0 run=4 suspended, worker-0, worker-1");
    assert_eq!(counted(&resumed), Some(4));
    let plan = resumed.plan();
    let [Action::ResumeJob(resume)] = &plan.actions[..] else { panic!("{:?}", plan.actions) };
    assert_eq!(resume.patch(None)["metadata"], json!({"uid": "uid-of-driver-0"}));
    // Switched on again, it continues.
    let on = jobset("").gates(GATE).attempt(4).condition(SUSPENDED);
    expect_counts(&on, &[(Some(4), 0, "driver-0 run=4 suspended", Some(5))]);
    assert_eq!(counted(&jobset("")), None);
}

/// A number that Jobs have is not used again, even if the status is lost.
#[test]
fn a_lost_number_is_recovered_from_the_jobs() {
    expect_counts(
        &with(""),
        &[
            (None, 0, "driver-0 run=3, worker-0 run=4", Some(4)),
            (Some(2), 0, "driver-0 run=4", Some(4)),
            (Some(5), 0, "driver-0 run=4", Some(5)),
            // A user edited the annotation.
            (Some(2), 0, "driver-0 run=2 edited-run=900", Some(2)),
        ],
    );
    expect_counts(&with("suspend: true"), &[(None, 0, "driver-0 run=3 suspended", Some(3))]);
    let resumes = with("").condition(SUSPENDED);
    expect_counts(&resumes, &[(None, 0, "driver-0 run=3 suspended", Some(4))]);
    expect_counts(&with(RESTARTS), &[(None, 0, "driver-0 run=3 failed@9", Some(4))]);
    // Together with the restarts.
    let lost = with(RESTARTS).jobs("driver-0 attempt=1 run=3, worker-0 attempt=1 run=3").stored();
    assert_eq!((lost.jobset.status.as_ref().unwrap().restarts, counted(&lost)), (1, Some(3)));
    // A finished JobSet stays as it is.
    let finished = with("").condition("Failed=True FailedJobs: x").jobs("driver-0 run=3 failed@9");
    assert_eq!(counted(&finished), None);
}
