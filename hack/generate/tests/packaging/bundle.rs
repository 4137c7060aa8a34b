//! The `ClusterServiceVersion`, the catalog, and the samples.

use crate::{csv, documents, get, kustomization, policy, text};
use clap::Parser;
use generate::images::Images;
use jobset_operator::rbac;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The version in the workspace.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The version that it replaces, also that of OpenShift's Go operator.
const REPLACED: &str = "1.0.0";

#[test]
fn csv_grants_the_rules_of_the_rbac_table() {
    let csv = csv();
    let spec = &csv["spec"]["install"]["spec"];
    for (field, rules) in
        [("clusterPermissions", rbac::operator_cluster_rules()), ("permissions", rbac::operator_rules())]
    {
        assert_eq!(
            spec[field],
            json!([{"serviceAccountName": "jobset-operator", "rules": policy(&rules)}]),
            "{field}"
        );
    }
}

#[test]
fn csv_and_deploy_install_the_same_deployment() {
    let csv = csv();
    let deployments = csv["spec"]["install"]["spec"]["deployments"].as_array().unwrap();
    assert_eq!(deployments.len(), 1);
    assert_eq!(deployments[0]["name"], "jobset-operator");
    let mut deployed = get(&kustomization("deploy"), "Deployment", "jobset-operator")["spec"].clone();
    // The bundle is for OpenShift.
    deployed["template"]["metadata"]["annotations"]["openshift.io/required-scc"] = json!("restricted-v2");
    assert_eq!(deployments[0]["spec"], deployed);
    let environment = deployments[0]["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap();
    let variables: Vec<_> = environment.iter().map(|variable| &variable["name"]).collect();
    assert_eq!(variables, ["POD_NAME", "OPERAND_IMAGE"], "variables that the program reads");
    let operand = environment.iter().find(|variable| variable["name"] == "OPERAND_IMAGE").unwrap();
    let related: Vec<_> =
        csv["spec"]["relatedImages"].as_array().unwrap().iter().map(|entry| &entry["image"]).collect();
    assert!(
        related.contains(&&operand["value"]),
        "relatedImages must contain the operand's image, for mirroring"
    );
    assert!(related.contains(&&csv["metadata"]["annotations"]["containerImage"]));
}

#[test]
fn csv_has_the_values_in_the_documents() {
    let csv = csv();
    assert_eq!(csv["metadata"]["name"], format!("jobset-operator.v{VERSION}"));
    let spec = &csv["spec"];
    assert_eq!(spec["displayName"], "JobSet Operator");
    assert_eq!(
        (&spec["version"], &spec["maturity"], &spec["minKubeVersion"]),
        (&json!(VERSION), &json!("stable"), &json!("1.31.0"))
    );
    let modes: BTreeMap<_, _> = spec["installModes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mode| (mode["type"].as_str().unwrap(), mode["supported"].as_bool().unwrap()))
        .collect();
    assert_eq!(
        modes,
        BTreeMap::from([
            ("AllNamespaces", true),
            ("MultiNamespace", false),
            ("OwnNamespace", true),
            ("SingleNamespace", true)
        ])
    );
    let owned = spec["customresourcedefinitions"]["owned"].as_array().unwrap();
    assert_eq!(owned.len(), 1);
    assert_eq!(
        (&owned[0]["kind"], &owned[0]["displayName"]),
        (&json!("JobSetOperator"), &json!("JobSetOperator"))
    );
    let annotations = &csv["metadata"]["annotations"];
    for (key, value) in [
        ("operatorframework.io/suggested-namespace", "openshift-jobset-operator"),
        ("features.operators.openshift.io/fips-compliant", "false"),
        ("operatorframework.io/cluster-monitoring", "true"),
        ("operators.openshift.io/valid-subscription", "[]"),
        ("repository", "https://github.com/openshift/jobset-operator"),
    ] {
        assert_eq!(annotations[key], value, "{key}");
    }
    assert!(annotations.as_object().unwrap().values().all(Value::is_string), "annotations must be strings");
}

/// A closed network mirrors digests, not tags.
#[test]
fn only_images_with_digests_are_disconnected() {
    let csv = csv();
    let images: Vec<_> = csv["spec"]["relatedImages"].as_array().unwrap().iter().collect();
    let pinned = images.iter().all(|entry| entry["image"].as_str().unwrap().contains("@sha256:"));
    let claimed = &csv["metadata"]["annotations"]["features.operators.openshift.io/disconnected"];
    assert_eq!(*claimed, pinned.to_string());

    let images = Images::parse_from(["", "--image=r/a@sha256:01", "--bundle-image=r/b@sha256:02"]);
    assert!(images.are_pinned());
    let images = Images::parse_from(["", "--image=r/a@sha256:01", "--bundle-image=r/b:v1"]);
    assert!(!images.are_pinned());
}

/// What an administrator applies refers to the catalog and to what it contains.
#[test]
fn samples_refer_to_the_catalog() {
    let source = documents("bundle/samples/catalogsource.yaml").remove(0);
    let objects = documents("bundle/samples/subscription.yaml");
    let kinds: Vec<_> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Namespace", "OperatorGroup", "Subscription"]);
    let subscription = &objects[2]["spec"];
    assert_eq!(subscription["source"], source["metadata"]["name"]);
    assert_eq!(subscription["sourceNamespace"], source["metadata"]["namespace"]);
    let catalog = documents("bundle/catalog/job-set/catalog.yaml");
    assert_eq!((&subscription["name"], &subscription["channel"]), (&catalog[0]["name"], &catalog[1]["name"]));
    let namespace = csv()["metadata"]["namespace"].clone();
    assert_eq!(objects[0]["metadata"]["name"], namespace);
    assert!(objects[1..].iter().all(|object| object["metadata"]["namespace"] == namespace));
    assert_eq!(objects[1]["spec"]["targetNamespaces"], json!([namespace]));
}

/// The basic template has the package and the channel of the catalog: `opm` renders it to the catalog.
#[test]
fn templates_contain_the_catalog() {
    let catalog = documents("bundle/catalog/job-set/catalog.yaml");
    let template = documents("bundle/templates/basic.yaml").remove(0);
    assert_eq!(template["entries"].as_array().unwrap()[..2], catalog[..2]);
    assert_eq!(template["entries"][2]["image"], catalog[2]["image"]);
    let semver = documents("bundle/templates/semver.yaml").remove(0);
    assert_eq!(semver["Stable"]["Bundles"], json!([{"Image": catalog[2]["image"]}]));
    let dockerfile = text("bundle/catalog.Dockerfile");
    assert!(dockerfile.contains("COPY catalog /configs/\n"), "{dockerfile}");
    assert!(dockerfile.contains("LABEL operators.operatorframework.io.index.configs.v1=/configs\n"));
}

/// Asserts that the fields in the spec of a JobSetOperator exist in the schema and have valid values.
fn assert_valid(crd: &Value, cr: &Value) {
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    assert_eq!(cr["metadata"]["name"], "cluster");
    assert_eq!(cr["kind"], crd["spec"]["names"]["kind"]);
    let fields = cr["spec"].as_object().unwrap();
    assert!(!fields.is_empty());
    for (field, value) in fields {
        let node = &schema[field];
        assert!(node.is_object(), "no field {field}");
        let enumerated = node["enum"].as_array().is_some_and(|values| values.contains(value));
        let alternatives =
            node["pattern"].as_str().and_then(|pattern| pattern.strip_prefix("^(")?.strip_suffix(")$"));
        let matched = alternatives.is_some_and(|all| all.split('|').any(|one| one == value));
        assert!(enumerated || matched, "{field}: {value}");
    }
}

#[test]
fn examples_in_the_csv_are_valid() {
    let crd = documents("bundle/manifests/operator.openshift.io_jobsetoperators.yaml").remove(0);
    let csv = csv();
    let annotation = |key: &str| -> Value {
        serde_json::from_str(csv["metadata"]["annotations"][key].as_str().unwrap()).unwrap()
    };
    let examples = annotation("alm-examples");
    // The suites install this file.
    assert_eq!(examples, json!([documents("deploy/cluster.yaml")[0]]));
    assert_valid(&crd, &examples[0]);
    assert_valid(&crd, &annotation("operatorframework.io/initialization-resource"));
    assert_valid(&crd, &documents("deploy/cluster.yaml")[0]);
    assert_eq!(
        annotation("operatorframework.io/suggested-namespace-template")["metadata"]["name"],
        "openshift-jobset-operator"
    );
}

#[test]
fn package_channel_and_bundle_are_consistent() {
    let annotations = documents("bundle/metadata/annotations.yaml").remove(0)["annotations"].take();
    let prefix = "operators.operatorframework.io.bundle";
    for (key, value) in [
        ("package.v1", "job-set"),
        ("channels.v1", "stable-v1.0"),
        ("channel.default.v1", "stable-v1.0"),
        ("mediatype.v1", "registry+v1"),
        ("manifests.v1", "manifests/"),
        ("metadata.v1", "metadata/"),
    ] {
        assert_eq!(annotations[format!("{prefix}.{key}")], value, "{key}");
    }
    let dockerfile = text("bundle/bundle.Dockerfile");
    for (key, value) in annotations.as_object().unwrap() {
        let label = format!("LABEL {key}={}\n", value.as_str().unwrap());
        assert!(dockerfile.contains(&label), "bundle.Dockerfile has no {label}");
    }

    let catalog = documents("bundle/catalog/job-set/catalog.yaml");
    let find = |schema: &str| catalog.iter().find(|document| document["schema"] == schema).unwrap();
    assert_eq!(catalog.len(), 3);
    assert_eq!(
        (&find("olm.package")["name"], &find("olm.package")["defaultChannel"]),
        (&json!("job-set"), &json!("stable-v1.0"))
    );
    let range = format!(">={REPLACED} <{VERSION}");
    let csv = csv();
    assert_eq!(
        find("olm.channel")["entries"],
        json!([{"name": csv["metadata"]["name"], "replaces": csv["spec"]["replaces"], "skipRange": range}])
    );
    assert_eq!(csv["spec"]["replaces"], format!("jobset-operator.v{REPLACED}"));
    assert_eq!(csv["metadata"]["annotations"]["olm.skipRange"], range);
    let bundle = find("olm.bundle");
    assert_eq!(bundle["name"], csv["metadata"]["name"]);
    let property = |kind: &str| {
        &bundle["properties"].as_array().unwrap().iter().find(|property| property["type"] == kind).unwrap()["value"]
    };
    assert_eq!(*property("olm.package"), json!({"packageName": "job-set", "version": VERSION}));
    assert_eq!(
        *property("olm.gvk"),
        json!({"group": "operator.openshift.io", "kind": "JobSetOperator", "version": "v1"})
    );
    assert_eq!(property("olm.csv.metadata")["displayName"], "JobSet Operator");
    let related = bundle["relatedImages"].as_array().unwrap();
    assert!(related.iter().any(|entry| entry["image"] == bundle["image"]));
    let names: BTreeSet<_> = related.iter().map(|entry| entry["name"].as_str().unwrap()).collect();
    assert_eq!(names, BTreeSet::from(["jobset", "jobset-operator", "jobset-operator-bundle"]));
    assert_eq!(names.len(), related.len());
}
