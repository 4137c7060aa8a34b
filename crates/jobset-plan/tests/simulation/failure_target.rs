//! Feature gate `RestartOnFailureTarget`: JobSets get the same results with the gate as without it, and restart sooner.
//!
//! The test compares two worlds with the same JobSets and the same outcomes of pods, one with the gate and one without.
//! It excludes cases in which the time of a restart can change the result:
//!
//! - There are no faults.
//! - At most one Job fails in each attempt. With two, the gate can change which of them fails first.
//! - There is no deadline.
//! - Success requires every Job. Otherwise a JobSet can complete while the pods of a failed Job terminate: it completes
//!   without the gate, and restarts with it.

use crate::{
    faults::Faults,
    invariants::Ledger,
    pod_outcomes::{PodOutcome, PodOutcomes},
    restart_times::Restart,
    world::{Millis, World, WorldConfig},
};
use jobset_api::{JobSet, jobset::ReplicatedJob};
use jobset_plan::Gates;
use serde_json::json;
use std::collections::BTreeMap;

const WORLDS: u64 = if cfg!(debug_assertions) { 100 } else { 1_500 };

fn world(seed: u64, gate: bool) -> World {
    let mut config = WorldConfig { faults: Faults::default(), ..WorldConfig::from_seed(seed) };
    config.gates.restart_on_failure_target = gate;
    config.pod_outcomes.one_slot = true;
    config.pod_outcomes.failing = 100;
    for jobset in &mut config.jobsets {
        jobset.spec.success_policy = None;
        jobset.spec.active_deadline_seconds = None;
    }
    let mut world = World::new(config, false);
    if let Err(violation) = world.run() {
        panic!("seed {seed} with gate {gate} broke the rule {:?}: {}", violation.rule, violation.how);
    }
    world
}

/// Summarizes the result of a JobSet: its terminal state, why it failed, and all counts of restarts.
fn summary(jobset: &JobSet) -> String {
    let status = jobset.status.clone().unwrap_or_default();
    let failed = status.conditions.iter().find(|condition| condition.type_ == "Failed");
    let singles: Vec<_> = status
        .replicated_jobs_status
        .iter()
        .map(|entry| (&entry.name, &entry.job_restarts, &entry.job_restarts_count_towards_max))
        .collect();
    format!(
        "{} {:?}: {} restarts, {} of them counted, individual Jobs {singles:?}",
        status.terminal_state,
        failed.map(|condition| (&condition.reason, &condition.message)),
        status.restarts,
        status.restarts_count_towards_max,
    )
}

/// The summaries of all JobSets of a world, by name.
fn summaries(world: &World) -> Vec<(String, String)> {
    let jobsets = world.checker.ledgers.values().map(|ledger| &ledger.jobset);
    let mut all: Vec<_> =
        jobsets.map(|jobset| (jobset.metadata.name.clone().unwrap_or_default(), summary(jobset))).collect();
    all.sort();
    all
}

/// The restarts of JobSets with several Jobs that all start at once, by name and attempt.
fn restarts(world: &World) -> BTreeMap<(String, i32), Restart> {
    let at_once = |jobset: &JobSet| {
        let jobs: i32 = jobset.spec.replicated_jobs.iter().map(|rj| rj.replicas).sum();
        let waits = |rj: &ReplicatedJob| rj.depends_on.is_some();
        jobs > 1 && jobset.spec.startup_policy.is_none() && !jobset.spec.replicated_jobs.iter().any(waits)
    };
    let ledgers = world.checker.ledgers.values().filter(|ledger| at_once(&ledger.jobset));
    let of = |ledger: &Ledger| {
        let name = ledger.jobset.metadata.name.clone().unwrap_or_default();
        ledger
            .restarts
            .restarts()
            .map(|(attempt, restart)| ((name.clone(), attempt), restart))
            .collect::<Vec<_>>()
    };
    ledgers.flat_map(of).collect()
}

/// The gate shortens restarts of JobSets whose pods stop slowly. Here, all pods take 30 s to stop, and one of three
/// Jobs fails.
#[test]
fn a_restart_takes_one_grace_period_instead_of_two() {
    let pod = json!({"spec": {"containers": [{"name": "main"}]}});
    let spec = json!({
        "replicatedJobs": [{"name": "worker", "replicas": 3, "template": {"spec": {"parallelism": 1, "completions": 1, "template": pod}}}],
        "failurePolicy": {"maxRestarts": 1},
    });
    let jobset = json!({"metadata": {"name": "train", "namespace": "team"}, "spec": spec});
    let jobset: JobSet = serde_json::from_value(jobset).unwrap();
    let outcome = |index: i32| {
        let fails = (index == 0).then_some(("BackoffLimitExceeded", "it does not converge"));
        let runs = if index == 0 { 5_000 } else { 60_000 };
        let outcome = PodOutcome {
            until_ready: 1_000,
            runs,
            stops: 30_000,
            fails,
            never_ready: false,
            flaps: false,
            staggered: false,
        };
        (format!("train-worker-{index}"), (0, 0), outcome)
    };
    let [without, with] = [false, true].map(|gate| {
        let given = (0..3).map(outcome).collect();
        let pod_outcomes = PodOutcomes { seed: 1, failing: 0, one_slot: false, slowest_stop: 1_000, given };
        let gates = Gates { restart_on_failure_target: gate, ..Gates::default() };
        let (jobsets, faults) = (vec![jobset.clone()], Faults::default());
        let mut world = World::new(
            WorldConfig { seed: 1, gates, faults, pod_outcomes, jobsets, room: 10, bug: None },
            true,
        );
        if let Err(violation) = world.run() {
            panic!("broke the rule {:?}: {}\n{}", violation.rule, violation.how, world.history());
        }
        restarts(&world)[&("train".to_owned(), 0)].recreated
    });
    println!(
        "three Jobs whose pods take 30 s to stop: all Jobs recreated after {without} ms, with the gate after {with} ms"
    );
    assert!(
        (60_000..64_000).contains(&without),
        "first the pods of the failed Job stop, then the others: {without} ms"
    );
    assert!((30_000..34_000).contains(&with), "all pods stop at the same time: {with} ms");
}

#[test]
fn the_gate_changes_no_result_and_shortens_restarts() {
    let mut pairs: Vec<[Restart; 2]> = Vec::new();
    for seed in 0..WORLDS {
        let worlds = [false, true].map(|gate| world(seed, gate));
        let [without, with] = worlds.each_ref().map(summaries);
        assert_eq!(without, with, "seed {seed}: results without the gate and with it");
        let [without, with] = worlds.each_ref().map(restarts);
        pairs.extend(without.iter().filter_map(|(which, slow)| Some([*slow, *with.get(which)?])));
    }
    assert!(pairs.len() > 100 || cfg!(debug_assertions), "only {} restarts", pairs.len());
    let mean = |of: fn(&Restart) -> Millis, gate: usize| -> Millis {
        pairs.iter().map(|pair| of(&pair[gate])).sum::<Millis>() / (pairs.len() as Millis).max(1)
    };
    let [decided, recreated] = [|restart: &Restart| restart.decided, |restart: &Restart| restart.recreated]
        .map(|of| [mean(of, 0), mean(of, 1)]);
    println!(
        "{} restarts of several Jobs each, mean times from the failure: decided after {} ms, with the gate after {} \
         ms; all Jobs recreated after {} ms, with the gate after {} ms",
        pairs.len(),
        decided[0],
        decided[1],
        recreated[0],
        recreated[1],
    );
    assert!(decided[1] < decided[0] && recreated[1] < recreated[0], "restarts are faster with the gate");
}
