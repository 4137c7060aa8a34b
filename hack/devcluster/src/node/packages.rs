//! Installs the Debian packages that a real node needs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::machine_lock;
use crate::process::run;
use crate::progress::Progress;

/// A package, and a file that exists when it is installed.
struct Package {
    name: &'static str,
    file: &'static str,
}

const PACKAGES: [Package; 6] = [
    Package { name: "containerd", file: "/usr/bin/containerd" },
    Package { name: "runc", file: "/usr/sbin/runc" },
    Package { name: "containernetworking-plugins", file: "/usr/lib/cni/ptp" },
    Package { name: "busybox-static", file: "/bin/busybox" },
    Package { name: "nftables", file: "/usr/sbin/nft" },
    Package { name: "iproute2", file: "/usr/sbin/ip" },
];

/// Folder of the CNI plugins in package `containernetworking-plugins`.
pub(super) const CNI_PLUGINS: &str = "/usr/lib/cni";
/// A shell and its tools in one static program.
pub(in crate::node) const BUSYBOX: &str = "/bin/busybox";

/// Maintainer scripts of packages call this program before they start a service.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs the missing packages.
pub(super) fn install(progress: &Progress) -> Result<()> {
    let list_missing = || missing(|file| Path::new(file).exists());
    if list_missing().is_empty() {
        return Ok(());
    }
    // Another devcluster may install the same packages.
    let _lock = machine_lock("packages")?;
    let missing = list_missing();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(", ");
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!(
            "--node real needs {list}, and devcluster installs packages only on Debian: install \
             them, or use --node kwok:1"
        );
    }
    let step = progress.step(format!("Installing the Debian packages {list}"));
    let installs_containerd = missing.contains(&"containerd");
    {
        let _guard = ServiceStartGuard::new(Path::new(POLICY))?;
        if apt(&["update"]).is_err() || apt_install(&missing).is_err() {
            // Retry once: a mirror may replace a package list during the download.
            apt(&["update"])?;
            apt_install(&missing)?;
        }
    }
    if installs_containerd && Path::new("/run/systemd/system").exists() {
        // The package enables its service at boot. devcluster does not need it: each cluster runs its own containerd.
        run(Command::new("systemctl").args(["disable", "--quiet", "containerd.service"]))?;
    }
    step.done();
    Ok(())
}

fn missing(exists: impl Fn(&str) -> bool) -> Vec<&'static str> {
    PACKAGES.iter().filter(|package| !exists(package.file)).map(|package| package.name).collect()
}

fn apt_install(packages: &[&str]) -> Result<()> {
    let mut args = vec!["install", "--yes", "--quiet", "--no-install-recommends"];
    args.extend(packages);
    apt(&args)
}

fn apt(args: &[&str]) -> Result<()> {
    run(Command::new("apt-get")
        // Wait for another running installation instead of failing.
        .args(["-o", "DPkg::Lock::Timeout=300"])
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive"))
    .map(drop)
}

/// Prevents packages from starting services until it is dropped.
struct ServiceStartGuard {
    policy: PathBuf,
    before: Option<PathBuf>,
}

impl ServiceStartGuard {
    /// Denies every start. The comment identifies the script as devcluster's.
    const SCRIPT: &str =
        "#!/bin/sh\n# devcluster: no service starts while packages are installed.\nexit 101\n";

    fn new(policy: &Path) -> Result<Self> {
        let aside = policy.with_extension("d.devcluster");
        // A killed process may have left this script and the saved original.
        let is_ours = fs::read_to_string(policy).is_ok_and(|script| script == Self::SCRIPT);
        if !is_ours && policy.exists() {
            fs::rename(policy, &aside).with_context(|| format!("cannot rename {}", policy.display()))?;
        }
        let guard = Self { policy: policy.to_path_buf(), before: aside.exists().then_some(aside) };
        fs::write(policy, Self::SCRIPT)
            .and_then(|()| fs::set_permissions(policy, fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("cannot write {}", policy.display()))?;
        Ok(guard)
    }
}

impl Drop for ServiceStartGuard {
    fn drop(&mut self) {
        // Drop cannot return an error.
        drop(match &self.before {
            Some(before) => fs::rename(before, &self.policy),
            None => fs::remove_file(&self.policy),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_missing_packages_are_installed() {
        assert_eq!(missing(|_| true), Vec::<&str>::new());
        assert_eq!(
            missing(|file| file != "/usr/sbin/nft" && file != "/usr/bin/containerd"),
            ["containerd", "nftables"]
        );
    }

    #[test]
    fn the_guard_restores_the_earlier_policy() {
        let folder = tempfile::tempdir().unwrap();
        let policy = folder.path().join("policy-rc.d");
        {
            let _guard = ServiceStartGuard::new(&policy).unwrap();
            assert!(fs::read_to_string(&policy).unwrap().contains("exit 101"));
        }
        assert!(!policy.exists());
        fs::write(&policy, "mine").unwrap();
        {
            let _guard = ServiceStartGuard::new(&policy).unwrap();
            assert!(fs::read_to_string(&policy).unwrap().contains("exit 101"));
        }
        assert_eq!(fs::read_to_string(&policy).unwrap(), "mine");
        std::mem::forget(ServiceStartGuard::new(&policy).unwrap());
        drop(ServiceStartGuard::new(&policy).unwrap());
        assert_eq!(fs::read_to_string(&policy).unwrap(), "mine");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
