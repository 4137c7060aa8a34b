//! The validator `multiarch`, as far as it does not need the images.

use super::*;
use serde_json::json;

/// Labels name the operating system and the architectures. The pods may run on each of these architectures.
fn platforms_are_labelled(bundle: &Bundle) -> Vec<String> {
    let labels = bundle.csv.pointer("/metadata/labels").and_then(Value::as_object).unwrap();
    let supported = |prefix: &str| -> Vec<&str> {
        let labels = labels.iter().filter(|(_, value)| *value == "supported");
        labels.filter_map(|(key, _)| key.strip_prefix(prefix)).collect()
    };
    let architectures = supported("operatorframework.io/arch.");
    let known = ["amd64", "arm64", "ppc64le", "s390x"];
    let mut problems =
        violation(supported("operatorframework.io/os.") != ["linux"], "the system is not linux");
    problems.extend(violation(architectures.is_empty(), "no architecture"));
    problems.extend(
        architectures.iter().filter(|one| !known.contains(one)).map(|one| format!("architecture {one}")),
    );
    let expressions = bundle.deployments().iter().flat_map(|deployment| {
        let at = "/spec/template/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
        list(deployment, at).iter().flat_map(|term| list(term, "/matchExpressions"))
    });
    for expression in expressions.filter(|expression| expression["key"] == "kubernetes.io/arch") {
        let missing =
            architectures.iter().filter(|one| !list(expression, "/values").iter().any(|it| it == **one));
        problems.extend(missing.map(|one| format!("no pod runs on {one}")));
    }
    problems
}

#[test]
fn multiarch() {
    obeys(platforms_are_labelled);
    breaks_with(platforms_are_labelled, "/metadata/labels/operatorframework.io~1os.linux", Value::Null);
    breaks_with(
        platforms_are_labelled,
        "/metadata/labels/operatorframework.io~1arch.x86",
        json!("supported"),
    );
    breaks_with(
        platforms_are_labelled,
        "/metadata/labels",
        json!({"operatorframework.io/os.linux": "supported"}),
    );
    let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}]},
    ]}}});
    breaks_with(
        platforms_are_labelled,
        "/spec/install/spec/deployments/0/spec/template/spec/affinity",
        affinity,
    );
}
