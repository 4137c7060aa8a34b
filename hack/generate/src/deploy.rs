//! `deploy/`: the operator without OLM.
//!
//! Install it with `kubectl apply --server-side -k deploy`, then `kubectl apply -f deploy/cluster.yaml`. These are two
//! commands, because the API server does not serve a new API at once.

use crate::{files::Files, images::Images, objects, yaml};
use anyhow::Result;
use jobset_operator::{OperatorInputs, names, operator_objects};
use serde_json::{Value, json};

/// The operator's objects, in the order in which to apply them.
pub fn operator(images: &Images, openshift: bool) -> Result<Vec<kube::api::DynamicObject>> {
    Ok(operator_objects(&inputs(images, names::NAMESPACE, openshift))?)
}

/// Inputs of the operator's objects in this namespace.
pub fn inputs(images: &Images, namespace: &str, openshift: bool) -> OperatorInputs {
    OperatorInputs {
        namespace: namespace.to_owned(),
        operator_image: images.image.clone(),
        operand_image: images.image.clone(),
        openshift,
    }
}

/// An example of the JobSetOperator.
pub fn sample() -> Value {
    json!({
        "apiVersion": "operator.openshift.io/v1",
        "kind": "JobSetOperator",
        "metadata": { "name": jobset_api::jobset_operator::SINGLETON },
        "spec": { "managementState": "Managed", "logLevel": "Normal", "operatorLogLevel": "Normal" },
    })
}

/// Adds the files of `deploy/`.
pub fn add(files: &mut Files, images: &Images, operator_crd: &Value) -> Result<()> {
    let mut resources = vec!["00_customresourcedefinition.yaml".to_owned()];
    files.add("deploy/00_customresourcedefinition.yaml", yaml::file(operator_crd)?);
    for (index, object) in operator(images, false)?.iter().enumerate() {
        let name = format!("{:02}_{}.yaml", index + 1, objects::kind(object).to_lowercase());
        files.add(format!("deploy/{name}"), objects::file([object])?);
        resources.push(name);
    }
    files.add(
        "deploy/kustomization.yaml",
        yaml::file(&json!({
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": resources,
        }))?,
    );
    files.add("deploy/cluster.yaml", yaml::file(&sample())?);
    Ok(())
}
