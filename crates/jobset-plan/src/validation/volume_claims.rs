//! Validation of `spec.volumeClaimPolicies`.

use super::{FieldError, field_error::shown_list, names, semantic_equality};
use jobset_api::{
    JobSet,
    jobset::{ReplicatedJob, RetentionPolicyType, VolumeClaimPolicy},
};
use k8s_openapi::api::core::v1::{Container, PersistentVolumeClaim, PersistentVolumeClaimSpec, PodSpec};
use std::collections::{BTreeMap, BTreeSet};

/// The result of reading a claim that the JobSet would create.
#[derive(Clone, Debug, PartialEq)]
pub enum ExistingClaim {
    /// No claim with this name exists.
    Absent,
    /// A claim with this spec.
    Present(Box<PersistentVolumeClaimSpec>),
    /// Why the claim could not be read.
    ReadError(String),
}

/// Claims by name, in the JobSet's namespace. A missing name counts as absent.
pub type ExistingClaims = BTreeMap<String, ExistingClaim>;

/// Names of the claims to read, in the JobSet's namespace, before [`validate_create`](super::validate_create). Empty if
/// the API server still has to generate the JobSet's name. Invalid claim names are omitted.
pub fn claims_to_read(jobset: &JobSet) -> Vec<String> {
    let Some(jobset_name) = jobset.metadata.name.as_deref().filter(|name| !name.is_empty()) else {
        return Vec::new();
    };
    let templates = jobset.spec.volume_claim_policies.iter().flat_map(|policy| &policy.templates);
    let names: BTreeSet<String> =
        templates.map(|template| claim_name(template_name(template), jobset_name)).collect();
    names.into_iter().filter(|name| names::dns_1123_subdomain(name).is_empty()).collect()
}

/// Adds the errors of all volume claim policies.
pub(super) fn validate(
    jobset: &JobSet,
    jobset_name: &str,
    claims: &ExistingClaims,
    errors: &mut Vec<FieldError>,
) {
    let mut seen = BTreeSet::new();
    for (index, policy) in jobset.spec.volume_claim_policies.iter().enumerate() {
        let policy_path = format!("spec.volumeClaimPolicies[{index}]");
        for (index, template) in policy.templates.iter().enumerate() {
            // The field is `templates`, but clients match `template`.
            let path = format!("{policy_path}.template[{index}]");
            let name = template_name(template);
            let claim = claim_name(name, jobset_name);
            let mut invalid_name = |message: &str| {
                errors.push(FieldError::invalid_text(format!("{path}.name"), name, message));
            };
            if !seen.insert(name) {
                invalid_name("names must be unique for VolumeClaimPolicies template");
            }
            names::dns_1123_subdomain(name).into_iter().for_each(&mut invalid_name);
            // The claim's name becomes a label value (Kubernetes: at most 63 bytes).
            if claim.len() > names::LABEL_MAX {
                invalid_name("VolumeClaimPolicies template name is too long");
            }
            validate_mounts(&jobset.spec.replicated_jobs, name, errors);
            match claims.get(&claim) {
                None | Some(ExistingClaim::Absent) => {}
                Some(ExistingClaim::Present(existing)) => {
                    let namespace = jobset.metadata.namespace.as_deref().unwrap_or("");
                    let found = Found { existing, claim: &claim, namespace };
                    validate_existing(policy, template, &found, &policy_path, &path, errors);
                }
                Some(ExistingClaim::ReadError(error)) => errors.push(FieldError::internal(
                    path,
                    format!("failed to check for existing PVC {claim}: {error}"),
                )),
            }
        }
    }
}

/// A claim that existed before the JobSet.
struct Found<'a> {
    existing: &'a PersistentVolumeClaimSpec,
    claim: &'a str,
    namespace: &'a str,
}

/// The claim becomes a volume with the template's name in every pod that mounts it. So no volume may have this name,
/// and a container must mount it.
fn validate_mounts(replicated_jobs: &[ReplicatedJob], name: &str, errors: &mut Vec<FieldError>) {
    let mut mounted = false;
    for (index, replicated_job) in replicated_jobs.iter().enumerate() {
        let Some(pod) = pod_spec(replicated_job) else { continue };
        for (volume, found) in pod.volumes.iter().flatten().enumerate() {
            if found.name == name {
                errors.push(FieldError::invalid_text(
                    format!(
                        "spec.replicatedJobs[{index}].template.spec.template.spec.volumes[{volume}].name"
                    ),
                    name,
                    format!("volume name conflicts with VolumeClaimPolicy template name: {name}"),
                ));
            }
        }
        let mut containers = pod.containers.iter().chain(pod.init_containers.iter().flatten());
        mounted |= containers.any(|container| mounts(container, name));
    }
    if !mounted {
        errors.push(FieldError::invalid(
            "spec.replicatedJobs",
            &shown_list(replicated_jobs),
            format!(
                "replicatedJob containers don't have a matching volumeMount: {name} from VolumeClaimPolicies"
            ),
        ));
    }
}

/// A JobSet can use an existing claim if the claim matches the template and the JobSet retains it.
fn validate_existing(
    policy: &VolumeClaimPolicy,
    template: &PersistentVolumeClaim,
    found: &Found<'_>,
    policy_path: &str,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let wanted = template.spec.clone().unwrap_or_default();
    // Upstream compares exactly (its issue #1307), and so rejects every claim that was bound before.
    if !semantic_equality::claim_specs_are_equal(found.existing, &filled_in(&wanted, found.existing)) {
        errors.push(FieldError::invalid(
            format!("{path}.spec"),
            &wanted,
            format!("spec does not match existing PVC {} in namespace {}", found.claim, found.namespace),
        ));
    }
    if let Some(retention) = &policy.retention_policy
        && retention.when_deleted != RetentionPolicyType::Retain
    {
        errors.push(FieldError::invalid(
            format!("{policy_path}.retentionPolicy.whenDeleted"),
            &retention.when_deleted,
            "retentionPolicy must be retain when PVC exists",
        ));
    }
}

/// `wanted` with the fields that the API server and the binder set in `existing`, if the template does not set them.
fn filled_in(
    wanted: &PersistentVolumeClaimSpec,
    existing: &PersistentVolumeClaimSpec,
) -> PersistentVolumeClaimSpec {
    let (wanted, existing) = (wanted.clone(), existing.clone());
    PersistentVolumeClaimSpec {
        data_source: wanted.data_source.or(existing.data_source),
        data_source_ref: wanted.data_source_ref.or(existing.data_source_ref),
        storage_class_name: wanted.storage_class_name.or(existing.storage_class_name),
        volume_attributes_class_name: wanted
            .volume_attributes_class_name
            .or(existing.volume_attributes_class_name),
        volume_mode: wanted.volume_mode.or(existing.volume_mode),
        volume_name: wanted.volume_name.filter(|name| !name.is_empty()).or(existing.volume_name),
        ..wanted
    }
}

fn template_name(template: &PersistentVolumeClaim) -> &str {
    template.metadata.name.as_deref().unwrap_or("")
}

fn claim_name(template: &str, jobset: &str) -> String {
    format!("{template}-{jobset}")
}

fn pod_spec(replicated_job: &ReplicatedJob) -> Option<&PodSpec> {
    replicated_job.template.spec.as_ref().and_then(|job| job.template.spec.as_ref())
}

fn mounts(container: &Container, volume: &str) -> bool {
    container.volume_mounts.iter().flatten().any(|mount| mount.name == volume)
}
