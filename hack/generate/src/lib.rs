//! Every generated file of the repository, from two sources of truth: the Rust types of `jobset-api`, and the
//! objects and RBAC rules of `jobset-operator`.
//!
//! ```text
//! jobset-api types ──┐
//!                    ├─ structural ── crds ─────┐
//! Kubernetes OpenAPI ┘                          ├── manifests/  deploy/  bundle/
//! jobset-operator: objects, RBAC table ─────────┘
//! ```

pub mod crds;
pub mod files;
pub mod kubernetes;
pub mod structural;
pub mod yaml;

use anyhow::Result;
use files::Files;
use kubernetes::Kubernetes;
use std::path::Path;

/// Generates everything. `root` is the repository, where the pin of Kubernetes is read.
pub fn generate(root: &Path) -> Result<Files> {
    let kubernetes = Kubernetes::load(root)?;
    let mut files = Files::default();
    for crd in [crds::jobset(&kubernetes)?, crds::jobset_operator(&kubernetes)?] {
        files.add(format!("manifests/crds/{}", crds::file_name(&crd)?), yaml::file(&crd)?);
    }
    Ok(files)
}
