//! The licences of the crates in the programs, as one text.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::crates::Crate;

/// First words of the names of files with licences, in lower case.
const FILES: [&str; 5] = ["licen", "copying", "notice", "unlicense", "copyright"];
const RULE: &str = "--------------------------------------------------------------------------------";

/// The crates of other projects that are linked into the programs, with their licences, and below each different text
/// once. A crate without a file of its own refers to its repository.
pub fn third_party(crates: &[Crate]) -> Result<String> {
    let mut list = String::from(
        "Crates of other projects in the programs of this image, with their licences (SPDX). Their texts follow.\n\n",
    );
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for one in crates.iter().filter(|one| one.linked && !one.own) {
        let name = format!("{} {}", one.name, one.version);
        writeln!(list, "{name}: {}", one.license)?;
        let found = texts_in(&one.folder)?;
        if found.is_empty() {
            let source = one.repository.as_deref().unwrap_or("https://crates.io");
            writeln!(list, "    The crate has no file with its licence. Source: {source}")?;
            if !one.authors.is_empty() {
                writeln!(list, "    Authors: {}", one.authors.join(", "))?;
            }
        }
        for text in found {
            texts.entry(text).or_default().push(name.clone());
        }
    }
    let mut texts: Vec<_> = texts.into_iter().collect();
    texts.sort_by(|(_, one), (_, other)| one.cmp(other));
    for (text, names) in texts {
        write!(list, "\n{RULE}\n{}\n{RULE}\n\n{text}\n", names.join(", "))?;
    }
    Ok(list)
}

/// The texts of the files with licences in this folder, sorted by the names of the files.
fn texts_in(folder: &Path) -> Result<Vec<String>> {
    let read = || -> std::io::Result<Vec<String>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().to_lowercase();
            if FILES.iter().any(|start| name.starts_with(start)) && entry.path().is_file() {
                files.push(entry.path());
            }
        }
        files.sort();
        files
            .iter()
            .map(|file| Ok(String::from_utf8_lossy(&fs::read(file)?).replace('\r', "").trim_end().to_owned()))
            .collect()
    };
    read().with_context(|| format!("cannot read the licences in {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, folder: &Path) -> Crate {
        Crate {
            name: name.into(),
            version: "1.0.0".into(),
            own: false,
            linked: true,
            license: "MIT OR Apache-2.0".into(),
            description: String::new(),
            repository: Some("https://example.org/source".into()),
            authors: vec!["A. Author".into()],
            dependencies: vec![],
            folder: folder.to_owned(),
        }
    }

    #[test]
    fn equal_texts_appear_once_and_crates_without_files_name_their_source() {
        let root = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c", "tool"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        fs::write(root.path().join("a/LICENSE-MIT"), "Permission\r\n").unwrap();
        fs::write(root.path().join("b/License.txt"), "Permission\n\n").unwrap();
        fs::write(root.path().join("b/NOTICE"), "Attribution").unwrap();
        fs::write(root.path().join("c/lib.rs"), "code").unwrap();
        fs::write(root.path().join("tool/LICENSE"), "Other").unwrap();
        let mut crates = vec![
            one("a", &root.path().join("a")),
            one("b", &root.path().join("b")),
            one("c", &root.path().join("c")),
        ];
        crates.push(Crate { linked: false, ..one("tool", &root.path().join("tool")) });
        let text = third_party(&crates).unwrap();
        assert_eq!(text.matches("Permission").count(), 1, "{text}");
        assert!(text.contains("\na 1.0.0, b 1.0.0\n") && text.contains("Attribution"), "{text}");
        assert!(
            text.contains("c 1.0.0: MIT OR Apache-2.0\n    The crate has no file with its licence"),
            "{text}"
        );
        assert!(text.contains("https://example.org/source") && text.contains("A. Author"), "{text}");
        assert!(!text.contains("tool") && !text.contains("Other"), "{text}");
    }
}
