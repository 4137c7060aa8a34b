//! Generates JobSets from the template and a scenario, and for the floor the Jobs that a controller would create.

use anyhow::{Context as _, Result};
use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::scenario::{Load, Scenario};

/// Namespace of the JobSets.
pub(crate) const NAMESPACE: &str = "scale";

const TEMPLATE: &str = include_str!("jobset.yaml");

/// The JobSets of a run.
pub(crate) fn job_sets(scenario: &Scenario, load: &Load) -> Result<Vec<DynamicObject>> {
    (0..load.job_sets)
        .map(|index| Ok(serde_json::from_value(job_set(scenario, load, &format!("js-{index}"))?)?))
        .collect()
}

/// One JobSet of a run, with this name.
pub(crate) fn job_set(scenario: &Scenario, load: &Load, name: &str) -> Result<Value> {
    let mut object: Value = serde_yaml::from_str(TEMPLATE).context("jobset.yaml is not YAML")?;
    if scenario.job_set.is_object() {
        json_patch::merge(&mut object, &scenario.job_set);
    }
    set(&mut object, "/metadata", "name", json!(name))?;
    set(&mut object, "/spec/replicatedJobs/0", "replicas", json!(load.jobs_each))?;
    for field in ["parallelism", "completions"] {
        set(&mut object, "/spec/replicatedJobs/0/template/spec", field, json!(load.pods_each))?;
    }
    Ok(object)
}

/// The Jobs of a run without a controller.
pub(crate) fn jobs(scenario: &Scenario, load: &Load) -> Result<Vec<DynamicObject>> {
    let template = job_set(scenario, load, "template")?;
    let template =
        template.pointer("/spec/replicatedJobs/0/template").context("the JobSet has no template")?;
    let spec = template.get("spec").context("the JobSet's template has no spec")?;
    let indices = (0..load.job_sets).flat_map(|job_set| (0..load.jobs_each).map(move |job| (job_set, job)));
    indices
        .map(|(job_set, job)| {
            let object = json!({
                "apiVersion": "batch/v1", "kind": "Job",
                // As many labels and annotations as a controller sets.
                "metadata": {
                    "name": format!("js-{job_set}-w-{job}"),
                    "labels": labels(job_set, job),
                    "annotations": labels(job_set, job),
                },
                "spec": spec,
            });
            Ok(serde_json::from_value(object)?)
        })
        .collect()
}

fn labels(job_set: u32, job: u32) -> Value {
    json!({
        "scale/jobset-name": format!("js-{job_set}"),
        "scale/jobset-uid": "0f8fad5b-d9cb-469f-a165-70867728950e",
        "scale/replicatedjob-name": "w",
        "scale/restart-attempt": "0",
        "scale/job-index": job.to_string(),
        "scale/job-global-index": job.to_string(),
        "scale/job-key": "b2f8a3c1d4e5f60718293a4b5c6d7e8f90a1b2c3",
    })
}

fn set(object: &mut Value, path: &str, field: &str, value: Value) -> Result<()> {
    let parent = object.pointer_mut(path).and_then(Value::as_object_mut);
    parent.with_context(|| format!("the JobSet has no object {path}"))?.insert(field.into(), value);
    Ok(())
}
