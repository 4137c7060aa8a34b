//! The Debian packages that a real node needs, installed when they are missing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::machine_lock;
use crate::process::run;
use crate::progress::Progress;

/// A package, and the file by which one sees that it is there.
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

/// Where the CNI plugins of package `containernetworking-plugins` are.
pub(super) const CNI_PLUGINS: &str = "/usr/lib/cni";
/// A shell and its tools in one static program.
pub(in crate::node) const BUSYBOX: &str = "/bin/busybox";

/// dpkg's maintainer scripts ask this program whether they may start a service.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs what is missing.
pub(super) fn install(progress: &Progress) -> Result<()> {
    let look = || missing(|file| Path::new(file).exists());
    if look().is_empty() {
        return Ok(());
    }
    // Another cluster may be installing the very same.
    let _lock = machine_lock("packages")?;
    let missing = look();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(", ");
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!(
            "a real node needs {list}, and this is no Debian system that could install them: install them, or use --node kwok:1"
        );
    }
    let step = progress.step(format!("Installing the Debian packages {list}"));
    let brings_containerd = missing.contains(&"containerd");
    {
        let _guard = NoServices::new(Path::new(POLICY))?;
        if apt(&["update"]).is_err() || apt_install(&missing).is_err() {
            // Once more: a package list may be replaced on the server while it is read.
            apt(&["update"])?;
            apt_install(&missing)?;
        }
    }
    if brings_containerd && Path::new("/run/systemd/system").exists() {
        // The package also asks for its service at every boot; each cluster runs a containerd of its own.
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
        // Waits for another installation that is under way, instead of failing.
        .args(["-o", "DPkg::Lock::Timeout=300"])
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive"))
    .map(drop)
}

/// While this lives, an installed package starts no service.
struct NoServices {
    policy: PathBuf,
    before: Option<PathBuf>,
}

impl NoServices {
    /// Refuses every start, and can be told from a policy of the system's own.
    const SCRIPT: &str =
        "#!/bin/sh\n# devcluster: no service starts while packages are installed.\nexit 101\n";

    fn new(policy: &Path) -> Result<Self> {
        let aside = policy.with_extension("d.devcluster");
        // A process that was killed in the middle left its script behind, and aside what was there before.
        let is_ours = fs::read_to_string(policy).is_ok_and(|script| script == Self::SCRIPT);
        if !is_ours && policy.exists() {
            fs::rename(policy, &aside).with_context(|| format!("cannot move {} aside", policy.display()))?;
        }
        let guard = Self { policy: policy.to_path_buf(), before: aside.exists().then_some(aside) };
        fs::write(policy, Self::SCRIPT)
            .and_then(|()| fs::set_permissions(policy, fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("cannot write {}", policy.display()))?;
        Ok(guard)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        // Nothing better can be done where the system's own folder cannot be written any more.
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
    fn only_what_is_missing_is_installed() {
        assert_eq!(missing(|_| true), Vec::<&str>::new());
        assert_eq!(
            missing(|file| file != "/usr/sbin/nft" && file != "/usr/bin/containerd"),
            ["containerd", "nftables"]
        );
    }

    #[test]
    fn services_are_held_back_and_the_old_policy_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let policy = folder.path().join("policy-rc.d");
        {
            let _guard = NoServices::new(&policy).unwrap();
            assert!(fs::read_to_string(&policy).unwrap().contains("exit 101"));
        }
        assert!(!policy.exists());
        fs::write(&policy, "mine").unwrap();
        {
            let _guard = NoServices::new(&policy).unwrap();
            assert!(fs::read_to_string(&policy).unwrap().contains("exit 101"));
        }
        assert_eq!(fs::read_to_string(&policy).unwrap(), "mine");
        std::mem::forget(NoServices::new(&policy).unwrap());
        drop(NoServices::new(&policy).unwrap());
        assert_eq!(fs::read_to_string(&policy).unwrap(), "mine");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
