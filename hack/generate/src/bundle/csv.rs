//! The `ClusterServiceVersion`, which OLM installs and consoles show.

use super::descriptors;
use crate::{deploy, images::Images, objects};
use anyhow::{Context, Result};
use base64::{Engine, prelude::BASE64_STANDARD};
use jobset_operator::{names, rbac};
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::api::DynamicObject;
use serde_json::{Value, json};

/// Version of the operator: that of the workspace.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Date of this version of the bundle. Change it with the version, not with each build.
const CREATED_AT: &str = "2026-11-23";
const ICON: &str = include_str!("../../assets/icon.svg");
const DESCRIPTION: &str = include_str!("../../assets/description.md");
const SUMMARY: &str = "Installs the JobSet controller, which runs groups of Jobs as one unit.";
const UNINSTALL_MESSAGE: &str = "The JobSet controller keeps running until the JobSetOperator named cluster is deleted, \
     and without the operator, no component repairs it. Delete the JobSetOperator first: the operator then removes the \
     controller and its webhooks. JobSets and their API are not deleted.";

/// `metadata.name`, which is also the name of the entry in the catalog.
pub(super) fn name() -> String {
    format!("{}.v{VERSION}", names::OPERATOR)
}

/// The `ClusterServiceVersion`.
pub(super) fn cluster_service_version(images: &Images) -> Result<Value> {
    let operator = deploy::operator(images, true)?;
    let namespace = find(&operator, "Namespace")?;
    let deployment = find(&operator, "Deployment")?;
    let rules = |rules: Vec<rbac::Rule>| rules.iter().map(PolicyRule::from).collect::<Vec<_>>();
    Ok(json!({
        "apiVersion": "operators.coreos.com/v1alpha1",
        "kind": "ClusterServiceVersion",
        "metadata": {
            "name": name(),
            "namespace": names::NAMESPACE,
            "labels": {
                "operatorframework.io/arch.amd64": "supported",
                "operatorframework.io/arch.arm64": "supported",
                "operatorframework.io/os.linux": "supported",
            },
            "annotations": annotations(images, namespace)?,
        },
        "spec": {
            "displayName": "JobSet Operator",
            "description": DESCRIPTION,
            "version": VERSION,
            "maturity": "stable",
            "minKubeVersion": "1.31.0",
            "keywords": ["jobset", "batch", "job", "training", "machine learning", "hpc"],
            "provider": { "name": "JobSet Operator contributors" },
            "links": [
                { "name": "Source code", "url": names::REPOSITORY },
                { "name": "JobSet documentation", "url": "https://jobset.sigs.k8s.io" },
                { "name": "JobSet API", "url": "https://github.com/kubernetes-sigs/jobset" },
            ],
            "icon": [{ "base64data": BASE64_STANDARD.encode(ICON), "mediatype": "image/svg+xml" }],
            // With these modes, the console offers "a specific namespace on the cluster". The operator watches one
            // cluster-scoped object and its own namespace, independent of the OperatorGroup.
            "installModes": [
                { "type": "OwnNamespace", "supported": true },
                { "type": "SingleNamespace", "supported": true },
                { "type": "MultiNamespace", "supported": false },
                { "type": "AllNamespaces", "supported": false },
            ],
            "customresourcedefinitions": { "owned": [descriptors::owned_crd()] },
            "relatedImages": [
                { "name": "jobset", "image": images.image },
                { "name": "jobset-operator", "image": images.image },
            ],
            "install": {
                "strategy": "deployment",
                "spec": {
                    "clusterPermissions": [{
                        "serviceAccountName": names::OPERATOR,
                        "rules": rules(rbac::operator_cluster_rules()),
                    }],
                    "permissions": [{
                        "serviceAccountName": names::OPERATOR,
                        "rules": rules(rbac::operator_rules()),
                    }],
                    "deployments": [{
                        "name": names::OPERATOR,
                        "label": deployment.metadata.labels,
                        "spec": deployment.data.get("spec").context("the operator's Deployment has no spec")?,
                    }],
                },
            },
        },
    }))
}

fn annotations(images: &Images, namespace: &DynamicObject) -> Result<Value> {
    let sample = deploy::sample();
    Ok(json!({
        "alm-examples": serde_json::to_string_pretty(&[&sample])?,
        "capabilities": "Basic Install",
        "categories": "AI/Machine Learning, OpenShift Optional",
        "console.openshift.io/operator-monitoring-default": "true",
        "containerImage": images.image,
        "createdAt": CREATED_AT,
        "description": SUMMARY,
        "features.operators.openshift.io/cnf": "false",
        "features.operators.openshift.io/cni": "false",
        "features.operators.openshift.io/csi": "false",
        "features.operators.openshift.io/disconnected": "true",
        "features.operators.openshift.io/fips-compliant": "false",
        "features.operators.openshift.io/proxy-aware": "true",
        "features.operators.openshift.io/tls-profiles": "true",
        "features.operators.openshift.io/token-auth-aws": "false",
        "features.operators.openshift.io/token-auth-azure": "false",
        "features.operators.openshift.io/token-auth-gcp": "false",
        "operator.openshift.io/uninstall-message": UNINSTALL_MESSAGE,
        "operatorframework.io/cluster-monitoring": "true",
        "operatorframework.io/initialization-resource": serde_json::to_string_pretty(&sample)?,
        "operatorframework.io/suggested-namespace": names::NAMESPACE,
        "operatorframework.io/suggested-namespace-template": serde_json::to_string_pretty(&objects::json(namespace)?)?,
        "repository": names::REPOSITORY,
        "support": "JobSet Operator contributors",
    }))
}

fn find<'a>(objects: &'a [DynamicObject], kind: &str) -> Result<&'a DynamicObject> {
    objects
        .iter()
        .find(|object| objects::kind(object) == kind)
        .with_context(|| format!("the operator's objects contain no {kind}"))
}
