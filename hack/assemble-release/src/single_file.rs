//! The kustomizations as single files for `kubectl apply --server-side -f`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use generate::{files::Files, yaml};
use serde_json::{Value, json};

use crate::images::CATALOG_FOLDER;
use crate::{VERSION, generated};

/// Kustomizations with the names of their single files, and what they install.
const KUSTOMIZATIONS: [(&str, &str, &str); 2] = [
    ("manifests.yaml", "manifests", "The JobSet API and the JobSet controller"),
    ("operator.yaml", "deploy", "The JobSet Operator. Afterwards, apply cluster.yaml"),
];
/// Files that are part of the release as they are.
const FILES: [&str; 4] = [
    "bundle/samples/subscription.yaml",
    "deploy/cluster.yaml",
    "manifests/crds/jobset.x-k8s.io_jobsets.yaml",
    "manifests/crds/operator.openshift.io_jobsetoperators.yaml",
];

/// The files, by name.
pub(crate) fn all(files: &Files) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for (name, folder, contents) in KUSTOMIZATIONS {
        let header =
            format!("# JobSet Operator {VERSION}. {contents}.\n# kubectl apply --server-side -f {name}\n");
        all.insert(name.to_owned(), header + &joined(files, folder)?);
    }
    for path in FILES {
        let name = Path::new(path).file_name().unwrap_or_default().to_string_lossy().into_owned();
        all.insert(name, without_notice(generated(files, path)?).to_owned());
    }
    all.insert("catalogsource.yaml".to_owned(), catalog_source(files)?);
    Ok(all)
}

/// The sample of a CatalogSource, changed for a catalog image that contains no `opm`: OLM copies the catalog out of the
/// image, and serves it with its own `opm`.
fn catalog_source(files: &Files) -> Result<String> {
    let mut object: Value = serde_yaml::from_str(generated(files, "bundle/samples/catalogsource.yaml")?)?;
    let pod = object.pointer_mut("/spec/grpcPodConfig").and_then(Value::as_object_mut);
    let pod = pod.context("the sample of the CatalogSource has no grpcPodConfig")?;
    pod.insert("extractContent".to_owned(), json!({ "catalogDir": format!("/{CATALOG_FOLDER}") }));
    yaml::document(&object)
}

/// The resources of a kustomization, in their order.
fn joined(files: &Files, folder: &str) -> Result<String> {
    let path = format!("{folder}/kustomization.yaml");
    let kustomization: Value = serde_yaml::from_str(generated(files, &path)?)?;
    let resources = kustomization.get("resources").and_then(Value::as_array);
    let resources = resources.with_context(|| format!("{path} has no resources"))?;
    let texts = resources
        .iter()
        .map(|resource| {
            let name = resource.as_str().with_context(|| format!("a resource of {path} is no text"))?;
            Ok(without_notice(generated(files, &format!("{folder}/{name}"))?))
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(texts.join("---\n"))
}

/// A file of a release is not changed by the generator.
fn without_notice(text: &str) -> &str {
    text.strip_prefix(yaml::NOTICE).unwrap_or(text)
}
