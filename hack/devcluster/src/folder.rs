//! The folder of a cluster: its location, its lock, its contents and its removal.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::binaries::{cache_dir, lock_file, user_dir};
use crate::digest;
use crate::progress::Progress;
use crate::state::{Layout, State};

/// Names of the clusters in the default location.
pub fn names() -> Result<Vec<String>> {
    let Ok(entries) = fs::read_dir(clusters_dir()?) else { return Ok(Vec::new()) };
    let names: BTreeSet<_> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| check_name(name).is_ok())
        .collect();
    Ok(names.into_iter().collect())
}

/// Shorter than a DNS label may be, because the names of interfaces and namespaces contain it.
pub(crate) fn check_name(name: &str) -> Result<()> {
    const MAX_LENGTH: usize = 40;
    let fits = !name.is_empty()
        && name.len() <= MAX_LENGTH
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    if !fits {
        bail!(
            "--name \"{name}\" is not a valid cluster name: use up to {MAX_LENGTH} lower-case letters, digits \
             and dashes, with no dash at either end"
        );
    }
    Ok(())
}

pub(crate) fn clusters_dir() -> Result<PathBuf> {
    Ok(user_dir("XDG_STATE_HOME", ".local/state")?.join("devcluster"))
}

pub(crate) fn layout_of(name: &str, dir: Option<&Path>) -> Result<Layout> {
    let root = match dir {
        Some(dir) => {
            std::path::absolute(dir).with_context(|| format!("--dir {} is not a path", dir.display()))?
        }
        None => clusters_dir()?.join(name),
    };
    Ok(Layout::new(root))
}

/// A name for resources of the machine. It is unique, although clusters in different folders may have the same name.
pub(crate) fn machine_wide_name(layout: &Layout, name: &str) -> String {
    format!("devcluster-{name}-{}", folder_digest(layout))
}

pub(crate) fn folder_digest(layout: &Layout) -> String {
    digest::short([layout.root().as_os_str().as_encoded_bytes()], 3)
}

/// Locks a cluster while it is changed. The lock file is outside of the cluster's folder, because `down` removes that.
pub(crate) fn lock(layout: &Layout, progress: &Progress) -> Result<fs::File> {
    let folder = cache_dir()?.join("locks");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create folder {}", folder.display()))?;
    let file = lock_file(&folder.join(digest::short([layout.root().as_os_str().as_encoded_bytes()], 8)))?;
    if file.try_lock().is_err() {
        progress.note("Waiting for another devcluster process that changes this cluster");
        file.lock().with_context(|| format!("cannot lock {}", folder.display()))?;
    }
    Ok(file)
}

/// Contents of a cluster's folder.
pub(crate) enum FolderContents {
    /// There is no such folder.
    Absent,
    /// A cluster, with its recorded state.
    Cluster(Box<State>),
    /// A cluster without a readable state, and why.
    Unreadable(String),
}

/// Reads the folder. A folder with other files is an error, because `down` would delete them.
pub(crate) fn inspect(layout: &Layout) -> Result<FolderContents> {
    match State::load(layout) {
        Ok(Some(state)) => return Ok(FolderContents::Cluster(Box::new(state))),
        Err(error) => return Ok(FolderContents::Unreadable(format!("{error:#}"))),
        Ok(None) => {}
    }
    let entries = match fs::read_dir(layout.root()) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(FolderContents::Absent),
        Err(error) => return Err(anyhow!("cannot read folder {}: {error}", layout.root().display())),
    };
    // `up` writes the state first, through a temporary file, and `down` removes it last.
    let foreign = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .find(|name| !name.starts_with(".tmp"));
    match foreign {
        None => Ok(FolderContents::Unreadable("its folder is empty".into())),
        Some(name) => bail!(
            "{} contains {name}, but no cluster: set --dir to a folder that does not exist yet",
            layout.root().display()
        ),
    }
}

/// Removes the cluster's folder. The state goes last, so that an interrupted removal still leaves a cluster.
pub(crate) fn remove_folder(layout: &Layout) -> Result<()> {
    let remove = || -> std::io::Result<()> {
        for entry in fs::read_dir(layout.root())? {
            let entry = entry?;
            if entry.path() == layout.state_file() {
                continue;
            }
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        fs::remove_dir_all(layout.root())
    };
    let outcome = remove();
    if let Some(parent) =
        layout.root().parent().filter(|parent| clusters_dir().is_ok_and(|dir| dir == **parent))
    {
        // This fails as long as the folder contains other clusters.
        drop(fs::remove_dir(parent));
    }
    match outcome {
        Err(error) if layout.root().exists() => {
            Err(error).with_context(|| format!("cannot remove folder {}", layout.root().display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_names_are_short_labels() {
        for name in ["dev", "a", "e2e-1", &"x".repeat(40)] {
            check_name(name).unwrap();
        }
        for name in ["", "-a", "a-", "Dev", "a.b", "a/b", "..", &"x".repeat(41)] {
            let message = check_name(name).unwrap_err().to_string();
            assert!(message.starts_with(&format!("--name \"{name}\" is not")), "{message}");
        }
    }

    #[test]
    fn a_folder_with_other_files_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.tex"), "years of work").unwrap();
        let message = inspect(&Layout::new(folder.path())).err().unwrap().to_string();
        assert!(message.contains("thesis.tex") && message.contains("--dir"), "{message}");
        assert!(matches!(inspect(&Layout::new(folder.path().join("new"))).unwrap(), FolderContents::Absent));
    }

    #[test]
    fn a_folder_with_an_unfinished_state_is_a_cluster() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".tmpAbC"), "{").unwrap();
        assert!(matches!(inspect(&Layout::new(folder.path())).unwrap(), FolderContents::Unreadable(_)));
        remove_folder(&Layout::new(folder.path())).unwrap();
        assert!(!folder.path().exists());
    }

    #[test]
    fn clusters_with_one_name_in_two_folders_have_distinct_machine_wide_names() {
        let name = |root: &str| machine_wide_name(&Layout::new(root), "dev");
        assert_ne!(name("/a/dev"), name("/b/dev"));
        assert_eq!(name("/a/dev"), name("/a/dev"));
    }
}
