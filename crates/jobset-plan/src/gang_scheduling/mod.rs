//! Gang scheduling: the Workload and the PodGroups of a JobSet with `spec.scheduling`.

#[allow(dead_code, reason = "the caller follows")]
pub(crate) mod names;
