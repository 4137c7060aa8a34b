//! The validator of `ClusterServiceVersion`s.

use super::*;
use serde_json::json;
use std::collections::BTreeSet;

/// Names are DNS subdomains, and values of labels: at most 63 characters.
fn name_format(bundle: &Bundle) -> Vec<String> {
    let is_valid = |name: &str| {
        let is_part = |part: &str| {
            let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            !part.is_empty() && part.chars().all(is_allowed) && !part.starts_with('-') && !part.ends_with('-')
        };
        name.len() <= 63 && name.split('.').all(is_part)
    };
    let names = [text(&bundle.csv, "/metadata/name"), text(&bundle.csv, "/spec/replaces")];
    names
        .into_iter()
        .filter(|name| !is_valid(name))
        .map(|name| format!("{name} is not a valid name"))
        .collect()
}

#[test]
fn csv_name_format() {
    obeys(name_format);
    breaks_with(name_format, "/metadata/name", json!("JobSet.v1.0.0"));
    breaks_with(name_format, "/metadata/name", json!(format!("{}.v1.0.0", "j".repeat(60))));
    breaks_with(name_format, "/spec/replaces", json!("jobset_operator.v1"));
}

type Gvk = (String, String);

/// The examples are JSON, each is of a provided API, and each provided API has one.
fn examples_annotations(bundle: &Bundle) -> Vec<String> {
    let examples = text(&bundle.csv, "/metadata/annotations/alm-examples");
    let Ok(Value::Array(examples)) = serde_json::from_str(examples) else {
        return vec!["alm-examples is no JSON list".to_owned()];
    };
    let examples: BTreeSet<Gvk> = examples
        .iter()
        .map(|example| (text(example, "/apiVersion").to_owned(), text(example, "/kind").to_owned()))
        .collect();
    let provided: BTreeSet<Gvk> = list(&bundle.csv, "/spec/customresourcedefinitions/owned")
        .iter()
        .map(|owned| {
            let group = text(owned, "/name").split_once('.').map_or("", |(_, group)| group);
            (format!("{group}/{}", text(owned, "/version")), text(owned, "/kind").to_owned())
        })
        .collect();
    examples
        .symmetric_difference(&provided)
        .map(|(_, kind)| format!("{kind} has no example or no API"))
        .collect()
}

#[test]
fn csv_examples_annotations() {
    obeys(examples_annotations);
    let at = "/metadata/annotations/alm-examples";
    breaks_with(examples_annotations, at, Value::Null);
    breaks_with(examples_annotations, at, json!("[]"));
    breaks_with(examples_annotations, at, json!("[{\"apiVersion\": \"operator.openshift.io/v1\",}]"));
    breaks_with(
        examples_annotations,
        at,
        json!(
            "[{\"apiVersion\": \"operator.openshift.io/v1\", \"kind\": \"JobSetOperator\"}, {\"apiVersion\": \"jobset.x-k8s.io/v1alpha2\", \"kind\": \"JobSet\"}]"
        ),
    );
}

/// Each mode is listed once, and one is supported. OLM v1 needs `AllNamespaces`.
fn install_modes(bundle: &Bundle) -> Vec<String> {
    let modes = list(&bundle.csv, "/spec/installModes");
    let types: BTreeSet<_> = modes.iter().map(|mode| text(mode, "/type")).collect();
    let is_supported =
        |name: &str| modes.iter().any(|mode| mode["type"] == name && mode["supported"] == true);
    let mut problems = violation(types.len() != modes.len(), "a mode is listed twice");
    problems.extend(violation(!modes.iter().any(|mode| mode["supported"] == true), "no mode is supported"));
    problems.extend(violation(!is_supported("AllNamespaces"), "OLM v1 does not install this bundle"));
    problems
}

#[test]
fn csv_install_modes() {
    obeys(install_modes);
    breaks_with(install_modes, "/spec/installModes", json!([]));
    breaks_with(install_modes, "/spec/installModes", json!([{"type": "OwnNamespace", "supported": true}]));
    breaks(install_modes, |bundle| {
        let modes = bundle.csv["spec"]["installModes"].as_array_mut().unwrap();
        modes.push(modes[0].clone());
    });
}

fn min_kube_version(bundle: &Bundle) -> Vec<String> {
    violation(!is_semver(text(&bundle.csv, "/spec/minKubeVersion")), "minKubeVersion is not a version")
}

#[test]
fn csv_min_kube_version() {
    obeys(min_kube_version);
    for version in [Value::Null, json!("1.31"), json!("v1.31.0")] {
        breaks_with(min_kube_version, "/spec/minKubeVersion", version);
    }
}

/// The fields that the API requires.
fn required_fields(bundle: &Bundle) -> Vec<String> {
    let mut missing = Vec::new();
    let mut require = |object: &Value, fields: &[&str]| {
        missing.extend(
            fields.iter().filter(|field| object.pointer(field).is_none()).map(|field| format!("no {field}")),
        );
    };
    require(&bundle.csv, &["/spec/displayName", "/spec/install/strategy", "/spec/version"]);
    for deployment in bundle.deployments() {
        require(deployment, &["/name", "/spec/selector", "/spec/template"]);
    }
    for owned in list(&bundle.csv, "/spec/customresourcedefinitions/owned") {
        require(owned, &["/name", "/version", "/kind"]);
        for resource in list(owned, "/resources") {
            require(resource, &["/name", "/version", "/kind"]);
        }
    }
    missing
}

#[test]
fn csv_required_fields() {
    obeys(required_fields);
    let owned = "/spec/customresourcedefinitions/owned/0";
    for pointer in [
        "/spec/displayName".to_owned(),
        "/spec/install/strategy".to_owned(),
        "/spec/install/spec/deployments/0/name".to_owned(),
        format!("{owned}/kind"),
        format!("{owned}/resources/0/name"),
    ] {
        breaks_with(required_fields, &pointer, Value::Null);
    }
}

/// OLM reads these annotations only in this case.
fn annotation_names(bundle: &Bundle) -> Vec<String> {
    const NAMES: [&str; 5] = [
        "olm.skipRange",
        "olm.properties",
        "olm.targetNamespaces",
        "olm.operatorGroup",
        "olm.operatorNamespace",
    ];
    let annotations = bundle.csv.pointer("/metadata/annotations").and_then(Value::as_object).unwrap();
    let is_wrong = |key: &&String| NAMES.iter().any(|name| name.eq_ignore_ascii_case(key) && **name != **key);
    annotations.keys().filter(is_wrong).map(|key| format!("OLM does not read {key}")).collect()
}

#[test]
fn csv_annotation_names() {
    obeys(annotation_names);
    breaks_with(annotation_names, "/metadata/annotations/olm.skiprange", json!(">=1.0.0 <1.1.0"));
}

fn version_kind(bundle: &Bundle) -> Vec<String> {
    violation(
        text(&bundle.csv, "/apiVersion") != "operators.coreos.com/v1alpha1"
            || !bundle.csv["kind"].is_string(),
        "not a ClusterServiceVersion of operators.coreos.com/v1alpha1",
    )
}

#[test]
fn csv_version_kind() {
    obeys(version_kind);
    breaks_with(version_kind, "/apiVersion", json!("operators.coreos.com/v1"));
    breaks_with(version_kind, "/kind", Value::Null);
}
