use super::edited;
use crate::{
    Gates,
    validation::{headless_service, injection_warnings, shared_subdomain, validate_injection, warnings},
};
use serde_json::{Value, json};

/// The warnings about [`valid`] with edits.
fn warned(edits: &[(&str, Value)]) -> Vec<String> {
    warnings(&edited(edits))
}

const JOB_SET_TOPOLOGY: &str = "/metadata/annotations/alpha.jobset.sigs.k8s.io~1exclusive-topology";
const OWN_ANNOTATIONS: &str = "/spec/replicatedJobs/1/template/metadata/annotations";
const WORKER_MODE: &str = "/spec/replicatedJobs/1/template/spec/completionMode";

#[test]
fn a_valid_jobset_has_no_warnings() {
    assert!(warned(&[]).is_empty());
}

#[test]
fn pods_that_cannot_restart_in_place() {
    let strategy = ("/spec/failurePolicy", json!({"restartStrategy": "InPlaceRestart"}));
    let pod = |rest: &str| format!("/spec/replicatedJobs/1/template/spec/template/spec/{rest}");
    let never = (&*pod("restartPolicy"), json!("Never"));
    let agent = json!([{"name": "agent", "restartPolicy": "Always", "startupProbe": {}}]);
    let sidecar = (&*pod("initContainers"), agent.clone());
    let rule = json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}]);
    let own_rule = (&*pod("containers/0/restartPolicyRules"), rule);
    let created_again = "spec.replicatedJobs[1].template.spec.template.spec.restartPolicy: with Never the pods of a \
                         JobSet with restartStrategy InPlaceRestart are created again instead of restarted; set it to \
                         OnFailure, or add a sidecar with the agent";
    for (what, edits, expected) in [
        ("another strategy", vec![never.clone()], vec![]),
        ("OnFailure", vec![strategy.clone()], vec![]),
        ("Never", vec![strategy.clone(), never.clone()], vec![created_again]),
        ("a sidecar restarts", vec![strategy.clone(), never.clone(), sidecar], vec![]),
        ("the container restarts", vec![strategy.clone(), never, own_rule], vec![]),
    ] {
        assert_eq!(warned(&edits), expected, "{what}");
    }
}

#[test]
fn injection_without_effect_or_with_another_agent() {
    const ANNOTATION: &str = "/metadata/annotations/jobset.sigs.k8s.io~1inject-in-place-restart-agent";
    const FIELD: &str = "metadata.annotations[jobset.sigs.k8s.io/inject-in-place-restart-agent]";
    const POD: &str = "spec.replicatedJobs[1].template.spec.template.spec";
    let strategy = ("/spec/failurePolicy", json!({"restartStrategy": "InPlaceRestart"}));
    let pod = |rest: &str| format!("/spec/replicatedJobs/1/template/spec/template/spec/{rest}");
    let (own, token) = (pod("initContainers"), pod("automountServiceAccountToken"));
    let agent = json!({"name": "a", "command": ["/in-place-restart-agent"]});
    let asked = |value: &'static str| (ANNOTATION, json!(value));
    let has_own = |agents: Value| (&*own, agents);
    let on = Gates { in_place_restart: true, ..Gates::default() };
    let off = Gates::default();
    for (edits, gates, image, expected) in [
        (vec![asked("true"), strategy.clone()], &on, true, None),
        (vec![asked("false")], &on, true, None),
        (
            vec![asked("yes")],
            &on,
            true,
            Some(format!("{FIELD}: \"yes\" has no effect; set \"true\", or remove the annotation")),
        ),
        (
            vec![asked("true")],
            &on,
            true,
            Some(format!(
                "{FIELD}: has no effect without spec.failurePolicy.restartStrategy InPlaceRestart; set this strategy, or \
                 remove the annotation"
            )),
        ),
        (
            vec![asked("true"), strategy.clone()],
            &off,
            true,
            Some(format!(
                "{FIELD}: has no effect without feature gate InPlaceRestart of the controller; enable the gate"
            )),
        ),
        (
            vec![asked("true"), strategy.clone()],
            &on,
            false,
            Some(format!(
                "{FIELD}: pods are denied without inPlaceRestart.agentImage in the controller's configuration; set it"
            )),
        ),
        (
            vec![asked("true"), strategy.clone(), has_own(json!([{"name": "i"}, agent]))],
            &on,
            true,
            Some(format!(
                "{POD}.initContainers[1]: this container is an in-place-restart-agent, so none is injected; remove the \
                 container, or the annotation of the JobSet"
            )),
        ),
        (vec![strategy.clone(), has_own(json!([agent]))], &on, true, None),
        (
            vec![strategy.clone(), has_own(json!([agent, agent]))],
            &on,
            true,
            Some(format!(
                "{POD}: initContainers[0] and initContainers[1] are both in-place-restart-agents; keep one of them"
            )),
        ),
        (
            vec![asked("true"), strategy.clone(), (&*token, json!(false))],
            &on,
            true,
            Some(format!(
                "{POD}.automountServiceAccountToken: false: the injected agent needs the token of the service account; \
                 remove the field"
            )),
        ),
    ] {
        let jobset = edited(&edits);
        assert_eq!(Vec::from_iter(expected), injection_warnings(&jobset, image, gates), "{edits:?}");
        let denied = validate_injection(&jobset, image, gates).map(|error| error.to_string());
        assert_eq!(denied.is_some(), !image, "{edits:?}");
        if let Some(error) = denied {
            assert!(
                error.starts_with(&format!("{FIELD}: Forbidden: ")) && error.contains("agentImage"),
                "{error}"
            );
        }
    }
}

