use super::*;
use crate::{PodAttempt, PodPhase, Uid};

const RACKS: [(&str, &str); 2] = [("n1", "r1"), ("n2", "r2")];

fn group(job: Option<&str>, topology: Option<&str>) -> PodGroup {
    PodGroup {
        namespace: "team".into(),
        jobset: "train".into(),
        jobset_uid: None,
        job: job.map(Uid::from),
        topology: topology.map(Into::into),
    }
}

/// Parses a pod of Job `job` from words: its name, which ends in its index, then its properties: `on=<node>`,
/// `in=<selected domain>`, `of=<Job>`, `deleting`, `failed`, `succeeded`.
fn pod(words: &str) -> Arc<PodRecord> {
    let mut words = words.split_whitespace();
    let name = words.next().unwrap();
    let mut pod = PodRecord {
        uid: name.into(),
        name: name.into(),
        group: Arc::new(group(Some("job"), Some("rack"))),
        node: None,
        selected: None,
        version: 1,
        created: 0,
        index: name.rsplit('-').next().and_then(|index| index.parse().ok()),
        attempt: PodAttempt::default(),
        restarts: 0,
        phase: PodPhase::Active,
        deleting: false,
        disruption_target: false,
        unschedulable: false,
    };
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("on", node) => pod.node = Some(node.into()),
            ("in", domain) => pod.selected = Some(domain.into()),
            ("of", job) => pod.group = Arc::new(group((job != "none").then_some(job), Some("rack"))),
            ("deleting", _) => pod.deleting = true,
            ("failed", _) => pod.phase = PodPhase::Failed,
            ("succeeded", _) => pod.phase = PodPhase::Succeeded,
            _ => panic!("unknown word: {word}"),
        }
    }
    Arc::new(pod)
}

fn decide(pods: &str) -> Repair {
    let pods: Vec<_> = pods.split(',').map(str::trim).filter(|pod| !pod.is_empty()).map(pod).collect();
    repair(&group(Some("job"), Some("rack")), &pods, |node, key| {
        assert_eq!(key, "rack");
        match node {
            "bare" => Domain::NoLabel,
            "new" => Domain::Unknown,
            _ => RACKS
                .iter()
                .find(|(name, _)| *name == node)
                .map_or(Domain::NoNode, |(_, rack)| Domain::Value((*rack).to_owned())),
        }
    })
}

/// The evicted pods, or "later: ", or an empty text.
fn outcome(pods: &str) -> String {
    match decide(pods) {
        Repair::Nothing => String::new(),
        Repair::Later(why) => format!("later: {why}"),
        Repair::Evict { leader, domain, followers } => {
            let names: Vec<_> = followers.iter().map(|pod| &*pod.name).collect();
            format!("{} in {domain}: evict {}", leader.name, names.join(" "))
        }
    }
}

#[test]
fn followers_outside_the_domain_of_their_leader_are_evicted() {
    for (what, pods, expected) in [
        ("nothing", "", ""),
        ("in one domain", "a-0 on=n1, b-1 in=r1, c-2 in=r1 on=n1", ""),
        ("one elsewhere", "a-0 on=n1, b-1 in=r2, c-2 in=r1", "a-0 in r1: evict b-1 c-2"),
        ("no selector", "a-0 on=n2, b-1", "a-0 in r2: evict b-1"),
        ("a renamed domain: the pods still run in one", "a-0 on=n1, b-1 in=old on=n1, c-2 in=r1", ""),
        ("on a node elsewhere", "a-0 on=n1, b-1 in=r2 on=n2", "a-0 in r1: evict b-1"),
        ("on a node that is gone", "a-0 on=n1, b-1 in=r2 on=gone", "a-0 in r1: evict b-1"),
        ("no followers", "a-0 on=n1", ""),
        ("no leader", "b-1 in=r2", ""),
        ("the leader has no node yet", "a-0, b-1 in=r2", ""),
        ("the leader is being deleted", "a-0 on=n1 deleting, b-1 in=r2", ""),
        ("#1276: the leader has failed", "a-0 on=n1 failed, b-1 in=r2", ""),
        ("#1276: a failed leader beside its successor", "x-0 on=n2 failed, a-0 on=n1, b-1 in=r1", ""),
        (
            "#1021: a leader that terminates beside its successor",
            "x-0 on=n2 deleting, a-0 on=n1, b-1 in=r1",
            "",
        ),
        (
            "#341: the successor got another domain",
            "x-0 on=n1 failed, a-0 on=n2, b-1 in=r1",
            "a-0 in r2: evict b-1",
        ),
        ("two leaders", "x-0 on=n2, a-0 on=n1, b-1 in=r2", ""),
        ("#433: the leader of the previous Job", "x-0 on=n1 of=old, b-1 in=r2", ""),
        ("pods of the previous Job", "a-0 on=n1, x-1 in=r2 of=old, b-1 in=r1", ""),
        ("pods without owner", "a-0 on=n1, x-1 in=r2 of=none, b-1 in=r1", ""),
        ("followers that are being deleted", "a-0 on=n1, x-1 in=r2 deleting, b-1 in=r1", ""),
        ("followers that have ended", "a-0 on=n1, x-1 in=r2 succeeded, y-2 in=r2 failed, b-1 in=r1", ""),
        (
            "only active followers are evicted",
            "a-0 on=n1, x-1 in=r2 deleting, y-2 in=r2 failed, b-1 in=r2",
            "a-0 in r1: evict b-1",
        ),
        ("a follower without index", "a-0 on=n1, odd in=r2", "a-0 in r1: evict odd"),
    ] {
        assert_eq!(outcome(pods), expected, "{what}");
    }
}

/// #1269: followers are never deleted because of a domain that is not known.
#[test]
fn followers_stay_while_the_domain_of_their_leader_is_unknown() {
    for (pods, expected) in [
        ("a-0 on=gone, b-1 in=r1", "later: leader topology is unknown (node gone not found)"),
        ("a-0 on=bare, b-1 in=r1", "later: node bare does not have topology label: rack"),
        ("a-0 on=new, b-1 in=r1", "later: the nodes have not been listed with label rack"),
        ("a-0 on=gone", ""),
        ("a-0 on=bare, b-1 in=r1 deleting", ""),
    ] {
        assert_eq!(outcome(pods), expected, "{pods}");
    }
}

#[test]
fn pods_that_the_controller_does_not_place_are_not_judged() {
    let pods = [pod("a-0 on=n1"), pod("b-1 in=r2")];
    for group in [group(Some("job"), None), group(None, Some("rack"))] {
        assert_eq!(repair(&group, &pods, |_, _| panic!("not judged")), Repair::Nothing);
    }
}

#[test]
fn the_condition_names_the_violation() {
    let patch = disruption_target(&pod("b-1"), "2026-11-28T02:00:00.9Z".parse().unwrap());
    assert_eq!(
        patch,
        json!({
            "metadata": {"uid": "b-1"},
            "status": {"conditions": [{
                "type": "DisruptionTarget", "status": "True", "reason": "ExclusivePlacementViolation",
                "message": "Pod violated JobSet exclusive placement policy", "lastTransitionTime": "2026-11-28T02:00:00Z",
            }]},
        })
    );
}
