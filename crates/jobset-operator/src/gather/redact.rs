//! Removes what must not leave the cluster from collected objects.
//!
//! Support needs the structure of an object, and not what users put into it. Of users' objects, the values of environment
//! variables, commands, arguments, headers, volume attributes, termination messages and unknown annotations are replaced,
//! whatever their names: a password needs no variable named `PASSWORD`.

use manager_runtime::certificates::decide::certificates;
use manager_runtime::certificates::issue;
use serde_json::{Map, Value, json};

/// What replaces a removed value.
pub const REDACTED: &str = "REDACTED";
/// kubectl stores the whole applied object in it, with every value that this module removes.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Environment variables of operator and operand whose values support needs. An administrator may add others.
const KNOWN_VARIABLES: [&str; 9] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "OPERAND_IMAGE",
    "OPERATOR_CONDITION_NAME",
    "RUNBOOK_URL",
];
/// Domains of the annotations that Kubernetes, OpenShift, JobSet and their usual companions write.
const KNOWN_DOMAINS: [&str; 5] =
    ["k8s.io", "kubernetes.io", "openshift.io", "cert-manager.io", "meta.helm.sh"];

/// Who wrote an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Author {
    /// This project, or the administrator who installs it.
    Installation,
    /// A user of JobSets.
    User,
}

/// Removes values from an object.
pub fn object(object: &mut Value, author: Author) {
    if let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
    }
    if object.get("kind") == Some(&json!("InstallPlan"))
        && let Some(status) = object.get_mut("status").and_then(Value::as_object_mut)
    {
        // The manifests of everything that OLM installs, also of other operators.
        status.remove("plan");
    }
    walk(object, author);
}

fn walk(value: &mut Value, author: Author) {
    match value {
        Value::String(text) => {
            *text = without_credentials(text);
        }
        Value::Array(items) => items.iter_mut().for_each(|item| walk(item, author)),
        Value::Object(fields) => {
            for (key, field) in fields.iter_mut() {
                match (key.as_str(), author) {
                    ("env", _) => values_of(field, |name| {
                        author == Author::Installation && KNOWN_VARIABLES.contains(&name)
                    }),
                    ("httpHeaders", _) => values_of(field, |_| false),
                    ("command" | "args" | "volumeAttributes" | "flexVolume", Author::User) => strings(field),
                    ("annotations", Author::User) => annotations(field),
                    ("terminated", Author::User) => {
                        if let Some(message) = field.get_mut("message") {
                            strings(message);
                        }
                    }
                    _ => {}
                }
                walk(field, author);
            }
        }
        _ => {}
    }
}

/// Replaces the values in a list of names and values, except those of some names.
fn values_of(list: &mut Value, is_kept: impl Fn(&str) -> bool) {
    for item in list.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        let keep = item.get("name").and_then(Value::as_str).is_some_and(&is_kept);
        if let Some(value) = item.get_mut("value").filter(|_| !keep) {
            strings(value);
        }
    }
}

/// Replaces every string, except empty ones, and the path of the in-place-restart-agent.
fn strings(value: &mut Value) {
    match value {
        Value::String(text) if text.is_empty() || text.ends_with("/in-place-restart-agent") => {}
        Value::String(text) => REDACTED.clone_into(text),
        Value::Array(items) => items.iter_mut().for_each(strings),
        Value::Object(fields) => fields.values_mut().for_each(strings),
        _ => {}
    }
}

fn annotations(annotations: &mut Value) {
    for (key, value) in annotations.as_object_mut().into_iter().flatten() {
        let domain = key.split_once('/').map_or("", |(domain, _)| domain);
        let is_known = |known: &&str| {
            domain == *known || domain.strip_suffix(known).is_some_and(|rest| rest.ends_with('.'))
        };
        if key == LAST_APPLIED || !KNOWN_DOMAINS.iter().any(is_known) {
            strings(value);
        }
    }
}

/// A text without the user names and passwords in its URLs.
pub fn without_credentials(text: &str) -> String {
    let mut parts = text.split("://");
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let ends = |c: char| c.is_whitespace() || "/?#\"'<>,;".contains(c);
        let authority = part.split(ends).next().unwrap_or_default();
        let rest = match authority.rfind('@').and_then(|at| part.get(at..)) {
            Some(rest) => format!("{REDACTED}{rest}"),
            None => part.to_owned(),
        };
        clean.push_str("://");
        clean.push_str(&rest);
    }
    clean
}

/// A Secret without its data: metadata, type, the names of its keys, and the validity of its certificates.
pub fn secret(secret: &Value) -> Value {
    let data = secret.get("data").and_then(Value::as_object);
    let mut metadata = Map::new();
    for field in ["name", "namespace", "uid", "creationTimestamp", "labels", "ownerReferences"] {
        if let Some(value) = secret.get("metadata").and_then(|metadata| metadata.get(field)) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": secret.get("type"),
        "keys": data.map(|data| data.keys().collect::<Vec<_>>()).unwrap_or_default(),
        "certificates": secret_certificates(secret),
    })
}

/// The validity of the certificates in a Secret. A Secret that contains none is not decoded.
pub fn secret_certificates(secret: &Value) -> Vec<Value> {
    let decoded: Option<k8s_openapi::api::core::v1::Secret> = serde_json::from_value(secret.clone()).ok();
    let data = decoded.and_then(|secret| secret.data).unwrap_or_default();
    ["ca.crt", "tls.crt"]
        .into_iter()
        .filter_map(|key| Some((key, String::from_utf8(data.get(key)?.0.clone()).ok()?)))
        .flat_map(|(key, pem)| validity(key, &pem))
        .collect()
}

/// The validity of the CAs that a webhook configuration trusts.
pub fn webhook_certificates(configuration: &Value) -> Vec<Value> {
    let webhooks = configuration.get("webhooks").and_then(Value::as_array);
    webhooks
        .into_iter()
        .flatten()
        .filter_map(|webhook| {
            let bundle = webhook.pointer("/clientConfig/caBundle")?.clone();
            let bytes: k8s_openapi::ByteString = serde_json::from_value(bundle).ok()?;
            let name = webhook.get("name").and_then(Value::as_str).unwrap_or_default();
            Some(validity(name, &String::from_utf8(bytes.0).ok()?))
        })
        .flatten()
        .collect()
}

fn validity(key: &str, pem: &str) -> Vec<Value> {
    let time = |found: Result<k8s_openapi::jiff::Timestamp, String>| match found {
        Ok(time) => time.to_string(),
        Err(problem) => problem,
    };
    certificates(pem)
        .iter()
        .map(|pem| json!({"in": key, "notBefore": time(issue::begins(pem)), "notAfter": time(issue::ends(pem))}))
        .collect()
}

#[cfg(test)]
#[path = "redact_test.rs"]
mod tests;
