//! The inputs of decisions: the settings of the process, and the mode that the administrator requests.

use crate::observe::facts::{ProxySettings, TlsSecurityProfile};
use jobset_api::JobSetOperator;
use jobset_api::jobset_operator::ManagementState;

/// Settings that do not change while the process runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Namespace of operator and operand.
    pub namespace: String,
    /// Image of the operand, or None if it is not configured.
    pub operand_image: Option<String>,
    /// Version of the operator.
    pub version: &'static str,
    /// URL of the folder of the runbooks, without a slash at the end.
    pub runbooks: String,
    /// The proxy of the operator. The operand uses it if the cluster has no Proxy object.
    pub proxy: ProxySettings,
    /// The TLS profile with which the operator's servers started.
    pub tls_profile: Option<TlsSecurityProfile>,
    /// Name of the `OperatorCondition` in which the operator reports to OLM, if OLM installed it.
    pub operator_condition: Option<String>,
}

/// The mode that the administrator requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The JobSetOperator does not exist, or is being deleted. The garbage collector deletes the operand.
    Absent,
    /// The operator keeps the operand installed.
    Managed,
    /// The operator changes nothing.
    Unmanaged,
    /// The operator deletes the operand.
    Removed,
}

impl Mode {
    /// The mode in the JobSetOperator.
    pub fn of(operator: Option<&JobSetOperator>) -> Self {
        let Some(operator) = operator else { return Mode::Absent };
        if operator.metadata.deletion_timestamp.is_some() {
            return Mode::Absent;
        }
        match &operator.spec.management_state {
            None | Some(ManagementState::Managed | ManagementState::Force) => Mode::Managed,
            Some(ManagementState::Removed) => Mode::Removed,
            // An unknown value must not cause changes.
            Some(ManagementState::Unmanaged | ManagementState::Unknown(_)) => Mode::Unmanaged,
        }
    }
}
