//! The configuration of `operator-sdk scorecard`.

use crate::images::Images;
use serde_json::{Value, json};

/// Suite and name of each test.
const TESTS: [(&str, &str); 6] = [
    ("basic", "basic-check-spec"),
    ("olm", "olm-bundle-validation"),
    ("olm", "olm-crds-have-validation"),
    ("olm", "olm-crds-have-resources"),
    ("olm", "olm-spec-descriptors"),
    ("olm", "olm-status-descriptors"),
];

/// The scorecard configuration.
pub(super) fn configuration(images: &Images) -> Value {
    let tests: Vec<_> = TESTS
        .iter()
        .map(|(suite, test)| {
            json!({
                "entrypoint": ["scorecard-test", test],
                "image": images.scorecard_image,
                "labels": { "suite": suite, "test": format!("{test}-test") },
                "storage": { "spec": { "mountPath": {} } },
            })
        })
        .collect();
    json!({
        "apiVersion": "scorecard.operatorframework.io/v1alpha3",
        "kind": "Configuration",
        "metadata": { "name": "config" },
        "stages": [{ "parallel": true, "tests": tests }],
        "storage": { "spec": { "mountPath": {} } },
    })
}
