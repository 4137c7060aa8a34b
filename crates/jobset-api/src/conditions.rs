//! Types and reasons of JobSet conditions. A condition's reason is also the reason of its event.

/// The JobSet met its success policy. Terminal.
pub const COMPLETED: &str = "Completed";
/// The JobSet failed. Terminal.
pub const FAILED: &str = "Failed";
/// All Jobs of the JobSet are suspended.
pub const SUSPENDED: &str = "Suspended";
/// The JobSet restarts after a failure, and not all Jobs are ready again.
pub const RESTARTING: &str = "RestartingJobSet";
/// ReplicatedJobs start one after another.
pub const STARTUP_POLICY_IN_PROGRESS: &str = "StartupPolicyInProgress";
/// All ReplicatedJobs have started in order.
pub const STARTUP_POLICY_COMPLETED: &str = "StartupPolicyCompleted";
/// The scheduler placed the pods of every group of `spec.scheduling`. Only with the feature gate
/// `JobSetWorkloadAwareSchedulingAPI`. If it is False because a group does not fit, the reason and the message are the
/// scheduler's.
pub const GANG_SCHEDULED: &str = "GangScheduled";

/// Reasons, as `status.conditions[].reason` and as event reasons. `docs/troubleshooting.md` has a row for each. A test of
/// `hack/generate` compares the page with this module.
pub mod reasons {
    /// Success policy met.
    pub const ALL_JOBS_COMPLETED: &str = "AllJobsCompleted";
    /// A Job failed and there is no failure policy.
    pub const FAILED_JOBS: &str = "FailedJobs";
    /// The JobSet ran for longer than `activeDeadlineSeconds`.
    pub const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";
    /// The JobSet has reached `maxRestarts`.
    pub const REACHED_MAX_RESTARTS: &str = "ReachedMaxRestarts";
    /// A restart because no rule matches.
    pub const DEFAULT_FAILURE_POLICY: &str = "DefaultFailurePolicy";
    /// Prefix of the reason of a restart by a rule. The name of the rule follows.
    pub const FAILURE_POLICY_RULE: &str = "FailurePolicy_";
    /// ReplicatedJobs start one after another.
    pub const STARTUP_POLICY_IN_PROGRESS: &str = "InOrderStartupPolicyInProgress";
    /// All ReplicatedJobs have started in order.
    pub const STARTUP_POLICY_COMPLETED: &str = "InOrderStartupPolicyCompleted";
    /// A rule with action FailJobSet matched.
    pub const FAIL_JOB_SET_ACTION: &str = "FailJobSetFailurePolicyAction";
    /// Event: suffix after the action of a failure policy that restarts the JobSet or a Job.
    pub const FAILURE_POLICY_ACTION: &str = "FailurePolicyAction";
    /// `spec.suspend` is true.
    pub const SUSPENDED_JOBS: &str = "SuspendedJobs";
    /// `spec.suspend` became false.
    pub const RESUME_JOBS: &str = "ResumeJobs";
    /// Every Job is ready or has succeeded.
    pub const JOBS_READY: &str = "JobsReady";
    /// The restart ended because the JobSet failed.
    pub const JOB_SET_FAILED: &str = "JobSetFailed";
    /// The restart ended because the JobSet completed.
    pub const JOB_SET_COMPLETED: &str = "JobSetCompleted";
    /// The restart ended because the JobSet was suspended.
    pub const JOB_SET_SUSPENDED: &str = "JobSetSuspended";
    /// Event: the labels of a Job that the JobSet controls do not identify the Job.
    pub const FOREIGN_JOB: &str = "ForeignJob";
    /// Event: a Job failed, and the controller cannot apply the action of the failure policy.
    pub const FAILURE_POLICY_NOT_APPLIED: &str = "FailurePolicyNotApplied";
    /// Event: the annotation of a pod with its in-place restart attempt is not a non-negative integer.
    pub const INVALID_IN_PLACE_RESTART_ATTEMPT: &str = "InvalidInPlaceRestartAttempt";
    /// Event: a message pattern of the failure policy is too large to use.
    pub const MESSAGE_PATTERN_TOO_LARGE: &str = "MessagePatternTooLarge";
    /// Event: the status was lost, and the controller restored it from the Jobs.
    pub const STATUS_RESTORED: &str = "StatusRestored";
    /// Event: the Service of the subdomain does not serve the pods of the JobSet.
    pub const SERVICE_CONFLICT: &str = "HeadlessServiceConflict";
    /// Event: no node has the topology key of exclusive placement.
    pub const TOPOLOGY_KEY_NOT_FOUND: &str = "TopologyKeyNotFound";
    /// Pod condition `DisruptionTarget`: the controller evicts the pod from another topology domain than its leader's.
    pub const EXCLUSIVE_PLACEMENT_VIOLATION: &str = "ExclusivePlacementViolation";
    /// Event: a service account lacks a permission that the agent of in-place restart needs.
    pub const AGENT_PERMISSION_MISSING: &str = "InPlaceRestartPermissionMissing";
    /// Event: the controller could not create a child Job.
    pub const JOB_CREATION_FAILED: &str = "JobCreationFailed";
    /// Event: the controller could not create a claim.
    pub const PVC_CREATION_FAILED: &str = "PVCCreationFailed";
    /// Event: the controller could not create the headless Service.
    pub const SERVICE_CREATION_FAILED: &str = "HeadlessServiceCreationFailed";
    /// Event: the controller could not correct the ports of the headless Service.
    pub const SERVICE_UPDATE_FAILED: &str = "HeadlessServiceUpdateFailed";
    /// Event: the API server rejected new requests or limits of a suspended Job.
    pub const FAILED_RESOURCE_PROPAGATION: &str = "FailedResourcePropagation";
    /// The scheduler placed the pods of every group.
    pub const POD_GROUPS_SCHEDULED: &str = "PodGroupsScheduled";
    /// The scheduler has not placed the pods of every group yet.
    pub const POD_GROUPS_PENDING: &str = "PodGroupsPending";
    /// The Workload or a PodGroup is being deleted, and Jobs wait for its successor.
    pub const POD_GROUPS_TERMINATING: &str = "PodGroupsTerminating";
    /// The JobSet is suspended and has no PodGroups.
    pub const POD_GROUPS_DELETED: &str = "PodGroupsDeleted";
    /// The API server does not serve Workloads and PodGroups.
    pub const SCHEDULING_API_NOT_SERVED: &str = "SchedulingAPINotServed";
    /// The controller may not list Workloads and PodGroups.
    pub const SCHEDULING_API_FORBIDDEN: &str = "SchedulingAPIForbidden";
    /// The API server dropped the group of a pod template.
    pub const SCHEDULING_GROUP_DROPPED: &str = "SchedulingGroupDropped";
    /// A Job started without its group, for example while the feature gate was off.
    pub const JOB_OUTSIDE_POD_GROUP: &str = "JobOutsidePodGroup";
    /// All pods of a PodGroup run, but no scheduler reported that it placed them together.
    pub const POD_GROUPS_IGNORED: &str = "PodGroupsIgnored";
    /// Event: the API server dropped the topology or the resource claims of a PodGroup.
    pub const POD_GROUP_FIELD_DROPPED: &str = "PodGroupFieldDropped";
    /// No controller completes the deletion of a PodGroup without pods.
    pub const POD_GROUP_PROTECTION_MISSING: &str = "PodGroupProtectionMissing";
    /// Event: the controller could not create, change or delete a Workload or a PodGroup.
    pub const SCHEDULING_OBJECTS_FAILED: &str = "SchedulingObjectsReconcileFailed";
}
