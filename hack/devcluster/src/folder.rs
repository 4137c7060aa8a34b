//! The folder that is a cluster: where it is, whose it is, and making it go away.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::binaries::{cache_dir, lock_file, user_dir};
use crate::digest;
use crate::progress::Progress;
use crate::state::{Layout, State};

/// Names of the clusters in the default place.
pub fn names() -> Result<Vec<String>> {
    let Ok(entries) = fs::read_dir(clusters_dir()?) else { return Ok(Vec::new()) };
    let names: BTreeSet<_> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| check_name(name).is_ok())
        .collect();
    Ok(names.into_iter().collect())
}

/// Kubernetes would take longer names; interfaces and namespaces are named after clusters.
pub(crate) fn check_name(name: &str) -> Result<()> {
    const LONGEST: usize = 40;
    let fits = !name.is_empty()
        && name.len() <= LONGEST
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    if !fits {
        bail!(
            "--name \"{name}\" cannot name a cluster: use up to {LONGEST} lower-case letters, digits and dashes, with no dash at either end"
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
            std::path::absolute(dir).with_context(|| format!("--dir {} is no path", dir.display()))?
        }
        None => clusters_dir()?.join(name),
    };
    Ok(Layout::new(root))
}

/// Tells clusters of the same name in different folders apart, where the whole machine sees them.
pub(crate) fn machine_wide_name(layout: &Layout, name: &str) -> String {
    format!("devcluster-{name}-{}", folder_digest(layout))
}

pub(crate) fn folder_digest(layout: &Layout) -> String {
    digest::short([layout.root().as_os_str().as_encoded_bytes()], 3)
}

/// Held while a cluster is changed. The file is not in the cluster's folder, which goes away.
pub(crate) fn lock(layout: &Layout, progress: &Progress) -> Result<fs::File> {
    let folder = cache_dir()?.join("locks");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create folder {}", folder.display()))?;
    let file = lock_file(&folder.join(digest::short([layout.root().as_os_str().as_encoded_bytes()], 8)))?;
    if file.try_lock().is_err() {
        progress.note("Another devcluster works on this cluster: waiting for it");
        file.lock().with_context(|| format!("cannot lock {}", folder.display()))?;
    }
    Ok(file)
}

pub(crate) enum Found {
    Nothing,
    State(Box<State>),
    Unreadable(String),
}

/// What is in the folder. One that holds something else than a cluster is an error: it would be deleted.
pub(crate) fn found(layout: &Layout) -> Result<Found> {
    match State::load(layout) {
        Ok(Some(state)) => return Ok(Found::State(Box::new(state))),
        Err(error) => return Ok(Found::Unreadable(format!("{error:#}"))),
        Ok(None) => {}
    }
    let entries = match fs::read_dir(layout.root()) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(anyhow!("cannot read folder {}: {error}", layout.root().display())),
    };
    // The state is the first file to be written, by way of a temporary one, and the last to be removed.
    let foreign = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .find(|name| !name.starts_with(".tmp"));
    match foreign {
        None => Ok(Found::Unreadable("its folder is empty".into())),
        Some(name) => bail!(
            "{} holds {name}, but no cluster: name a folder with --dir that does not exist yet",
            layout.root().display()
        ),
    }
}

/// Removes the cluster's folder, the state last: whatever happens, what is left is known as a cluster's.
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
        // It stays as long as there are other clusters in it.
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
    fn names_are_labels() {
        for name in ["dev", "a", "e2e-1", &"x".repeat(40)] {
            check_name(name).unwrap();
        }
        for name in ["", "-a", "a-", "Dev", "a.b", "a/b", "..", &"x".repeat(41)] {
            let message = check_name(name).unwrap_err().to_string();
            assert!(message.starts_with(&format!("--name \"{name}\" cannot")), "{message}");
        }
    }

    #[test]
    fn a_folder_that_holds_something_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.tex"), "years of work").unwrap();
        let message = found(&Layout::new(folder.path())).err().unwrap().to_string();
        assert!(message.contains("thesis.tex") && message.contains("--dir"), "{message}");
        assert!(matches!(found(&Layout::new(folder.path().join("new"))).unwrap(), Found::Nothing));
    }

    #[test]
    fn a_folder_whose_state_was_never_finished_is_a_cluster() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".tmpAbC"), "{").unwrap();
        assert!(matches!(found(&Layout::new(folder.path())).unwrap(), Found::Unreadable(_)));
        remove_folder(&Layout::new(folder.path())).unwrap();
        assert!(!folder.path().exists());
    }

    #[test]
    fn clusters_of_one_name_in_two_folders_are_told_apart() {
        let name = |root: &str| machine_wide_name(&Layout::new(root), "dev");
        assert_ne!(name("/a/dev"), name("/b/dev"));
        assert_eq!(name("/a/dev"), name("/a/dev"));
    }
}
