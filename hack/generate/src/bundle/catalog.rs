//! The file-based catalog: package, channel and bundle, as `opm` serves them.

use super::{CHANNEL, PACKAGE, csv};
use crate::{images::Images, yaml};
use anyhow::{Context, Result};
use jobset_api::jobset_operator;
use serde_json::{Map, Value, json};

/// What a catalog shows of a `ClusterServiceVersion`, beside its labels and annotations.
const SHOWN: [&str; 8] = [
    "description",
    "displayName",
    "installModes",
    "keywords",
    "links",
    "maturity",
    "minKubeVersion",
    "provider",
];

/// The catalog's file: three documents.
pub(super) fn catalog(images: &Images, csv: &Value) -> Result<String> {
    let spec = csv.get("spec").context("a ClusterServiceVersion without spec")?;
    let field = |name: &str| {
        spec.get(name).cloned().with_context(|| format!("a ClusterServiceVersion without {name}"))
    };
    let icon = field("icon")?;
    let icon = icon.pointer("/0").context("a ClusterServiceVersion without icon")?;
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
    // Not before the first: to `opm` the comment alone would be a document, and one without a schema.
    for (index, document) in [package, channel, bundle].iter().enumerate() {
        if index > 0 {
            text.push_str("---\n");
        }
        text.push_str(&yaml::document(document)?);
    }
    Ok(text)
}

fn metadata(csv: &Value) -> Result<Value> {
    let mut shown = Map::new();
    for name in SHOWN {
        let value = csv.pointer(&format!("/spec/{name}"));
        shown.insert(
            name.to_owned(),
            value.cloned().with_context(|| format!("a ClusterServiceVersion without {name}"))?,
        );
    }
    for name in ["annotations", "labels"] {
        let value = csv.pointer(&format!("/metadata/{name}"));
        shown.insert(
            name.to_owned(),
            value.cloned().with_context(|| format!("a ClusterServiceVersion without {name}"))?,
        );
    }
    shown.insert(
        "crdDescriptions".to_owned(),
        csv.pointer("/spec/customresourcedefinitions").cloned().unwrap_or_default(),
    );
    Ok(shown.into())
}
