//! Problems that block the operand.

/// A problem of the operand, which an administrator must fix or which can pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Reason of the condition.
    pub reason: &'static str,
    /// Message of the condition.
    pub message: String,
}
