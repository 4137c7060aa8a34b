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
use k8s_openapi::api::scheduling::v1beta1::{
    DisruptionMode, PodGroupResourceClaim, PodGroupSchedulingConstraints, PodGroupSchedulingPolicy,
    PodGroupSpec, PodGroupTemplate,
};

/// Whether the Workload differs from the wanted one in more than minCount.
pub(crate) fn workload_differs(workload: &WorkloadRecord, jobset: &JobSet, groups: &Groups) -> bool {
    let spec = &workload.spec;
    let templates = spec.pod_group_templates.as_deref().unwrap_or_default();
    let has_template = |group: &Group| {
        let template = templates.iter().find(|template| template.name == group.template_name());
        template.is_some_and(|template| !template_differs(&fields(template), group))
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
        || template_differs(&fields_of_spec(&pod_group.spec), group)
}

/// The fields of a template that the controller sets, and the API server may drop or fill in.
struct Fields<'a> {
    policy: &'a PodGroupSchedulingPolicy,
    constraints: Option<&'a PodGroupSchedulingConstraints>,
    claims: &'a [PodGroupResourceClaim],
    disruption_mode: Option<&'a DisruptionMode>,
    priority_class_name: Option<&'a String>,
}

fn fields(template: &PodGroupTemplate) -> Fields<'_> {
    Fields {
        policy: &template.scheduling_policy,
        constraints: template.scheduling_constraints.as_ref(),
        claims: template.resource_claims.as_deref().unwrap_or_default(),
        disruption_mode: template.disruption_mode.as_ref(),
        priority_class_name: template.priority_class_name.as_ref(),
    }
}

fn fields_of_spec(spec: &PodGroupSpec) -> Fields<'_> {
    Fields {
        policy: &spec.scheduling_policy,
        constraints: spec.scheduling_constraints.as_ref(),
        claims: spec.resource_claims.as_deref().unwrap_or_default(),
        disruption_mode: spec.disruption_mode.as_ref(),
        priority_class_name: spec.priority_class_name.as_ref(),
    }
}

fn template_differs(is: &Fields<'_>, group: &Group) -> bool {
    let template = group.template(1);
    let wanted = fields(&template);
    let topology = |constraints: Option<&PodGroupSchedulingConstraints>| {
        constraints.and_then(|constraints| constraints.topology.clone()).unwrap_or_default()
    };
    let topology_is = topology(is.constraints);
    let was_dropped = topology_is.is_empty();
    (is.policy.gang.is_some(), is.policy.basic.is_some())
        != (wanted.policy.gang.is_some(), wanted.policy.basic.is_some())
        || (!was_dropped && topology_is != topology(wanted.constraints))
        || (!is.claims.is_empty() && is.claims != wanted.claims)
        || both_differ(is.disruption_mode, wanted.disruption_mode)
        || both_differ(is.priority_class_name, wanted.priority_class_name)
}

fn both_differ<T: PartialEq>(is: Option<&T>, wanted: Option<&T>) -> bool {
    matches!((is, wanted), (Some(is), Some(wanted)) if is != wanted)
}