#[test]
fn pods_that_wait_behind_the_barrier_for_later_pods() {
    let strategy = ("/spec/failurePolicy", json!({"restartStrategy": "InPlaceRestart"}));
    let depends_on =
        |status: &str| ("/spec/replicatedJobs/1/dependsOn", json!([{"name": "driver", "status": status}]));
    let in_order = ("/spec/startupPolicy", json!({"startupPolicyOrder": "InOrder"}));
    let sidecar = (
        "/spec/replicatedJobs/0/template/spec/template/spec/initContainers",
        json!([{"name": "agent", "restartPolicy": "Always", "startupProbe": {}}]),
    );
    let never_start = |field: &str| {
        format!(
            "{field}: with restartStrategy InPlaceRestart the pods wait until all pods of the JobSet exist, so these \
             pods never start; remove it, or use restartStrategy Recreate"
        )
    };
    let dependency = || vec![never_start("spec.replicatedJobs[1].dependsOn[0]")];
    let order = || vec![never_start("spec.startupPolicy.startupPolicyOrder")];
    for (what, edits, expected) in [
        ("another strategy", vec![depends_on("Complete")], vec![]),
        ("Complete", vec![strategy.clone(), depends_on("Complete")], dependency()),
        ("Ready, the agent in the main container", vec![strategy.clone(), depends_on("Ready")], vec![]),
        (
            "Ready, the agent in a sidecar",
            vec![strategy.clone(), depends_on("Ready"), sidecar.clone()],
            dependency(),
        ),
        ("InOrder, the agent in the main container", vec![strategy.clone(), in_order.clone()], vec![]),
        ("InOrder, the agent in a sidecar", vec![strategy, in_order, sidecar], order()),
    ] {
        assert_eq!(warned(&edits), expected, "{what}");
    }
}

#[test]
fn exclusive_placement_without_indices() {
    let hangs = "spec.replicatedJobs[1].template.spec.completionMode: \"NonIndexed\": with annotation \
                 alpha.jobset.sigs.k8s.io/exclusive-topology, no pod of this Job is ever created; set Indexed, or \
                 remove the annotation";
    let non_indexed = (WORKER_MODE, json!("NonIndexed"));
    let zone = json!("topology.kubernetes.io/zone");
    let own = json!({"alpha.jobset.sigs.k8s.io/exclusive-topology": zone});
    let prepared = json!({
        "alpha.jobset.sigs.k8s.io/exclusive-topology": zone,
        "alpha.jobset.sigs.k8s.io/node-selector": "true",
    });
    for (what, edits, expected) in [
        ("indexed", vec![(JOB_SET_TOPOLOGY, zone.clone())], vec![]),
        ("no annotation", vec![non_indexed.clone()], vec![]),
        ("on the JobSet", vec![non_indexed.clone(), (JOB_SET_TOPOLOGY, zone.clone())], vec![hangs]),
        ("mode not set", vec![(WORKER_MODE, Value::Null), (JOB_SET_TOPOLOGY, zone.clone())], vec![hangs]),
        ("on the replicatedJob", vec![non_indexed.clone(), (OWN_ANNOTATIONS, own.clone())], vec![hangs]),
        (
            "with prepared nodes no pod follows another",
            vec![non_indexed.clone(), (JOB_SET_TOPOLOGY, zone), (OWN_ANNOTATIONS, prepared.clone())],
            vec![],
        ),
        (
            "prepared nodes with another topology",
            vec![non_indexed, ("/metadata/annotations", prepared), (OWN_ANNOTATIONS, own)],
            vec![],
        ),
    ] {
        assert_eq!(warned(&edits), expected, "{what}");
    }
}

