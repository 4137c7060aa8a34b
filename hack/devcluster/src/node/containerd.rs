//! containerd, the pod network's configuration, and the mount namespace that both share with the kubelet.
//!
//! Several paths are built into containerd, runc's shims, the CNI library and the kubelet (`/run/containerd/s`,
//! `/var/lib/cni`, `/var/log/containers`, `/var/lib/kubelet/device-plugins`), so that two of them on one host
//! meet each other there. Each node therefore has a mount namespace of its own in which [`MOUNTS`] lead into the
//! cluster's folder: inside, everything is where it is on any node; outside, nothing is touched. The namespace
//! and every mount in it (volumes, container root folders, pods' network namespaces) are gone with its last
//! process, whatever that died of.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use serde_json::json;

use super::image::PAUSE_TAG;
use super::packages::CNI_PLUGINS;
use crate::context::Context;
use crate::process::{Daemon, Record, run};
use crate::state::write_whole;
use crate::wait::{self, Seen};

/// Name of the daemon.
pub(super) const NAME: &str = "containerd";
/// Its socket, as seen in the node's mount namespace.
pub(super) const SOCKET: &str = "/run/containerd/containerd.sock";
/// Where volumes of the default storage class are made, as seen in the node's mount namespace.
pub const VOLUMES: &str = "/var/lib/local-path-provisioner";

/// Folders of the node: (path in the node's mount namespace, folder below `node/` that stands there).
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

/// Makes the node's mount namespace with a shell, which then becomes the daemon. Arguments: pairs of folder
/// and mount point, `--`, the daemon's command line.
const ENTER: &str = r#"set -e
mount --make-rshared /
while [ "$1" != -- ]; do
    mount --bind "$1" "$2"
    shift 2
done
shift
exec "$@""#;

/// Starts containerd and waits until it answers.
pub(super) fn start(context: &Context) -> Result<()> {
    let node = context.layout.node();
    for (mount_point, folder) in MOUNTS {
        // The mount points stay when the cluster goes: another cluster may be using them.
        for folder in [Path::new(mount_point), &node.join(folder)] {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot create folder {}", folder.display()))?;
        }
    }
    fs::create_dir_all(node.join("cni-config/net.d"))?;
    write_whole(&node.join("cni-config/net.d/10-devcluster.conflist"), cni().as_bytes())?;
    let config = context.layout.config().join("containerd.toml");
    write_whole(&config, containerd_config(may_lower_oom_score()).as_bytes())?;

    let binds = MOUNTS.iter().flat_map(|(mount_point, folder)| {
        [node.join(folder).to_string_lossy().into_owned(), (*mount_point).to_owned()]
    });
    let daemon = context
        .daemon(NAME, "unshare")
        .args(["--mount", "--propagation", "slave", "sh", "-c", ENTER, "sh"])
        .args(binds)
        .args(["--", "/usr/bin/containerd", "--config"])
        .arg(config.to_string_lossy());
    daemon.spawn(&context.layout)?;
    wait::until("containerd to answer", Duration::from_mins(1), || {
        let record = record(context)?;
        record.check(&context.layout)?;
        // Its client waits long for a socket that is not there yet: look for it first.
        if let Err(error) = UnixStream::connect(format!("/proc/{}/root{SOCKET}", record.pid)) {
            return Ok(Seen::NotYet(format!("{SOCKET}: {error}")));
        }
        Ok(match run(&mut ctr(context)?.arg("version").command()) {
            Ok(_) => Seen::Ready(()),
            Err(error) => Seen::NotYet(format!("{error:#}")),
        })
    })
}

/// The running containerd.
fn record(context: &Context) -> Result<Record> {
    Record::find(&context.layout, NAME).ok_or_else(|| {
        anyhow!("cluster {} has no containerd: it was not started with --node real", context.name)
    })
}

/// A daemon that sees the node's mounts.
pub(super) fn beside(context: &Context, name: &str, program: &Path) -> Result<Daemon> {
    let mounts = format!("--mount=/proc/{}/ns/mnt", record(context)?.pid);
    Ok(context.daemon(name, "nsenter").arg(mounts).arg("--").arg(program.to_string_lossy()))
}

/// A command line for `ctr`, containerd's own client, in the node's mount namespace.
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

/// Whether a process of this machine may be given a lower OOM score than its parent: containers want that.
fn may_lower_oom_score() -> bool {
    const CAP_SYS_RESOURCE: u64 = 1 << 24;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    effective_capabilities(&status).is_none_or(|capabilities| capabilities & CAP_SYS_RESOURCE != 0)
}

fn effective_capabilities(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// Everything that is not said here is containerd's default, also the paths.
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
  # Without CAP_SYS_RESOURCE no container could start: runc may not lower its OOM score.
  restrict_oom_score_adj = {restrict}

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PLUGINS}"
"#,
        restrict = !may_lower_oom_score
    )
}

/// Every pod hangs on a pair of interfaces of its own and is routed to. (On a bridge, two pods would answer each
/// other directly, and an answer from behind a Service would carry the wrong address.)
fn cni() -> String {
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
    fn capabilities_are_read_from_the_status_of_a_process() {
        assert_eq!(effective_capabilities("Name:\tx\nCapEff:\t000001fffeffffff\n"), Some(0x1ff_feff_ffff));
        assert_eq!(effective_capabilities("Name:\tx\n"), None);
    }

    #[test]
    fn without_the_capability_scores_are_left_alone() {
        assert!(containerd_config(false).contains("restrict_oom_score_adj = true"));
        assert!(containerd_config(true).contains("restrict_oom_score_adj = false"));
        assert!(containerd_config(true).contains(PAUSE_TAG));
    }

    #[test]
    fn pods_get_their_addresses_from_the_nodes_range() {
        let cni: serde_json::Value = serde_json::from_str(&cni()).unwrap();
        assert_eq!(cni["plugins"][0]["ipam"]["ranges"][0][0]["subnet"], super::super::NODE_POD_CIDR);
    }
}
