//! `spec.volumeClaimPolicies`: claims that the Jobs of a JobSet share.

use crate::{draft::Draft, owner_reference::owner_reference, plan::Action, snapshot::Snapshot};
use jobset_api::{JobSet, jobset::RetentionPolicyType, labels};
use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, PodSpec, Volume},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

/// Name of the claim that a template creates: `<template>-<jobset>`.
fn claim_name(jobset: &JobSet, template: &str) -> String {
    format!("{template}-{}", jobset.metadata.name.as_deref().unwrap_or(""))
}

/// Names of all claims of the JobSet.
pub fn claim_names(jobset: &JobSet) -> impl Iterator<Item = String> {
    templates(jobset).map(|template| claim_name(jobset, template))
}

fn templates(jobset: &JobSet) -> impl Iterator<Item = &str> {
    let templates = jobset.spec.volume_claim_policies.iter().flat_map(|policy| &policy.templates);
    templates.map(|template| template.metadata.name.as_deref().unwrap_or(""))
}

/// Creates the missing claims. An existing claim is used unchanged, with any owner.
pub(crate) fn ensure(snapshot: &Snapshot<'_>, draft: &mut Draft<'_>) {
    let jobset = snapshot.jobset;
    for policy in &jobset.spec.volume_claim_policies {
        let retention = policy.retention_policy.as_ref().map(|policy| &policy.when_deleted);
        let deleted_with_jobset = retention == Some(&RetentionPolicyType::Delete);
        for template in &policy.templates {
            let name = claim_name(jobset, template.metadata.name.as_deref().unwrap_or(""));
            if snapshot.claims.contains(&name) {
                continue;
            }
            let mut own_labels = template.metadata.labels.clone().unwrap_or_default();
            let jobset_name = jobset.metadata.name.clone().unwrap_or_default();
            own_labels.insert(labels::JOBSET_NAME.to_owned(), jobset_name);
            draft.actions.push(Action::CreateClaim(Box::new(PersistentVolumeClaim {
                metadata: ObjectMeta {
                    name: Some(name),
                    namespace: jobset.metadata.namespace.clone(),
                    labels: Some(own_labels),
                    annotations: template.metadata.annotations.clone(),
                    owner_references: deleted_with_jobset.then(|| vec![owner_reference(jobset)]),
                    ..Default::default()
                },
                spec: template.spec.clone(),
                status: None,
            })));
        }
    }
}

/// Adds a volume for each claim that a container of the pod mounts by template name.
pub(crate) fn add_volumes(jobset: &JobSet, pod: &mut PodSpec) {
    let mounted = |name: &str, pod: &PodSpec| {
        let containers = pod.containers.iter().chain(pod.init_containers.iter().flatten());
        containers
            .flat_map(|container| container.volume_mounts.iter().flatten())
            .any(|mount| mount.name == name)
    };
    for template in templates(jobset) {
        if mounted(template, pod) {
            pod.volumes.get_or_insert_default().push(Volume {
                name: template.to_owned(),
                persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                    claim_name: claim_name(jobset, template),
                    ..Default::default()
                }),
                ..Default::default()
            });
        }
    }
}
