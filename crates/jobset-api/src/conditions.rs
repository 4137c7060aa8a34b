//! Types, reasons and messages of JobSet conditions. A condition's reason is also the reason of its event.

/// The JobSet met its success policy. Terminal.
pub const COMPLETED: &str = "Completed";
/// The JobSet failed. Terminal.
pub const FAILED: &str = "Failed";
/// All Jobs of the JobSet are suspended.
pub const SUSPENDED: &str = "Suspended";
/// A failure made the JobSet restart, and not all Jobs are ready again yet.
pub const RESTARTING: &str = "RestartingJobSet";
/// ReplicatedJobs are being started one after another.
pub const STARTUP_POLICY_IN_PROGRESS: &str = "StartupPolicyInProgress";
/// All ReplicatedJobs were started in order.
pub const STARTUP_POLICY_COMPLETED: &str = "StartupPolicyCompleted";

/// Reasons, as `status.conditions[].reason` and as event reasons.
pub mod reasons {
    /// Success policy met.
    pub const ALL_JOBS_COMPLETED: &str = "AllJobsCompleted";
    /// A Job failed and there is no failure policy.
    pub const FAILED_JOBS: &str = "FailedJobs";
    /// `maxRestarts` is used up.
    pub const REACHED_MAX_RESTARTS: &str = "ReachedMaxRestarts";
    /// A restart for want of a matching rule.
    pub const DEFAULT_FAILURE_POLICY: &str = "DefaultFailurePolicy";
    /// Prefix of the reason of a restart by a rule; the rule's name follows.
    pub const FAILURE_POLICY_RULE: &str = "FailurePolicy_";
    /// ReplicatedJobs are being started one after another.
    pub const STARTUP_POLICY_IN_PROGRESS: &str = "InOrderStartupPolicyInProgress";
    /// All ReplicatedJobs were started in order.
    pub const STARTUP_POLICY_COMPLETED: &str = "InOrderStartupPolicyCompleted";
    /// A rule with action FailJobSet matched.
    pub const FAIL_JOB_SET_ACTION: &str = "FailJobSetFailurePolicyAction";
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
    /// Event: the labels of a Job that the JobSet controls do not say which of its Jobs this is.
    pub const FOREIGN_JOB: &str = "ForeignJob";
    /// Event: a Job failed, and the action that follows from the failure policy cannot be carried out.
    pub const FAILURE_POLICY_NOT_APPLIED: &str = "FailurePolicyNotApplied";
    /// Event: a pattern of the failure policy takes too much to be looked for.
    pub const MESSAGE_PATTERN_TOO_LARGE: &str = "MessagePatternTooLarge";
    /// Event: the status was lost, and is restored from the Jobs.
    pub const STATUS_RESTORED: &str = "StatusRestored";
    /// Event: the Service of the subdomain does not serve the pods of the JobSet.
    pub const SERVICE_CONFLICT: &str = "HeadlessServiceConflict";
    /// Event: a child Job could not be created.
    pub const JOB_CREATION_FAILED: &str = "JobCreationFailed";
    /// Event: a claim could not be created.
    pub const PVC_CREATION_FAILED: &str = "PVCCreationFailed";
    /// Event: the headless Service could not be created.
    pub const SERVICE_CREATION_FAILED: &str = "HeadlessServiceCreationFailed";
}
