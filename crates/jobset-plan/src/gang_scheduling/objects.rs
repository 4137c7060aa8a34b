//! The Workload and the PodGroups.

use super::groups::Groups;
use crate::owner_reference::owner_reference;
use jobset_api::{JobSet, jobset, labels};
use k8s_openapi::{
    api::scheduling::v1beta1::{
        PodGroup, PodGroupSpec, PodGroupTemplate, TypedLocalObjectReference, Workload, WorkloadReference,
        WorkloadSpec,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

/// The Workload with these templates.
pub(crate) fn workload(jobset: &JobSet, groups: &Groups, templates: Vec<PodGroupTemplate>) -> Workload {
    Workload {
        metadata: metadata(jobset, groups.workload.clone()),
        spec: WorkloadSpec {
            controller_ref: Some(controller_ref(jobset)),
            pod_group_templates: Some(templates),
            composite_pod_group_templates: None,
        },
    }
}

/// The PodGroup of this name from a template of the Workload.
pub(crate) fn pod_group(
    jobset: &JobSet,
    groups: &Groups,
    name: String,
    template: PodGroupTemplate,
) -> PodGroup {
    PodGroup {
        metadata: metadata(jobset, name),
        spec: PodGroupSpec {
            workload_ref: Some(workload_ref(groups, &template.name)),
            scheduling_policy: template.scheduling_policy,
            scheduling_constraints: template.scheduling_constraints,
            disruption_mode: template.disruption_mode,
            resource_claims: template.resource_claims,
            priority_class_name: template.priority_class_name,
            ..Default::default()
        },
        status: None,
    }
}

/// The reference from the Workload to the JobSet.
pub(crate) fn controller_ref(jobset: &JobSet) -> TypedLocalObjectReference {
    TypedLocalObjectReference {
        api_group: Some(jobset::GROUP.to_owned()),
        kind: jobset::KIND.to_owned(),
        name: jobset.metadata.name.clone().unwrap_or_default(),
    }
}

/// The reference from a PodGroup to its template.
pub(crate) fn workload_ref(groups: &Groups, template: &str) -> WorkloadReference {
    WorkloadReference { workload_name: groups.workload.clone(), template_name: template.to_owned() }
}

fn metadata(jobset: &JobSet, name: String) -> ObjectMeta {
    let jobset_name = jobset.metadata.name.clone().unwrap_or_default();
    ObjectMeta {
        name: Some(name),
        namespace: jobset.metadata.namespace.clone(),
        labels: Some([(labels::JOBSET_NAME.to_owned(), jobset_name)].into()),
        owner_references: Some(vec![owner_reference(jobset)]),
        ..Default::default()
    }
}
