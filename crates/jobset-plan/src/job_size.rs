//! The size of a Job.

/// The number of pods of a Job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobSize {
    /// `spec.parallelism`.
    pub parallelism: i32,
    /// `spec.completions`.
    pub completions: i32,
}
