//! The previous release, which `hack/previous-release` builds, and this one.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use jobset_tests::objects;
use serde_json::Value;

use crate::programs;

/// A release: its files and its programs.
pub(crate) struct Release {
    /// Folder with `manifests/` and `deploy/`.
    pub(crate) root: PathBuf,
    /// Folder with its programs.
    pub(crate) programs: PathBuf,
    /// The image that its files name.
    pub(crate) image: String,
}

impl Release {
    /// The previous release, and this one.
    pub(crate) fn both() -> Result<[Self; 2]> {
        let folder = previous()?;
        Ok([
            Self::new(folder.join("source"), folder.join("programs"))?,
            Self::new(objects::repository().canonicalize()?, programs()?)?,
        ])
    }

    fn new(root: PathBuf, programs: PathBuf) -> Result<Self> {
        let deployment = objects::read(&root.join("manifests/controller/deployment.yaml")).context(
            "the previous release is missing: run hack/previous-release, as hack/test does before this suite",
        )?;
        let image = image_in(&deployment[0].data["spec"]["template"]["spec"])
            .context("manifests/controller/deployment.yaml contains no image")?;
        Ok(Self { root, programs, image })
    }

    /// The version, with which its images are tagged.
    pub(crate) fn version(&self) -> &str {
        self.image.rsplit_once(":v").map_or("", |(_, version)| version)
    }

    /// The paths of all fields in a CRD of `manifests/crds`, such as `spec.replicatedJobs.name`.
    pub(crate) fn fields(&self, file: &str) -> Result<BTreeSet<String>> {
        let crd = objects::read(&self.root.join("manifests/crds").join(file))?.remove(0);
        let mut found = BTreeSet::new();
        for version in crd.data["spec"]["versions"].as_array().into_iter().flatten() {
            collect(&version["schema"]["openAPIV3Schema"], "", &mut found);
        }
        Ok(found)
    }
}

/// The folder into which `hack/previous-release` writes.
fn previous() -> Result<PathBuf> {
    Ok(programs()?.parent().context("the programs are not in a target folder")?.join("previous-release"))
}

/// Why there is no previous release, if the clone does not contain its commit.
pub(crate) fn missing_history() -> Option<String> {
    if previous().is_ok_and(|folder| folder.join("commit").is_file()) {
        return None;
    }
    let mut git = Command::new("git");
    let output =
        git.current_dir(objects::repository()).args(["rev-parse", "--is-shallow-repository"]).output();
    let has_history = output.is_ok_and(|output| output.stdout.starts_with(b"false"));
    (!has_history).then(|| {
        "upgrades need the commit of the previous release, which only a clone with history contains: clone the \
         repository, or run `git fetch --unshallow`, then hack/previous-release"
            .to_owned()
    })
}

/// Collects the paths of the fields in a schema.
fn collect(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        collect(field, &path, found);
        found.insert(path);
    }
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            collect(&schema[inner], path, found);
        }
    }
}

/// The image of the first container in a pod's spec.
pub(crate) fn image_in(spec: &Value) -> Option<String> {
    spec["containers"][0]["image"].as_str().map(str::to_owned)
}
