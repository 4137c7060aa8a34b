//! The node's control groups: one in each hierarchy, above those of all its pods.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

const ROOT: &str = "/sys/fs/cgroup";

/// Creates the cluster's control group in every hierarchy.
pub(super) fn create(id: &str) -> Result<()> {
    let root = Path::new(ROOT);
    for hierarchy in hierarchies(root) {
        let folder = hierarchy.join(id);
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create control group {}", folder.display()))?;
        if hierarchy.join("cgroup.controllers").exists() {
            enable_controllers(&hierarchy);
            enable_controllers(&folder);
        } else if hierarchy.join("cpuset.cpus").exists() {
            // In version 1, a new cpuset is empty, and no process can join it.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let value = fs::read(hierarchy.join(file)).unwrap_or_default();
                fs::write(folder.join(file), value)
                    .with_context(|| format!("cannot write {file} of {}", folder.display()))?;
            }
        }
    }
    Ok(())
}

/// Version 2: enables every controller of `folder` for its children.
fn enable_controllers(folder: &Path) {
    let controllers = fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default();
    for controller in controllers.split_whitespace() {
        // The kubelet reports a missing controller.
        drop(fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}")));
    }
}

/// The pids of the processes in the cluster's control groups.
pub(super) fn processes(id: &str) -> Vec<i32> {
    let mut pids: Vec<i32> = folders(Path::new(ROOT), id)
        .iter()
        .filter_map(|folder| fs::read_to_string(folder.join("cgroup.procs")).ok())
        .flat_map(|text| text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<_>>())
        .collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// Removes the cluster's control groups, whose processes must have ended. Returns whether all are removed.
pub(super) fn remove(id: &str) -> Result<bool> {
    let mut folders = folders(Path::new(ROOT), id);
    // Children before their parents.
    folders.sort_by_key(|folder| std::cmp::Reverse(folder.components().count()));
    let mut is_gone = true;
    for folder in folders {
        match fs::remove_dir(&folder) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            // A group is busy for a moment after its last process has ended.
            Err(error) if error.kind() == ErrorKind::ResourceBusy => is_gone = false,
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot remove control group {}", folder.display()));
            }
        }
    }
    Ok(is_gone)
}

/// The mount points of all hierarchies: one for version 2, one for each controller of version 1.
fn hierarchies(root: &Path) -> Vec<PathBuf> {
    if root.join("cgroup.procs").exists() {
        return vec![root.to_path_buf()];
    }
    let Ok(entries) = fs::read_dir(root) else { return Vec::new() };
    let mut found: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        // Links such as `cpu -> cpu,cpuacct` are second names.
        .filter(|path| !path.is_symlink() && path.join("cgroup.procs").exists())
        .collect();
    found.sort();
    found
}

/// Every control group of the cluster in every hierarchy.
fn folders(root: &Path, id: &str) -> Vec<PathBuf> {
    let mut pending: Vec<_> = hierarchies(root).iter().map(|hierarchy| hierarchy.join(id)).collect();
    let mut found = Vec::new();
    while let Some(folder) = pending.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        pending.extend(entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()));
        found.push(folder);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(paths: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for path in paths {
            fs::create_dir_all(root.path().join(path)).unwrap();
            fs::write(root.path().join(path).join("cgroup.procs"), "").unwrap();
        }
        root
    }

    #[test]
    fn version_2_has_one_hierarchy_and_version_1_has_many() {
        assert_eq!(hierarchies(tree(&["", "system.slice"]).path()).len(), 1);
        let root = tree(&["cpu,cpuacct", "memory"]);
        std::os::unix::fs::symlink("cpu,cpuacct", root.path().join("cpu")).unwrap();
        assert_eq!(hierarchies(root.path()), [root.path().join("cpu,cpuacct"), root.path().join("memory")]);
    }

    #[test]
    fn folders_of_other_clusters_are_not_found() {
        let root = tree(&["memory", "memory/east/kubepods/pod1", "memory/easter", "pids/east"]);
        fs::write(root.path().join("pids/cgroup.procs"), "").unwrap();
        let mut found = folders(root.path(), "east");
        found.sort();
        let path = |name: &str| root.path().join(name);
        assert_eq!(
            found,
            [
                path("memory/east"),
                path("memory/east/kubepods"),
                path("memory/east/kubepods/pod1"),
                path("pids/east"),
            ]
        );
    }
}
