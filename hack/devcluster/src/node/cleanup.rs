//! Removes a node. Searches the machine for its parts and does not depend on recorded state.
//!
//! A process belongs to the cluster if it is in the cluster's network namespace (daemons and containerd's shims), in
//! one of its control groups (containers), or in the mount namespace of one of those. When all of them have ended, the
//! kernel has removed their mounts and the network namespaces of pods. The cluster's network namespace, interface and
//! empty control groups are left to remove.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{cgroups, network};
use crate::wait::{self, ProbeResult};

/// Removes everything of the node except for its files. Idempotent.
pub(super) fn remove(id: &str, root: &Path) -> Result<()> {
    wait::until("the node's processes to end", Duration::from_mins(1), || {
        let found = processes(id);
        for pid in &found {
            match kill(Pid::from_raw(*pid), Signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => bail!("cannot kill process {pid} of cluster {id}: {error}"),
            }
        }
        Ok(if found.is_empty() {
            ProbeResult::Ready(())
        } else {
            ProbeResult::Pending(format!("still running: {found:?}"))
        })
    })?;
    unmount(root)?;
    wait::until("the node's control groups to be removed", Duration::from_secs(30), || {
        Ok(if cgroups::remove(id)? {
            ProbeResult::Ready(())
        } else {
            ProbeResult::Pending("some of them are busy".into())
        })
    })?;
    network::remove(id)
}

/// Every process of the node.
fn processes(id: &str) -> BTreeSet<i32> {
    let mut found: BTreeSet<i32> = cgroups::processes(id).into_iter().collect();
    if let Ok(namespace) = fs::metadata(network::namespace_file(id)) {
        found.extend(pids().into_iter().filter(|pid| namespace_of(*pid, "net") == Some(namespace.ino())));
    }
    // Processes that are only in the node's mount namespace, for example a user's shell.
    let own_namespace = namespace_of_self("mnt");
    let mounts: BTreeSet<u64> = found
        .iter()
        .filter_map(|pid| namespace_of(*pid, "mnt"))
        .filter(|namespace| Some(*namespace) != own_namespace)
        .collect();
    if !mounts.is_empty() {
        found.extend(
            pids().into_iter().filter(|pid| namespace_of(*pid, "mnt").is_some_and(|it| mounts.contains(&it))),
        );
    }
    let own_pid = i32::try_from(std::process::id()).unwrap_or_default();
    found.retain(|pid| *pid > 1 && *pid != own_pid && !has_ended(*pid));
    found
}

fn pids() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// The ID of a process's namespace: the inode of `/proc/<pid>/ns/<kind>`.
fn namespace_of(pid: i32, kind: &str) -> Option<u64> {
    fs::metadata(format!("/proc/{pid}/ns/{kind}")).ok().map(|metadata| metadata.ino())
}

fn namespace_of_self(kind: &str) -> Option<u64> {
    fs::metadata(format!("/proc/self/ns/{kind}")).ok().map(|metadata| metadata.ino())
}

/// Whether a process has ended, even if its parent has not reaped it yet.
fn has_ended(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| stat.rsplit_once(')').map(|(_, after)| after.trim_start().starts_with(['Z', 'X'])))
        .unwrap_or(true)
}

/// Unmounts mounts of a user below the cluster's folder in the host's mount namespace. devcluster mounts nothing there.
fn unmount(root: &Path) -> Result<()> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
    for mount_point in mounts_below(&table, root).iter().rev() {
        match umount2(mount_point, MntFlags::MNT_DETACH) {
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(error) => bail!("cannot unmount {}: {error}", mount_point.display()),
        }
    }
    Ok(())
}

/// The mount points below `root`, in the order in which they were mounted.
fn mounts_below(mountinfo: &str, root: &Path) -> Vec<PathBuf> {
    mountinfo
        .lines()
        // The fifth field is the mount point, with octal escapes for space, tab, newline and backslash; see proc(5).
        .filter_map(|line| line.split(' ').nth(4))
        .map(|field| {
            PathBuf::from(
                field
                    .replace("\\040", " ")
                    .replace("\\011", "\t")
                    .replace("\\012", "\n")
                    .replace("\\134", "\\"),
            )
        })
        .filter(|mount_point| mount_point.starts_with(root) && mount_point != root)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_other_folders_are_ignored() {
        let table = "\
21 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 21 0:30 / /c/west/node/a rw - tmpfs tmpfs rw
41 21 0:31 / /c/western rw - tmpfs tmpfs rw
42 40 0:32 / /c/west/node/a/b\\040c rw - tmpfs tmpfs rw
43 21 0:33 / /c/west rw - tmpfs tmpfs rw
";
        assert_eq!(
            mounts_below(table, Path::new("/c/west")),
            [Path::new("/c/west/node/a"), Path::new("/c/west/node/a/b c")]
        );
    }

    #[test]
    fn an_unknown_cluster_has_no_processes() {
        assert_eq!(processes("no-such-cluster"), BTreeSet::new());
    }

    #[test]
    fn a_missing_process_counts_as_ended() {
        assert!(has_ended(i32::MAX));
        assert!(!has_ended(i32::try_from(std::process::id()).unwrap()));
    }
}
