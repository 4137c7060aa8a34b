//! The file-based catalog for `opm`: package, channel and bundle.

use super::{CHANNEL, PACKAGE, csv};
use crate::{images::Images, yaml};
use anyhow::{Context, Result};
use jobset_api::jobset_operator;
use serde_json::{Map, Value, json};

/// Fields of the `ClusterServiceVersion`'s spec that the catalog contains.
const SPEC_FIELDS: [&str; 9] = [
    "description",
    "displayName",
    "installModes",
    "keywords",
    "links",
    "maintainers",
    "maturity",
    "minKubeVersion",
    "provider",
];

/// Name of the bundle's image among the related images. Mirroring tools print it.
const BUNDLE: &str = "jobset-operator-bundle";

/// The catalog file. It has three documents.
pub(super) fn catalog(images: &Images, csv: &Value) -> Result<String> {
    let mut related = vec![json!({ "name": BUNDLE, "image": images.bundle_image })];
    if let Some(Value::Array(of_csv)) = csv.pointer("/spec/relatedImages") {
        related.extend(of_csv.iter().cloned());
    }
    let bundle = json!({
        "schema": "olm.bundle",
        "package": PACKAGE,
        "name": csv::name(),
        "image": images.bundle_image,
        "relatedImages": related,
        "properties": [
            {
                "type": "olm.gvk",
                "value": {
                    "group": jobset_operator::GROUP,
                    "kind": jobset_operator::KIND,
                    "version": jobset_operator::VERSION,
                },
            },
            { "type": "olm.package", "value": { "packageName": PACKAGE, "version": csv::VERSION } },
            { "type": "olm.csv.metadata", "value": metadata(csv)? },
        ],
    });
    documents(&[package(csv)?, channel(), bundle])
}

/// The input of `opm alpha render-template basic`. The output is [`catalog`].
pub(super) fn basic_template(images: &Images, csv: &Value) -> Result<String> {
    let bundle = json!({ "schema": "olm.bundle", "image": images.bundle_image });
    yaml::file(&json!({ "schema": "olm.template.basic", "entries": [package(csv)?, channel(), bundle] }))
}

/// The input of `opm alpha render-template semver`, which names channels and edges after the versions of the bundles.
/// With major channels, each new bundle of version 1 needs only one line.
pub(super) fn semver_template(images: &Images) -> Result<String> {
    yaml::file(&json!({
        "Schema": "olm.semver",
        "GenerateMajorChannels": true,
        "GenerateMinorChannels": false,
        "Stable": { "Bundles": [{ "Image": images.bundle_image }] },
    }))
}

/// Builds the catalog's image.
pub(super) fn dockerfile() -> String {
    format!(
        "{}# Build it with bundle/ as the build context. For a reproducible image, set OPM_IMAGE to a digest.
ARG OPM_IMAGE=quay.io/operator-framework/opm:latest
FROM ${{OPM_IMAGE}}
COPY catalog /configs/
RUN [\"/bin/opm\", \"serve\", \"/configs\", \"--cache-dir=/tmp/cache\", \"--cache-only\"]
ENTRYPOINT [\"/bin/opm\"]
CMD [\"serve\", \"/configs\", \"--cache-dir=/tmp/cache\"]
LABEL operators.operatorframework.io.index.configs.v1=/configs
",
        yaml::NOTICE
    )
}

fn package(csv: &Value) -> Result<Value> {
    let icon = csv.pointer("/spec/icon/0").context("the ClusterServiceVersion has no icon")?;
    Ok(json!({
        "schema": "olm.package",
        "name": PACKAGE,
        "defaultChannel": CHANNEL,
        "description": csv.pointer("/spec/description"),
        "icon": { "base64data": icon.get("base64data"), "mediatype": icon.get("mediatype") },
    }))
}

/// The channel. The replaced version is not in this catalog. It can be that of another catalog, such as OpenShift's: OLM
/// follows the edge from the installed version, and in a valid catalog, the last entry may replace an unknown one.
fn channel() -> Value {
    json!({
        "schema": "olm.channel",
        "package": PACKAGE,
        "name": CHANNEL,
        "entries": [{ "name": csv::name(), "replaces": csv::replaces(), "skipRange": csv::skip_range() }],
    })
}

fn documents(documents: &[Value]) -> Result<String> {
    let mut text = yaml::NOTICE.to_owned();
    // No separator before the first document: `opm` would read the comment as a document without a schema.
    for (index, document) in documents.iter().enumerate() {
        if index > 0 {
            text.push_str("---\n");
        }
        text.push_str(&yaml::document(document)?);
    }
    Ok(text)
}

fn metadata(csv: &Value) -> Result<Value> {
    let mut fields = Map::new();
    for name in SPEC_FIELDS {
        let value = csv.pointer(&format!("/spec/{name}"));
        fields.insert(
            name.to_owned(),
            value.cloned().with_context(|| format!("the ClusterServiceVersion has no {name}"))?,
        );
    }
    for name in ["annotations", "labels"] {
        let value = csv.pointer(&format!("/metadata/{name}"));
        fields.insert(
            name.to_owned(),
            value.cloned().with_context(|| format!("the ClusterServiceVersion has no {name}"))?,
        );
    }
    fields.insert(
        "crdDescriptions".to_owned(),
        csv.pointer("/spec/customresourcedefinitions").cloned().unwrap_or_default(),
    );
    Ok(fields.into())
}
