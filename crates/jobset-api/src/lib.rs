//! What users write and read, and nothing else: the API types of this project.
//!
//! | kind | group and version | who writes it |
//! |---|---|---|
//! | [`JobSet`] | `jobset.x-k8s.io/v1alpha2` | users, Kueue, Kubeflow Trainer |
//! | [`JobSetOperator`] | `operator.openshift.io/v1` | the cluster administrator |
//! | [`Configuration`] | `config.jobset.x-k8s.io/v1alpha1` | the operator, or an administrator, as a file |
//!
//! The types decode everything that an API server can hand out, also values that a newer version may add:
//! an enum that is not known here is kept as text ([`open_enum`]), so that one odd object never stops a watch.

pub mod conditions;
pub mod configuration;
pub mod jobset;
pub mod jobset_operator;
pub mod jobset_status;
pub mod labels;
pub mod open_enum;
pub mod schema;

pub use configuration::Configuration;
pub use jobset::{JobSet, JobSetSpec};
pub use jobset_operator::JobSetOperator;
pub use jobset_status::{JobSetStatus, ReplicatedJobStatus};

/// Whether a field need not be written: the value that is read where it is absent.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
