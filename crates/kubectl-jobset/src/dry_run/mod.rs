//! `plan`: what admission says about a JobSet, and which objects the controller creates in which order.
//!
//! Both are the functions of the controller. Between the stages, the Jobs that exist become ready, and where another
//! ReplicatedJob depends on it, complete.

mod file;
mod stages;
mod text;

#[cfg(test)]
mod tests;

pub(crate) use file::{Manifest, read};
#[cfg(test)]
pub(crate) use stages::created;

use jobset_plan::{
    Gates, defaulting,
    validation::{self, ExistingClaims},
};
use serde::Serialize;
use serde_json::{Value, json};
use stages::Stage;

/// Namespace of JobSets that name none.
const DEFAULT_NAMESPACE: &str = "default";
/// Name of JobSets whose name the API server generates.
const GENERATED: &str = "xxxxx";

/// What happens to a JobSet.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Planned {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// Why admission refuses it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) refusals: Vec<String>,
    /// What it warns about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) warnings: Vec<String>,
    /// The objects, in the order of their creation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) stages: Vec<Stage>,
    /// What the JobSet waits for after the last stage.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) then: Vec<String>,
}

/// Plans a JobSet of a file.
pub(crate) fn plan(manifest: &Manifest, namespace: Option<&str>, gates: &Gates) -> anyhow::Result<Planned> {
    let mut object = manifest.object.clone();
    complete(&mut object, namespace);
    let defaults = defaulting::defaults(&object, gates);
    let operations = defaults.into_iter().map(|it| json!({"op": "add", "path": it.path, "value": it.value}));
    let patch: json_patch::Patch = serde_json::from_value(operations.collect())?;
    json_patch::patch(&mut object, &patch)?;
    let mut jobset = file::decode(object)?;
    jobset.spec.replicated_jobs.iter_mut().for_each(defaulting::fill_in);

    let errors = validation::validate_create(&jobset, &ExistingClaims::new(), gates);
    let unknown = manifest.unknown.iter().map(|field| format!("unknown field \"{field}\""));
    let mut planned = Planned {
        namespace: jobset.metadata.namespace.clone().unwrap_or_default(),
        name: jobset.metadata.name.clone().unwrap_or_default(),
        refusals: errors.iter().map(|error| without_prefix(&error.to_string())).collect(),
        warnings: unknown.chain(validation::warnings(&jobset)).collect(),
        stages: Vec::new(),
        then: Vec::new(),
    };
    if !planned.is_refused() {
        (planned.stages, planned.then) = stages::of(jobset, gates)?;
    }
    Ok(planned)
}

/// An error of admission. Errors about several fields have a prefix that tells a user nothing.
fn without_prefix(error: &str) -> String {
    error.strip_prefix("<nil>: Internal error: ").unwrap_or(error).to_owned()
}

/// Adds what the API server adds.
fn complete(object: &mut Value, namespace: Option<&str>) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    metadata.entry("namespace").or_insert_with(|| namespace.unwrap_or(DEFAULT_NAMESPACE).into());
    let prefix = metadata.get("generateName").and_then(Value::as_str).map(str::to_owned);
    if let Some(prefix) = prefix {
        metadata.entry("name").or_insert_with(|| format!("{prefix}{GENERATED}").into());
    }
    metadata.insert("uid".to_owned(), stages::UID.into());
    metadata.insert("resourceVersion".to_owned(), "1".into());
}

impl Planned {
    /// Whether admission refuses it.
    pub(crate) fn is_refused(&self) -> bool {
        !self.refusals.is_empty()
    }
}
