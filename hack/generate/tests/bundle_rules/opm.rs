//! `opm validate`.

use super::*;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

fn of_schema<'a>(bundle: &'a Bundle, schema: &str) -> Vec<&'a Value> {
    bundle.catalog.iter().filter(|document| document["schema"] == schema).collect()
}

fn document<'a>(bundle: &'a mut Bundle, schema: &str) -> &'a mut Value {
    bundle.catalog.iter_mut().find(|document| document["schema"] == schema).unwrap()
}

/// Every document has a schema, so the first one must not be an empty one before a separator.
fn documents_have_schemas(bundle: &Bundle) -> Vec<String> {
    let known = ["olm.package", "olm.channel", "olm.bundle"];
    let is_unknown = |document: &&Value| !known.contains(&text(document, "/schema"));
    bundle
        .catalog
        .iter()
        .filter(is_unknown)
        .map(|document| format!("schema {}", document["schema"]))
        .collect()
}

#[test]
fn schemas() {
    obeys(documents_have_schemas);
    breaks(documents_have_schemas, |bundle| bundle.catalog.insert(0, Value::Null));
}

fn one_package(bundle: &Bundle) -> Vec<String> {
    let packages = of_schema(bundle, "olm.package");
    let [package] = packages.as_slice() else { return vec![format!("{} packages", packages.len())] };
    let name = text(package, "/name");
    let mut problems = violation(name.is_empty(), "the package has no name");
    let channels = of_schema(bundle, "olm.channel");
    let mut names: Vec<_> = channels.iter().map(|channel| text(channel, "/name")).collect();
    problems.extend(violation(
        !names.contains(&text(package, "/defaultChannel")),
        "the default channel does not exist",
    ));
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    problems.extend(violation(
        names.len() != count || names.contains(&""),
        "channels without names of their own",
    ));
    let parts = channels.into_iter().chain(of_schema(bundle, "olm.bundle"));
    problems
        .extend(parts.filter(|part| text(part, "/package") != name).map(|part| format!("package of {part}")));
    problems
}

#[test]
fn package_and_channels() {
    obeys(one_package);
    breaks(one_package, |bundle| document(bundle, "olm.package")["name"] = json!("jobset"));
    breaks(one_package, |bundle| document(bundle, "olm.package")["defaultChannel"] = json!("stable"));
    breaks(one_package, |bundle| {
        let channel = document(bundle, "olm.channel").clone();
        bundle.catalog.push(channel);
    });
}

/// A channel has one head, from which the edges reach all other entries, without cycles. The last entry may replace one
/// that the catalog does not have.
fn channel_is_a_chain(bundle: &Bundle) -> Vec<String> {
    let mut problems = Vec::new();
    for channel in of_schema(bundle, "olm.channel") {
        let entries: BTreeMap<_, _> =
            list(channel, "/entries").iter().map(|entry| (text(entry, "/name"), entry)).collect();
        problems.extend(violation(entries.is_empty(), "an empty channel"));
        problems
            .extend(violation(entries.len() != list(channel, "/entries").len(), "an entry is listed twice"));
        let skips = |entry: &Value| {
            list(entry, "/skips").iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
        };
        let successors: BTreeSet<String> = entries
            .values()
            .flat_map(|entry| skips(entry).into_iter().chain([text(entry, "/replaces").to_owned()]))
            .collect();
        let heads: Vec<_> = entries.keys().filter(|name| !successors.contains(**name)).collect();
        let [head] = heads.as_slice() else {
            problems.push(format!("{} heads of the channel", heads.len()));
            continue;
        };
        let (mut reached, mut next) = (BTreeSet::new(), (**head).to_owned());
        while let Some(entry) = entries.get(next.as_str()) {
            if !reached.insert(next.clone()) {
                problems.push("the edges form a cycle".to_owned());
                break;
            }
            reached.extend(skips(entry));
            text(entry, "/replaces").clone_into(&mut next);
        }
        let stranded = entries.keys().filter(|name| !reached.contains(**name));
        problems.extend(stranded.map(|name| format!("no edge reaches {name}")));
    }
    problems
}

