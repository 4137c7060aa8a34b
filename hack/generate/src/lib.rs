//! Generates files of the repository from the Rust types of `jobset-api`, and from the objects and RBAC rules of
//! `jobset-operator`.
//!
//! ```text
//! jobset-api types ──┐
//!                    ├─ structural ── crds ─────┐
//! Kubernetes OpenAPI ┘                          ├── manifests/  deploy/  bundle/
//! jobset-operator: objects, RBAC table ─────────┘
//! ```

pub mod bundle;
pub mod charts;
pub mod crds;
pub mod deploy;
pub mod files;
pub mod images;
pub mod kubernetes;
pub mod manifests;
pub mod objects;
pub mod structural;
pub mod yaml;

use anyhow::{Context, Result};
use files::Files;
use images::Images;
use kubernetes::Kubernetes;
use std::path::Path;

/// Generates all files. `root` is the repository, which pins the Kubernetes version.
pub fn generate(root: &Path, images: &Images) -> Result<Files> {
    let kubernetes = Kubernetes::load(root)?;
    let jobset_crd = crds::jobset(&kubernetes).context("JobSet CRD")?;
    let operator_crd = crds::jobset_operator(&kubernetes).context("JobSetOperator CRD")?;
    let mut files = Files::default();
    for crd in [&jobset_crd, &operator_crd] {
        files.add(format!("manifests/crds/{}", crds::file_name(crd)?), yaml::file(crd)?);
    }
    charts::add(&mut files, images, &jobset_crd, &operator_crd).context("manifests/charts/")?;
    let jobset_crd = format!("crds/{}", crds::file_name(&jobset_crd)?);
    manifests::add(&mut files, images, &jobset_crd).context("manifests/")?;
    deploy::add(&mut files, images, &operator_crd).context("deploy/")?;
    bundle::add(&mut files, images, &operator_crd).context("bundle/")?;
    Ok(files)
}
