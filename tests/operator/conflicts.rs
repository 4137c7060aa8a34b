//! Other installations of JobSet in the cluster.

use std::sync::Arc;

use anyhow::Result;
use jobset_tests::wait::{TIMEOUT, wait_for};
use kube::ResourceExt as _;
use serde_json::json;

use crate::cluster_facts::remove;
use crate::takeover::run_commands;
use crate::{CONFIGURATION, PROMPT, Suite, VALIDATING};

const CONTROLLER: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: jobset-system}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: jobset-controller-manager, namespace: jobset-system}
spec:
  replicas: 0
  selector: {matchLabels: {app: theirs}}
  template:
    metadata: {labels: {app: theirs}}
    spec: {containers: [{name: manager, image: registry.example/theirs}]}
";

const WEBHOOKS: &str = "
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: jobset-validating-webhook-configuration}
webhooks:
- name: vjobset.kb.io
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Ignore
  clientConfig: {service: {name: jobset-webhook-service, namespace: jobset-system, path: /validate}}
  rules: [{apiGroups: [jobset.x-k8s.io], apiVersions: [v1alpha2], operations: [CREATE], resources: [jobsets]}]
";

/// A user with rights in one project can create such a Deployment.
pub(crate) async fn a_deployment_in_another_namespace_stops_nothing(suite: Arc<Suite>) -> Result<()> {
    suite.install(json!({})).await?;
    suite.apply(CONTROLLER).await?;
    let warned = || async { suite.condition("Degraded").await };
    let names_it = |condition: &serde_json::Value| {
        condition["message"].as_str().is_some_and(|message| message.contains("namespace jobset-system"))
    };
    let degraded = wait_for("a warning with the namespace", PROMPT, warned, names_it).await?;
    assert_eq!((&degraded["status"], &degraded["reason"]), (&json!("False"), &json!("AsExpected")));
    // The operator still repairs the operand.
    suite.delete(CONFIGURATION).await?;
    suite.wait_for_object("the ConfigMap", CONFIGURATION, PROMPT, |_| true).await?;
    suite.install(json!({"logLevel": "Debug"})).await?;

    remove(&suite, CONTROLLER).await?;
    let warned = || async { suite.condition("Degraded").await };
    wait_for("no warning", TIMEOUT, warned, |condition| condition["message"] == "").await?;
    suite.install(json!({})).await
}

pub(crate) async fn another_installation_is_reported_and_not_changed(suite: Arc<Suite>) -> Result<()> {
    suite.specify(json!({"managementState": "Removed"})).await?;
    suite.wait_for_conditions(&["Available=False", "Progressing=False"], TIMEOUT).await?;
    suite.apply(CONTROLLER).await?;
    suite.apply(WEBHOOKS).await?;
    let before = suite.get(VALIDATING.0, VALIDATING.1, VALIDATING.2).await?.unwrap();
    let since = jiff::Timestamp::now();
    suite.specify(json!({"managementState": "Managed"})).await?;
    suite.wait_for_conditions(&["Degraded=True", "Available=False"], PROMPT).await?;
    let degraded = suite.condition("Degraded").await?;
    assert_eq!(degraded["reason"], "ConflictingInstallation");
    let message = degraded["message"].as_str().unwrap();
    assert!(message.contains("jobset-validating-webhook-configuration calls"), "{message}");
    assert!(message.contains("jobset-system/jobset-webhook-service"), "{message}");
    assert!(message.contains("exists in namespace jobset-system"), "{message}");
    assert_eq!(suite.writes_since(since)?, [""; 0]);
    let after = suite.get(VALIDATING.0, VALIDATING.1, VALIDATING.2).await?.unwrap();
    assert_eq!(after.resource_version(), before.resource_version());

    run_commands(&suite, message)?;
    suite.wait_for_conditions(&["Available=True", "Progressing=False", "Degraded=False"], TIMEOUT).await?;
    remove(&suite, CONTROLLER).await
}