#[test]
fn replaces_chain() {
    obeys(channel_is_a_chain);
    let with_entries = |entries: Value| {
        breaks(channel_is_a_chain, |bundle| document(bundle, "olm.channel")["entries"] = entries);
    };
    with_entries(json!([]));
    with_entries(json!([{"name": "a"}, {"name": "b"}]));
    with_entries(json!([{"name": "a", "replaces": "b"}, {"name": "b", "replaces": "a"}]));
    with_entries(
        json!([{"name": "a", "replaces": "x"}, {"name": "b", "replaces": "c"}, {"name": "c", "replaces": "b"}]),
    );
    with_entries(json!([{"name": "a"}, {"name": "a"}]));
    // Such a channel is valid.
    let mut bundle = Bundle::ours();
    document(&mut bundle, "olm.channel")["entries"] = json!([{"name": "c", "replaces": "b", "skips": ["a"]}, {"name": "b", "replaces": "unknown"}, {"name": "a"}]);
    assert_eq!(channel_is_a_chain(&bundle), [""; 0]);
}

/// Every entry is a bundle, and every bundle an entry. A bundle has one version, and an image.
fn bundles_are_entries(bundle: &Bundle) -> Vec<String> {
    let channels = of_schema(bundle, "olm.channel");
    let entries: BTreeSet<_> = channels
        .iter()
        .flat_map(|channel| list(channel, "/entries"))
        .map(|entry| text(entry, "/name"))
        .collect();
    let bundles = of_schema(bundle, "olm.bundle");
    let names: BTreeSet<_> = bundles.iter().map(|bundle| text(bundle, "/name")).collect();
    let mut problems: Vec<String> = entries
        .symmetric_difference(&names)
        .map(|name| format!("{name} is an entry or a bundle, not both"))
        .collect();
    problems.extend(violation(names.len() != bundles.len(), "a bundle is listed twice"));
    let mut versions = BTreeSet::new();
    for bundle in bundles {
        problems.extend(violation(text(bundle, "/image").is_empty(), "a bundle has no image"));
        let properties = list(bundle, "/properties");
        let packages: Vec<_> =
            properties.iter().filter(|property| property["type"] == "olm.package").collect();
        let [package] = packages.as_slice() else {
            problems.push(format!("{} properties olm.package", packages.len()));
            continue;
        };
        let version = text(package, "/value/version");
        problems
            .extend(violation(text(package, "/value/packageName") != text(bundle, "/package"), "package"));
        problems.extend(violation(!is_semver(version), format!("version {version:?}")));
        problems.extend(violation(!versions.insert(version), "two bundles have one version"));
        let related = list(bundle, "/relatedImages");
        let is_unnamed = |image: &Value| text(image, "/name").is_empty() || text(image, "/image").is_empty();
        problems.extend(violation(related.iter().any(is_unnamed), "a related image has no name"));
    }
    problems
}

#[test]
fn entries_and_bundles() {
    obeys(bundles_are_entries);
    breaks(bundles_are_entries, |bundle| {
        bundle.catalog.retain(|document| document["schema"] != "olm.bundle");
    });
    breaks(bundles_are_entries, |bundle| {
        let entries = document(bundle, "olm.channel")["entries"].as_array_mut().unwrap();
        entries.push(json!({"name": "jobset-operator.v1.0.0"}));
    });
    for (pointer, value) in [
        ("/image", json!("")),
        ("/name", json!("another.v1.1.0")),
        ("/properties", json!([])),
        ("/properties/1/value/version", json!("v1.1")),
        ("/properties/1/value/packageName", json!("jobset")),
        ("/relatedImages/0/name", json!("")),
    ] {
        breaks(bundles_are_entries, |bundle| set(document(bundle, "olm.bundle"), pointer, value));
    }
}

/// The media type of the package's icon is that of its data.
fn icon_has_its_media_type(bundle: &Bundle) -> Vec<String> {
    let icon = &of_schema(bundle, "olm.package")[0]["icon"];
    let is_svg = text(icon, "/base64data").starts_with("PHN2Zy");
    violation(text(icon, "/mediatype") != "image/svg+xml" || !is_svg, "the icon has another media type")
}

#[test]
fn package_icon() {
    obeys(icon_has_its_media_type);
    breaks(icon_has_its_media_type, |bundle| {
        document(bundle, "olm.package")["icon"]["mediatype"] = json!("image/png");
    });
    breaks(icon_has_its_media_type, |bundle| {
        document(bundle, "olm.package")["icon"]["base64data"] = json!("aWNvbg==");
    });
}
