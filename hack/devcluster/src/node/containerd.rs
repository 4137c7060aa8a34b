//! containerd, the configuration of the pod network, and the mount namespace of containerd and kubelet.
//!
//! containerd, its shims, the CNI library and the kubelet have built-in paths (`/run/containerd/s`, `/var/lib/cni`,
//! `/var/log/containers`, `/var/lib/kubelet/device-plugins`), so two nodes on one host would share files. Therefore
//! each node has its own mount namespace, in which [`MOUNTS`] are bind mounts of folders in the cluster's folder. Paths
//! are as on any node, and the host's folders are not used. The kernel removes the namespace and its mounts (volumes,
//! root folders of containers, network namespaces of pods) when the last process in it ends.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use serde_json::json;

use super::images::PAUSE_TAG;
use super::packages::CNI_PLUGINS;
use crate::context::Context;
use crate::process::{Daemon, Record, run};
use crate::state::write_atomically;
use crate::wait::{self, ProbeResult};

/// Name of the daemon.
pub(super) const NAME: &str = "containerd";
/// Path of the socket in the node's mount namespace.
pub(super) const SOCKET: &str = "/run/containerd/containerd.sock";
/// Folder for volumes of the default StorageClass, in the node's mount namespace.
pub const VOLUMES: &str = "/var/lib/local-path-provisioner";

/// Bind mounts: path in the node's mount namespace, and folder below `node/`.
const MOUNTS: [(&str, &str); 8] = [
    ("/etc/cni", "cni-config"),
    ("/run/containerd", "containerd-state"),
    ("/var/lib/cni", "cni-state"),
    ("/var/lib/containerd", "containerd"),
    ("/var/lib/kubelet", "kubelet"),
    (VOLUMES, "volumes"),
    ("/var/log/containers", "container-logs"),
    ("/var/log/pods", "pod-logs"),
];

/// Shell script that creates the bind mounts and then executes the daemon. Arguments: pairs of folder and mount point,
/// `--`, the daemon's command line.
const MOUNT_AND_EXEC: &str = r#"set -e
mount --make-rshared /
while [ "$1" != -- ]; do
    mount --bind "$1" "$2"
    shift 2
done
shift
exec "$@""#;

/// Starts containerd and waits until it responds.
pub(super) fn start(context: &Context) -> Result<()> {
    let node = context.layout.node();
    for (mount_point, folder) in MOUNTS {
        // `down` keeps the mount points, because another cluster may use them.
        for folder in [Path::new(mount_point), &node.join(folder)] {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot create folder {}", folder.display()))?;
        }
    }
    fs::create_dir_all(node.join("cni-config/net.d"))?;
    write_atomically(&node.join("cni-config/net.d/10-devcluster.conflist"), cni_config().as_bytes())?;
    let config = context.layout.config().join("containerd.toml");
    write_atomically(&config, containerd_config(may_lower_oom_score()).as_bytes())?;

    let binds = MOUNTS.iter().flat_map(|(mount_point, folder)| {
        [node.join(folder).to_string_lossy().into_owned(), (*mount_point).to_owned()]
    });
    let daemon = context
        .daemon(NAME, "unshare")
        .args(["--mount", "--propagation", "slave", "sh", "-c", MOUNT_AND_EXEC, "sh"])
        .args(binds)
        .args(["--", "/usr/bin/containerd", "--config"])
        .arg(config.to_string_lossy());
    daemon.spawn(&context.layout)?;
    wait::until("containerd to respond", Duration::from_mins(1), || {
        let record = record(context)?;
        record.check(&context.layout)?;
        // `ctr` waits long for a missing socket, so check the socket first.
        if let Err(error) = UnixStream::connect(format!("/proc/{}/root{SOCKET}", record.pid)) {
            return Ok(ProbeResult::Pending(format!("{SOCKET}: {error}")));
        }
        Ok(match run(&mut ctr(context)?.arg("version").command()) {
            Ok(_) => ProbeResult::Ready(()),
            Err(error) => ProbeResult::Pending(format!("{error:#}")),
        })
    })
}

/// The running containerd.
fn record(context: &Context) -> Result<Record> {
    Record::find(&context.layout, NAME).ok_or_else(|| {
        anyhow!("cluster {} has no containerd, because it was not started with --node real", context.name)
    })
}

/// A daemon in the node's mount namespace.
pub(super) fn daemon_in_mount_namespace(context: &Context, name: &str, program: &Path) -> Result<Daemon> {
    let mounts = format!("--mount=/proc/{}/ns/mnt", record(context)?.pid);
    Ok(context.daemon(name, "nsenter").arg(mounts).arg("--").arg(program.to_string_lossy()))
}

/// A command line for `ctr`, containerd's client, in the node's mount namespace.
pub(super) fn ctr(context: &Context) -> Result<Ctr> {
    let record = record(context)?;
    record.check(&context.layout)?;
    let args = [
        format!("--mount=/proc/{}/ns/mnt", record.pid),
        "--".into(),
        "ctr".into(),
        format!("--address={SOCKET}"),
        "--namespace=k8s.io".into(),
    ];
    Ok(Ctr { args: args.to_vec() })
}

/// See [`ctr`].
#[derive(Clone, Debug)]
pub(super) struct Ctr {
    args: Vec<String>,
}

impl Ctr {
    /// Adds an argument.
    #[must_use]
    pub(super) fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// The command.
    pub(super) fn command(&self) -> std::process::Command {
        let mut command = std::process::Command::new("nsenter");
        command.args(&self.args);
        command
    }
}

/// Whether this process may lower the OOM score of its children, as containers need.
fn may_lower_oom_score() -> bool {
    const CAP_SYS_RESOURCE: u64 = 1 << 24;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    effective_capabilities(&status).is_none_or(|capabilities| capabilities & CAP_SYS_RESOURCE != 0)
}

fn effective_capabilities(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// containerd's configuration. Everything else, including paths, has its default.
fn containerd_config(may_lower_oom_score: bool) -> String {
    format!(
        r#"version = 2
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_TAG}"
  netns_mounts_under_state_dir = true
  # Without CAP_SYS_RESOURCE, runc may not lower the OOM score, and no container would start.
  restrict_oom_score_adj = {restrict}

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PLUGINS}"
"#,
        restrict = !may_lower_oom_score
    )
}

/// The CNI configuration. The host routes to each pod over its own pair of interfaces. On a bridge, a reply from a
/// Service's pod would bypass the rules of kube-proxy and have the wrong source address.
fn cni_config() -> String {
    json!({
        "cniVersion": "0.4.0",
        "name": "devcluster",
        "plugins": [{
            "type": "ptp",
            "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": super::NODE_POD_CIDR}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_come_from_the_status_file() {
        assert_eq!(effective_capabilities("Name:\tx\nCapEff:\t000001fffeffffff\n"), Some(0x1ff_feff_ffff));
        assert_eq!(effective_capabilities("Name:\tx\n"), None);
    }

    #[test]
    fn without_the_capability_oom_scores_are_restricted() {
        assert!(containerd_config(false).contains("restrict_oom_score_adj = true"));
        assert!(containerd_config(true).contains("restrict_oom_score_adj = false"));
        assert!(containerd_config(true).contains(PAUSE_TAG));
    }

    #[test]
    fn pods_have_addresses_of_the_node() {
        let cni: serde_json::Value = serde_json::from_str(&cni_config()).unwrap();
        assert_eq!(cni["plugins"][0]["ipam"]["ranges"][0][0]["subnet"], super::super::NODE_POD_CIDR);
    }
}
