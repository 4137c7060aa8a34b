//! The child Jobs: which of them are missing, and the content of each.

use crate::{
    agent_injection,
    buckets::{Buckets, Foreign},
    depends_on,
    draft::Draft,
    execution_attempts,
    feature_gates::Gates,
    gang_scheduling::{self, Groups},
    leader_first, network,
    owner_reference::owner_reference,
    placement,
    plan::Action,
    restart,
    snapshot::Snapshot,
    startup_policy,
    status_entries::restarts_of,
    volume_claims,
};
use jobset_api::{JobSet, jobset::ReplicatedJob, labels};
use k8s_openapi::{api::batch::v1::Job, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use sha1::{Digest, Sha1};
use std::{
    collections::{BTreeMap, HashSet},
    fmt::Write,
};

/// The largest number of Jobs that one plan creates. A Job in a plan takes some 10 KB, and each of them is in the plan
/// until the last one is created. The next plan follows at once.
pub(crate) const CREATED_AT_ONCE: usize = 500;

/// Creates the missing Jobs, at most [`CREATED_AT_ONCE`]. An existing Job of any attempt occupies its name. With the
/// restart strategy BlockingRecreate, one Job of an earlier attempt blocks all creations.
pub(crate) fn create_missing(
    snapshot: &Snapshot<'_>,
    jobs: &Buckets<'_>,
    groups: Option<&Groups>,
    gates: &Gates,
    draft: &mut Draft<'_>,
) {
    let jobset = snapshot.jobset;
    let existing: HashSet<&str> = snapshot.jobs.iter().map(|job| job.name.as_str()).collect();
    let blocked = restart::is_blocking(jobset) && !jobs.previous.is_empty();
    explain_occupied_names(jobs, blocked, draft);
    let mut places = Places::of(jobset);
    let mut creates = 0;
    for replicated_job in &jobset.spec.replicated_jobs {
        let places = places.next(replicated_job);
        if let Err(why) = depends_on::is_met(jobset, replicated_job, &draft.status) {
            draft.waiting.push(why);
            continue;
        }
        if startup_policy::has_started(jobset, replicated_job, &draft.status) {
            continue;
        }
        for place in places.filter(|_| !blocked) {
            let name = job_name(jobset, replicated_job, place.index);
            if existing.contains(name.as_str()) {
                continue;
            }
            if let Some(wait) = snapshot.creation_wait {
                draft.requeue_within(wait);
                break;
            }
            if creates == CREATED_AT_ONCE {
                draft.waiting.push(format!("the next plan creates more Jobs, after these {creates}"));
                startup_policy::must_wait_for(jobset, replicated_job, draft);
                return;
            }
            creates += 1;
            let attempt = execution_attempts::annotation(gates, &draft.status);
            let mut job = construct(jobset, replicated_job, name, &place, attempt, gates);
            gang_scheduling::add_to_group(groups, &replicated_job.name, place.index, &mut job);
            draft.actions.push(Action::CreateJob(Box::new(job)));
        }
        if startup_policy::must_wait_for(jobset, replicated_job, draft) {
            return;
        }
    }
    startup_policy::complete(jobset, draft);
}

/// Explains why Jobs with occupied names are not created.
fn explain_occupied_names(jobs: &Buckets<'_>, blocked: bool, draft: &mut Draft<'_>) {
    let previous = jobs.previous.len();
    if blocked {
        draft.waiting.push(format!(
            "restart strategy BlockingRecreate: no Job is created until the Jobs of an earlier attempt are deleted: \
             {previous}"
        ));
    } else if previous > 0 {
        draft.waiting.push(format!(
            "Jobs of an earlier attempt occupy their names until they are deleted: {previous}"
        ));
    }
    let deleting = jobs.active.iter().chain(&jobs.successful).filter(|job| job.deleting).count();
    if deleting > 0 {
        draft.waiting.push(format!(
            "Jobs that a user deleted keep their names until the deletion completes: {deleting}"
        ));
    }
    draft.waiting.extend(jobs.foreign.iter().map(Foreign::note));
}

/// Name of a child Job: `<jobset>-<replicatedJob>-<index>`.
pub(crate) fn job_name(jobset: &JobSet, replicated_job: &ReplicatedJob, index: i32) -> String {
    format!("{}-{}-{index}", jobset.metadata.name.as_deref().unwrap_or(""), replicated_job.name)
}

/// The indices of a Job within its JobSet.
struct Place {
    index: i32,
    global_index: i64,
    group_index: i64,
    global_replicas: i64,
    group_replicas: i64,
}

/// The indices of the Jobs, one ReplicatedJob after another in the order of the spec.
struct Places<'a> {
    global_replicas: i64,
    group_replicas: BTreeMap<&'a str, i64>,
    global_index: i64,
    group_index: BTreeMap<&'a str, i64>,
}

impl<'a> Places<'a> {
    fn of(jobset: &'a JobSet) -> Self {
        let mut group_replicas = BTreeMap::new();
        for replicated_job in &jobset.spec.replicated_jobs {
            *group_replicas.entry(replicated_job.group_name.as_str()).or_default() +=
                replicas(replicated_job);
        }
        let global_replicas = group_replicas.values().sum();
        Self { global_replicas, group_replicas, global_index: 0, group_index: BTreeMap::new() }
    }

