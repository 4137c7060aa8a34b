//! Exclusive placement: finds followers outside the topology domain of their leader.
//!
//! Admission places every follower in the domain of its leader. When the leader is replaced, its successor can get
//! another domain, while the followers run on. The controller then deletes the followers, and the Job controller creates
//! them again in the new domain.

use crate::{
    pod_admission::Domain,
    pod_record::{DISRUPTION_TARGET, PodGroup, PodRecord},
};
use jiff::Timestamp;
use jobset_api::conditions::reasons;
use serde_json::{Value, json};
use std::{fmt, sync::Arc};

/// What to do with the pods of one Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Nothing: every follower is in the domain of the leader, or there is no leader with a node.
    Nothing,
    /// Try again later: the domain of the leader is unknown.
    Later(UnknownDomain),
    /// Delete these followers, because at least one of them is outside the domain of the leader.
    Evict {
        /// The leader.
        leader: Arc<PodRecord>,
        /// Its domain.
        domain: String,
        /// All followers that have not ended.
        followers: Vec<Arc<PodRecord>>,
    },
}

/// Why the domain of a leader is unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnknownDomain {
    /// Its node does not exist.
    NoNode {
        /// The node.
        node: String,
    },
    /// Its node does not have the label.
    NoLabel {
        /// The node.
        node: String,
        /// The label key.
        key: String,
    },
    /// The nodes have not been listed with this label key.
    NotListed {
        /// The label key.
        key: String,
    },
}

impl fmt::Display for UnknownDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNode { node } => write!(f, "leader topology is unknown (node {node} not found)"),
            Self::NoLabel { node, key } => write!(f, "node {node} does not have topology label: {key}"),
            Self::NotListed { key } => write!(f, "the nodes have not been listed with label {key}"),
        }
    }
}

/// Decides about the pods of the Job that `group` names. The Job controls its pods by UID; other pods do not count.
/// `domain` returns the domain of a node, by its name and a label key.
///
/// Pods that have ended or are being deleted do not count: they occupy no node, or soon none.
pub fn repair(group: &PodGroup, pods: &[Arc<PodRecord>], domain: impl Fn(&str, &str) -> Domain) -> Repair {
    let (Some(job), Some(key)) = (&group.job, &group.topology) else { return Repair::Nothing };
    let own = pods.iter().filter(|pod| pod.group.job.as_ref() == Some(job) && pod.is_active());
    let (leaders, followers): (Vec<_>, Vec<_>) = own.cloned().partition(|pod| pod.is_leader());
    // Two leaders exist only until the Job controller deletes one of them.
    let [leader] = &leaders[..] else { return Repair::Nothing };
    let Some(node) = leader.node.as_deref().filter(|_| !followers.is_empty()) else { return Repair::Nothing };
    let leads_to = match domain(node, key) {
        Domain::Value(domain) => domain,
        Domain::NoNode => return Repair::Later(UnknownDomain::NoNode { node: node.to_owned() }),
        Domain::NoLabel => {
            return Repair::Later(UnknownDomain::NoLabel { node: node.to_owned(), key: key.to_string() });
        }
        Domain::Unknown => return Repair::Later(UnknownDomain::NotListed { key: key.to_string() }),
    };
    // A pod that runs in the domain stays, even if the administrator renamed the domain after the pod was placed.
    let runs_there = |pod: &PodRecord| {
        let node = pod.node.as_deref();
        node.is_some_and(|node| domain(node, key) == Domain::Value(leads_to.clone()))
    };
    if followers.iter().all(|pod| pod.selected.as_deref() == Some(&*leads_to) || runs_there(pod)) {
        return Repair::Nothing;
    }
    Repair::Evict { leader: leader.clone(), domain: leads_to, followers }
}

/// The patch of a pod's status that says why the controller deletes the pod.
pub fn disruption_target(pod: &PodRecord, now: Timestamp) -> Value {
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    json!({
        "metadata": {"uid": pod.uid.to_string()},
        "status": {"conditions": [{
            "type": DISRUPTION_TARGET,
            "status": "True",
            "reason": reasons::EXCLUSIVE_PLACEMENT_VIOLATION,
            "message": "Pod violated JobSet exclusive placement policy",
            "lastTransitionTime": now.to_string(),
        }]},
    })
}

#[cfg(test)]
#[path = "tests/repair.rs"]
mod tests;
