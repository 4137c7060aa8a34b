//! The validator `operatorhubv2`, and those of categories and capabilities in the suite `operatorframework`.

use super::*;
use serde_json::json;

fn provider_is_named(bundle: &Bundle) -> Vec<String> {
    violation(text(&bundle.csv, "/spec/provider/name").trim().is_empty(), "no provider")
}

#[test]
fn provider_name() {
    obeys(provider_is_named);
    breaks_with(provider_is_named, "/spec/provider/name", json!(" "));
}

fn maintainers_have_addresses(bundle: &Bundle) -> Vec<String> {
    let maintainers = list(&bundle.csv, "/spec/maintainers");
    let is_address = |address: &str| {
        let parts = address.split_once('@');
        parts.is_some_and(|(user, host)| {
            !user.is_empty() && host.contains('.') && !host.contains(['@', ' ', ','])
        })
    };
    let is_wrong = |one: &&Value| text(one, "/name").is_empty() || !is_address(text(one, "/email"));
    let mut problems = violation(maintainers.is_empty(), "no maintainer");
    problems.extend(maintainers.iter().filter(is_wrong).map(|one| format!("{one} has no name or address")));
    problems
}

#[test]
fn maintainers() {
    obeys(maintainers_have_addresses);
    breaks_with(maintainers_have_addresses, "/spec/maintainers", Value::Null);
    breaks_with(maintainers_have_addresses, "/spec/maintainers/0/name", json!(""));
    breaks_with(maintainers_have_addresses, "/spec/maintainers/0/email", json!("nobody"));
}

fn links_have_addresses(bundle: &Bundle) -> Vec<String> {
    let links = list(&bundle.csv, "/spec/links");
    let mut names: Vec<_> = links.iter().map(|link| text(link, "/name")).collect();
    names.sort_unstable();
    names.dedup();
    let mut problems =
        violation(names.len() != links.len() || names.contains(&""), "two links have one name");
    let is_address =
        |url: &str| url.strip_prefix("https://").is_some_and(|rest| !rest.is_empty() && !rest.contains(' '));
    let is_wrong = |link: &&Value| !is_address(text(link, "/url"));
    problems.extend(links.iter().filter(is_wrong).map(|link| format!("{link} is no link")));
    problems
}

#[test]
fn links() {
    obeys(links_have_addresses);
    breaks_with(links_have_addresses, "/spec/links/0/name", json!(""));
    breaks_with(links_have_addresses, "/spec/links/0/url", json!("openshift/jobset-operator"));
    breaks(links_have_addresses, |bundle| {
        let links = bundle.csv["spec"]["links"].as_array_mut().unwrap();
        links.push(links[0].clone());
    });
}

fn version_is_set(bundle: &Bundle) -> Vec<String> {
    let version = text(&bundle.csv, "/spec/version");
    violation(!is_semver(version) || version == "0.0.0", format!("version {version:?}"))
}

#[test]
fn version() {
    obeys(version_is_set);
    for wrong in [Value::Null, json!("0.0.0"), json!("v1.1.0"), json!("1.1"), json!("1.01.0")] {
        breaks_with(version_is_set, "/spec/version", wrong);
    }
}

fn one_icon(bundle: &Bundle) -> Vec<String> {
    let icons = list(&bundle.csv, "/spec/icon");
    let known = ["image/gif", "image/jpeg", "image/png", "image/svg+xml"];
    let is_icon =
        |icon: &Value| !text(icon, "/base64data").is_empty() && known.contains(&text(icon, "/mediatype"));
    violation(icons.len() != 1 || !icons.iter().all(is_icon), "not one icon")
}

#[test]
fn icon() {
    obeys(one_icon);
    breaks_with(one_icon, "/spec/icon", json!([]));
    breaks_with(one_icon, "/spec/icon/0/mediatype", json!("image/bmp"));
    breaks_with(one_icon, "/spec/icon/0/base64data", json!(""));
    breaks(one_icon, |bundle| {
        let icons = bundle.csv["spec"]["icon"].as_array_mut().unwrap();
        icons.push(icons[0].clone());
    });
}

