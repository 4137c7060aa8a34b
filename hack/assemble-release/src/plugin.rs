//! The plugin for kubectl: an archive for each target, and the manifest for Krew, the package manager of such plugins.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use oci_image::{architecture, sha256};
use serde_json::{Value, json};

use crate::archive::Archive;
use crate::{Inputs, VERSION};

/// The program.
const PROGRAM: &str = "kubectl-jobset";
/// The manifest for Krew, which has the name of the plugin.
const MANIFEST: &str = "jobset.yaml";
const LICENSE: &str = "LICENSE";

/// The archives and the manifest, by name.
pub(crate) fn all(inputs: &Inputs, root: &Path, licenses: &str) -> Result<BTreeMap<String, Vec<u8>>> {
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let mut files = BTreeMap::new();
    let mut platforms = Vec::new();
    for programs in &inputs.programs {
        let mut archive = Archive::new(inputs.created);
        archive.add(Path::new(LICENSE), 0o644, &read(&root.join(LICENSE))?)?;
        archive.add(Path::new("THIRD-PARTY.txt"), 0o644, licenses.as_bytes())?;
        archive.add(Path::new(PROGRAM), 0o755, &read(&programs.folder.join(PROGRAM))?)?;
        let architecture = architecture(programs.architecture());
        let name = format!("{PROGRAM}-linux-{architecture}.tar.gz");
        let bytes = archive.finish()?;
        platforms.push(platform(architecture, &name, &sha256(&bytes)));
        files.insert(name, bytes);
    }
    files.insert(MANIFEST.to_owned(), serde_yaml::to_string(&manifest(&platforms))?.into_bytes());
    Ok(files)
}

fn platform(architecture: &str, archive: &str, digest: &str) -> Value {
    let repository = env!("CARGO_PKG_REPOSITORY");
    json!({
        "selector": {"matchLabels": {"os": "linux", "arch": architecture}},
        "uri": format!("{repository}/releases/download/v{VERSION}/{archive}"),
        "sha256": digest.trim_start_matches("sha256:"),
        "bin": PROGRAM,
        "files": [{"from": PROGRAM, "to": "."}, {"from": LICENSE, "to": "."}],
    })
}

fn manifest(platforms: &[Value]) -> Value {
    json!({
        "apiVersion": "krew.googlecontainertools.github.com/v1alpha2",
        "kind": "Plugin",
        "metadata": {"name": "jobset"},
        "spec": {
            "version": format!("v{VERSION}"),
            "homepage": env!("CARGO_PKG_REPOSITORY"),
            "shortDescription": "Explain and plan JobSets",
            "description": "Explains why a JobSet waits, what failed first and what happens next, and shows which \
                            objects a JobSet creates, without a cluster.\n",
            "platforms": platforms,
        },
    })
}
