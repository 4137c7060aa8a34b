//! What an administrator applies to install the operator from the catalog image with OLM.

use super::{CHANNEL, PACKAGE};
use crate::{deploy, images::Images, objects, yaml};
use anyhow::Result;
use jobset_operator::names;
use serde_json::json;
use std::fmt::Write;

/// Namespace of the catalogs of OpenShift. Elsewhere, OLM reads catalogs in its own namespace.
const CATALOG_NAMESPACE: &str = "openshift-marketplace";
const CATALOG: &str = "jobset-operator";

/// The `CatalogSource`.
pub(super) fn catalog_source(images: &Images) -> Result<String> {
    yaml::file(&json!({
        "apiVersion": "operators.coreos.com/v1alpha1",
        "kind": "CatalogSource",
        "metadata": { "name": CATALOG, "namespace": CATALOG_NAMESPACE },
        "spec": {
            "sourceType": "grpc",
            "image": images.catalog_image,
            "displayName": "JobSet Operator",
            "publisher": super::csv::MAINTAINERS,
            "grpcPodConfig": { "securityContextConfig": "restricted" },
        },
    }))
}

/// Namespace, `OperatorGroup` and Subscription.
pub(super) fn subscription(images: &Images) -> Result<String> {
    let mut text = yaml::NOTICE.to_owned();
    for object in deploy::operator(images, true)? {
        if objects::kind(&object) == "Namespace" {
            text.push_str(&yaml::document(&objects::json(&object)?)?);
        }
    }
    let group = json!({
        "apiVersion": "operators.coreos.com/v1",
        "kind": "OperatorGroup",
        "metadata": { "name": names::OPERATOR, "namespace": names::NAMESPACE },
        "spec": { "targetNamespaces": [names::NAMESPACE] },
    });
    let subscription = json!({
        "apiVersion": "operators.coreos.com/v1alpha1",
        "kind": "Subscription",
        "metadata": { "name": PACKAGE, "namespace": names::NAMESPACE },
        "spec": {
            "name": PACKAGE,
            "channel": CHANNEL,
            "source": CATALOG,
            "sourceNamespace": CATALOG_NAMESPACE,
            "installPlanApproval": "Automatic",
        },
    });
    for object in [group, subscription] {
        write!(text, "---\n{}", yaml::document(&object)?)?;
    }
    Ok(text)
}
