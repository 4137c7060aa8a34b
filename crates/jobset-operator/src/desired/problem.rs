//! Problems that block the operand.

/// A condition that blocks the operand until an administrator fixes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Reason of the condition.
    pub reason: &'static str,
    /// Message of the condition.
    pub message: String,
}
