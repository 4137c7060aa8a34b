//! cert-manager's CRDs: files of its Go module, kept beside the program that is built from the same version.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::binaries::{self, Component};
use crate::progress::Progress;
use crate::state::write_whole;

/// Name of the copy.
const FILE: &str = "cert-manager-crds.yaml";

/// The CRDs, as one text.
pub(super) fn crds(progress: &Progress) -> Result<String> {
    let copy = binaries::ensure(&[Component::CertManager], progress)?.join(FILE);
    if let Ok(text) = fs::read_to_string(&copy) {
        return Ok(text);
    }
    let text =
        concatenate(&binaries::module_folder("github.com/cert-manager/cert-manager")?.join("deploy/crds"))?;
    write_whole(&copy, text.as_bytes())?;
    Ok(text)
}

/// Every YAML file of a folder, in the order of their names.
fn concatenate(folder: &Path) -> Result<String> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .with_context(|| format!("cannot read folder {}", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    ensure!(!files.is_empty(), "folder {} holds no CRDs", folder.display());
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
    fn files_become_documents_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("b.yaml", "kind: B"), ("a.yaml", "kind: A"), ("README.md", "# no")] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        assert_eq!(concatenate(folder.path()).unwrap(), "---\nkind: A\n---\nkind: B\n");
    }

    #[test]
    fn a_folder_without_crds_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(concatenate(folder.path()).unwrap_err().to_string().contains("holds no CRDs"));
    }
}
