//! Simulated nodes. KWOK takes the place of their kubelets; annotations decide what happens to their pods.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use serde_json::{Value, json};

use crate::context::Context;
use crate::kubectl::Kubectl;
use crate::options::SimulatedNodes;
use crate::state::{Network, write_atomically};
use crate::wait::{self, ProbeResult};

/// KWOK's stages of nodes and pods.
const STAGES: &str = include_str!("kwok/stages.yaml");

/// Number of nodes that one kubectl process creates, one after the other.
const NODES_PER_LIST: usize = 250;

/// Number of kubectl processes that create nodes at the same time.
const CREATORS: usize = 4;

/// Starts KWOK, creates the nodes and waits until they are Ready.
pub(crate) fn start(context: &Context, nodes: u32) -> Result<()> {
    let kwok = context.binary("kwok")?;
    let step = context.progress.step(format!("Starting {nodes} simulated nodes"));
    let kubectl = context.kubectl()?;
    let config = context.layout.config().join("kwok.yaml");
    write_atomically(&config, STAGES.as_bytes())?;
    let url = context.network.api_server_url();
    let kubeconfig =
        context.pki.client_kubeconfig("kwok", "kwok", Some("system:masters"), &url, &context.name)?;
    let kubeconfig_file = context.layout.config().join("kwok.kubeconfig");
    write_atomically(&kubeconfig_file, kubeconfig.as_bytes())?;
    let daemon = context
        .daemon("kwok", kwok)
        .args([
            format!("--kubeconfig={}", kubeconfig_file.display()),
            format!("--config={}", config.display()),
            "--manage-all-nodes=true".into(),
            format!("--cidr={}", Network::POD_CIDR),
            format!("--node-ip={}", Ipv4Addr::new(10, 0, 0, 1)),
            "--node-lease-duration-seconds=40".into(),
        ])
        // Otherwise KWOK writes files to the user's home.
        .env("KWOK_WORKDIR", context.layout.root().join("kwok").display().to_string())
        .spawn(&context.layout)?;

    create_nodes(&kubectl, nodes, &context.settings.simulated_nodes)?;
    step.total(u64::from(nodes));
    let mut seen = 0;
    // In a second, about 50 nodes become Ready on two cores, and a tenth of that if other programs use these, too.
    let limit = Duration::from_secs(60 + u64::from(nodes) / 3);
    wait::until("the simulated nodes to be Ready", limit, || {
        daemon.check(&context.layout)?;
        let ready = match ready_nodes(&kubectl) {
            Ok(ready) => ready,
            Err(error) => return Ok(ProbeResult::Pending(format!("{error:#}"))),
        };
        step.advance(ready.saturating_sub(seen));
        seen = seen.max(ready);
        Ok(if ready >= u64::from(nodes) {
            ProbeResult::Ready(())
        } else {
            ProbeResult::Pending(format!(
                "{ready} of {nodes} are Ready; KWOK's log is {}",
                context.layout.log("kwok").display()
            ))
        })
    })?;
    step.done();
    Ok(())
}

fn ready_nodes(kubectl: &Kubectl) -> Result<u64> {
    let path = "jsonpath={range .items[*]}{.status.conditions[?(@.type==\"Ready\")].status}{\"\\n\"}{end}";
    let output = kubectl.run(&["get", "nodes", "-o", path])?;
    Ok(u64::try_from(output.lines().filter(|line| *line == "True").count())?)
}

fn create_nodes(kubectl: &Kubectl, nodes: u32, each: &SimulatedNodes) -> Result<()> {
    let all: Vec<Value> = (0..nodes).map(|index| node(index, each)).collect();
    let lists: Vec<String> = all
        .chunks(NODES_PER_LIST)
        .map(|chunk| json!({"apiVersion": "v1", "kind": "List", "items": chunk}).to_string())
        .collect();
    for group in lists.chunks(CREATORS) {
        std::thread::scope(|scope| {
            let creators: Vec<_> = group
                .iter()
                .map(|list| scope.spawn(|| kubectl.run_with_input(&["create", "-f", "-"], list)))
                .collect();
            creators.into_iter().try_for_each(|creator| {
                let outcome =
                    creator.join().map_err(|_| anyhow!("the thread that creates nodes panicked"))?;
                outcome.map(drop).context("cannot create the simulated nodes")
            })
        })?;
    }
    Ok(())
}

/// A Node. Nodes are spread over three zones, as in a region of a cloud, and over the racks.
fn node(index: u32, each: &SimulatedNodes) -> Value {
    let name = format!("kwok-{index}");
    let zone = ["zone-a", "zone-b", "zone-c"].into_iter().cycle().nth(index as usize % 3).unwrap_or_default();
    let rack = index.checked_rem(each.racks).unwrap_or_default();
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {
                "devcluster.jobset.dev/cpu": each.cpu.to_string(),
                "devcluster.jobset.dev/gpus": each.gpus.to_string(),
            },
            "labels": {
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "node.kubernetes.io/instance-type": "kwok",
                "topology.kubernetes.io/zone": zone,
                "devcluster.jobset.dev/rack": format!("rack-{rack}"),
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize as _;

    fn stages() -> Vec<Value> {
        serde_yaml::Deserializer::from_str(STAGES)
            .map(|document| Value::deserialize(document).unwrap())
            .collect()
    }

    fn name(stage: &Value) -> &str {
        stage["metadata"]["name"].as_str().unwrap()
    }

    #[test]
    fn stages_are_valid_and_have_unique_names() {
        let stages = stages();
        let mut names: Vec<_> = stages.iter().map(name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), stages.len());
        for stage in &stages {
            assert_eq!(
                (&stage["apiVersion"], &stage["kind"]),
                (&json!("kwok.x-k8s.io/v1alpha1"), &json!("Stage"))
            );
            assert!(stage["spec"]["selector"]["matchExpressions"].is_array(), "{}", name(stage));
        }
    }

    /// If several stages match a pod, KWOK chooses one at random. A terminating pod must match only one.
    #[test]
    fn only_stage_pod_delete_matches_a_terminating_pod() {
        for stage in stages().iter().filter(|stage| stage["spec"]["resourceRef"]["kind"] == "Pod") {
            let expressions = stage["spec"]["selector"]["matchExpressions"].as_array().unwrap();
            let deletion = expressions.iter().find(|it| it["key"] == ".metadata.deletionTimestamp").unwrap();
            let expected = if name(stage) == "pod-delete" { "Exists" } else { "DoesNotExist" };
            assert_eq!(deletion["operator"], expected, "{}", name(stage));
        }
    }

    #[test]
    fn nodes_have_names_zones_racks_and_a_capacity() {
        let metadata = &node(4, &SimulatedNodes { cpu: 8, gpus: 2, racks: 3 })["metadata"];
        assert_eq!(metadata["name"], "kwok-4");
        assert_eq!(metadata["labels"]["topology.kubernetes.io/zone"], "zone-b");
        assert_eq!(metadata["labels"]["devcluster.jobset.dev/rack"], "rack-1");
        assert_eq!(metadata["annotations"]["devcluster.jobset.dev/cpu"], "8");
        assert_eq!(metadata["annotations"]["devcluster.jobset.dev/gpus"], "2");
    }
}
