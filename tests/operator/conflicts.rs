//! Other installations of JobSet in the cluster.

use std::sync::Arc;

use anyhow::Result;
use jobset_tests::wait::TIMEOUT;
use kube::ResourceExt as _;
use serde_json::json;

use crate::cluster_facts::remove;
use crate::{DEPLOYMENT, PROMPT, Suite, VALIDATING};

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

pub(crate) async fn another_controller_is_reported_and_not_changed(suite: Arc<Suite>) -> Result<()> {
    suite.install(json!({})).await?;
    suite.apply(CONTROLLER).await?;
    suite.wait_for_conditions(&["Degraded=True"], PROMPT).await?;
    let degraded = suite.condition("Degraded").await?;
    assert_eq!(degraded["reason"], "ConflictingInstallation");
    let message = degraded["message"].as_str().unwrap();
    assert!(message.contains("namespace jobset-system"), "{message}");
    // With two installations, the operator changes nothing.
    let since = jiff::Timestamp::now();
    suite
        .patch(DEPLOYMENT, json!({"metadata": {"labels": {"app.kubernetes.io/component": "theirs"}}}))
        .await?;
    suite.specify(json!({"logLevel": "Debug"})).await?;
    suite.wait_for_conditions(&["Degraded=True"], PROMPT).await?;
    assert_eq!(suite.writes_since(since)?, [""; 0]);

    remove(&suite, CONTROLLER).await?;
    suite.wait_for_conditions(&["Available=True", "Progressing=False", "Degraded=False"], TIMEOUT).await?;
    suite.install(json!({})).await
}

pub(crate) async fn foreign_webhooks_are_reported_and_not_changed(suite: Arc<Suite>) -> Result<()> {
    suite.specify(json!({"managementState": "Removed"})).await?;
    suite.wait_for_conditions(&["Available=False", "Progressing=False"], TIMEOUT).await?;
    suite.apply(WEBHOOKS).await?;
    let before = suite.get(VALIDATING.0, VALIDATING.1, VALIDATING.2).await?.unwrap();
    let since = jiff::Timestamp::now();
    suite.specify(json!({"managementState": "Managed"})).await?;
    suite.wait_for_conditions(&["Degraded=True", "Available=False"], PROMPT).await?;
    let message = suite.condition("Degraded").await?["message"].as_str().unwrap().to_owned();
    assert!(message.contains("jobset-validating-webhook-configuration"), "{message}");
    assert!(message.contains("jobset-system/jobset-webhook-service"), "{message}");
    assert_eq!(suite.writes_since(since)?, [""; 0]);
    let after = suite.get(VALIDATING.0, VALIDATING.1, VALIDATING.2).await?.unwrap();
    assert_eq!(after.resource_version(), before.resource_version());

    suite.delete(VALIDATING).await?;
    suite.wait_for_conditions(&["Available=True", "Progressing=False", "Degraded=False"], TIMEOUT).await
}