const CATEGORIES: [&str; 16] = [
    "AI/Machine Learning",
    "Application Runtime",
    "Big Data",
    "Cloud Provider",
    "Database",
    "Developer Tools",
    "Integration & Delivery",
    "Logging & Tracing",
    "Modernization & Migration",
    "Monitoring",
    "Networking",
    "Observability",
    "OpenShift Optional",
    "Security",
    "Storage",
    "Streaming & Messaging",
];

fn categories_are_known(bundle: &Bundle) -> Vec<String> {
    let categories = text(&bundle.csv, "/metadata/annotations/categories").split(',').map(str::trim);
    categories.filter(|one| !CATEGORIES.contains(one)).map(|one| format!("category {one:?}")).collect()
}

#[test]
fn standard_categories() {
    obeys(categories_are_known);
    breaks_with(categories_are_known, "/metadata/annotations/categories", json!("Storage, Batch"));
}

fn capability_is_known(bundle: &Bundle) -> Vec<String> {
    let levels = ["Basic Install", "Seamless Upgrades", "Full Lifecycle", "Deep Insights", "Auto Pilot"];
    let level = text(&bundle.csv, "/metadata/annotations/capabilities");
    violation(!levels.contains(&level), format!("capability level {level:?}"))
}

#[test]
fn standard_capabilities() {
    obeys(capability_is_known);
    breaks_with(capability_is_known, "/metadata/annotations/capabilities", json!("Level III"));
}

/// What certification requires. The values must be true, so each has a test of its own in `packaging`, or is a text.
fn certification_is_complete(bundle: &Bundle) -> Vec<String> {
    let required = [
        "alm-examples",
        "capabilities",
        "categories",
        "containerImage",
        "createdAt",
        "description",
        "operators.openshift.io~1valid-subscription",
        "repository",
        "support",
    ];
    let features = ["cnf", "cni", "csi", "disconnected", "fips-compliant", "proxy-aware", "tls-profiles"]
        .into_iter()
        .chain(["token-auth-aws", "token-auth-azure", "token-auth-gcp"])
        .map(|feature| format!("features.operators.openshift.io~1{feature}"));
    let annotation = |key: &str| text(&bundle.csv, &format!("/metadata/annotations/{key}"));
    let missing = required.into_iter().filter(|key| annotation(key).is_empty()).map(str::to_owned);
    let mut problems: Vec<String> = missing.collect();
    problems.extend(features.filter(|key| !["true", "false"].contains(&annotation(key))));
    let subscriptions: Result<Vec<String>, _> =
        serde_json::from_str(annotation("operators.openshift.io~1valid-subscription"));
    problems.extend(violation(subscriptions.is_err(), "valid-subscription is no list"));
    let provider = text(&bundle.csv, "/spec/provider/url");
    problems.extend(violation(!provider.starts_with("https://"), "the provider has no address"));
    let versions = bundle.annotations["com.redhat.openshift.versions"].as_str().unwrap_or_default();
    problems.extend(violation(!versions.starts_with("v4."), format!("OpenShift versions {versions:?}")));
    problems
}

#[test]
fn certification() {
    obeys(certification_is_complete);
    let at = "/metadata/annotations";
    breaks_with(certification_is_complete, &format!("{at}/repository"), Value::Null);
    breaks_with(
        certification_is_complete,
        &format!("{at}/features.operators.openshift.io~1csi"),
        json!("no"),
    );
    breaks_with(
        certification_is_complete,
        &format!("{at}/operators.openshift.io~1valid-subscription"),
        json!("none"),
    );
    breaks_with(certification_is_complete, "/spec/provider/url", Value::Null);
    breaks(certification_is_complete, |bundle| {
        bundle.annotations["com.redhat.openshift.versions"] = json!("4.18+");
    });
}
