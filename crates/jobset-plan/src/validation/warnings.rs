//! What is accepted and yet will hurt.

use jobset_api::JobSet;

/// Warnings about a JobSet, for the admission response.
pub fn warnings(_jobset: &JobSet) -> Vec<String> {
    Vec::new()
}
