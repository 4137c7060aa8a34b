//! Container images from files of this machine, without a container engine and without a registry.
//!
//! An [`Image`] consists of the entries of its root folder, a [`RunConfig`] and, optionally, a [`Base`].
//! [`Image::write`] writes an archive of an OCI image layout, which `podman load`, `skopeo copy oci-archive:` and
//! containerd read. Archives are reproducible: equal images have equal archives, and so equal digests. Entries are
//! sorted, belong to root, and have one time.
//!
//! ```text
//! entries ── layer.rs ──> layer ──┐
//! RunConfig ──────────────────────┼── image.rs ──> archive
//! archive of the base ── base.rs ─┘
//! ```

mod base;
mod contents;
mod digest;
mod elf;
mod image;
mod layer;
mod names;
pub mod product;

pub use base::Base;
pub use contents::{Entry, Kind, from_folder};
pub use digest::sha256;
pub use image::{Image, RunConfig, Written, architecture, write};
pub use layer::Compression;
pub use names::tags_in;