#[test]
fn invalid_patterns() {
    let rules = json!([
        {"name": "a", "action": "FailJobSet", "onJobFailureMessagePatterns": ["^fine$"]},
        {"name": "b", "action": "FailJobSet", "onJobFailureMessagePatterns": ["fine", "(broken"]},
    ]);
    assert_eq!(
        warned(&[("/spec/failurePolicy", json!({"rules": rules}))]),
        [
            "spec.failurePolicy.rules[1].onJobFailureMessagePatterns[1]: \"(broken\" is not a regular expression and \
          will never match; correct it (RE2 syntax) or remove it"
        ]
    );
}

/// Limits over all rules: admission checks the first 200 patterns, and the controller uses the first 1000.
#[test]
fn patterns_beyond_the_limits() {
    let broken = |rule: usize, index: usize| {
        format!(
            "spec.failurePolicy.rules[{rule}].onJobFailureMessagePatterns[{index}]: \"(\" is not a regular expression and \
             will never match; correct it (RE2 syntax) or remove it"
        )
    };
    let beyond = |rule: usize, index: usize| {
        format!(
            "spec.failurePolicy.rules[{rule}].onJobFailureMessagePatterns[{index}]: only the first 1000 patterns of a \
             JobSet are used; this one and those after it never match; merge some with |"
        )
    };
    // The number of valid patterns in each of two rules. An invalid pattern follows in each rule.
    for (first, second, expected) in [
        (199, 0, vec![broken(0, 199)]),
        (200, 0, vec![]),
        (98, 100, vec![broken(0, 98), broken(1, 100)]),
        (98, 101, vec![broken(0, 98)]),
        (500, 498, vec![]),
        (500, 499, vec![beyond(1, 499)]),
        (1001, 700, vec![beyond(0, 1000)]),
    ] {
        let rule = |name: &str, good: usize| {
            let patterns = [vec!["fine"; good], vec!["("]].concat();
            json!({"name": name, "action": "FailJobSet", "onJobFailureMessagePatterns": patterns})
        };
        let rules = json!([rule("a", first), rule("b", second)]);
        let found = warned(&[("/spec/failurePolicy", json!({"rules": rules}))]);
        assert_eq!(found, expected, "{first} and {second}");
    }
}

#[test]
fn a_dependency_on_itself() {
    let depends_on = json!([{"name": "driver", "status": "Ready"}, {"name": "worker", "status": "Ready"}]);
    assert_eq!(
        warned(&[("/spec/replicatedJobs/1/dependsOn", depends_on)]),
        [
            "spec.replicatedJobs[1].dependsOn[1].name: \"worker\" waits for itself and will never start; name an earlier \
          replicatedJob, or remove the entry"
        ]
    );
    let long = "w".repeat(41);
    let found = warned(&[
        ("/spec/replicatedJobs/1/name", json!(long)),
        ("/spec/replicatedJobs/1/dependsOn", json!([{"name": long, "status": "Ready"}])),
    ]);
    let shown = format!(".name: \"{}\"... waits for itself", "w".repeat(40));
    assert!(found[0].contains(&shown), "a long name is truncated: {found:?}");
}

#[test]
fn more_replicated_jobs_than_kueue_accepts() {
    let queue = ("/metadata/labels/kueue.x-k8s.io~1queue-name", json!("lq"));
    let many = |count: usize| {
        let jobs: Vec<Value> = (0..count).map(|index| json!({"name": format!("r{index}")})).collect();
        ("/spec/replicatedJobs", json!(jobs))
    };
    assert!(warned(&[queue.clone(), many(8)]).is_empty());
    assert!(warned(&[many(9)]).is_empty(), "without Kueue");
    assert_eq!(
        warned(&[queue, many(9)]),
        [
            "spec.replicatedJobs: Kueue admits at most 8 replicatedJobs and this JobSet has 9; merge some, or remove the \
          label kueue.x-k8s.io/queue-name"
        ]
    );
}

#[test]
fn a_coordinator_pod_that_does_not_exist() {
    assert_eq!(
        warned(&[("/spec/coordinator", json!({"replicatedJob": "worker", "jobIndex": 2}))]),
        ["spec.coordinator: name a pod that exists, or remove it: coordinator job index 2 is invalid for \
          replicatedJob worker"]
    );
    let subdomain = "s".repeat(50);
    let found = warned(&[
        ("/spec/coordinator", json!({"replicatedJob": "driver"})),
        ("/spec/network/subdomain", json!(subdomain)),
    ]);
    let fault = format!(
        "spec.coordinator: name a pod that exists, or remove it: spec will lead to invalid label value \
         \"js-driver-0-0.{subdomain}\""
    );
    assert!(found[0].starts_with(&fault), "{found:?}");
}

