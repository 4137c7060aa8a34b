//! The configuration file, decoded strictly: what is unknown, or there twice, is an error that names it.

use anyhow::{Context, Result, bail};
use jobset_api::{Configuration, configuration};
use std::path::Path;

/// Reads a configuration file.
pub(super) fn read(path: &Path) -> Result<Configuration> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).with_context(|| format!("{} is no valid configuration", path.display()))
}

/// Reads the text of a configuration file.
pub(super) fn parse(text: &str) -> Result<Configuration> {
    // Only untyped reading notices every key that repeats.
    if let Err(error) = serde_yaml::from_str::<serde_yaml::Value>(text) {
        let message = error.to_string();
        bail!(if message.contains("duplicate entry") {
            format!("strict decoding error: {message}")
        } else {
            message
        });
    }
    let mut unknown = Vec::new();
    let configuration: Configuration =
        serde_ignored::deserialize(serde_yaml::Deserializer::from_str(text), |path| {
            // A field that may be absent shows as a step of its own.
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
