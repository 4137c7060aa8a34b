//! Situations, and what a user reads: `situations/NAME.yaml` contains the objects, `situations/NAME.txt` the
//! explanation. `UPDATE_GOLDEN=1` writes the texts again: read the difference before you commit it.
//!
//! A situation begins with the JobSet and the objects that the controller creates for it. Everything else in the file
//! replaces parts of these objects, or adds others.

use super::*;
use crate::dry_run;
use jiff::Timestamp;
use jobset_api::{JobSet, JobSetStatus};
use jobset_controller::recorded::RecordedScheduling;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::{fs, path::Path};

/// The time of every situation.
const NOW: &str = "2026-03-01T12:00:00Z";

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Situation {
    /// What it is about.
    #[serde(rename = "about")]
    _about: String,
    jobset: Value,
    #[serde(default)]
    feature_gates: BTreeMap<String, bool>,
    /// Jobs by name: a merge patch. Null deletes the Job.
    #[serde(default)]
    jobs: BTreeMap<String, Value>,
    /// Whether the controller has not done anything.
    #[serde(default)]
    untouched: bool,
    /// Pods, each with the name of its Job.
    #[serde(default)]
    pods: Vec<OwnedPod>,
    #[serde(default)]
    services: Vec<Service>,
    #[serde(default)]
    nodes: Vec<Node>,
    /// PodGroups: a merge patch for all.
    #[serde(default)]
    pod_groups: Option<Value>,
    #[serde(default)]
    scheduling_not_served: bool,
    #[serde(default)]
    events: Vec<Event>,
    #[serde(default)]
    kueue: Vec<DynamicObject>,
    #[serde(default)]
    gaps: Vec<String>,
    #[serde(default)]
    log: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OwnedPod {
    job: String,
    #[serde(flatten)]
    pod: Value,
}

fn observed(mut situation: Situation) -> Observed {
    let now: Timestamp = NOW.parse().unwrap();
    let gates = Gates::configured(&situation.feature_gates).unwrap();
    let mut jobset = json!({"metadata": {
        "name": "train", "namespace": "team", "uid": "00000000-0000-4000-8000-000000000000", "resourceVersion": "1",
        "creationTimestamp": "2026-03-01T11:00:00Z",
    }});
    json_patch::merge(&mut jobset, &situation.jobset);
    let jobset: JobSet = serde_json::from_value(jobset).unwrap();
    let mut recorded = if situation.untouched {
        Recorded { jobset, ..Recorded::default() }
    } else {
        // The Jobs exist although the JobSet has ended since.
        let restarts = jobset.status.clone().unwrap_or_default().restarts;
        let status = Some(JobSetStatus { restarts, ..JobSetStatus::default() });
        let before = JobSet { status, ..jobset.clone() };
        let recorded = dry_run::created(before, &gates, now).unwrap();
        let status = jobset.status.or(recorded.jobset.status);
        Recorded { jobset: JobSet { status, ..recorded.jobset }, ..recorded }
    };
    for (name, patch) in std::mem::take(&mut situation.jobs) {
        let position = recorded.jobs.iter().position(|job| job.metadata.name.as_ref() == Some(&name));
        let position = position.unwrap_or_else(|| panic!("no Job {name}"));
        let job = recorded.jobs.remove(position);
        if !patch.is_null() {
            let mut object = serde_json::to_value(job).unwrap();
            json_patch::merge(&mut object, &patch);
            recorded.jobs.push(serde_json::from_value(object).unwrap());
        }
    }
    for OwnedPod { job, pod: patch } in std::mem::take(&mut situation.pods) {
        let owner = recorded.jobs.iter().find(|it| it.metadata.name.as_ref() == Some(&job));
        let owner = owner.unwrap_or_else(|| panic!("no Job {job}"));
        let template = owner.spec.as_ref().unwrap().template.clone();
        let mut pod = json!({
            "metadata": template.metadata, "spec": template.spec.unwrap(),
            "status": {"phase": "Pending"},
        });
        let uid = format!("00000000-0000-4000-9000-{:012}", recorded.pods.len());
        json_patch::merge(
            &mut pod,
            &json!({"metadata": {
                "name": format!("{job}-0-abcde"), "namespace": "team", "uid": uid, "resourceVersion": "1",
                "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": job, "controller": true,
                    "uid": owner.metadata.uid}],
            }}),
        );
        json_patch::merge(&mut pod, &patch);
        recorded.pods.push(serde_json::from_value::<Pod>(pod).unwrap());
    }
    recorded.services.append(&mut situation.services);
    recorded.nodes = std::mem::take(&mut situation.nodes);
    if let RecordedScheduling::Served(_, pod_groups) = &mut recorded.scheduling
        && let Some(patch) = situation.pod_groups.take()
    {
        for pod_group in pod_groups {
            let mut object = serde_json::to_value(&*pod_group).unwrap();
            json_patch::merge(&mut object, &patch);
            *pod_group = serde_json::from_value(object).unwrap();
        }
    }
    if situation.scheduling_not_served {
        recorded.scheduling = RecordedScheduling::NotServed;
    }
    let uids: BTreeMap<_, _> =
        recorded.jobs.iter().map(|job| (job.metadata.name.clone(), job.metadata.uid.clone())).collect();
    let with_uid = |mut event: Event| {
        event.involved_object.uid = uids.get(&event.involved_object.name).cloned().flatten();
        event
    };
    let Situation { events, kueue, gaps, log, .. } = situation;
    let events = events.into_iter().map(with_uid).collect();
    Observed { recorded, gates, events, kueue, gaps, log }
}

#[test]
fn situations_are_explained() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/explain/situations");
    let mut names = BTreeSet::new();
    let mut wrong = Vec::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        names.insert(path.file_stem().unwrap().to_str().unwrap().to_owned());
    }
    for name in &names {
        let text = fs::read_to_string(folder.join(format!("{name}.yaml"))).unwrap();
        let situation = serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let observed = observed(situation);
        let now = NOW.parse().unwrap();
        let failure = first_failure(&observed, now);
        let explanation = explain(&observed, failure, now).unwrap().to_string();
        let explanation = anstream::adapter::strip_str(&explanation).to_string();
        let golden = folder.join(format!("{name}.txt"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &explanation).unwrap();
        } else if fs::read_to_string(&golden).unwrap_or_default() != explanation {
            wrong.push(format!("{name}:\n{explanation}"));
        }
    }
    assert!(names.len() >= 25, "{} situations", names.len());
    assert!(wrong.is_empty(), "other explanations than in the files:\n{}", wrong.join("\n"));
}
