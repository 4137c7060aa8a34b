//! The configuration file, decoded strictly: an unknown or duplicate field is an error that names the field.

use anyhow::{Context, Result, anyhow, bail};
use jobset_api::{Configuration, configuration};
use serde_yaml::Value;
use std::{borrow::Cow, path::Path};

/// Reads a configuration file.
pub(super) fn read(path: &Path) -> Result<Configuration> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).with_context(|| format!("{} is not a valid configuration", path.display()))
}

/// Reads the text of a configuration file.
pub(super) fn parse(text: &str) -> Result<Configuration> {
    // Some editors add a byte order mark, and some templates a document end marker.
    let text = text.trim_start_matches('\u{feff}').trim_end();
    let text = text.strip_suffix("\n---").unwrap_or(text);
    // Only untyped decoding detects every duplicate key.
    let mut untyped: Value = serde_yaml::from_str(text).map_err(|error| {
        let is_strict = error.to_string().contains("duplicate entry");
        anyhow!("{}{error}", if is_strict { "strict decoding error: " } else { "" })
    })?;
    // A field without a value, such as a section whose lines are all comments, counts as unset.
    let has_nulls = drop_nulls(&mut untyped);
    let without_nulls =
        if has_nulls { Cow::Owned(serde_yaml::to_string(&untyped)?) } else { Cow::Borrowed(text) };
    let mut unknown = Vec::new();
    let configuration: Configuration =
        serde_ignored::deserialize(serde_yaml::Deserializer::from_str(&without_nulls), |path| {
            // serde_ignored adds `?` to the path for each optional field.
            unknown.push(format!("unknown field {:?}", path.to_string().replace(".?", "")));
        })?;
    if !unknown.is_empty() {
        bail!("strict decoding error: {}", unknown.join(", "));
    }
    let found = (configuration.api_version.as_str(), configuration.kind.as_str());
    if found != (configuration::API_VERSION, configuration::KIND) {
        bail!(
            "apiVersion and kind are {:?} and {:?}, must be {:?} and {:?}",
            found.0,
            found.1,
            configuration::API_VERSION,
            configuration::KIND
        );
    }
    Ok(configuration)
}

/// Removes fields without a value. Returns whether it removed any.
fn drop_nulls(value: &mut Value) -> bool {
    let Value::Mapping(fields) = value else { return false };
    let before = fields.len();
    fields.retain(|_, value| !value.is_null());
    let mut found = fields.len() < before;
    for (_, value) in fields {
        found |= drop_nulls(value);
    }
    found
}
