//! Exclusive placement: reports topology keys that no node has.

use crate::{draft::Draft, plan::Subject, snapshot::Snapshot};
use jobset_api::{conditions::reasons, labels};
use std::time::Duration;

/// A leader that is pending for this long has a problem. Nodes that join and get their labels later are no problem.
const PENDING: Duration = Duration::from_mins(1);

/// Reports topology keys that no node has, while leaders wait for a node.
pub(crate) fn report_missing(snapshot: &Snapshot<'_>, draft: &mut Draft<'_>) {
    for topology in snapshot.topologies {
        let Some((labelled, nodes)) = topology.nodes else {
            draft.requeue_within(PENDING);
            continue;
        };
        if labelled > 0 {
            continue;
        }
        let key = &topology.key;
        let note = format!(
            "annotation {}: \"{key}\" is a label of {labelled} of {nodes} nodes, so no leader pod can be scheduled; label the \
             nodes of each domain with {key}, or create the JobSet with a label key that nodes have",
            labels::EXCLUSIVE_TOPOLOGY
        );
        draft.waiting.push(note.clone());
        let pending = draft.now.duration_since(topology.pending_since).unsigned_abs();
        if draft.now < topology.pending_since || pending < PENDING {
            draft.requeue_within(PENDING.saturating_sub(pending).max(Duration::from_secs(1)));
            continue;
        }
        draft.report(Subject::TopologyKey(key.clone()), reasons::TOPOLOGY_KEY_NOT_FOUND, note);
        // Later changes of nodes cause no reconcile.
        draft.requeue_within(PENDING);
    }
}
