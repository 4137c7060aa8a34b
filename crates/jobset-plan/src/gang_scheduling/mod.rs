//! Gang scheduling: the Workload and the PodGroups of a JobSet with `spec.scheduling`.

pub(crate) mod names;
