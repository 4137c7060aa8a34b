//! The `ClusterServiceVersion`, which OLM installs and consoles show.

use super::descriptors;
use crate::{deploy, images::Images, objects};
use anyhow::{Context, Result};
use base64::{Engine, prelude::BASE64_STANDARD};
use jobset_operator::{names, rbac};
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::api::DynamicObject;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Version of the operator: that of the workspace.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The version that this one replaces in the channel. OpenShift's Go operator and this one have it in common: name,
/// package and version are equal, so that OLM switches between them in place.
const PREVIOUS: &str = "1.0.0";
/// Date of this version of the bundle. Change it with the version, not with each build.
const CREATED_AT: &str = "2026-11-28";

const DESCRIPTION: &str = include_str!("../../assets/description.md");
pub(super) const SUMMARY: &str = "Installs the JobSet controller, which runs groups of Jobs as one unit.";
const UNINSTALL_MESSAGE: &str = "Delete the JobSetOperator named cluster first: the operator then removes the JobSet \
     controller, its webhooks and what the console shows about JobSets. Otherwise the controller keeps running, and no \
     component repairs it or renews its certificates. JobSets are not deleted, and their API stays as long as there is \
     one. To remove the rest afterwards, delete the CustomResourceDefinition jobsetoperators.operator.openshift.io and \
     the namespace openshift-jobset-operator.";

/// Maintainers and provider.
pub(super) const MAINTAINERS: &str = "JobSet Operator contributors";

/// `metadata.name`, which is also the name of the entry in the catalog.
pub(super) fn name() -> String {
    name_of(VERSION)
}

/// The name of the version that OLM upgrades to this one.
pub(super) fn replaces() -> String {
    name_of(PREVIOUS)
}

/// The versions that OLM upgrades to this one without the versions between them.
pub(super) fn skip_range() -> String {
    format!(">={PREVIOUS} <{VERSION}")
}

fn name_of(version: &str) -> String {
    format!("{}.v{version}", names::OPERATOR)
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
            "labels": platforms(images),
            "annotations": annotations(images, namespace)?,
        },
        "spec": {
            "displayName": "JobSet Operator",
            "description": DESCRIPTION,
            "version": VERSION,
            "replaces": replaces(),
            "maturity": "stable",
            "minKubeVersion": "1.31.0",
            "keywords": ["jobset", "batch", "job", "training", "machine learning", "hpc"],
            "provider": { "name": MAINTAINERS, "url": names::REPOSITORY },
            "maintainers": [{ "name": MAINTAINERS, "email": images.maintainer_email }],
            "links": [
                { "name": "Source code", "url": names::REPOSITORY },
                { "name": "JobSet documentation", "url": "https://jobset.sigs.k8s.io" },
                { "name": "JobSet API", "url": "https://github.com/kubernetes-sigs/jobset" },
            ],
            "icon": [{ "base64data": BASE64_STANDARD.encode(jobset_operator::desired::ICON), "mediatype": "image/svg+xml" }],
            // The operator watches one cluster-scoped object and its own namespace, and does not read the target
            // namespaces of the OperatorGroup. So it works the same in each of these modes. OLM v1 installs only
            // bundles with AllNamespaces. MultiNamespace promises a choice of namespaces that has no effect.
            "installModes": [
                { "type": "OwnNamespace", "supported": true },
                { "type": "SingleNamespace", "supported": true },
                { "type": "MultiNamespace", "supported": false },
                { "type": "AllNamespaces", "supported": true },
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
        "capabilities": "Seamless Upgrades",
        "categories": "AI/Machine Learning, OpenShift Optional",
        "console.openshift.io/operator-monitoring-default": "true",
        "containerImage": images.image,
        "createdAt": CREATED_AT,
        "description": SUMMARY,
        "features.operators.openshift.io/cnf": "false",
        "features.operators.openshift.io/cni": "false",
        "features.operators.openshift.io/csi": "false",
        // A closed network mirrors images by digest. A reference with a tag does not reach its mirror.
        "features.operators.openshift.io/disconnected": images.are_pinned().to_string(),
        "features.operators.openshift.io/fips-compliant": "false",
        "features.operators.openshift.io/proxy-aware": "true",
        "features.operators.openshift.io/tls-profiles": "true",
        "features.operators.openshift.io/token-auth-aws": "false",
        "features.operators.openshift.io/token-auth-azure": "false",
        "features.operators.openshift.io/token-auth-gcp": "false",
        "olm.skipRange": skip_range(),
        "operator.openshift.io/uninstall-message": UNINSTALL_MESSAGE,
        // The operator needs no subscription.
        "operators.openshift.io/valid-subscription": "[]",
        "operatorframework.io/cluster-monitoring": "true",
        "operatorframework.io/initialization-resource": serde_json::to_string_pretty(&sample)?,
        "operatorframework.io/suggested-namespace": names::NAMESPACE,
        "operatorframework.io/suggested-namespace-template": serde_json::to_string_pretty(&objects::json(namespace)?)?,
        "repository": names::REPOSITORY,
        "support": MAINTAINERS,
    }))
}

/// The labels for the operating system and the architectures of the images.
fn platforms(images: &Images) -> BTreeMap<String, &'static str> {
    let architectures =
        images.architectures.iter().map(|architecture| format!("operatorframework.io/arch.{architecture}"));
    architectures
        .chain(["operatorframework.io/os.linux".to_owned()])
        .map(|label| (label, "supported"))
        .collect()
}

fn find<'a>(objects: &'a [DynamicObject], kind: &str) -> Result<&'a DynamicObject> {
    objects
        .iter()
        .find(|object| objects::kind(object) == kind)
        .with_context(|| format!("the operator's objects contain no {kind}"))
}
