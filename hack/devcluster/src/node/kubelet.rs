//! The kubelet: its certificates, its configuration, and its Node.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use super::containerd;
use crate::context::Context;
use crate::process::Record;
use crate::state::{Network, write_atomically};
use crate::wait::ProbeResult;

/// Name of the daemon.
pub(super) const NAME: &str = "kubelet";

/// Starts the kubelet.
pub(super) fn start(context: &Context) -> Result<()> {
    let node = super::node_name(&context.name);
    let address = IpAddr::from(context.node_address());
    let serving = context.pki.serving_cert("kubelet-serving", &[&node], &[address])?;
    let user = format!("system:node:{node}");
    let kubeconfig = context.layout.config().join("kubelet.kubeconfig");
    let url = context.network.api_server_url();
    write_atomically(
        &kubeconfig,
        context
            .pki
            .client_kubeconfig("kubelet-client", &user, Some("system:nodes"), &url, &context.name)?
            .as_bytes(),
    )?;
    let config = configuration(&Paths {
        cgroup_root: &format!("/{}", super::id(context)?),
        client_ca: &context.pki.ca().cert_file.to_string_lossy(),
        cert: &serving.cert_file.to_string_lossy(),
        key: &serving.key_file.to_string_lossy(),
    });
    let config_file = context.layout.config().join("kubelet.yaml");
    write_atomically(&config_file, serde_yaml::to_string(&config)?.as_bytes())?;
    containerd::daemon_in_mount_namespace(context, NAME, &context.binary("kubelet")?)?
        .arg(format!("--config={}", config_file.display()))
        .arg(format!("--kubeconfig={}", kubeconfig.display()))
        .arg(format!("--hostname-override={node}"))
        .arg(format!("--node-ip={address}"))
        .spawn(&context.layout)?;
    Ok(())
}

/// Waits until the Node is Ready.
pub(super) fn wait_until_ready(context: &Context) -> Result<()> {
    let node = super::node_name(&context.name);
    let record = Record::find(&context.layout, NAME);
    let kubectl = context.kubectl()?;
    crate::wait::until("the Node to be Ready", Duration::from_mins(2), || {
        if let Some(record) = &record {
            record.check(&context.layout)?;
        }
        Ok(match kubectl.json(&["get", "node", &node]) {
            Ok(object) => readiness(&object),
            Err(error) => ProbeResult::Pending(format!("{error:#}")),
        })
    })
}

fn readiness(node: &Value) -> ProbeResult<()> {
    let conditions = node.pointer("/status/conditions").and_then(Value::as_array);
    match conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready") {
        Some(condition) if condition["status"] == "True" => ProbeResult::Ready(()),
        Some(condition) => ProbeResult::Pending(
            condition["message"].as_str().unwrap_or("condition Ready is not True").to_owned(),
        ),
        None => ProbeResult::Pending("condition Ready is not set yet".into()),
    }
}

struct Paths<'a> {
    cgroup_root: &'a str,
    client_ca: &'a str,
    cert: &'a str,
    key: &'a str,
}

fn configuration(paths: &Paths<'_>) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true, "cacheTTL": "2m0s"},
            "x509": {"clientCAFile": paths.client_ca},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": paths.cert,
        "tlsPrivateKeyFile": paths.key,
        "containerRuntimeEndpoint": format!("unix://{}", containerd::SOCKET),
        // A kubelet kills unknown pods below its root. With its own root, it does not kill pods of another cluster.
        "cgroupRoot": paths.cgroup_root,
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": false,
        "enforceNodeAllocatable": [],
        "clusterDNS": [Network::DNS.to_string()],
        "clusterDomain": Network::CLUSTER_DOMAIN,
        // Pods reach only the cluster, so they resolve only its names.
        "resolvConf": "",
        // On a development machine with a full disk, keep pods, and keep images, which cannot be pulled again.
        "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%"},
        "imageGCHighThresholdPercent": 100,
        "failSwapOn": false,
        "registerNode": true,
        "maxPods": 250,
        // Client-side rate limits must not delay pods.
        "kubeAPIQPS": 200,
        "kubeAPIBurst": 400,
        "eventRecordQPS": 0,
        "serializeImagePulls": false,
        "shutdownGracePeriod": "0s",
        "healthzPort": 10248,
        "readOnlyPort": 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_uses_cgroup_and_dns_of_the_cluster() {
        let paths = Paths { cgroup_root: "/west", client_ca: "/c/ca.crt", cert: "/c/k.crt", key: "/c/k.key" };
        let config = configuration(&paths);
        assert_eq!(config["cgroupRoot"], "/west");
        assert_eq!(config["clusterDNS"], json!(["10.96.0.10"]));
        assert_eq!(config["authentication"]["x509"]["clientCAFile"], "/c/ca.crt");
        assert_eq!(
            (&config["tlsCertFile"], &config["tlsPrivateKeyFile"]),
            (&json!("/c/k.crt"), &json!("/c/k.key"))
        );
    }

    #[test]
    fn a_node_is_ready_when_its_condition_is_true() {
        let node = |status: &str| json!({"status": {"conditions": [{"type": "Ready", "status": status, "message": "no network"}]}});
        assert!(matches!(readiness(&node("True")), ProbeResult::Ready(())));
        assert!(matches!(readiness(&node("False")), ProbeResult::Pending(reason) if reason == "no network"));
        assert!(matches!(readiness(&json!({})), ProbeResult::Pending(_)));
    }
}
