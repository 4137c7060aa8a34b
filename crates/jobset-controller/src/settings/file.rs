//! The configuration file.

use anyhow::{Context, Result, bail};
use jobset_api::{Configuration, configuration};
use std::path::Path;

/// Reads a configuration file.
pub(super) fn read(path: &Path) -> Result<Configuration> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).with_context(|| format!("{} is no valid configuration", path.display()))
}

/// Reads the text of a configuration file. Unknown fields are errors, and so are fields that are there twice.
pub(super) fn parse(text: &str) -> Result<Configuration> {
    // Only untyped reading notices a key that repeats in a map.
    serde_yaml::from_str::<serde_yaml::Value>(text)?;
    let configuration: Configuration = serde_yaml::from_str(text)?;
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
