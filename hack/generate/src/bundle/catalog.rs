//! The file-based catalog for `opm`: package, channel and bundle.

use super::{CHANNEL, PACKAGE, csv};
use crate::{images::Images, yaml};
use anyhow::{Context, Result};
use jobset_api::jobset_operator;
use serde_json::{Map, Value, json};

/// Fields of the `ClusterServiceVersion`'s spec that the catalog contains.
const SPEC_FIELDS: [&str; 8] = [
    "description",
    "displayName",
    "installModes",
    "keywords",
    "links",
    "maturity",
    "minKubeVersion",
    "provider",
];

/// The catalog file. It has three documents.
pub(super) fn catalog(images: &Images, csv: &Value) -> Result<String> {
    let spec = csv.get("spec").context("the ClusterServiceVersion has no spec")?;
    let field = |name: &str| {
        spec.get(name).cloned().with_context(|| format!("the ClusterServiceVersion has no {name}"))
    };
    let icon = field("icon")?;
    let icon = icon.pointer("/0").context("the ClusterServiceVersion has no icon")?;
    let package = json!({
        "schema": "olm.package",
        "name": PACKAGE,
        "defaultChannel": CHANNEL,
        "description": field("description")?,
        "icon": { "base64data": icon.get("base64data"), "mediatype": icon.get("mediatype") },
    });
    let channel = json!({
        "schema": "olm.channel",
        "package": PACKAGE,
        "name": CHANNEL,
        "entries": [{ "name": csv::name() }],
    });
    let mut related = vec![json!({ "name": "", "image": images.bundle_image })];
    if let Value::Array(of_csv) = field("relatedImages")? {
        related.extend(of_csv);
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
    let mut text = yaml::NOTICE.to_owned();
    // No separator before the first document: `opm` would read the comment as a document without a schema.
    for (index, document) in [package, channel, bundle].iter().enumerate() {
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
