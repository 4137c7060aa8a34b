//! The two `CustomResourceDefinitions`.

use crate::{kubernetes::Kubernetes, structural};
use anyhow::{Context, Result};
use jobset_api::{
    JobSetSpec, JobSetStatus, jobset,
    jobset_operator::{self, JobSetOperatorSpec, JobSetOperatorStatus},
};
use serde_json::{Value, json};

/// The JobSet CRD. It embeds the schemas of Jobs and claims of the pinned Kubernetes version, which is in an
/// annotation.
pub fn jobset(kubernetes: &Kubernetes) -> Result<Value> {
    let schema = json!({
        "description": "A group of Jobs that runs as one unit.",
        "type": "object",
        "properties": root_properties(
            &structural::of::<JobSetSpec>(kubernetes)?,
            &structural::of::<JobSetStatus>(kubernetes)?,
        ),
    });
    let columns = json!([
        {
            "name": "TerminalState",
            "type": "string",
            "jsonPath": ".status.terminalState",
            "description": "Final state of JobSet",
        },
        {
            "name": "Restarts",
            "type": "string",
            "jsonPath": ".status.restarts",
            "description": "Number of restarts",
        },
        {
            "name": "Completed",
            "type": "string",
            "jsonPath": ".status.conditions[?(@.type==\"Completed\")].status",
        },
        {
            "name": "Suspended",
            "type": "string",
            "jsonPath": ".spec.suspend",
            "description": "JobSet suspended",
        },
        {
            "name": "StartTime",
            "type": "date",
            "jsonPath": ".status.startTime",
            "description": "Time the JobSet became active",
        },
        {
            "name": "Age",
            "type": "date",
            "jsonPath": ".metadata.creationTimestamp",
            "description": "Time this JobSet was created",
        },
    ]);
    Ok(json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{}.{}", jobset::PLURAL, jobset::GROUP),
            "annotations": { "jobset.x-k8s.io/embedded-kubernetes-version": kubernetes.version },
            "labels": labels("jobset"),
        },
        "spec": {
            "group": jobset::GROUP,
            "names": {
                "kind": jobset::KIND,
                "listKind": format!("{}List", jobset::KIND),
                "plural": jobset::PLURAL,
                "singular": jobset::KIND.to_lowercase(),
            },
            "scope": "Namespaced",
            "versions": [{
                "name": jobset::VERSION,
                "served": true,
                "storage": true,
                "additionalPrinterColumns": columns,
                "schema": { "openAPIV3Schema": schema },
                "subresources": { "status": {} },
            }],
        },
    }))
}

/// The JobSetOperator CRD.
pub fn jobset_operator(kubernetes: &Kubernetes) -> Result<Value> {
    let singleton = jobset_operator::SINGLETON;
    let schema = json!({
        "description": "Configuration of the JobSet controller in this cluster. The only object is named `cluster`.",
        "type": "object",
        "required": ["spec"],
        "properties": root_properties(
            &structural::of::<JobSetOperatorSpec>(kubernetes)?,
            &structural::of::<JobSetOperatorStatus>(kubernetes)?,
        ),
        "x-kubernetes-validations": [{
            "rule": format!("self.metadata.name == '{singleton}'"),
            "message": format!("JobSetOperator is a singleton, .metadata.name must be '{singleton}'"),
        }],
    });
    let condition = |name: &str, description: &str| {
        json!({
            "name": name,
            "type": "string",
            "jsonPath": format!(".status.conditions[?(@.type==\"{name}\")].status"),
            "description": description,
        })
    };
    let columns = json!([
        condition("Available", "Whether the JobSet controller is available"),
        condition("Progressing", "Whether a rollout is in progress"),
        condition("Degraded", "Whether there is a problem that an administrator must fix"),
        {
            "name": "Version",
            "type": "string",
            "jsonPath": ".status.version",
            "description": "Version of the operator that rolled out this state",
        },
        { "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp" },
    ]);
    Ok(json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{}.{}", jobset_operator::PLURAL, jobset_operator::GROUP),
            "labels": labels("jobset-operator"),
        },
        "spec": {
            "group": jobset_operator::GROUP,
            "names": {
                "kind": jobset_operator::KIND,
                "listKind": format!("{}List", jobset_operator::KIND),
                "plural": jobset_operator::PLURAL,
                "singular": jobset_operator::KIND.to_lowercase(),
            },
            "scope": "Cluster",
            "versions": [{
                "name": jobset_operator::VERSION,
                "served": true,
                "storage": true,
                "additionalPrinterColumns": columns,
                "schema": { "openAPIV3Schema": schema },
                "subresources": { "status": {} },
            }],
        },
    }))
}

/// File name of a CRD, `<group>_<plural>.yaml` as in other Kubernetes projects.
pub fn file_name(crd: &Value) -> Result<String> {
    let text = |path: &str| {
        crd.pointer(path).and_then(Value::as_str).with_context(|| format!("the CRD has no {path}"))
    };
    Ok(format!("{}_{}.yaml", text("/spec/group")?, text("/spec/names/plural")?))
}

fn labels(name: &str) -> Value {
    json!({ "app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "jobset" })
}

fn root_properties(spec: &Value, status: &Value) -> Value {
    json!({
        "apiVersion": {
            "type": "string",
            "description": "Group and version of this object's schema, such as `group.example.com/v1`.",
        },
        "kind": { "type": "string", "description": "Kind of this object. Cannot be changed." },
        "metadata": { "type": "object" },
        "spec": spec,
        "status": status,
    })
}
