//! The JobSet project's manifests, in namespace `jobset-system`: the objects that `kubectl apply --server-side` creates
//! from its `manifests.yaml`, without the JobSet CRD, and the certificate that its controller issues.

// The fields of serde_json values are indexed by name.
#![allow(clippy::indexing_slicing)]

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DynamicObject, ObjectMeta, PostParams};
use kube::{Client, ResourceExt as _};
use manager_runtime::certificates::decide::{BUNDLE, secret_after};
use manager_runtime::certificates::{Decision, DesiredSecret, Lifetimes};
use serde_json::{Value, json};
use std::collections::BTreeMap;

use crate::{go_operator, objects};

/// The namespace of the manifests.
pub const NAMESPACE: &str = "jobset-system";

const CONFIGURATION: &str = "
apiVersion: config.jobset.x-k8s.io/v1alpha1
kind: Configuration
leaderElection: {leaderElect: true}
internalCertManagement: {enable: true}
";

/// Applies the objects as `kubectl apply --server-side` does. Its controller then sets the CA of the webhooks, with a
/// field manager of its own.
pub async fn install(client: &Client, image: &str) -> Result<()> {
    let objects = objects(image)?;
    let secret = objects.iter().find(|object| objects::kind(object) == "Secret").context("no Secret")?;
    let authority = secret.data["data"][BUNDLE].clone();
    for object in &objects {
        let mut applied = objects::apply(client, object, "kubectl").await?;
        let Some(webhooks) = applied.data.get_mut("webhooks").and_then(Value::as_array_mut) else { continue };
        for webhook in webhooks {
            webhook["clientConfig"]["caBundle"] = authority.clone();
        }
        let manager = PostParams { field_manager: Some("manager".to_owned()), ..PostParams::default() };
        objects::api_of(client, object).await?.replace(&object.name_any(), &manager, &applied).await?;
    }
    Ok(())
}

/// The objects, in the order of their creation. `image` is the image of the controller.
///
/// OpenShift's Go operator generates its objects from these manifests, so most of them are equal.
pub fn objects(image: &str) -> Result<Vec<DynamicObject>> {
    let namespace = format!(
        "{{apiVersion: v1, kind: Namespace, metadata: {{name: {NAMESPACE}, labels: {{control-plane: controller-manager}}}}}}"
    );
    let mut all = vec![objects::one(&namespace)?, object(&certificate()?)?];
    let no_owner = DynamicObject { types: None, metadata: ObjectMeta::default(), data: Value::Null };
    for mut object in go_operator::objects(&no_owner, NAMESPACE, image)? {
        let kind = objects::kind(&object).to_owned();
        let monitoring = object.name_any() == "jobset-prometheus-k8s";
        if monitoring || ["Issuer", "Certificate", "ServiceMonitor"].contains(&kind.as_str()) {
            continue;
        }
        object.metadata.owner_references = None;
        object.metadata.annotations = None;
        match kind.as_str() {
            "ConfigMap" => object.data["data"] = json!({"controller_manager_config.yaml": CONFIGURATION}),
            "Deployment" => use_own_certificate(&mut object),
            _ => {}
        }
        all.push(object);
    }
    Ok(all)
}

/// The pod template of the manifests mounts the Secret of the controller's own certificate.
fn use_own_certificate(deployment: &mut DynamicObject) {
    let template = &mut deployment.data["spec"]["template"];
    template["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/default-container": "manager"});
    let pod = &mut template["spec"];
    pod["volumes"] = json!([
        {"name": "manager-config", "configMap": {"name": "jobset-manager-config"}},
        {"name": "cert", "secret": {"secretName": "jobset-webhook-server-cert", "defaultMode": 420}},
    ]);
    let container = &mut pod["containers"][0];
    container["args"] = json!(["--config=/controller_manager_config.yaml", "--zap-log-level=2"]);
    if let Some(mounts) = container["volumeMounts"].as_array_mut() {
        mounts.retain(|mount| mount["name"] != "metrics-certs");
    }
}

/// The Secret after the first start of the controller: the manifests contain it without data.
fn certificate() -> Result<Secret> {
    let desired = DesiredSecret {
        namespace: NAMESPACE.to_owned(),
        secret: "jobset-webhook-server-cert".to_owned(),
        labels: BTreeMap::new(),
        dns_names: vec![format!("jobset-webhook-service.{NAMESPACE}.svc")],
        authority: "jobset-ca".to_owned(),
        organization: "jobset".to_owned(),
        lifetimes: Lifetimes::default(),
    };
    let mut empty = Secret { type_: Some("Opaque".to_owned()), ..Secret::default() };
    empty.metadata.name = Some(desired.secret.clone());
    empty.metadata.namespace = Some(NAMESPACE.to_owned());
    let decision = Decision::NewAuthority { reason: String::new() };
    let now = k8s_openapi::jiff::Timestamp::now();
    secret_after(&decision, Some(&empty), "", &desired, now)?.context("no certificate was issued")
}

fn object(secret: &Secret) -> Result<DynamicObject> {
    Ok(serde_json::from_value(serde_json::to_value(secret)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;

    #[test]
    fn the_objects_are_those_of_the_manifests() {
        let all = objects("registry.example/upstream").unwrap();
        for object in &all {
            let title = objects::title(object);
            assert!(object.owner_references().is_empty(), "{title}");
            assert!(object.namespace().is_none_or(|namespace| namespace == NAMESPACE), "{title}");
        }
        let secret = all.iter().find(|object| objects::kind(object) == "Secret").unwrap();
        let data: BTreeMap<String, ByteString> = serde_json::from_value(secret.data["data"].clone()).unwrap();
        assert_eq!(data.keys().collect::<Vec<_>>(), ["ca.crt", "ca.key", "tls.crt", "tls.key"]);
    }
}
