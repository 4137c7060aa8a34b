//! The validator `alpha-deprecated-apis`.

use super::*;
use serde_json::json;

/// Groups with versions that Kubernetes removed, and the versions that it serves.
const REMOVED: [(&str, &[&str]); 16] = [
    ("admissionregistration.k8s.io", &["v1"]),
    ("apiextensions.k8s.io", &["v1"]),
    ("apiregistration.k8s.io", &["v1"]),
    ("authentication.k8s.io", &["v1"]),
    ("authorization.k8s.io", &["v1"]),
    ("autoscaling", &["v1", "v2"]),
    ("batch", &["v1"]),
    ("certificates.k8s.io", &["v1"]),
    ("coordination.k8s.io", &["v1"]),
    ("discovery.k8s.io", &["v1"]),
    ("events.k8s.io", &["v1"]),
    ("flowcontrol.apiserver.k8s.io", &["v1"]),
    ("networking.k8s.io", &["v1"]),
    ("policy", &["v1"]),
    ("rbac.authorization.k8s.io", &["v1"]),
    ("scheduling.k8s.io", &["v1", "v1beta1"]),
];
/// Resources that no served version has.
const GONE: [&str; 1] = ["podsecuritypolicies"];

fn only_served_apis(bundle: &Bundle) -> Vec<String> {
    let is_removed = |object: &&Value| {
        let (group, version) = text(object, "/apiVersion").split_once('/').unwrap_or_default();
        let found = REMOVED.iter().find(|(name, _)| *name == group);
        group == "extensions" || found.is_some_and(|(_, served)| !served.contains(&version))
    };
    let objects = bundle.objects.iter().filter(is_removed).map(|object| format!("{}", object["apiVersion"]));
    let resources = bundle.rules().flat_map(|rule| list(rule, "/resources"));
    let gone = resources.filter(|resource| GONE.contains(&resource.as_str().unwrap_or_default()));
    objects.chain(gone.map(|resource| format!("{resource} is removed"))).collect()
}

#[test]
fn alpha_deprecated_apis() {
    obeys(only_served_apis);
    for (api_version, kind) in [
        ("policy/v1beta1", "PodDisruptionBudget"),
        ("extensions/v1beta1", "Ingress"),
        ("apiextensions.k8s.io/v1beta1", "CustomResourceDefinition"),
    ] {
        breaks(only_served_apis, |bundle| {
            bundle.objects.push(json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "a"}}));
        });
    }
    breaks(only_served_apis, |bundle| {
        bundle.csv["spec"]["install"]["spec"]["permissions"][0]["rules"][0]["resources"] =
            json!(["podsecuritypolicies"]);
    });
}
