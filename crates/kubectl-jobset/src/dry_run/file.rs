//! Reads the JobSets of a file.

use anyhow::{Context, bail};
use jobset_api::{JobSet, jobset};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;

/// A JobSet as the file contains it.
#[derive(Debug)]
pub(crate) struct Manifest {
    pub(crate) object: Value,
    /// Fields that the API does not have.
    pub(crate) unknown: Vec<String>,
}

/// The JobSets of a file of YAML documents or of JSON. Other objects are left out.
pub(crate) fn read(text: &str) -> anyhow::Result<Vec<Manifest>> {
    let mut jobsets = Vec::new();
    let mut kinds = BTreeSet::new();
    for document in serde_yaml::Deserializer::from_str(text) {
        let object = Value::deserialize(document).context("the file is neither YAML nor JSON")?;
        let items = match object.get("items").and_then(Value::as_array) {
            Some(items) => items.clone(),
            None => vec![object],
        };
        for object in items.into_iter().filter(|object| !object.is_null()) {
            if field(&object, "kind") != Some(jobset::KIND) {
                kinds.insert(field(&object, "kind").unwrap_or("an object without kind").to_owned());
                continue;
            }
            let version = field(&object, "apiVersion").unwrap_or_default();
            if version != jobset::API_VERSION {
                bail!("apiVersion of the JobSet is {version:?}: use {}", jobset::API_VERSION);
            }
            let mut unknown = Vec::new();
            // Errors of the types come later, with the name of the field.
            let _: Result<JobSet, _> =
                serde_ignored::deserialize(&object, |path| unknown.push(path.to_string()));
            unknown.retain(|field| !["apiVersion", "kind"].contains(&field.as_str()));
            jobsets.push(Manifest { object, unknown });
        }
    }
    if jobsets.is_empty() {
        match kinds.into_iter().collect::<Vec<_>>().join(", ").as_str() {
            "" => bail!("the file is empty"),
            found => bail!("the file contains no JobSet, but {found}"),
        }
    }
    Ok(jobsets)
}

/// A text field of an object.
fn field<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.get(name)?.as_str()
}

/// Decodes a JobSet. The error names the field.
pub(super) fn decode(object: Value) -> anyhow::Result<JobSet> {
    serde_path_to_error::deserialize(object).map_err(|error| {
        let path = error.path().to_string();
        anyhow::anyhow!("{path}: {}", error.into_inner())
    })
}
