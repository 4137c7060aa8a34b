//! What the decisions start from: the settings of the process, and the mode that the administrator asks for.

use crate::observe::facts::{ProxySettings, TlsSecurityProfile};
use jobset_api::JobSetOperator;
use jobset_api::jobset_operator::ManagementState;

/// What does not change while the process runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Namespace of operator and operand.
    pub namespace: String,
    /// Image of the operand; none when the operator was not given one.
    pub operand_image: Option<String>,
    /// Version of the operator.
    pub version: &'static str,
    /// How the operator itself reaches the outside; holds for the operand where the cluster has no Proxy object.
    pub proxy: ProxySettings,
    /// TLS that the operator's own servers began with.
    pub tls_profile: Option<TlsSecurityProfile>,
}

/// What the administrator wants, in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// There is no JobSetOperator, or it is being deleted: the garbage collector takes the operand away.
    Absent,
    /// The operand shall be there.
    Managed,
    /// Nothing is touched.
    Unmanaged,
    /// The operand shall be gone.
    Removed,
}

impl Mode {
    /// Reads it off the JobSetOperator.
    pub fn of(operator: Option<&JobSetOperator>) -> Self {
        let Some(operator) = operator else { return Mode::Absent };
        if operator.metadata.deletion_timestamp.is_some() {
            return Mode::Absent;
        }
        match &operator.spec.management_state {
            None | Some(ManagementState::Managed | ManagementState::Force) => Mode::Managed,
            Some(ManagementState::Removed) => Mode::Removed,
            // A value that this version does not know is no order to change anything.
            Some(ManagementState::Unmanaged | ManagementState::Unknown(_)) => Mode::Unmanaged,
        }
    }
}
