//! The worker of main-container mode, and what the first process of a container does for the others.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{AccessFlags, Pid, access};

/// The worker and its descendants: a process group.
#[derive(Debug)]
pub(crate) struct Worker {
    group: Pid,
}

impl Worker {
    /// Starts `shell -c command`. [`reap`] waits for it together with all other children.
    pub(crate) fn start(shell: &Path, command: &str) -> io::Result<Self> {
        let child =
            Command::new(shell).arg("-c").arg(command).stdin(Stdio::null()).process_group(0).spawn()?;
        let group = i32::try_from(child.id()).map_err(io::Error::other)?;
        Ok(Self { group: Pid::from_raw(group) })
    }

    /// Sends a signal to the worker and its descendants.
    pub(crate) fn signal(&self, signal: i32) {
        if let Ok(signal) = Signal::try_from(signal) {
            // It fails only if the worker has ended, and that is another event.
            let _ = killpg(self.group, signal);
        }
    }
}

/// Reaps all processes that have ended: children, and, as process 1 of a container, orphans. Returns the exit code of
/// the worker if it is among them.
pub(crate) fn reap(worker: Option<&Worker>) -> Option<u8> {
    let mut worker_code = None;
    loop {
        let (pid, code) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => (pid, code),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
            Ok(WaitStatus::StillAlive) | Err(_) => return worker_code,
            Ok(_) => continue,
        };
        if worker.is_some_and(|worker| worker.group == pid) {
            worker_code = Some(u8::try_from(code).unwrap_or(u8::MAX));
        }
    }
}

/// Finds a program: a path, or a name in the folders of `search`, which is the value of PATH.
pub(crate) fn find_program(name: &str, search: &std::ffi::OsStr) -> Option<PathBuf> {
    let is_program = |path: &PathBuf| path.is_file() && access(path, AccessFlags::X_OK).is_ok();
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(is_program);
    }
    std::env::split_paths(search).map(|folder| folder.join(name)).find(is_program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_a_path_or_a_name_in_the_search_path() {
        let search = std::ffi::OsStr::new("/no/such/folder:/bin");
        assert_eq!(find_program("sh", search), Some("/bin/sh".into()));
        assert_eq!(find_program("/bin/sh", "".as_ref()), Some("/bin/sh".into()));
        for name in ["no-such-shell", "/bin", "/etc/passwd", "/no/such/shell"] {
            assert_eq!(find_program(name, search), None, "{name}");
        }
    }
}
