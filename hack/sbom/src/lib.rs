//! The crates in the image's programs, from `cargo metadata`: a software bill of materials (SBOM) in the format of
//! CycloneDX, and the texts of their licences.
//!
//! Both are reproducible: they contain no random number, no path of this machine and no time but the commit's.

mod crates;
mod cyclonedx;
mod licenses;

pub use crates::{Crate, PROGRAMS, read};
pub use cyclonedx::{Subject, bill_of_materials};
pub use licenses::third_party;
