//! The rules of the validators for OLM bundles. Each test is named after its rule: the bundle obeys it, and each of the
//! broken bundles in the test does not.
//!
//! `hack/test generated` also runs the validators themselves, from `hack/bundle-validators`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod crd_upgrade;
mod csv;
mod good_practices;
mod manifests;
mod operatorhub;
mod opm;
mod platforms;
mod removed_apis;

use serde::Deserialize;
use serde_json::Value;
use std::{fs, path::Path};

/// A bundle and its catalog.
#[derive(Clone, Debug)]
struct Bundle {
    csv: Value,
    /// The other objects in `manifests/`.
    objects: Vec<Value>,
    /// Bytes of the files in `manifests/`.
    size: usize,
    annotations: Value,
    catalog: Vec<Value>,
}

impl Bundle {
    /// The committed bundle.
    fn ours() -> Self {
        let files = fs::read_dir(path("bundle/manifests")).unwrap();
        let texts: Vec<_> = files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect();
        let objects = texts.iter().flat_map(|text| parse(text));
        let (csvs, objects): (Vec<_>, Vec<_>) =
            objects.partition(|object| object["kind"] == "ClusterServiceVersion");
        assert_eq!(csvs.len(), 1);
        Self {
            csv: csvs[0].clone(),
            objects,
            size: texts.iter().map(String::len).sum(),
            annotations: read("bundle/metadata/annotations.yaml").remove(0)["annotations"].take(),
            catalog: read("bundle/catalog/job-set/catalog.yaml"),
        }
    }

    fn crds(&self) -> impl Iterator<Item = &Value> {
        self.objects.iter().filter(|object| object["kind"] == "CustomResourceDefinition")
    }

    fn deployments(&self) -> &[Value] {
        list(&self.csv, "/spec/install/spec/deployments")
    }

    fn containers(&self) -> impl Iterator<Item = &Value> {
        self.deployments().iter().flat_map(|deployment| list(deployment, "/spec/template/spec/containers"))
    }

    fn rules(&self) -> impl Iterator<Item = &Value> {
        ["/spec/install/spec/permissions", "/spec/install/spec/clusterPermissions"]
            .into_iter()
            .flat_map(|pointer| list(&self.csv, pointer))
            .flat_map(|permission| list(permission, "/rules"))
    }
}

/// A rule: returns its violations.
type Rule = fn(&Bundle) -> Vec<String>;

fn obeys(rule: Rule) {
    assert_eq!(rule(&Bundle::ours()), [""; 0]);
}

/// Asserts that a change of the bundle breaks a rule.
fn breaks(rule: Rule, change: impl FnOnce(&mut Bundle)) {
    let mut bundle = Bundle::ours();
    change(&mut bundle);
    assert!(!rule(&bundle).is_empty(), "the rule accepts a broken bundle");
}

/// Asserts that another value in the `ClusterServiceVersion` breaks a rule. Null means a missing field.
fn breaks_with(rule: Rule, pointer: &str, value: Value) {
    breaks(rule, |bundle| set(&mut bundle.csv, pointer, value));
}

fn set(object: &mut Value, pointer: &str, value: Value) {
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    let parent = object.pointer_mut(parent).unwrap_or_else(|| panic!("no {pointer}"));
    let last = last.replace("~1", "/");
    match parent {
        Value::Array(items) => items[last.parse::<usize>().unwrap()] = value,
        Value::Object(fields) if value.is_null() => {
            fields.remove(&last);
        }
        Value::Object(fields) => {
            fields.insert(last, value);
        }
        _ => panic!("no {pointer}"),
    }
}

fn path(relative: &str) -> String {
    format!("{}/../../{relative}", env!("CARGO_MANIFEST_DIR"))
}

fn parse(text: &str) -> Vec<Value> {
    let documents = serde_yaml::Deserializer::from_str(text);
    documents.map(|document| Value::deserialize(document).unwrap()).collect()
}

fn read(relative: impl AsRef<Path>) -> Vec<Value> {
    parse(&fs::read_to_string(path(relative.as_ref().to_str().unwrap())).unwrap())
}

/// A list, empty if it is missing.
fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A text, empty if it is missing.
fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn violation(is_violated: bool, message: impl Into<String>) -> Vec<String> {
    if is_violated { vec![message.into()] } else { Vec::new() }
}

/// Whether a text is a semantic version, without a leading `v`.
fn is_semver(version: &str) -> bool {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let parts: Vec<_> = core.split('.').collect();
    let is_number = |part: &&str| {
        part.parse::<u64>().is_ok() && (part.len() == 1 || !part.starts_with('0')) && !part.starts_with('+')
    };
    parts.len() == 3 && parts.iter().all(is_number)
}
