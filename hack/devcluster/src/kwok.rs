//! Simulated nodes: KWOK answers for their kubelets, and pods on them live as their annotations say.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use serde_json::{Value, json};

use crate::context::Context;
use crate::kubectl::Kubectl;
use crate::state::{Network, write_whole};
use crate::wait::{self, Seen};

/// What happens to nodes and pods, stage by stage.
const STAGES: &str = include_str!("kwok/stages.yaml");

/// Nodes that one kubectl creates, one after the other.
const NODES_AT_ONCE: usize = 250;

/// How many kubectl create nodes side by side.
const CREATORS: usize = 4;

/// Starts KWOK and makes the nodes; returns when all of them are Ready.
pub(crate) fn start(context: &Context, nodes: u32) -> Result<()> {
    let kwok = context.binary("kwok")?;
    let step = context.progress.step(format!("Starting {nodes} simulated nodes"));
    let kubectl = context.kubectl()?;
    let config = context.layout.config().join("kwok.yaml");
    write_whole(&config, STAGES.as_bytes())?;
    let url = context.network.api_server_url();
    let kubeconfig =
        context.pki.client_kubeconfig("kwok", "kwok", Some("system:masters"), &url, &context.name)?;
    let kubeconfig_file = context.layout.config().join("kwok.kubeconfig");
    write_whole(&kubeconfig_file, kubeconfig.as_bytes())?;
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
        // KWOK keeps files of its own in the user's home otherwise.
        .env("KWOK_WORKDIR", context.layout.root().join("kwok").display().to_string())
        .spawn(&context.layout)?;

    create_nodes(&kubectl, nodes)?;
    step.total(u64::from(nodes));
    let mut seen = 0;
    // A busy machine makes some 50 nodes a second.
    let limit = Duration::from_secs(60 + u64::from(nodes) / 10);
    wait::until("the simulated nodes to be Ready", limit, || {
        daemon.check(&context.layout)?;
        let ready = match ready_nodes(&kubectl) {
            Ok(ready) => ready,
            Err(error) => return Ok(Seen::NotYet(format!("{error:#}"))),
        };
        step.advance(ready.saturating_sub(seen));
        seen = seen.max(ready);
        Ok(if ready >= u64::from(nodes) {
            Seen::Ready(())
        } else {
            Seen::NotYet(format!(
                "{ready} of {nodes} are, and the log of KWOK is {}",
                context.layout.log("kwok").display()
            ))
        })
    })?;
    step.done();
    Ok(())
}

fn ready_nodes(kubectl: &Kubectl) -> Result<u64> {
    let path = "jsonpath={range .items[*]}{.status.conditions[?(@.type==\"Ready\")].status}{\"\\n\"}{end}";
    let answer = kubectl.run(&["get", "nodes", "-o", path])?;
    Ok(u64::try_from(answer.lines().filter(|line| *line == "True").count())?)
}

fn create_nodes(kubectl: &Kubectl, nodes: u32) -> Result<()> {
    let all: Vec<Value> = (0..nodes).map(node).collect();
    let lists: Vec<String> = all
        .chunks(NODES_AT_ONCE)
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

/// Nodes take turns in three zones, as in a region of a cloud.
fn node(index: u32) -> Value {
    let name = format!("kwok-{index}");
    let zone = ["zone-a", "zone-b", "zone-c"].into_iter().cycle().nth(index as usize % 3).unwrap_or_default();
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "node.kubernetes.io/instance-type": "kwok",
                "topology.kubernetes.io/zone": zone,
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
    fn every_stage_is_one_and_has_a_name_of_its_own() {
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

    /// A pod under deletion must match one stage alone: KWOK draws lots between several.
    #[test]
    fn only_the_stage_that_deletes_matches_a_pod_under_deletion() {
        for stage in stages().iter().filter(|stage| stage["spec"]["resourceRef"]["kind"] == "Pod") {
            let expressions = stage["spec"]["selector"]["matchExpressions"].as_array().unwrap();
            let deletion = expressions.iter().find(|it| it["key"] == ".metadata.deletionTimestamp").unwrap();
            let expected = if name(stage) == "pod-delete" { "Exists" } else { "DoesNotExist" };
            assert_eq!(deletion["operator"], expected, "{}", name(stage));
        }
    }

    #[test]
    fn nodes_have_names_and_zones() {
        assert_eq!(node(4)["metadata"]["name"], "kwok-4");
        assert_eq!(node(4)["metadata"]["labels"]["topology.kubernetes.io/zone"], "zone-b");
    }
}
