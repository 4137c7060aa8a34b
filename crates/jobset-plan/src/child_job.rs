//! The child Jobs: which are missing, and what each looks like.

use crate::{
    network, placement,
    plan::{Action, Draft, owner_reference},
    snapshot::{Gates, Snapshot},
};
use jobset_api::{JobSet, ReplicatedJobStatus, jobset::ReplicatedJob, labels};
use k8s_openapi::{api::batch::v1::Job, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use sha1::{Digest, Sha1};
use std::{
    collections::{BTreeMap, HashSet},
    fmt::Write,
};

/// Creates every Job that should exist and does not. A Job that exists holds its name, whatever its attempt.
pub(crate) fn create_missing(snapshot: &Snapshot<'_>, gates: &Gates, draft: &mut Draft<'_>) {
    let existing: HashSet<&str> = snapshot.jobs.iter().map(|job| job.name.as_str()).collect();
    let jobset = snapshot.jobset;
    let totals = Totals::of(jobset);
    let mut before = 0;
    let mut before_in_group: BTreeMap<&str, i64> = BTreeMap::new();
    for replicated_job in &jobset.spec.replicated_jobs {
        let in_group = before_in_group.entry(&replicated_job.group_name).or_default();
        for index in 0..replicated_job.replicas {
            let name = job_name(jobset, replicated_job, index);
            if !existing.contains(name.as_str()) {
                let place = Place {
                    index,
                    global_index: before + i64::from(index),
                    group_index: *in_group + i64::from(index),
                    global_replicas: totals.all,
                    group_replicas: totals.group(&replicated_job.group_name),
                };
                let job = construct(jobset, replicated_job, name, &place, gates);
                draft.actions.push(Action::CreateJob(Box::new(job)));
            }
        }
        let replicas = i64::from(replicated_job.replicas.max(0));
        before += replicas;
        *in_group += replicas;
    }
}

/// Name of a child Job: `<jobset>-<replicatedJob>-<index>`.
pub(crate) fn job_name(jobset: &JobSet, replicated_job: &ReplicatedJob, index: i32) -> String {
    format!("{}-{}-{index}", jobset.metadata.name.as_deref().unwrap_or(""), replicated_job.name)
}

/// Where a Job stands within its JobSet.
struct Place {
    index: i32,
    global_index: i64,
    group_index: i64,
    global_replicas: i64,
    group_replicas: i64,
}

/// Numbers of Jobs, in all and by group.
struct Totals<'a> {
    all: i64,
    groups: BTreeMap<&'a str, i64>,
}

impl<'a> Totals<'a> {
    fn of(jobset: &'a JobSet) -> Self {
        let mut totals = Self { all: 0, groups: BTreeMap::new() };
        for replicated_job in &jobset.spec.replicated_jobs {
            let replicas = i64::from(replicated_job.replicas.max(0));
            totals.all += replicas;
            *totals.groups.entry(&replicated_job.group_name).or_default() += replicas;
        }
        totals
    }

    fn group(&self, name: &str) -> i64 {
        self.groups.get(name).copied().unwrap_or(0)
    }
}

fn construct(
    jobset: &JobSet,
    replicated_job: &ReplicatedJob,
    name: String,
    place: &Place,
    gates: &Gates,
) -> Job {
    let namespace = jobset.metadata.namespace.clone().unwrap_or_default();
    let template = &replicated_job.template;
    let (labels, annotations) = {
        let keys = identity(jobset, replicated_job, &namespace, &name, place, gates);
        let mut annotations = keys.clone();
        annotations.extend(placement::annotations(jobset, replicated_job));
        (keys, annotations)
    };

    let mut spec = template.spec.clone().unwrap_or_default();
    spec.suspend = Some(jobset.spec.suspend.unwrap_or(false));
    let pod_metadata = spec.template.metadata.get_or_insert_default();
    merge(&mut pod_metadata.labels, &labels);
    merge(&mut pod_metadata.annotations, &annotations);
    let mut metadata = ObjectMeta {
        labels: template.metadata.as_ref().and_then(|metadata| metadata.labels.clone()),
        annotations: template.metadata.as_ref().and_then(|metadata| metadata.annotations.clone()),
        owner_references: Some(vec![owner_reference(jobset)]),
        ..Default::default()
    };
    merge(&mut metadata.labels, &labels);
    merge(&mut metadata.annotations, &annotations);

    let pod = spec.template.spec.get_or_insert_default();
    if network::dns_hostnames_enabled(jobset) {
        pod.subdomain = Some(network::subdomain(jobset).to_owned());
    }
    let job_annotations = metadata.annotations.get_or_insert_default();
    placement::select_prepared_nodes(job_annotations, &namespace, &name, pod);
    metadata.name = Some(name);
    metadata.namespace = Some(namespace);
    Job { metadata, spec: Some(spec), status: None }
}

/// The keys that say which Job of which JobSet this is: labels and annotations, of the Job and of its pods.
fn identity(
    jobset: &JobSet,
    replicated_job: &ReplicatedJob,
    namespace: &str,
    job: &str,
    place: &Place,
    gates: &Gates,
) -> BTreeMap<String, String> {
    let status = jobset.status.as_ref();
    let mut keys = BTreeMap::from([
        (labels::JOBSET_NAME, jobset.metadata.name.clone().unwrap_or_default()),
        (labels::JOBSET_UID, jobset.metadata.uid.clone().unwrap_or_default()),
        (labels::REPLICATED_JOB_NAME, replicated_job.name.clone()),
        (labels::RESTART_ATTEMPT, status.map_or(0, |status| status.restarts).to_string()),
        (labels::REPLICATED_JOB_REPLICAS, replicated_job.replicas.to_string()),
        (labels::GLOBAL_REPLICAS, place.global_replicas.to_string()),
        (labels::JOB_INDEX, place.index.to_string()),
        (labels::JOB_GLOBAL_INDEX, place.global_index.to_string()),
        (labels::JOB_KEY, job_key(namespace, job)),
        (labels::GROUP_NAME, replicated_job.group_name.clone()),
        (labels::GROUP_REPLICAS, place.group_replicas.to_string()),
        (labels::JOB_GROUP_INDEX, place.group_index.to_string()),
    ]);
    if gates.restart_job {
        let own = |status: &&ReplicatedJobStatus| status.name == replicated_job.name;
        let restarts = status
            .and_then(|status| status.replicated_jobs_status.iter().find(own))
            .and_then(|status| status.job_restarts.get(usize::try_from(place.index).ok()?));
        keys.insert(labels::JOB_RESTART_ATTEMPT, restarts.copied().unwrap_or(0).to_string());
    }
    if let Some(coordinator) = &jobset.spec.coordinator {
        keys.insert(labels::COORDINATOR, network::coordinator_endpoint(jobset, coordinator));
    }
    keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// SHA-1, in hex, of `<namespace>/<job>`.
pub(crate) fn job_key(namespace: &str, job: &str) -> String {
    let digest = Sha1::digest(format!("{namespace}/{job}"));
    digest.iter().fold(String::with_capacity(40), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn merge(target: &mut Option<BTreeMap<String, String>>, extra: &BTreeMap<String, String>) {
    let target = target.get_or_insert_default();
    target.extend(extra.iter().map(|(key, value)| (key.clone(), value.clone())));
}
