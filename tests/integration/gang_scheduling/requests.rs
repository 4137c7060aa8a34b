//! The requests that gang scheduling adds to those of a JobSet.

use std::sync::Arc;

use anyhow::Result;

use crate::Integration;
use crate::api_requests::expect_minimal_writes;

/// Two more than without a gang: condition `GangScheduled` is False until the scheduler has placed the pods, and then True.
const URGENT_STATUS_WRITES: usize = 4;

/// A JobSet that is one gang: one Workload and one PodGroup.
pub(crate) async fn one_gang_causes_minimal_writes(suite: Arc<Integration>) -> Result<()> {
    expect_minimal_writes(&suite, 20, "scheduling: {}, ", URGENT_STATUS_WRITES, 1).await
}

/// Two gangs in the same JobSet.
pub(crate) async fn two_gangs_cause_minimal_writes(suite: Arc<Integration>) -> Result<()> {
    let scheduling = "scheduling: {replicatedJobs: [{targetReplicatedJobs: [leader]}, {targetReplicatedJobs: [worker]}]}, ";
    expect_minimal_writes(&suite, 4, scheduling, URGENT_STATUS_WRITES, 2).await
}
