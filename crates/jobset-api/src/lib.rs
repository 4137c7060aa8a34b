//! The API types of this project.
//!
//! | kind | group and version | writer |
//! |---|---|---|
//! | [`JobSet`] | `jobset.x-k8s.io/v1alpha2` | users, Kueue, Kubeflow Trainer |
//! | [`JobSetOperator`] | `operator.openshift.io/v1` | the cluster administrator |
//! | [`Configuration`] | `config.jobset.x-k8s.io/v1alpha1` | the operator, or an administrator, as a file |
//!
//! The types decode every object that an API server can return, including values from newer versions. An unknown enum
//! value stays as text ([`open_enum`]), so that one unusual object never stops a watch.

pub mod conditions;
pub mod configuration;
pub mod jobset;
pub mod jobset_operator;
pub mod jobset_status;
pub mod labels;
pub mod metadata;
pub mod open_enum;
pub mod scheduling;
pub mod schema;

pub use configuration::Configuration;
pub use jobset::{JobSet, JobSetSpec};
pub use jobset_operator::JobSetOperator;
pub use jobset_status::{JobSetStatus, ReplicatedJobStatus};

/// Whether a field has its default value, so that serialization can omit it.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
