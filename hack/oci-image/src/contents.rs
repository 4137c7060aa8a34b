//! The contents of an image's root folder.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// The entry at one path of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Kind of the entry.
    pub kind: Kind,
    /// Permissions.
    pub mode: u32,
}

/// Kind of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Folder,
    /// A file with this text.
    Text(String),
    /// A copy of this file.
    File(PathBuf),
    /// A symbolic link to this path.
    Link(String),
}

impl Entry {
    /// A folder.
    pub fn folder(mode: u32) -> Self {
        Self { kind: Kind::Folder, mode }
    }

    /// A file with this text.
    pub fn text(text: impl Into<String>, mode: u32) -> Self {
        Self { kind: Kind::Text(text.into()), mode }
    }

    /// A copy of a file of this machine.
    pub fn file(source: impl Into<PathBuf>, mode: u32) -> Self {
        Self { kind: Kind::File(source.into()), mode }
    }

    /// A symbolic link.
    pub fn link(to: impl Into<String>) -> Self {
        Self { kind: Kind::Link(to.into()), mode: 0o777 }
    }
}

/// Reads every path below `root`, with its permissions.
pub fn from_folder(root: &Path) -> Result<BTreeMap<String, Entry>> {
    let mut entries = BTreeMap::new();
    let mut pending = vec![root.to_path_buf()];
    while let Some(folder) = pending.pop() {
        let listing =
            std::fs::read_dir(&folder).with_context(|| format!("cannot read folder {}", folder.display()))?;
        for child in listing {
            let path = child.with_context(|| format!("cannot read folder {}", folder.display()))?.path();
            let metadata =
                path.symlink_metadata().with_context(|| format!("cannot read {}", path.display()))?;
            let mode = metadata.permissions().mode() & 0o7777;
            let entry = if metadata.is_dir() {
                pending.push(path.clone());
                Entry::folder(mode)
            } else if metadata.is_symlink() {
                let to = path.read_link().with_context(|| format!("cannot read {}", path.display()))?;
                Entry::link(to.to_string_lossy())
            } else if metadata.is_file() {
                Entry::file(&path, mode)
            } else {
                bail!(
                    "{} cannot be in an image: it is neither file, folder nor symbolic link",
                    path.display()
                );
            };
            let inside = path.strip_prefix(root).unwrap_or(&path);
            let Some(inside) = inside.to_str() else { bail!("the name of {} is not UTF-8", path.display()) };
            entries.insert(inside.to_owned(), entry);
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_have_the_content_and_mode_of_the_folder() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        std::fs::create_dir(path("bin")).unwrap();
        std::fs::write(path("bin/tool"), "x").unwrap();
        std::fs::set_permissions(path("bin/tool"), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("tool", path("bin/alias")).unwrap();
        let entries = from_folder(root.path()).unwrap();
        assert_eq!(entries.keys().collect::<Vec<_>>(), ["bin", "bin/alias", "bin/tool"]);
        assert_eq!(entries["bin/tool"], Entry::file(path("bin/tool"), 0o755));
        assert_eq!(entries["bin/alias"], Entry::link("tool"));
    }

    #[test]
    fn a_socket_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(root.path().join("s")).unwrap();
        assert!(from_folder(root.path()).unwrap_err().to_string().contains("neither file, folder nor"));
    }
}
