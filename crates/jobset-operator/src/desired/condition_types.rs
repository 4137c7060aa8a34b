//! Types of the conditions in the status of the JobSetOperator.

/// The operand serves.
pub const AVAILABLE: &str = "Available";
/// A change of the operand is in progress.
pub const PROGRESSING: &str = "Progressing";
/// Reason of [`PROGRESSING`] while the operand has no certificates.
pub(super) const WAITING_FOR_CERTIFICATES: &str = "WaitingForCertificates";
/// A problem persists until an administrator fixes it.
pub const DEGRADED: &str = "Degraded";
/// An upgrade of the operator is safe.
pub const UPGRADEABLE: &str = "Upgradeable";
/// [`DEGRADED`] for the operand itself. Tools for the Go operator read it.
pub const TARGET_DEGRADED: &str = "TargetConfigControllerDegraded";
/// [`DEGRADED`] for the service account, the roles and the metrics Service. Tools for the Go operator read it.
pub const STATIC_DEGRADED: &str = "JobSetOperatorStaticResourcesDegraded";
