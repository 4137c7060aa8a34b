//! What the plan of one JobSet depends on, from the index and from the inputs of exclusive placement.

use super::{index::ObservedJobSet, placement::Placement};
use jobset_plan::{InPlacePods, Snapshot, TopologyRecord, in_place_restart::restarts_in_place};
use std::{collections::HashSet, time::Duration};

/// The inputs of a plan.
pub(crate) struct PlanInputs<'a> {
    observed: &'a ObservedJobSet,
    topologies: Vec<TopologyRecord>,
    placed_leaders: HashSet<String>,
    in_place_pods: InPlacePods,
}

impl<'a> PlanInputs<'a> {
    /// The inputs for the JobSet with this UID.
    pub(crate) fn of(uid: &str, observed: &'a ObservedJobSet, placement: &Placement) -> Self {
        let ObservedJobSet { jobset, jobs, .. } = observed;
        let namespace = jobset.metadata.namespace.as_deref().unwrap_or("");
        let in_place_pods =
            if restarts_in_place(jobset) { placement.pods.in_place(uid) } else { InPlacePods::default() };
        Self {
            observed,
            topologies: placement.topologies(jobset),
            placed_leaders: placement.pods.placed_leaders(namespace, jobs),
            in_place_pods,
        }
    }

    /// The input of the planner. `creation_wait` is how long the creation of Jobs waits.
    pub(crate) fn snapshot(&self, creation_wait: Option<Duration>) -> Snapshot<'_> {
        let ObservedJobSet { jobset, jobs, service, claims, scheduling } = self.observed;
        Snapshot {
            jobset,
            jobs,
            service: service.as_ref(),
            claims,
            topologies: &self.topologies,
            placed_leaders: &self.placed_leaders,
            in_place_pods: &self.in_place_pods,
            scheduling: scheduling.api(),
            creation_wait,
        }
    }
}
