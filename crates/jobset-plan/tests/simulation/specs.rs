//! Random JobSets with all policies and combinations of them.

use crate::pod_outcomes::{MESSAGES, REASONS};
use fastrand::Rng;
use jobset_api::{
    JobSet,
    jobset::{ReplicatedJob, StartupPolicyOrder},
    labels,
    scheduling::Scheduling,
};
use jobset_plan::Gates;
use serde_json::{Map, Value, json};

/// The names of ReplicatedJobs. Each has at most three replicas.
pub(crate) const NAMES: [&str; 3] = ["driver", "worker", "probe"];
/// The largest number of pods of a Job.
pub(crate) const MOST_PODS: i32 = 3;
const ACTIONS: [&str; 5] = [
    "FailJobSet",
    "RestartJobSet",
    "RestartJobSetAndIgnoreMaxRestarts",
    "RestartJob",
    "RestartJobAndIgnoreMaxRestarts",
];

/// Random feature gates.
pub(crate) fn gates(rng: &mut Rng) -> Gates {
    Gates {
        restart_job: rng.u8(0..4) != 0,
        elastic_jobset: rng.bool(),
        restart_on_failure_target: rng.bool(),
        leader_first_placement: rng.u8(0..3) == 0,
        active_deadline_seconds: rng.u8(0..3) == 0,
        execution_attempts_tracking: rng.u8(0..3) == 0,
        mutable_pod_resources: rng.bool(),
        replace_on_resume: rng.bool(),
        workload_aware_scheduling: rng.bool(),
        ..Gates::default()
    }
}

/// A random JobSet with this name.
pub(crate) fn jobset(rng: &mut Rng, name: &str, gates: &Gates) -> JobSet {
    let kinds = *pick(rng, &[1, 1, 2, 2, 2, 3]);
    let in_order = rng.u8(0..4) == 0;
    let depends = !in_order && rng.u8(0..3) == 0;
    let claims = rng.u8(0..5) == 0;
    let replicated_jobs: Vec<Value> =
        (0..kinds).map(|place| replicated_job(rng, place, depends, claims)).collect();
    let mut spec = Map::new();
    spec.insert("replicatedJobs".into(), replicated_jobs.into());
    if rng.bool() {
        spec.insert("network".into(), json!({"enableDNSHostnames": true}));
    }
    if in_order {
        spec.insert("startupPolicy".into(), json!({"startupPolicyOrder": "InOrder"}));
    }
    if rng.u8(0..3) == 0 {
        let targets: Vec<&str> = NAMES.into_iter().take(kinds).filter(|_| rng.bool()).collect();
        let operator = *pick(rng, &["All", "Any"]);
        spec.insert("successPolicy".into(), json!({"operator": operator, "targetReplicatedJobs": targets}));
    }
    if rng.u8(0..6) != 0 {
        spec.insert("failurePolicy".into(), failure_policy(rng, kinds, gates));
    }
    if rng.u8(0..4) == 0 {
        spec.insert("suspend".into(), rng.bool().into());
    }
    if rng.u8(0..5) == 0 {
        spec.insert("ttlSecondsAfterFinished".into(), rng.u32(0..120).into());
    }
    // The deadline can be older than a controller without the gate.
    if rng.u8(0..if gates.active_deadline_seconds { 2 } else { 20 }) == 0 {
        spec.insert("activeDeadlineSeconds".into(), deadline(rng).into());
    }
    if claims {
        let retention = *pick(rng, &["Retain", "Delete"]);
        spec.insert(
            "volumeClaimPolicies".into(),
            json!([{"templates": [{"metadata": {"name": "data"}, "spec": {}}], "retentionPolicy": {"whenDeleted": retention}}]),
        );
    }
    let mut jobset: JobSet =
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).expect("a JobSet");
    jobset.metadata.namespace = Some(crate::world::NAMESPACE.to_owned());
    // With the gate off, some JobSets have the field from before.
    if rng.u8(0..6) < if gates.workload_aware_scheduling { 4 } else { 1 } {
        jobset.spec.scheduling = scheduling(rng, &jobset);
    }
    // The leader of a gang would wait for followers that wait for the leader.
    if gates.leader_first_placement && jobset.spec.scheduling.is_none() && rng.bool() {
        place_exclusively(rng, &mut jobset);
    }
    jobset
}

/// A deadline: a part of the time that Jobs run, or much longer.
pub(crate) fn deadline(rng: &mut Rng) -> i64 {
    *pick(rng, &[1, 20, 60, 120, 300, i64::MAX])
}

fn replicated_job(rng: &mut Rng, place: usize, depends: bool, claims: bool) -> Value {
    let replicas = *pick(rng, &[0, 1, 1, 1, 2, 2, 3]);
    let pods = *pick(rng, &[1, 1, 1, 2]);
    let mounts = if claims { json!([{"name": "data", "mountPath": "/data"}]) } else { json!([]) };
    let ports: Vec<Value> =
        (0..rng.u8(0..3)).map(|port| json!({"containerPort": 80 + port, "protocol": "TCP"})).collect();
    let pod = json!({"containers": [{"name": "main", "ports": ports, "volumeMounts": mounts}]});
    let mut replicated_job = json!({
        "name": NAMES[place],
        "replicas": replicas,
        "template": {"spec": {
            "parallelism": pods,
            "completions": pods,
            "completionMode": "Indexed",
            "template": {"spec": pod},
        }},
    });
    if depends && place > 0 {
        let status = *pick(rng, &["Ready", "Complete"]);
        let mut on = vec![json!({"name": NAMES[place - 1], "status": status})];
        if place == 2 && rng.bool() {
            on.push(json!({"name": NAMES[0], "status": *pick(rng, &["Ready", "Complete"])}));
        }
        replicated_job["dependsOn"] = on.into();
    }
    replicated_job
}

