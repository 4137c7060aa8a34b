//! Types of the conditions in the status of the JobSetOperator.

/// Pods of the operand serve.
pub const AVAILABLE: &str = "Available";
/// The operand changes.
pub const PROGRESSING: &str = "Progressing";
/// Reason of [`PROGRESSING`] as long as the operand has no certificates to serve with.
pub(super) const WAITING_FOR_CERTIFICATES: &str = "WaitingForCertificates";
/// Something is wrong and stays wrong until an administrator acts.
pub const DEGRADED: &str = "Degraded";
/// An upgrade of the operator keeps everything.
pub const UPGRADEABLE: &str = "Upgradeable";
/// [`DEGRADED`] as far as the operand itself goes; read by tools that know the Go operator.
pub const TARGET_DEGRADED: &str = "TargetConfigControllerDegraded";
/// [`DEGRADED`] as far as service account, roles and metrics Service go; read by tools that know the Go operator.
pub const STATIC_DEGRADED: &str = "JobSetOperatorStaticResourcesDegraded";
