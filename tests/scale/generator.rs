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
    let spec = |job_set: u32, job: u32| {
        let mut spec = spec.clone();
        let pods = spec.get_mut("template").context("the JobSet's template has no template of pods")?;
        let metadata = json!({"labels": labels(job_set, job), "annotations": labels(job_set, job)});
        json_patch::merge(
            pods,
            &json!({"metadata": metadata, "spec": {"subdomain": format!("js-{job_set}")}}),
        );
        anyhow::Ok(spec)
    };
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
                "spec": spec(job_set, job)?,
            });
            Ok(serde_json::from_value(object)?)
        })
        .collect()
}

/// The headless Services of a run without a controller. The controllers of Kubernetes follow each pod for them.
pub(crate) fn services(load: &Load) -> Result<Vec<DynamicObject>> {
    (0..load.job_sets)
        .map(|job_set| {
            let name = format!("js-{job_set}");
            let spec = json!({
                "clusterIP": "None",
                "publishNotReadyAddresses": true,
                "selector": {"scale/jobset-name": name},
            });
            let object =
                json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec});
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

#[cfg(test)]
mod tests {
    use kube::ResourceExt;

    use super::*;

    fn scenario() -> Scenario {
        let text = "
name: n
description: d
sizes: [1]
jobSets: 2
jobs: 3
pods: 4
jobSet: {metadata: {annotations: {color: blue}}, spec: {failurePolicy: {maxRestarts: 7}}}
steps: [{step: create}]
budgets: []
";
        Scenario::parse(text).unwrap()
    }

    #[test]
    fn job_sets_have_the_fields_of_template_and_scenario() {
        let scenario = scenario();
        let job_sets = job_sets(&scenario, &scenario.load(1)).unwrap();
        let names: Vec<_> = job_sets.iter().map(ResourceExt::name_any).collect();
        assert_eq!(names, ["js-0", "js-1"]);
        let value = |path: &str| job_sets[1].data.pointer(path).cloned().unwrap();
        assert_eq!(job_sets[1].annotations()["color"], "blue");
        assert_eq!(value("/spec/failurePolicy/maxRestarts"), 7);
        assert_eq!(value("/spec/replicatedJobs/0/replicas"), 3);
        assert_eq!(value("/spec/replicatedJobs/0/template/spec/completions"), 4);
        assert_eq!(value("/spec/replicatedJobs/0/template/spec/template/spec/containers/0/name"), "c");
    }

    #[test]
    fn the_floor_has_the_jobs_of_all_job_sets() {
        let scenario = scenario();
        let jobs = jobs(&scenario, &scenario.load(1)).unwrap();
        let names: Vec<_> = jobs.iter().map(ResourceExt::name_any).collect();
        assert_eq!(names, ["js-0-w-0", "js-0-w-1", "js-0-w-2", "js-1-w-0", "js-1-w-1", "js-1-w-2"]);
        let value = |path: &str| jobs[5].data.pointer(path).unwrap();
        assert_eq!(value("/spec/parallelism"), 4);
        assert_eq!(value("/spec/template/spec/containers/0/name"), "c");
        let services = services(&scenario.load(1)).unwrap();
        assert_eq!(services.len(), 2);
        let selector = services[1].data.pointer("/spec/selector/scale~1jobset-name").unwrap();
        assert_eq!(value("/spec/template/metadata/labels/scale~1jobset-name"), selector);
        assert_eq!(value("/spec/template/spec/subdomain"), &services[1].name_any());
    }
}