/// A random `spec.scheduling` for this JobSet.
pub(crate) fn scheduling(rng: &mut Rng, jobset: &JobSet) -> Option<Scheduling> {
    let names: Vec<&str> = jobset.spec.replicated_jobs.iter().map(|rj| rj.name.as_str()).collect();
    let waits = |rj: &ReplicatedJob| rj.depends_on.as_ref().is_some_and(|on| !on.is_empty());
    let in_order = jobset
        .spec
        .startup_policy
        .as_ref()
        .is_some_and(|policy| policy.startup_policy_order == StartupPolicyOrder::InOrder);
    let is_ordered = in_order || jobset.spec.replicated_jobs.iter().any(waits);
    let policy =
        |rng: &mut Rng| pick(rng, &[json!({"gang": {}}), json!({"gang": {}}), json!({"basic": {}})]).clone();
    let together = |rng: &mut Rng, targets: &[&str]| json!({"targetReplicatedJobs": targets, "schedulingPolicy": policy(rng)});
    let single = |rng: &mut Rng, target: &str| {
        let of = |rj: &&ReplicatedJob| rj.name == target;
        let template = jobset.spec.replicated_jobs.iter().find(of).and_then(|rj| rj.template.spec.as_ref());
        let pods = template.and_then(|spec| spec.parallelism).unwrap_or(1);
        let explicit = json!({"schedulingPolicy": {"gang": {"minCount": rng.i32(1..=pods.max(1))}}});
        let job = pick(rng, &[json!({}), explicit]).clone();
        json!({"targetReplicatedJobs": [target], "job": job})
    };
    let scheduling = match rng.u8(0..3) {
        // ReplicatedJobs that wait for each other cannot start together.
        0 if !is_ordered => json!({"schedulingPolicy": policy(rng)}),
        1 if !is_ordered => json!({"replicatedJobs": [together(rng, &names)]}),
        _ => {
            let entry = |(place, name): (usize, &&str)| {
                // A Workload has at most eight templates.
                if place < 2 && rng.bool() { single(rng, name) } else { together(rng, &[name]) }
            };
            let entries: Vec<Value> = names.iter().enumerate().map(entry).collect();
            json!({"replicatedJobs": entries})
        }
    };
    serde_json::from_value(scheduling).ok()
}

/// The number of pods that start together at most, after any scaling.
pub(crate) fn most_pods_together(jobset: &JobSet) -> i32 {
    let replicas = jobset.spec.replicated_jobs.iter().map(|rj| rj.replicas);
    if jobset.spec.scheduling.is_some() { replicas.sum::<i32>() * MOST_PODS } else { 0 }
}

/// Gives a JobSet exclusive placement, and followers to most of its leaders.
fn place_exclusively(rng: &mut Rng, jobset: &mut JobSet) {
    let topology = (labels::EXCLUSIVE_TOPOLOGY.to_owned(), "rack".to_owned());
    jobset.metadata.annotations.get_or_insert_default().extend([topology]);
    for spec in jobset.spec.replicated_jobs.iter_mut().filter_map(|rj| rj.template.spec.as_mut()) {
        let pods = *pick(rng, &[1, 2, 3]);
        (spec.parallelism, spec.completions) = (Some(pods), Some(pods));
    }
}

fn failure_policy(rng: &mut Rng, kinds: usize, gates: &Gates) -> Value {
    let rules: Vec<Value> = (0..*pick(rng, &[0, 0, 1, 2, 3]))
        .map(|number| {
            // Without the feature gate, an action on an individual Job blocks the JobSet permanently, so it is rare.
            let actions = if gates.restart_job || rng.u8(0..12) == 0 { &ACTIONS[..] } else { &ACTIONS[..3] };
            let reasons: Vec<&str> = REASONS.into_iter().filter(|_| rng.u8(0..4) == 0).collect();
            let targets: Vec<&str> = NAMES.into_iter().take(kinds).filter(|_| rng.u8(0..3) == 0).collect();
            let patterns: Vec<&str> = if rng.u8(0..4) == 0 {
                vec![*pick(rng, &["exit code [0-9]+", "disk", MESSAGES[0], "(["])]
            } else {
                vec![]
            };
            json!({
                "name": format!("rule{number}"),
                "action": *pick(rng, actions),
                "onJobFailureReasons": reasons,
                "onJobFailureMessagePatterns": patterns,
                "targetReplicatedJobs": targets,
            })
        })
        .collect();
    json!({
        "maxRestarts": *pick(rng, &[-1, 0, 1, 1, 2, 3]),
        "restartStrategy": *pick(rng, &["Recreate", "Recreate", "BlockingRecreate"]),
        "rules": rules,
    })
}

/// A random element.
pub(crate) fn pick<'a, T>(rng: &mut Rng, from: &'a [T]) -> &'a T {
    &from[rng.usize(0..from.len())]
}
