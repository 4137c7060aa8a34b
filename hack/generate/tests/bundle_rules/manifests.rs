//! The validators of bundles and of CRDs.

use super::*;
use serde_json::json;
use std::collections::BTreeSet;

/// Group, version and kind.
type Gvk = (String, String, String);

/// The owned CRDs are those in the bundle.
fn owned_crds(bundle: &Bundle) -> Vec<String> {
    let owned: BTreeSet<Gvk> = list(&bundle.csv, "/spec/customresourcedefinitions/owned")
        .iter()
        .map(|owned| {
            let group = text(owned, "/name").split_once('.').map_or("", |(_, group)| group);
            (group.to_owned(), text(owned, "/version").to_owned(), text(owned, "/kind").to_owned())
        })
        .collect();
    let contained: Vec<Gvk> = bundle
        .crds()
        .flat_map(|crd| {
            let names = (text(crd, "/spec/group").to_owned(), text(crd, "/spec/names/kind").to_owned());
            list(crd, "/spec/versions")
                .iter()
                .map(move |version| (names.0.clone(), text(version, "/name").to_owned(), names.1.clone()))
        })
        .collect();
    let unique: BTreeSet<Gvk> = contained.iter().cloned().collect();
    let mut problems = violation(unique.len() != contained.len(), "a CRD is contained twice");
    problems.extend(
        owned.symmetric_difference(&unique).map(|crd| format!("{crd:?} is owned or contained, not both")),
    );
    problems
}

#[test]
fn bundle_owned_crds() {
    obeys(owned_crds);
    breaks(owned_crds, |bundle| bundle.objects.clear());
    breaks(owned_crds, |bundle| {
        let crd = bundle.objects[0].clone();
        bundle.objects.push(crd);
    });
    breaks(owned_crds, |bundle| {
        let mut crd = bundle.objects[0].clone();
        crd["spec"]["names"]["kind"] = json!("Another");
        bundle.objects.push(crd);
    });
    breaks_with(owned_crds, "/spec/customresourcedefinitions/owned/0/version", json!("v2"));
}

/// OLM creates the accounts of the Deployments, so the bundle must not contain them.
fn service_accounts(bundle: &Bundle) -> Vec<String> {
    let accounts: BTreeSet<_> = bundle
        .deployments()
        .iter()
        .map(|deployment| text(deployment, "/spec/template/spec/serviceAccountName"))
        .collect();
    let is_account = |object: &&Value| {
        object["kind"] == "ServiceAccount" && accounts.contains(text(object, "/metadata/name"))
    };
    bundle.objects.iter().filter(is_account).map(|_| "OLM creates this ServiceAccount".to_owned()).collect()
}

#[test]
fn bundle_service_accounts() {
    obeys(service_accounts);
    breaks(service_accounts, |bundle| {
        bundle.objects.push(json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "jobset-operator"},
        }));
    });
}

/// OLM stores a compressed bundle in a ConfigMap. This bundle needs no compression.
fn bundle_is_small(bundle: &Bundle) -> Vec<String> {
    violation(bundle.size > (1 << 20) * 85 / 100, format!("{} bytes", bundle.size))
}

#[test]
fn bundle_size() {
    obeys(bundle_is_small);
    breaks(bundle_is_small, |bundle| bundle.size = 1 << 20);
}

/// Each related image has a name of its own and a valid reference. All images that the operator uses are listed, so that
/// they can be mirrored.
fn related_images_are_complete(bundle: &Bundle) -> Vec<String> {
    let related = list(&bundle.csv, "/spec/relatedImages");
    let mut problems = Vec::new();
    let names: BTreeSet<_> = related.iter().map(|entry| text(entry, "/name")).collect();
    problems.extend(violation(
        names.contains("") || names.len() != related.len(),
        "an image has no name of its own",
    ));
    for entry in related {
        let image = text(entry, "/image");
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
        let (path, _) = image.split_once('@').unwrap_or((image, ""));
        let repository = path.rsplit_once('/').map_or(path, |(_, last)| last);
        let is_valid = !image.is_empty()
            && image.chars().all(is_allowed)
            && !repository.split(':').next().unwrap_or_default().is_empty()
            && !repository.chars().any(|c| c.is_ascii_uppercase());
        problems.extend(violation(!is_valid, format!("{image:?} is not a reference")));
    }
    let images: BTreeSet<_> = related.iter().map(|entry| text(entry, "/image")).collect();
    for container in bundle.containers() {
        let of_variables = list(container, "/env")
            .iter()
            .filter(|variable| text(variable, "/name").ends_with("_IMAGE"))
            .map(|variable| text(variable, "/value"));
        for image in of_variables.chain([text(container, "/image")]) {
            problems.extend(violation(!images.contains(image), format!("{image} is not a related image")));
        }
    }
    problems
}

#[test]
fn bundle_related_images() {
    obeys(related_images_are_complete);
    breaks_with(related_images_are_complete, "/spec/relatedImages/0/name", json!(""));
    breaks_with(related_images_are_complete, "/spec/relatedImages/0/image", json!(""));
    breaks_with(
        related_images_are_complete,
        "/spec/relatedImages/0/image",
        json!("registry.example/${IMAGE}"),
    );
    breaks_with(related_images_are_complete, "/spec/relatedImages", json!([]));
    let container = "/spec/install/spec/deployments/0/spec/template/spec/containers/0";
    breaks_with(
        related_images_are_complete,
        &format!("{container}/image"),
        json!("registry.example/other:v1"),
    );
}

/// The facts that the API server checks first. The api suite applies the CRDs.
fn crds_are_valid(bundle: &Bundle) -> Vec<String> {
    let mut problems = Vec::new();
    for crd in bundle.crds() {
        let name = format!("{}.{}", text(crd, "/spec/names/plural"), text(crd, "/spec/group"));
        problems
            .extend(violation(text(crd, "/metadata/name") != name, format!("the CRD is not named {name}")));
        problems.extend(violation(crd["apiVersion"] != "apiextensions.k8s.io/v1", "not a CRD of version v1"));
        let versions = list(crd, "/spec/versions");
        let stored = versions.iter().filter(|version| version["storage"] == true).count();
        problems.extend(violation(stored != 1, format!("{stored} versions are stored")));
        let is_object = |version: &&Value| text(version, "/schema/openAPIV3Schema/type") == "object";
        problems.extend(violation(
            !versions.iter().all(|version| is_object(&version)),
            "a version has no schema",
        ));
    }
    problems
}

#[test]
fn crd_is_valid() {
    obeys(crds_are_valid);
    for (pointer, value) in [
        ("/metadata/name", json!("jobsetoperator.operator.openshift.io")),
        ("/apiVersion", json!("apiextensions.k8s.io/v1beta1")),
        ("/spec/versions/0/storage", json!(false)),
        ("/spec/versions/0/schema", Value::Null),
    ] {
        breaks(crds_are_valid, |bundle| set(&mut bundle.objects[0], pointer, value));
    }
}
