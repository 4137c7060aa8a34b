use nix::libc::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};

use crate::agent::{Agent, Effect, Event};
use crate::jobset::JobSet;

const RESTART_CODE: u8 = 77;

fn in_place(previous: Option<i64>, current: Option<i64>) -> JobSet {
    JobSet { disabled: false, strategy: Some("InPlaceRestart".into()), previous, current }
}

/// Effects without their texts, which a user reads.
fn short(effects: Vec<Effect>) -> String {
    let words: Vec<_> = effects
        .into_iter()
        .map(|effect| match effect {
            Effect::Annotate(attempt) => format!("annotate {attempt}"),
            Effect::Lift(_) => "lift".into(),
            Effect::Forward(signal) => format!("forward {signal}"),
            Effect::Exit(code, _) => format!("exit {code}"),
        })
        .collect();
    words.join(", ")
}

/// Handles versions of the JobSet, given as (previous, current), in both modes.
fn follow(versions: &[(Option<i64>, Option<i64>)]) -> Vec<String> {
    let handle = |runs_worker| -> Vec<_> {
        let mut agent = Agent::new(RESTART_CODE, runs_worker);
        let versions = versions.iter().map(|&(previous, current)| in_place(previous, current));
        versions.map(|jobset| short(agent.handle(&Event::JobSet(jobset)))).collect()
    };
    let (sidecar, main_container) = (handle(false), handle(true));
    assert_eq!(sidecar, main_container);
    sidecar
}

#[test]
fn status_decides_about_attempt_barrier_and_restart() {
    type Version = (Option<i64>, Option<i64>);
    let cases: &[(&str, &[(Version, &str)])] = &[
        (
            "first start: attempt 0, and the barrier is lifted when all pods have it",
            &[((None, None), "annotate 0"), ((None, None), ""), ((None, Some(0)), "lift")],
        ),
        (
            "the attempt is computed once, also when the status changes before the barrier is lifted",
            &[((None, Some(3)), "annotate 4"), ((None, Some(3)), ""), ((Some(3), Some(4)), "lift")],
        ),
        (
            "the barrier is lifted once",
            &[((None, None), "annotate 0"), ((None, Some(0)), "lift"), ((None, Some(0)), "")],
        ),
        (
            "a restarted agent ignores the attempt of its predecessor",
            &[((Some(0), Some(1)), "annotate 2"), ((Some(1), Some(1)), ""), ((Some(1), Some(2)), "lift")],
        ),
        (
            "previous = attempt restarts a running pod",
            &[((None, None), "annotate 0"), ((None, Some(0)), "lift"), ((Some(0), Some(0)), "exit 77")],
        ),
        (
            "previous > attempt restarts a running pod",
            &[((None, None), "annotate 0"), ((None, Some(0)), "lift"), ((Some(4), Some(0)), "exit 77")],
        ),
        (
            "previous < attempt does not",
            &[((None, Some(0)), "annotate 1"), ((Some(0), Some(1)), "lift"), ((Some(0), Some(1)), "")],
        ),
        (
            "a pod at the barrier restarts, too",
            &[((None, Some(1)), "annotate 2"), ((Some(2), Some(1)), "exit 77")],
        ),
        (
            "the restart does not wait for the annotation: both follow from the same version",
            &[((Some(5), None), "annotate 0, exit 77")],
        ),
        (
            "restart has precedence over the barrier",
            &[((None, None), "annotate 0"), ((Some(0), Some(0)), "exit 77")],
        ),
        (
            "an attempt that differs from current holds the barrier, lower or higher",
            &[((None, None), "annotate 0"), ((None, Some(2)), ""), ((None, Some(1)), "")],
        ),
        (
            "the largest attempt does not overflow",
            &[((None, Some(i64::MAX)), "annotate 9223372036854775807, lift")],
        ),
    ];
    for (name, steps) in cases {
        let (versions, expected): (Vec<_>, Vec<_>) = steps.iter().copied().unzip();
        assert_eq!(follow(&versions), expected, "{name}");
    }
}

