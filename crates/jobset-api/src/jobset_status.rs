//! `status` of a JobSet: what the controller observed. Users read it; only the controller writes it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the controller observed of a JobSet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobSetStatus {
    /// Latest observations of the JobSet's state, one per type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Number of times that all Jobs were recreated because of a failure.
    #[serde(default)]
    pub restarts: i32,
    /// Number of restarts that count towards `failurePolicy.maxRestarts`.
    #[serde(default, skip_serializing_if = "crate::is_default")]
    pub restarts_count_towards_max: i32,
    /// `Completed` or `Failed` once the JobSet has finished, empty before.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub terminal_state: String,
    /// Counts of Jobs, one entry per ReplicatedJob, sorted by name in descending order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub replicated_jobs_status: Vec<ReplicatedJobStatus>,
    /// Pods of this in-place restart attempt, or of an earlier one, must restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub previous_in_place_restart_attempt: Option<i32>,
    /// Pods of this in-place restart attempt can run their workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub current_in_place_restart_attempt: Option<i32>,
    /// When the JobSet began to run, or resumed, or restarted. Absent while it is suspended. Set with the feature gate
    /// JobSetActiveDeadlineSeconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// Number of the latest run of the JobSet. It increases with each restart of all Jobs, and with each resume. Absent
    /// before the first run. Set with the feature gate ExecutionAttemptsTracking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub execution_attempts: Option<i32>,
}

/// Counts of the Jobs of one ReplicatedJob in the current attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicatedJobStatus {
    /// Name of the ReplicatedJob.
    pub name: String,
    /// Jobs with enough pods that are ready or have succeeded.
    pub ready: i32,
    /// Jobs that completed.
    pub succeeded: i32,
    /// Jobs that failed.
    pub failed: i32,
    /// Jobs that have at least one pod pending or running.
    pub active: i32,
    /// Jobs that are suspended.
    pub suspended: i32,
    /// Restarts of each single Job, by Job index.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024), extend("x-kubernetes-list-type" = "atomic"))]
    pub job_restarts: Vec<i32>,
    /// Restarts of each single Job that count towards `failurePolicy.maxRestarts`, by Job index.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024), extend("x-kubernetes-list-type" = "atomic"))]
    pub job_restarts_count_towards_max: Vec<i32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_counts_are_written() {
        let status = JobSetStatus {
            replicated_jobs_status: vec![ReplicatedJobStatus { name: "driver".into(), ..Default::default() }],
            ..Default::default()
        };
        assert_eq!(
            serde_json::to_value(&status).unwrap(),
            serde_json::json!({
                "restarts": 0,
                "replicatedJobsStatus": [
                    {"name": "driver", "ready": 0, "succeeded": 0, "failed": 0, "active": 0, "suspended": 0}
                ],
            })
        );
    }
}
