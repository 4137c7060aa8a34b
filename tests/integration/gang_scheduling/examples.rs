//! The JobSets `docs/examples/gang*.yaml`, on nodes with eight GPUs.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use jobset_tests::objects;
use serde_json::json;

use super::{Nodes, gang_condition, objects_become, pods_become};
use crate::Integration;
use crate::jobset::{LiveJobSet, each};
use crate::placement::all_bound;

pub(crate) async fn examples_start(suite: Arc<Integration>) -> Result<()> {
    let nodes = &Nodes::with_key(&suite, "devcluster.jobset.dev/rack", 2, 12, 8).await?;
    let cases: [(_, (usize, &[&str])); 3] = [
        ("gang", (4, &["Workload gang: gang 4", "PodGroup gang 4"])),
        (
            "gang-driver",
            (
                4,
                &[
                    "Workload gang-driver: driver basic, workers 3",
                    "PodGroup gang-driver-driver basic",
                    "PodGroup gang-driver-workers 3",
                ],
            ),
        ),
        (
            "gang-rack",
            (
                4,
                &[
                    "Workload gang-rack: model-0 2, model-1 2",
                    "PodGroup gang-rack-model-0 2",
                    "PodGroup gang-rack-model-1 2",
                ],
            ),
        ),
    ];
    each(cases, |name, (pods, objects)| async move {
        let jobset = start(nodes, name).await?;
        pods_become(&jobset, (pods, 0)).await?;
        objects_become(&jobset, objects).await?;
        gang_condition(&jobset, "True", "PodGroupsScheduled").await?;
        if name == "gang-rack" {
            for (job, racks) in all_bound(&nodes.suite, &jobset, &nodes.key, 2, 2).await? {
                let racks: BTreeSet<_> = racks.into_values().collect();
                ensure!(racks.len() == 1, "{job} is in {racks:?}");
            }
        }
        Ok(())
    })
    .await
}

async fn start(nodes: &Nodes, name: &str) -> Result<LiveJobSet> {
    let file = objects::repository().join(format!("docs/examples/{name}.yaml"));
    let example = objects::read(&file)?.pop().with_context(|| format!("{} has no JobSet", file.display()))?;
    let tolerations = json!({"tolerations": nodes.tolerations()});
    nodes.jobset_with(name, &example.data["spec"].to_string(), &tolerations).await
}
