//! The operand's Deployment and its `PodDisruptionBudget`.

use super::{Certificates, DesiredError, Inputs, template};
use crate::names;
use askama::Template;
use kube::api::DynamicObject;
use serde_json::{Value, json};

/// The strictest security context constraint of OpenShift. Without it, a custom constraint could apply to the pods.
pub(super) const REQUIRED_SCC: &str = "restricted-v2";
/// The default priority of the pods of operator and operand. While no pod of the operand runs, the API server rejects
/// every JobSet of the cluster, so these pods are as important as the cluster's own.
pub const PRIORITY_CLASS: &str = "system-cluster-critical";

/// The Deployment and, for several replicas, the `PodDisruptionBudget`. `config_hash` is the hash of the configuration
/// that the pods read when they start.
pub(super) fn deployment(inputs: &Inputs, config_hash: &str) -> Result<Vec<DynamicObject>, DesiredError> {
    #[derive(Template)]
    #[template(path = "deployment.yaml")]
    struct Deployment<'a> {
        name: &'a str,
        container: &'a str,
        service_account: &'a str,
        image: &'a str,
        replicas: i32,
        required_scc: Option<&'a str>,
        hashes: Vec<(&'a str, &'a str)>,
        environment: Vec<(&'a str, &'a str)>,
        config_argument: String,
        log_argument: String,
        config_map: &'a str,
        config_key: &'a str,
        config_path: &'a str,
        webhook_secret: &'a str,
        metrics_secret: &'a str,
        internal_certificates: bool,
    }
    let config_path = "/controller_manager_config.yaml";
    let mut hashes = vec![(names::CONFIG_HASH, config_hash)];
    for (key, hash) in [
        (names::WEBHOOK_CERTIFICATE_HASH, &inputs.certificate_hashes.webhook),
        (names::METRICS_CERTIFICATE_HASH, &inputs.certificate_hashes.metrics),
    ] {
        hashes.extend(hash.as_deref().map(|hash| (key, hash)));
    }
    let mut objects = template::objects(
        "deployment.yaml",
        &Deployment {
            name: names::OPERAND,
            container: names::OPERAND_CONTAINER,
            service_account: names::OPERAND,
            image: &inputs.operand_image,
            replicas: inputs.replicas,
            required_scc: inputs.openshift.then_some(REQUIRED_SCC),
            hashes,
            environment: inputs.proxy.environment(),
            config_argument: format!("--config={config_path}"),
            log_argument: format!("--zap-log-level={}", inputs.log_level.as_str()),
            config_map: names::CONFIG_MAP,
            config_key: names::CONFIG_KEY,
            config_path,
            webhook_secret: inputs.certificates.webhook_secret(),
            metrics_secret: inputs.certificates.metrics_secret(),
            internal_certificates: inputs.certificates == Certificates::Internal,
        },
    )?;
    for object in &mut objects {
        if let Some(pod) = object.data.pointer_mut("/spec/template/spec") {
            customize(pod, inputs);
        }
    }
    Ok(objects)
}

/// Sets the scheduling and resources that the administrator configured.
fn customize(pod: &mut Value, inputs: &Inputs) {
    let controller = &inputs.controller;
    if !controller.node_selector.is_empty() {
        pod["nodeSelector"] = json!(controller.node_selector);
    }
    if !controller.tolerations.is_empty() {
        pod["tolerations"] = json!(controller.tolerations);
    }
    let priority_class = controller.priority_class_name.as_deref().unwrap_or(PRIORITY_CLASS);
    if !priority_class.is_empty() {
        pod["priorityClassName"] = json!(priority_class);
    }
    if let Some(resources) = &controller.resources
        && let Some(container) = pod.pointer_mut("/containers/0")
    {
        container["resources"] = json!(resources);
    }
}