    /// The indices of the Jobs of the next ReplicatedJob.
    fn next(&mut self, replicated_job: &'a ReplicatedJob) -> impl Iterator<Item = Place> + use<> {
        let group = replicated_job.group_name.as_str();
        let (global_replicas, global_start) = (self.global_replicas, self.global_index);
        let group_replicas = self.group_replicas.get(group).copied().unwrap_or(0);
        let group_index = self.group_index.entry(group).or_default();
        let group_start = *group_index;
        self.global_index += replicas(replicated_job);
        *group_index += replicas(replicated_job);
        (0..replicated_job.replicas).map(move |index| Place {
            index,
            global_index: global_start + i64::from(index),
            group_index: group_start + i64::from(index),
            global_replicas,
            group_replicas,
        })
    }
}

fn replicas(replicated_job: &ReplicatedJob) -> i64 {
    i64::from(replicated_job.replicas.max(0))
}

fn construct(
    jobset: &JobSet,
    replicated_job: &ReplicatedJob,
    name: String,
    place: &Place,
    execution_attempt: Option<(String, String)>,
    gates: &Gates,
) -> Job {
    let namespace = jobset.metadata.namespace.clone().unwrap_or_default();
    let template = &replicated_job.template;
    let (labels, annotations) = {
        let keys = identity(jobset, replicated_job, &namespace, &name, place, gates);
        let mut annotations = keys.clone();
        annotations.extend(placement::annotations(jobset, replicated_job));
        annotations.extend(execution_attempt);
        (keys, annotations)
    };

    let mut spec = template.spec.clone().unwrap_or_default();
    spec.suspend = Some(jobset.spec.suspend.unwrap_or(false));
    // With the gate, the number of a run is the controller's alone.
    let without_attempt = |annotations: &mut Option<BTreeMap<String, String>>| {
        if let Some(annotations) = annotations.as_mut().filter(|_| gates.execution_attempts_tracking) {
            annotations.remove(labels::EXECUTION_ATTEMPT);
        }
    };
    let pod_metadata = spec.template.metadata.get_or_insert_default();
    without_attempt(&mut pod_metadata.annotations);
    merge(&mut pod_metadata.labels, &labels);
    merge(&mut pod_metadata.annotations, &annotations);
    agent_injection::annotate(jobset, gates, pod_metadata.annotations.get_or_insert_default());
    let mut metadata = ObjectMeta {
        labels: template.metadata.as_ref().and_then(|metadata| metadata.labels.clone()),
        annotations: template.metadata.as_ref().and_then(|metadata| metadata.annotations.clone()),
        owner_references: Some(vec![owner_reference(jobset)]),
        ..Default::default()
    };
    without_attempt(&mut metadata.annotations);
    merge(&mut metadata.labels, &labels);
    merge(&mut metadata.annotations, &annotations);

    let pod = spec.template.spec.get_or_insert_default();
    if network::dns_hostnames_enabled(jobset) {
        pod.subdomain = Some(network::subdomain(jobset).to_owned());
    }
    let job_annotations = metadata.annotations.get_or_insert_default();
    placement::select_prepared_nodes(job_annotations, &namespace, &name, pod);
    volume_claims::add_volumes(jobset, pod);
    metadata.name = Some(name);
    metadata.namespace = Some(namespace);
    let mut job = Job { metadata, spec: Some(spec), status: None };
    leader_first::start(jobset, replicated_job, gates, &mut job);
    job
}

/// The keys that identify the Job. They are labels and annotations of the Job and of its pods.
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
        let restarts = restarts_of(jobset, &replicated_job.name, place.index);
        keys.insert(labels::JOB_RESTART_ATTEMPT, restarts.to_string());
    }
    if let Some(coordinator) = &jobset.spec.coordinator {
        keys.insert(labels::COORDINATOR, network::coordinator_endpoint(jobset, coordinator));
    }
    keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// The pod labels of the first and the last Job of each ReplicatedJob that has Jobs, with the name of the
/// ReplicatedJob.
pub(crate) fn pod_labels<'a>(
    jobset: &'a JobSet,
    gates: &Gates,
) -> impl Iterator<Item = (&'a str, BTreeMap<String, String>)> {
    let namespace = jobset.metadata.namespace.clone().unwrap_or_default();
    let mut all_places = Places::of(jobset);
    jobset.spec.replicated_jobs.iter().flat_map(move |replicated_job| {
        let mut places = all_places.next(replicated_job);
        let first_and_last = [places.next(), places.last()].into_iter().flatten();
        let labels = |place: Place| {
            let name = job_name(jobset, replicated_job, place.index);
            let template = replicated_job.template.spec.as_ref();
            let mut labels = template
                .and_then(|spec| spec.template.metadata.as_ref())
                .and_then(|metadata| metadata.labels.clone());
            merge(&mut labels, &identity(jobset, replicated_job, &namespace, &name, &place, gates));
            let mut labels = labels.unwrap_or_default();
            // The Job controller adds the name of the Job (Kubernetes: batch/v1).
            labels.extend(JOB_NAME_LABELS.map(|key| (key.to_owned(), name.clone())));
            (replicated_job.name.as_str(), labels)
        };
        first_and_last.map(labels).collect::<Vec<_>>()
    })
}

/// Pod labels that the Job controller sets to the name of the Job (Kubernetes: batch/v1).
const JOB_NAME_LABELS: [&str; 2] = ["batch.kubernetes.io/job-name", "job-name"];

/// SHA-1 of `<namespace>/<job>`, in hexadecimal.
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
