//! Which existing objects the controller cannot correct in place: of a Workload and a PodGroup, only minCount can
//! change (Kubernetes: scheduling/v1beta1).
//!
//! The API server fills in priority, priority class, preemption policy and disruption mode. It drops fields whose
//! feature gate is off. Neither is a difference, because a new object would have it, too.

use super::{
    groups::{Group, Groups},
    objects,
};
use crate::snapshot::{PodGroupRecord, WorkloadRecord};
use jobset_api::JobSet;
use k8s_openapi::api::scheduling::v1beta1::{PodGroupSpec, PodGroupTemplate};

/// Whether the Workload differs from the wanted one in more than minCount.
pub(crate) fn workload_differs(workload: &WorkloadRecord, jobset: &JobSet, groups: &Groups) -> bool {
    let spec = &workload.spec;
    let templates = spec.pod_group_templates.as_deref().unwrap_or_default();
    let has_template = |group: &Group| {
        let template = templates.iter().find(|template| template.name == group.template_name());
        template.is_some_and(|template| !template_differs(template, group))
    };
    workload.name != groups.workload
        || spec.controller_ref.as_ref() != Some(&objects::controller_ref(jobset))
        || templates.len() != groups.all.len()
        || !groups.all.iter().all(has_template)
}

/// Whether no group wants this PodGroup, or it differs from the wanted one in more than minCount.
pub(crate) fn pod_group_differs(pod_group: &PodGroupRecord, groups: &Groups) -> bool {
    let Some(group) = groups.all.iter().find(|group| group.name == pod_group.name) else { return true };
    let workload_ref = objects::workload_ref(groups, group.template_name());
    pod_group.spec.workload_ref.as_ref() != Some(&workload_ref)
        || template_differs(&template_of(&pod_group.spec), group)
}

/// The template that a PodGroup has the fields of.
fn template_of(spec: &PodGroupSpec) -> PodGroupTemplate {
    PodGroupTemplate {
        scheduling_policy: spec.scheduling_policy.clone(),
        scheduling_constraints: spec.scheduling_constraints.clone(),
        resource_claims: spec.resource_claims.clone(),
        disruption_mode: spec.disruption_mode.clone(),
        priority_class_name: spec.priority_class_name.clone(),
        ..Default::default()
    }
}

fn template_differs(is: &PodGroupTemplate, group: &Group) -> bool {
    let wanted = group.template(1);
    let kind = |template: &PodGroupTemplate| {
        (template.scheduling_policy.gang.is_some(), template.scheduling_policy.basic.is_some())
    };
    let topology = |template: &PodGroupTemplate| {
        let constraints = template.scheduling_constraints.as_ref();
        constraints.and_then(|constraints| constraints.topology.clone()).unwrap_or_default()
    };
    let claims = |template: &PodGroupTemplate| template.resource_claims.clone().unwrap_or_default();
    kind(is) != kind(&wanted)
        || ![vec![], topology(&wanted)].contains(&topology(is))
        || ![vec![], claims(&wanted)].contains(&claims(is))
        || both_differ(is.disruption_mode.as_ref(), wanted.disruption_mode.as_ref())
        || both_differ(is.priority_class_name.as_ref(), wanted.priority_class_name.as_ref())
}

fn both_differ<T: PartialEq>(is: Option<&T>, wanted: Option<&T>) -> bool {
    matches!((is, wanted), (Some(is), Some(wanted)) if is != wanted)
}
