//! `manifests/`: the CRDs, the dashboard for Grafana, and the controller without the operator, for Kubernetes.
//!
//! `kubectl apply --server-side -k manifests` installs the JobSet API, and the controller in namespace `jobset-system`.
//! The controller issues the certificates of its webhooks. `kubectl delete -k manifests/controller` uninstalls the
//! controller, and keeps the API and all JobSets.

use crate::{files::Files, images::Images, objects, yaml};
use anyhow::Result;
use jobset_operator::desired::dashboard::{self, Audience};
use jobset_operator::desired::{self, Inputs};
use kube::api::{ApiResource, DynamicObject};
use serde_json::json;
use std::iter;

/// Namespace of a controller that is installed without the operator.
pub const NAMESPACE: &str = "jobset-system";

/// Adds the controller's files. `jobset_crd` is the path of the JobSet CRD in `manifests/`.
pub fn add(files: &mut Files, images: &Images, jobset_crd: &str) -> Result<()> {
    let mut quota = desired::operator::critical_pods_quota();
    quota.metadata.namespace = Some(NAMESPACE.to_owned());
    let mut all = vec![namespace(), quota];
    all.extend(desired::objects(&Inputs::plain(NAMESPACE, &images.image))?);

    for (name, kinds) in FILES {
        let part: Vec<_> = all.iter().filter(|object| kinds.contains(&objects::kind(object))).collect();
        files.add(format!("manifests/controller/{name}.yaml"), objects::file(part)?);
    }
    // The CRD already has a file. The copy in the operator may be from an earlier run of the generator.
    let known = |object: &&DynamicObject| {
        let kind = objects::kind(object);
        kind == "CustomResourceDefinition" || FILES.iter().any(|(_, kinds)| kinds.contains(&kind))
    };
    if let Some(unknown) = all.iter().find(|object| !known(object)) {
        anyhow::bail!("no file of manifests/controller is for objects of kind {}", objects::kind(unknown));
    }
    let names = FILES.iter().map(|(name, _)| format!("{name}.yaml"));
    files.add("manifests/controller/kustomization.yaml", kustomization(names.clone())?);
    let controller = names.map(|name| format!("controller/{name}"));
    let all = iter::once(jobset_crd.to_owned()).chain(controller);
    files.add("manifests/kustomization.yaml", kustomization(all)?);
    files.add("manifests/grafana-dashboard.json", dashboard::text(Audience::Grafana));
    Ok(())
}

fn kustomization(resources: impl Iterator<Item = String>) -> Result<String> {
    yaml::file(&json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": resources.collect::<Vec<_>>(),
    }))
}

/// The kinds in each file.
const FILES: [(&str, &[&str]); 6] = [
    ("namespace", &["Namespace", "ResourceQuota"]),
    ("rbac", &["ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"]),
    ("services", &["Service"]),
    ("configuration", &["ConfigMap"]),
    ("deployment", &["Deployment"]),
    ("webhooks", &["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"]),
];

fn namespace() -> DynamicObject {
    let mut object = DynamicObject::new(
        NAMESPACE,
        &ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk("", "v1", "Namespace")),
    );
    let labels = object.metadata.labels.get_or_insert_default();
    for (key, value) in [
        ("control-plane", "controller-manager"),
        ("pod-security.kubernetes.io/enforce", "restricted"),
        ("pod-security.kubernetes.io/warn", "restricted"),
    ] {
        labels.insert(key.to_owned(), value.to_owned());
    }
    object
}
