//! An index of short records. Watches and the responses to the controller's own writes feed it.

#[cfg(test)]
mod bytes_test;
mod child_job;
mod decoded;
mod delivery;
mod demand;
mod in_place;
mod index;
mod jobset_record;
mod named;
mod nodes;
mod owned;
mod owner;
mod placement;
mod plan_inputs;
mod pod;
mod pods;
mod scheduling;
mod scheduling_watch;
mod service;
mod shared_texts;
mod subdomains;
mod versioned;
mod watch;

pub(crate) use child_job::ChildJob;
pub use index::Index;
pub(crate) use index::{Kind, Observation, ObservedJobSet, UnconfirmedJob};
pub(crate) use owner::{controlling_jobset, will_be_deleted};
pub use placement::Placement;
pub(crate) use plan_inputs::PlanInputs;
pub(crate) use pod::ObservedPod;
pub(crate) use scheduling::SchedulingKind;
pub(crate) use service::ObservedService;
pub(crate) use versioned::Source;
pub(crate) use watch::start;
