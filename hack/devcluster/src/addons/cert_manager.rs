//! cert-manager's CRDs. They come from its Go module and are cached next to the program of the same version.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::binaries::{self, Component};
use crate::progress::Progress;
use crate::state::write_atomically;

/// Name of the cached file.
const FILE: &str = "cert-manager-crds.yaml";

/// The CRDs, as one YAML stream.
pub(super) fn crds(progress: &Progress) -> Result<String> {
    let cached = binaries::ensure(&[Component::CertManager], progress)?.join(FILE);
    if let Ok(text) = fs::read_to_string(&cached) {
        return Ok(text);
    }
    let text =
        concatenate(&binaries::module_folder("github.com/cert-manager/cert-manager")?.join("deploy/crds"))?;
    write_atomically(&cached, text.as_bytes())?;
    Ok(text)
}

/// Concatenates the YAML files of a folder, sorted by name.
fn concatenate(folder: &Path) -> Result<String> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .with_context(|| format!("cannot read folder {}", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    ensure!(!files.is_empty(), "folder {} contains no CRDs", folder.display());
    let mut text = String::new();
    for file in files {
        text.push_str("---\n");
        text.push_str(&fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?);
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_become_documents_sorted_by_name() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("b.yaml", "kind: B"), ("a.yaml", "kind: A"), ("README.md", "# no")] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        assert_eq!(concatenate(folder.path()).unwrap(), "---\nkind: A\n---\nkind: B\n");
    }

    #[test]
    fn a_folder_without_crds_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(concatenate(folder.path()).unwrap_err().to_string().contains("contains no CRDs"));
    }
}
