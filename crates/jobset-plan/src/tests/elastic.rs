//! Elastic JobSets (feature gate ElasticJobSet).

use super::*;

#[test]
fn jobs_follow_their_template() {
    for (template, job, expected) in [
        ("{parallelism: 4, completions: 4}", "solo-0 pods=2/2", vec!["scale train-solo-0 to 4/4"]),
        ("{parallelism: 1, completions: 1}", "solo-0 pods=2/2", vec!["scale train-solo-0 to 1/1"]),
        ("{parallelism: 0, completions: 0}", "solo-0 pods=2/2", vec!["scale train-solo-0 to 0/0"]),
        ("{parallelism: 4, completions: 4}", "solo-0 pods=4/2", vec!["scale train-solo-0 to 4/4"]),
        ("{parallelism: 4, completions: 4}", "solo-0 pods=2/4", vec!["scale train-solo-0 to 4/4"]),
        ("{parallelism: 4, completions: 4}", "solo-0 pods=4/", vec!["scale train-solo-0 to 4/4"]),
        ("{parallelism: 4, completions: 4}", "solo-0 pods=4/4", vec![]),
        // Not if the numbers differ: the API server changes completions only to the value of parallelism.
        ("{parallelism: 4, completions: 5}", "solo-0 pods=2/2", vec![]),
        ("{parallelism: 4, completions: 5}", "solo-0 pods=2/5", vec![]),
        // Absent numbers have the defaults of a new Job.
        ("{}", "solo-0 pods=2/2", vec!["scale train-solo-0 to 1/1"]),
        ("{}", "solo-0 pods=1/1", vec![]),
        ("{completions: 4}", "solo-0 pods=4/4", vec!["scale train-solo-0 to 1/4"]),
        ("{completions: 4}", "solo-0 pods=1/4", vec![]),
        ("{completions: 1}", "solo-0 pods=4/4", vec!["scale train-solo-0 to 1/1"]),
        ("{completions: 4}", "solo-0 pods=2/2", vec![]),
        // The API server does not remove completions from a Job.
        ("{parallelism: 4}", "solo-0 pods=2/2", vec![]),
        ("{parallelism: 4}", "solo-0 pods=4/", vec![]),
        // Only Jobs of a known ReplicatedJob that are not being deleted.
        ("{parallelism: 4, completions: 4}", "solo-0 pods=2/2 deleting", vec![]),
        ("{parallelism: 4, completions: 4}", "solo-0 pods=2/2 of=other", vec![]),
        ("{parallelism: 4, completions: 4}", "solo-0 pods=2/2 attempt=none", vec![]),
    ] {
        let spec = format!("replicatedJobs: [{{name: solo, template: {{spec: {template}}}}}]");
        let scene = jobset(&spec).jobs(job);
        assert_eq!(actions(&scene.plan()), Vec::<String>::new(), "without the gate: {template}");
        assert_eq!(actions(&scene.gates("ElasticJobSet").plan()), expected, "{template} {job}");
    }
}

#[test]
fn suspended_jobs_are_scaled_too() {
    let scene = jobset("replicatedJobs: [{name: solo, template: {spec: {parallelism: 4, completions: 4}}}]");
    let scene = scene.gates("ElasticJobSet").suspend(true).jobs("solo-0 suspended pods=2/2");
    assert_eq!(actions(&scene.plan()), ["scale train-solo-0 to 4/4"]);
}

/// Two concurrent requests for one Job would conflict.
#[test]
fn a_plan_changes_a_job_with_one_request() {
    let scene = jobset("replicatedJobs: [{name: solo, template: {spec: {parallelism: 4, completions: 4}}}]");
    let scene = scene.gates("ElasticJobSet");
    let resumed = scene.clone().jobs("solo-0 suspended pods=2/2").plan();
    assert_eq!(actions(&resumed), ["resume train-solo-0 as 4/4"]);
    let Action::ResumeJob(resume) = &resumed.actions[0] else { panic!("{resumed:?}") };
    let patch = resume.patch(None);
    assert_eq!((&patch["spec"]["parallelism"], &patch["spec"]["completions"]), (&4.into(), &4.into()));
    assert_eq!(patch["spec"]["suspend"], false);

    let suspended = scene.clone().suspend(true).jobs("solo-0 pods=2/2");
    assert_eq!(actions(&suspended.plan()), ["suspend train-solo-0"]);
    // A Job that waits for its resume is scaled immediately.
    let waits = scene.jobs("solo-0 suspended active=1 pods=2/2").plan();
    assert_eq!(actions(&waits), ["scale train-solo-0 to 4/4"]);
}