#[test]
fn bypass_lifts_the_barrier_once_and_never_annotates() {
    let disabled = JobSet { disabled: true, ..in_place(Some(7), Some(7)) };
    let no_policy = JobSet { strategy: None, ..in_place(None, None) };
    let other_strategy = JobSet { strategy: Some("BlockingRecreate".into()), ..in_place(None, None) };
    for jobset in [disabled, no_policy, other_strategy] {
        let mut agent = Agent::new(RESTART_CODE, true);
        assert_eq!(short(agent.handle(&Event::JobSet(jobset.clone()))), "lift", "{jobset:?}");
        assert_eq!(short(agent.handle(&Event::JobSet(jobset.clone()))), "", "{jobset:?}");
    }
}

#[test]
fn bypass_can_begin_and_end() {
    let mut agent = Agent::new(RESTART_CODE, false);
    let disabled = JobSet { disabled: true, ..in_place(Some(5), Some(0)) };
    assert_eq!(short(agent.handle(&Event::JobSet(in_place(None, Some(0))))), "annotate 1");
    assert_eq!(short(agent.handle(&Event::JobSet(disabled.clone()))), "lift", "it begins at the barrier");
    assert_eq!(short(agent.handle(&Event::JobSet(in_place(None, Some(1))))), "", "the barrier is lifted");
    assert_eq!(short(agent.handle(&Event::JobSet(in_place(Some(1), Some(1))))), "exit 77");

    let mut agent = Agent::new(RESTART_CODE, false);
    assert_eq!(short(agent.handle(&Event::JobSet(disabled))), "lift", "previous is ignored");
    assert_eq!(short(agent.handle(&Event::JobSet(in_place(None, None)))), "annotate 0");
    assert_eq!(short(agent.handle(&Event::JobSet(in_place(None, Some(0))))), "");
}

#[test]
fn signals_end_an_agent_without_worker() {
    let lifted = in_place(None, Some(0));
    for (runs_worker, versions) in
        [(false, vec![]), (true, vec![]), (false, vec![in_place(None, None), lifted])]
    {
        for (signal, expected) in [(SIGINT, "exit 130"), (SIGTERM, "exit 143"), (SIGHUP, ""), (SIGUSR1, "")] {
            let mut agent = Agent::new(RESTART_CODE, runs_worker);
            for jobset in &versions {
                agent.handle(&Event::JobSet(jobset.clone()));
            }
            assert_eq!(short(agent.handle(&Event::Signal(signal))), expected, "{runs_worker} {versions:?}");
        }
    }
}

fn with_worker() -> Agent {
    let mut agent = Agent::new(RESTART_CODE, true);
    agent.handle(&Event::JobSet(in_place(None, None)));
    agent.handle(&Event::JobSet(in_place(None, Some(0))));
    agent
}

#[test]
fn signals_are_forwarded_to_a_running_worker() {
    for (signal, expected) in [(SIGINT, 130), (SIGTERM, 143)] {
        let mut agent = with_worker();
        assert_eq!(short(agent.handle(&Event::Signal(signal))), format!("forward {signal}"));
        assert_eq!(
            short(agent.handle(&Event::JobSet(in_place(Some(9), Some(0))))),
            "",
            "no restart any more"
        );
        assert_eq!(short(agent.handle(&Event::Signal(SIGTERM))), format!("forward {SIGTERM}"));
        // The first signal decides, also if the worker ends with another code.
        assert_eq!(short(agent.handle(&Event::WorkerEnded(0))), format!("exit {expected}"));
    }
    let mut agent = with_worker();
    assert_eq!(short(agent.handle(&Event::Signal(SIGUSR1))), format!("forward {SIGUSR1}"));
    assert_eq!(short(agent.handle(&Event::WorkerEnded(5))), "exit 5");
}

#[test]
fn exit_code_of_the_worker_is_that_of_the_agent() {
    for code in [0, 1, 77, 137, 255] {
        assert_eq!(short(with_worker().handle(&Event::WorkerEnded(code))), format!("exit {code}"));
    }
}
