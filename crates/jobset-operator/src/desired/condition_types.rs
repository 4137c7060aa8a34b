//! Types of the conditions in the status of the JobSetOperator.

/// The operand serves.
pub const AVAILABLE: &str = "Available";
/// A change of the operand is in progress.
pub const PROGRESSING: &str = "Progressing";
/// A problem persists until an administrator fixes it.
pub const DEGRADED: &str = "Degraded";
/// An upgrade of the operator is safe.
pub const UPGRADEABLE: &str = "Upgradeable";
/// [`DEGRADED`] for the operand itself. Tools for the Go operator read it.
pub const TARGET_DEGRADED: &str = "TargetConfigControllerDegraded";
/// [`DEGRADED`] for the service account, the roles and the metrics Service. Tools for the Go operator read it.
pub const STATIC_DEGRADED: &str = "JobSetOperatorStaticResourcesDegraded";

/// A condition without its transition time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Type.
    pub kind: &'static str,
    /// Whether the condition is True.
    pub status: bool,
    /// Reason.
    pub reason: String,
    /// Message.
    pub message: String,
}

impl Finding {
    /// The status as Kubernetes stores it.
    pub fn status_text(&self) -> &'static str {
        if self.status { "True" } else { "False" }
    }

    pub(super) fn new(kind: &'static str, status: bool, reason: &str, message: impl Into<String>) -> Self {
        Self { kind, status, reason: reason.to_owned(), message: message.into() }
    }
}
