//! kube-proxy: implements Services with nftables rules in the cluster's network namespace.

use anyhow::Result;
use serde_json::{Value, json};

use crate::context::Context;
use crate::state::{Network, write_atomically};

/// Name of the daemon.
pub(super) const NAME: &str = "kube-proxy";

/// Starts kube-proxy.
pub(super) fn start(context: &Context) -> Result<()> {
    let kubeconfig = context.layout.config().join("kube-proxy.kubeconfig");
    let url = context.network.api_server_url();
    write_atomically(
        &kubeconfig,
        context
            .pki
            .client_kubeconfig("kube-proxy-client", "system:kube-proxy", None, &url, &context.name)?
            .as_bytes(),
    )?;
    let config = configuration(&kubeconfig.to_string_lossy(), &super::node_name(&context.name));
    let config_file = context.layout.config().join("kube-proxy.yaml");
    write_atomically(&config_file, serde_yaml::to_string(&config)?.as_bytes())?;
    context
        .daemon(NAME, context.binary("kube-proxy")?)
        .arg(format!("--config={}", config_file.display()))
        .spawn(&context.layout)?;
    Ok(())
}

fn configuration(kubeconfig: &str, node: &str) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": kubeconfig},
        "hostnameOverride": node,
        "clusterCIDR": Network::POD_CIDR,
        // The limit of tracked connections applies to the whole machine: keep it.
        "conntrack": {"maxPerCore": 0},
        // Update rules soon after an endpoint becomes ready.
        "nftables": {"minSyncPeriod": "100ms"},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_keeps_the_limits_of_the_machine() {
        let config = configuration("/c/kube-proxy.kubeconfig", "west");
        assert_eq!(config["conntrack"]["maxPerCore"], 0);
        assert_eq!(config["clientConnection"]["kubeconfig"], "/c/kube-proxy.kubeconfig");
        assert_eq!(config["hostnameOverride"], "west");
    }
}
