//! From watches, and from the answers to our own writes, to an index of short records.

mod child_job;
mod index;
mod named;
mod placement;
mod service;
mod versioned;
mod watch;

pub(crate) use child_job::ChildJob;
pub(crate) use index::{Family, Index};
pub use placement::Placement;
pub(crate) use service::ObservedService;
pub(crate) use versioned::Source;
pub(crate) use watch::start;