#[test]
fn names_near_the_limit() {
    // `<name>-worker-1-2-abcde` is 17 characters longer than the name.
    let with = |length: usize| warned(&[("/metadata/name", json!("n".repeat(length)))]);
    assert!(with(36).is_empty(), "10 characters are free");
    assert_eq!(
        with(37),
        [
            "spec.replicatedJobs[0].name: names of its pods leave 9 of 63 characters for growth; shorten metadata.name \
          or spec.replicatedJobs[0].name to leave 10",
            "spec.replicatedJobs[1].name: names of its pods leave 9 of 63 characters for growth; shorten metadata.name \
          or spec.replicatedJobs[1].name to leave 10"
        ]
    );
    let no_completions = "/spec/replicatedJobs/1/template/spec/completions";
    let jobs = warned(&[("/metadata/name", json!("n".repeat(46))), (no_completions, Value::Null)]);
    assert!(jobs[1].contains("names of its Jobs leave 8 of 63"), "{jobs:?}");
    assert!(with(80).is_empty(), "this is an error");
}

#[test]
fn no_warning_is_longer_than_the_limit_of_the_api_server() {
    let long = "\u{1}(".repeat(300);
    let rules = json!([{"name": "a", "action": "FailJobSet", "onJobFailureMessagePatterns": [long]}]);
    for warning in warned(&[
        ("/spec/failurePolicy", json!({"rules": rules})),
        ("/spec/coordinator", json!({"replicatedJob": "x".repeat(300)})),
    ]) {
        assert!(warning.chars().count() <= 256 && !warning.contains('\u{1}'), "{warning}");
    }
}

#[test]
fn a_shared_subdomain_names_the_other_jobset() {
    let enabled = "/spec/network/enableDNSHostnames";
    let subdomain = "/spec/network/subdomain";
    let unnamed = ("/metadata/name", Value::Null);
    for (edits, service) in [
        (vec![], Some("js")),
        (vec![(subdomain, json!("net"))], Some("net")),
        (vec![(subdomain, json!("net")), unnamed.clone()], Some("net")),
        (vec![(subdomain, json!(""))], Some("js")),
        (vec![unnamed], None),
        (vec![(enabled, json!(false)), (subdomain, json!("net"))], None),
        (vec![(enabled, Value::Null)], Some("js")),
        (vec![("/spec/network", Value::Null)], Some("js")),
    ] {
        assert_eq!(headless_service(&edited(&edits)), service, "{edits:?}");
    }
    let rest = "and its Service publishes host names for the pods of one JobSet only; choose another spec.network.subdomain";
    assert_eq!(
        shared_subdomain(&edited(&[(subdomain, json!("net"))]), "other"),
        format!("spec.network.subdomain: JobSet \"other\" also uses subdomain \"net\", {rest}")
    );
    assert_eq!(
        shared_subdomain(&edited(&[]), "other"),
        format!("metadata.name: JobSet \"other\" also uses subdomain \"js\", {rest}")
    );
    let long = shared_subdomain(&edited(&[(subdomain, json!("n".repeat(63)))]), &"o".repeat(253));
    assert!(long.ends_with("spec.network.subdomain") && long.len() <= 256, "{} {long}", long.len());
}

#[test]
fn scheduling_of_a_job_template() {
    let of_job =
        ("/spec/replicatedJobs/1/template/spec/scheduling", json!({"schedulingPolicy": {"gang": {}}}));
    let of_pod = (
        "/spec/replicatedJobs/1/template/spec/template/spec/schedulingGroup",
        json!({"podGroupName": "mine"}),
    );
    assert_eq!(
        warned(std::slice::from_ref(&of_job)),
        [
            "spec.replicatedJobs[1].template.spec.scheduling: Kubernetes ignores this field in a Job of a JobSet; set \
             spec.scheduling of the JobSet, which needs the feature gate JobSetWorkloadAwareSchedulingAPI, or \
             remove the field"
        ]
    );
    // Another controller can own the PodGroup.
    assert!(warned(&[of_pod]).is_empty());
    // With `spec.scheduling`, creation denies it.
    assert!(warned(&[of_job, ("/spec/scheduling", json!({}))]).is_empty());
}
