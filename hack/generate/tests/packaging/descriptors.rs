//! The descriptors of the JobSetOperator API, from which a console makes a form and a page.

use crate::{csv, documents};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The paths of all fields in a schema, as descriptors write them: `a`, `a.b`, `a[0].c`.
fn fields(schema: &Value, path: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for (name, node) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        all.extend(fields(node, &path));
        all.extend(fields(&node["items"], &format!("{path}[0]")));
        all.insert(path);
    }
    all
}

/// The schema of a field.
fn node<'a>(schema: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(schema, |node, step| match step.strip_suffix("[0]") {
        Some(list) => &node["properties"][list]["items"],
        None => &node["properties"][step],
    })
}

/// The problems of the descriptors of a part of the API, whose fields begin with `schema`.
fn problems_of_descriptors(
    schema: &Value,
    descriptors: &Value,
    is_described: impl Fn(&str) -> bool,
) -> Vec<String> {
    let descriptors = descriptors.as_array().unwrap();
    let mut problems = Vec::new();
    let mut paths = BTreeSet::new();
    for descriptor in descriptors {
        let path = descriptor["path"].as_str().unwrap();
        let node = node(schema, path);
        if !node.is_object() {
            problems.push(format!("{path} does not exist"));
        }
        if !paths.insert(path.to_owned()) {
            problems.push(format!("{path} has two descriptors"));
        }
        for text in ["displayName", "description"] {
            if descriptor[text].as_str().is_none_or(str::is_empty) {
                problems.push(format!("{path} has no {text}"));
            }
        }
        for option in descriptor["x-descriptors"].as_array().unwrap() {
            let option = option.as_str().unwrap();
            let value = option.strip_prefix("urn:alm:descriptor:com.tectonic.ui:select:");
            let allowed = |value: &str| {
                node["enum"].as_array().is_some_and(|all| all.iter().any(|one| one == value))
                    || node["pattern"].as_str().is_some_and(|pattern| pattern.contains(value))
            };
            if value.is_some_and(|value| !allowed(value)) {
                problems.push(format!("{path} does not allow {option}"));
            }
        }
    }
    let described = fields(schema, "").into_iter().filter(|path| is_described(path));
    let missing = described.filter(|path| !paths.contains(path));
    problems.extend(missing.map(|path| format!("{path} has no descriptor")));
    problems
}

#[test]
fn every_field_has_one_descriptor() {
    let crd = documents("bundle/manifests/operator.openshift.io_jobsetoperators.yaml").remove(0);
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
    let csv = csv();
    let owned = &csv["spec"]["customresourcedefinitions"]["owned"][0];
    assert_eq!(owned["name"], crd["metadata"]["name"]);
    let all = |_: &str| true;
    assert_eq!(problems_of_descriptors(&schema["spec"], &owned["specDescriptors"], all), [""; 0]);
    // A console shows lists of the status as tables.
    let top_level = |path: &str| !path.contains(['.', '[']);
    assert_eq!(problems_of_descriptors(&schema["status"], &owned["statusDescriptors"], top_level), [""; 0]);

    let descriptor = |path: &str| {
        json!({"path": path, "displayName": "A", "description": "b",
               "x-descriptors": ["urn:alm:descriptor:com.tectonic.ui:select:Normal"]})
    };
    let broken = json!([descriptor("logLevel"), descriptor("logLevel"), descriptor("controller.pods")]);
    let problems = problems_of_descriptors(&schema["spec"], &broken, all);
    for expected in [
        "logLevel has two descriptors",
        "controller.pods does not exist",
        "controller.tolerations[0].key has no descriptor",
        "monitoring has no descriptor",
    ] {
        assert!(problems.iter().any(|problem| problem == expected), "{expected}: {problems:?}");
    }
    assert!(!problems.iter().any(|problem| problem.starts_with("logLevel does not allow")));
}

/// A form lists the fields of an object below its heading, so all of them follow it.
#[test]
fn descriptors_are_grouped_by_object() {
    let csv = csv();
    let owned = &csv["spec"]["customresourcedefinitions"]["owned"][0];
    let paths: Vec<_> = owned["specDescriptors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|descriptor| descriptor["path"].as_str().unwrap())
        .collect();
    for (index, path) in paths.iter().enumerate() {
        let Some((parent, _)) = path.rsplit_once('.') else { continue };
        let parent = parent.trim_end_matches("[0]");
        let heading = paths.iter().position(|path| *path == parent);
        assert!(heading.is_some_and(|heading| heading < index), "{path} before its heading");
        let between = &paths[heading.unwrap() + 1..index];
        assert!(between.iter().all(|path| path.starts_with(parent)), "{path} is far from {parent}");
    }
    assert_eq!(paths[0], "managementState");
}

/// Custom resources that a console may show for a JobSetOperator, and their CRDs.
const CUSTOM_RESOURCES: [(&str, &str); 4] = [
    ("Certificate", "certificates.cert-manager.io"),
    ("Issuer", "issuers.cert-manager.io"),
    ("PrometheusRule", "prometheusrules.monitoring.coreos.com"),
    ("ServiceMonitor", "servicemonitors.monitoring.coreos.com"),
];

/// The entries of `resources` of an owned CRD whose `name` OLM's API does not allow. It is the name of the CRD of a custom
/// resource, and empty for a kind of Kubernetes. With the name of an object, the console lists nothing of that kind.
fn misnamed(resources: &Value) -> Vec<&Value> {
    let allowed = |resource: &Value| {
        let custom = CUSTOM_RESOURCES.iter().find(|(kind, _)| resource["kind"] == *kind);
        custom.map_or("", |(_, crd)| crd)
    };
    resources.as_array().unwrap().iter().filter(|resource| resource["name"] != allowed(resource)).collect()
}

#[test]
fn resources_of_the_owned_crd_are_kinds_and_not_objects() {
    let csv = csv();
    let resources = &csv["spec"]["customresourcedefinitions"]["owned"][0]["resources"];
    assert_eq!(misnamed(resources), Vec::<&Value>::new());
    let kinds: BTreeSet<_> =
        resources.as_array().unwrap().iter().map(|resource| resource["kind"].as_str()).collect();
    assert_eq!(kinds.len(), resources.as_array().unwrap().len(), "a kind is listed twice");
    assert!(kinds.contains(&Some("Deployment")) && kinds.contains(&Some("Pod")));

    let entry = |kind: &str, name: &str| json!({"version": "v1", "kind": kind, "name": name});
    let allowed = json!([entry("Service", ""), entry("Issuer", "issuers.cert-manager.io")]);
    assert_eq!(misnamed(&allowed), Vec::<&Value>::new());
    let refused =
        json!([entry("Service", "jobset-webhook-service"), entry("Issuer", ""), entry("Issuer", "ca")]);
    assert_eq!(misnamed(&refused).len(), 3);
}
