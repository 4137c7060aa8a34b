//! The operator's own objects, for `deploy/` and the bundle.

use super::operand::{PRIORITY_CLASS, REQUIRED_SCC};
use super::{DesiredError, is_cluster_scoped, rbac_objects, template};
use crate::{names, rbac};
use askama::Template;
use kube::api::{ApiResource, DynamicObject};
use serde_json::json;

/// Inputs of the operator's own objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorInputs {
    /// Namespace of the operator.
    pub namespace: String,
    /// Image of the operator.
    pub operator_image: String,
    /// Image of the operand, for the environment variable `OPERAND_IMAGE`.
    pub operand_image: String,
    /// Whether the objects are for OpenShift.
    pub openshift: bool,
}

/// Namespace, ServiceAccount, `ClusterRole` and Role with their bindings, and Deployment of the operator, in apply
/// order. Outside OpenShift, also the quota for its pods.
pub fn operator_objects(inputs: &OperatorInputs) -> Result<Vec<DynamicObject>, DesiredError> {
    let subjects =
        [json!({"kind": "ServiceAccount", "name": names::OPERATOR, "namespace": inputs.namespace})];
    let mut all = vec![
        namespace(&inputs.namespace),
        rbac_objects::service_account(names::OPERATOR),
        rbac_objects::role_object("ClusterRole", names::OPERATOR, &rbac::operator_cluster_rules()),
        rbac_objects::binding("ClusterRole", names::OPERATOR, names::OPERATOR, &subjects),
        rbac_objects::role_object("Role", names::OPERATOR, &rbac::operator_rules()),
        rbac_objects::binding("Role", names::OPERATOR, names::OPERATOR, &subjects),
    ];
    all.extend(deployment(inputs)?);
    if !inputs.openshift {
        all.push(critical_pods_quota());
    }
    for object in &mut all {
        if !is_cluster_scoped(object.types.as_ref().map_or("", |types| types.kind.as_str())) {
            object.metadata.namespace = Some(inputs.namespace.clone());
        }
    }
    Ok(all)
}

fn namespace(name: &str) -> DynamicObject {
    let resource = ApiResource::erase::<k8s_openapi::api::core::v1::Namespace>(&());
    let mut object = DynamicObject::new(name, &resource);
    let labels = object.metadata.labels.get_or_insert_default();
    for (key, value) in [
        // The cluster's own Prometheus scrapes namespaces with this label.
        ("openshift.io/cluster-monitoring", "true"),
        // Operator and operand meet the strictest pod security standard.
        ("pod-security.kubernetes.io/enforce", "restricted"),
        ("pod-security.kubernetes.io/warn", "restricted"),
    ] {
        labels.insert(key.to_owned(), value.to_owned());
    }
    object
}

/// A quota for pods of the default priority. Some clusters, such as those of Google Kubernetes Engine, admit such pods
/// only in namespaces with a quota for them. The limit is far above the number of pods of operator and operand.
pub fn critical_pods_quota() -> DynamicObject {
    let resource = ApiResource::erase::<k8s_openapi::api::core::v1::ResourceQuota>(&());
    DynamicObject::new("jobset-critical-pods", &resource).data(json!({"spec": {
        "hard": {"pods": "100"},
        "scopeSelector": {
            "matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": [PRIORITY_CLASS]}],
        },
    }}))
}

fn deployment(inputs: &OperatorInputs) -> Result<Vec<DynamicObject>, DesiredError> {
    #[derive(Template)]
    #[template(path = "operator.yaml")]
    struct Operator<'a> {
        name: &'a str,
        image: &'a str,
        operand_image: &'a str,
        metrics_secret: &'a str,
        priority_class: &'a str,
        required_scc: Option<&'a str>,
    }
    template::objects(
        "operator.yaml",
        &Operator {
            name: names::OPERATOR,
            image: &inputs.operator_image,
            operand_image: &inputs.operand_image,
            metrics_secret: names::OPERATOR_METRICS_SECRET,
            priority_class: PRIORITY_CLASS,
            required_scc: inputs.openshift.then_some(REQUIRED_SCC),
        },
    )
}
