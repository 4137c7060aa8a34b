//! What stands in the way of the operand.

/// Why the operand cannot be as it should until an administrator acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Reason of the condition.
    pub reason: &'static str,
    /// Message of the condition.
    pub message: String,
}
