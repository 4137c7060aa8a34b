//! How many pods a Job runs.

/// How many pods a Job runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobSize {
    /// `spec.parallelism`.
    pub parallelism: i32,
    /// `spec.completions`.
    pub completions: i32,
}
