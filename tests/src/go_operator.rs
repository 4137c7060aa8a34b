//! What OpenShift's Go operator leaves in a cluster: its objects, with the JobSetOperator as owner, and its JobSet CRD.
//!
//! The Go operator creates and updates objects with field manager `jobset-operator`, without server-side apply.

// The fields of serde_json values are indexed by name.
#![allow(clippy::indexing_slicing)]

use anyhow::{Context as _, Result};
use kube::api::{DynamicObject, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

use crate::objects;

const OBJECTS: &str = include_str!("../fixtures/go-operator.yaml");
/// The labels that all its objects have, except the ConfigMap.
const LABELS: [(&str, &str); 3] = [
    ("app.kubernetes.io/instance", "jobset"),
    ("app.kubernetes.io/managed-by", "kustomize"),
    ("app.kubernetes.io/name", "jobset"),
];

/// The JobSet CRD of the Go operator. It has the current schema, so that every field of a JobSet survives.
pub fn jobset_crd(operator: &DynamicObject, namespace: &str) -> Result<DynamicObject> {
    let file = objects::repository().join("manifests/crds/jobset.x-k8s.io_jobsets.yaml");
    let mut crd = objects::read(&file)?.pop().context("the file contains no CRD")?;
    crd.metadata.labels = None;
    crd.metadata.annotations = Some(
        [
            ("cert-manager.io/inject-ca-from", format!("{namespace}/jobset-serving-cert").as_str()),
            ("controller-gen.kubebuilder.io/version", "v0.17.2"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into(),
    );
    let conversion = json!({"strategy": "Webhook", "webhook": {
        "clientConfig": {
            "service": {"name": "jobset-webhook-service", "namespace": namespace, "path": "/convert"},
        },
        "conversionReviewVersions": ["v1"],
    }});
    let spec = crd.data.pointer_mut("/spec").and_then(Value::as_object_mut).context("the CRD has no spec")?;
    spec.insert("conversion".to_owned(), conversion);
    complete(&mut crd, operator);
    Ok(crd)
}

/// The other objects of the Go operator, in the order of their creation. `image` is the image of the operand.
pub fn objects(operator: &DynamicObject, namespace: &str, image: &str) -> Result<Vec<DynamicObject>> {
    let mut objects = objects::parse(&OBJECTS.replace("NAMESPACE", namespace).replace("IMAGE", image))?;
    for object in &mut objects {
        complete(object, operator);
    }
    Ok(objects)
}

/// Creates the objects as the Go operator does, and skips those whose kind the cluster does not serve.
pub async fn create(client: &Client, objects: &[DynamicObject]) -> Result<()> {
    let parameters =
        PostParams { field_manager: Some("jobset-operator".to_owned()), ..PostParams::default() };
    for object in objects {
        let Ok(api) = objects::api_of(client, object).await else { continue };
        api.create(&parameters, object)
            .await
            .with_context(|| format!("cannot create {}", objects::title(object)))?;
    }
    Ok(())
}

/// Updates the objects as the Go operator does when it takes over again, and creates missing ones. It merges metadata,
/// keeps the CA of each webhook, and replaces everything else.
pub async fn update(client: &Client, objects: &[DynamicObject]) -> Result<()> {
    let parameters =
        PostParams { field_manager: Some("jobset-operator".to_owned()), ..PostParams::default() };
    for object in objects {
        let Ok(api) = objects::api_of(client, object).await else { continue };
        let Some(mut live) = api.get_opt(&object.name_any()).await? else {
            create(client, std::slice::from_ref(object)).await?;
            continue;
        };
        live.labels_mut().extend(object.labels().clone());
        live.annotations_mut().extend(object.annotations().clone());
        live.owner_references_mut().retain(|owner| owner.kind != "JobSetOperator");
        live.owner_references_mut().extend(object.owner_references().to_vec());
        let mut data = object.data.clone();
        for webhook in data["webhooks"].as_array_mut().into_iter().flatten() {
            let before = live.data["webhooks"].as_array().into_iter().flatten();
            if let Some(before) = before.into_iter().find(|before| before["name"] == webhook["name"]) {
                webhook["clientConfig"]["caBundle"] = before["clientConfig"]["caBundle"].clone();
            }
        }
        if objects::kind(object) != "ServiceAccount" {
            live.data = data;
        }
        api.replace(&object.name_any(), &parameters, &live)
            .await
            .with_context(|| format!("cannot update {}", objects::title(object)))?;
    }
    Ok(())
}

/// Adds labels and owner reference. The Go operator sets neither `controller` nor `blockOwnerDeletion`.
fn complete(object: &mut DynamicObject, operator: &DynamicObject) {
    if objects::kind(object) != "ConfigMap" {
        let labels = LABELS.map(|(key, value)| (key.to_owned(), value.to_owned()));
        object.metadata.labels.get_or_insert_default().extend(labels);
    }
    let owner = json!([{
        "apiVersion": "operator.openshift.io/v1", "kind": "JobSetOperator", "name": operator.name_any(),
        "uid": operator.uid(),
    }]);
    object.metadata.owner_references = serde_json::from_value(owner).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_is_owned_by_the_jobset_operator() {
        let operator: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "operator.openshift.io/v1", "kind": "JobSetOperator",
            "metadata": {"name": "cluster", "uid": "uid-of-cluster"},
        }))
        .unwrap();
        let mut all = objects(&operator, "ns-of-operand", "registry.example/go").unwrap();
        all.push(jobset_crd(&operator, "ns-of-operand").unwrap());
        // 23 generated files and the ConfigMap (specification of the Go operator, section 4).
        assert_eq!(all.len(), 24);
        for object in &all {
            assert_eq!(object.owner_references()[0].uid, "uid-of-cluster", "{}", objects::title(object));
        }
        assert!(
            all.iter()
                .any(|object| objects::title(object) == "Deployment ns-of-operand/jobset-controller-manager")
        );
    }
}
