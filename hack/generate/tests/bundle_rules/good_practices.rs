//! The validator `good-practices`.

use super::*;
use serde_json::json;

fn resources_are_requested(bundle: &Bundle) -> Vec<String> {
    let mut problems = violation(bundle.deployments().is_empty(), "no Deployment");
    for container in bundle.containers() {
        for resource in ["cpu", "memory"] {
            let request = text(container, &format!("/resources/requests/{resource}"));
            problems.extend(violation(request.is_empty(), format!("a container requests no {resource}")));
        }
    }
    problems
}

#[test]
fn resource_requests() {
    obeys(resources_are_requested);
    let container = "/spec/install/spec/deployments/0/spec/template/spec/containers/0";
    breaks_with(resources_are_requested, &format!("{container}/resources/requests/memory"), Value::Null);
    breaks_with(resources_are_requested, "/spec/install/spec/deployments", json!([]));
}

fn crds_are_described(bundle: &Bundle) -> Vec<String> {
    let owned = list(&bundle.csv, "/spec/customresourcedefinitions/owned").iter();
    let required = list(&bundle.csv, "/spec/customresourcedefinitions/required").iter();
    owned
        .chain(required)
        .filter(|crd| text(crd, "/description").is_empty())
        .map(|crd| format!("{} has no description", crd["name"]))
        .collect()
}

#[test]
fn crd_descriptions() {
    obeys(crds_are_described);
    breaks_with(crds_are_described, "/spec/customresourcedefinitions/owned/0/description", json!(""));
}

fn channels_have_known_names(bundle: &Bundle) -> Vec<String> {
    let prefix = "operators.operatorframework.io.bundle";
    let annotation = |key: &str| bundle.annotations[format!("{prefix}.{key}")].as_str().unwrap_or_default();
    let channels = annotation("channels.v1").split(',').chain([annotation("channel.default.v1")]);
    let is_known =
        |channel: &&str| ["candidate", "fast", "stable"].iter().any(|known| channel.starts_with(known));
    channels.filter(|channel| !is_known(channel)).map(|channel| format!("channel {channel:?}")).collect()
}

#[test]
fn hub_channels() {
    obeys(channels_have_known_names);
    breaks(channels_have_known_names, |bundle| {
        bundle.annotations["operators.operatorframework.io.bundle.channels.v1"] = json!("stable-v1.0,alpha");
    });
}

/// The validator warns of every right to create CRDs. The operator applies the JobSet CRD itself: OLM would delete what
/// the operator must keep. This rule is the exception, for the one CRD of the operand, by name.
fn only_the_jobset_crd_is_written(bundle: &Bundle) -> Vec<String> {
    let has = |rule: &Value, field: &str, value: &str| {
        list(rule, field).iter().any(|one| one == value || one == "*")
    };
    let writes = |rule: &&Value| {
        has(rule, "/apiGroups", "apiextensions.k8s.io")
            && has(rule, "/resources", "customresourcedefinitions")
            && ["create", "patch", "update"].iter().any(|verb| has(rule, "/verbs", verb))
    };
    let is_limited = |rule: &&Value| rule["resourceNames"] == json!(["jobsets.jobset.x-k8s.io"]);
    let unlimited = bundle.rules().filter(writes).filter(|rule| !is_limited(rule));
    unlimited.map(|rule| format!("{rule} writes other CRDs")).collect()
}

#[test]
fn rbac_for_crds() {
    obeys(only_the_jobset_crd_is_written);
    breaks(only_the_jobset_crd_is_written, |bundle| {
        let rules = &mut bundle.csv["spec"]["install"]["spec"]["clusterPermissions"][0]["rules"];
        rules.as_array_mut().unwrap().push(json!({
            "apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"], "verbs": ["create"],
        }));
    });
}

/// `<name>.v<version>`, with the version in the spec.
fn name_contains_version(bundle: &Bundle) -> Vec<String> {
    let name = text(&bundle.csv, "/metadata/name");
    let version = name.split_once(".v").map(|(_, version)| version);
    let fits =
        version.is_some_and(|version| is_semver(version) && version == text(&bundle.csv, "/spec/version"));
    violation(!fits, format!("{name} does not end with .v and the version"))
}

#[test]
fn bundle_name() {
    obeys(name_contains_version);
    for name in ["jobset-operator", "jobset-operator.v1.1", "jobset-operator-1.1.0", "jobset-operator.v9.9.9"]
    {
        breaks_with(name_contains_version, "/metadata/name", json!(name));
    }
}
