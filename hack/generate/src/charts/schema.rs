//! `values.schema.json`: the types of the charts' values. Helm rejects other values, with their path.

use anyhow::{Context, Result};
use jobset_api::Configuration;
use jobset_plan::{FEATURE_GATES, Stage};
use serde_json::{Map, Value, json};

/// Values of the controller's chart.
pub(super) fn controller() -> Result<Value> {
    let gates = FEATURE_GATES.iter().map(|gate| {
        let value = if gate.stage == Stage::Ga { json!({"const": gate.default}) } else { boolean() };
        (gate.name, value)
    });
    let gates = properties(gates.chain([("AllAlpha", boolean()), ("AllBeta", boolean())]));
    let mut pods = pods();
    pods.extend([
        ("leaderElection", object([("enable", boolean())])),
        (
            "clientConnection",
            object([("qps", json!({"type": "number"})), ("burst", json!({"type": "integer"}))]),
        ),
        ("featureGates", gates),
        ("configuration", configuration()?),
        (
            "logLevel",
            json!({"anyOf": [{"enum": ["error", "info", "debug"]}, {"type": "integer", "minimum": 1}]}),
        ),
        ("envFrom", list()),
        ("volumes", list()),
        ("volumeMounts", list()),
        ("hostNetwork", boolean()),
        (
            "podDisruptionBudget",
            object([("enabled", boolean()), ("minAvailable", count()), ("maxUnavailable", count())]),
        ),
    ]);
    let issuer = object([("name", text()), ("kind", text()), ("group", text())]);
    Ok(root(common().into_iter().chain([
        ("controller", properties(pods)),
        ("certManager", object([("enable", boolean()), ("issuerRef", issuer)])),
        (
            "prometheus",
            object([("enable", boolean()), ("prometheusNamespace", name()), ("serviceAccount", name())]),
        ),
    ])))
}

/// Values of the operator's chart.
pub(super) fn operator() -> Value {
    let operand = object([("repository", text()), ("tag", text()), ("digest", digest())]);
    root(common().into_iter().chain([("operandImage", operand), ("operator", properties(pods()))]))
}

fn common() -> Vec<(&'static str, Value)> {
    let image = object([
        ("repository", json!({"type": "string", "minLength": 1})),
        ("tag", text()),
        ("digest", digest()),
        ("pullPolicy", json!({"enum": ["Always", "IfNotPresent", "Never"]})),
        ("pullSecrets", list()),
    ]);
    vec![
        ("commonLabels", strings()),
        ("commonAnnotations", strings()),
        ("image", image),
        ("crds", object([("enable", boolean())])),
        // Helm adds it where the chart is a dependency of another one.
        ("global", json!({"type": "object"})),
    ]
}

/// Values of a Deployment and its pods.
fn pods() -> Vec<(&'static str, Value)> {
    let any_object = || json!({"type": "object"});
    vec![
        ("replicas", json!({"type": "integer", "minimum": 1})),
        ("extraArgs", json!({"type": "array", "items": {"type": "string"}})),
        ("annotations", strings()),
        ("podAnnotations", strings()),
        ("podLabels", strings()),
        ("env", list()),
        ("resources", any_object()),
        ("securityContext", any_object()),
        ("podSecurityContext", any_object()),
        ("nodeSelector", strings()),
        ("affinity", any_object()),
        ("tolerations", list()),
        ("priorityClassName", text()),
    ]
}

/// Fields of the configuration file, from the Rust type. Unlike the type, the schema rejects unknown fields.
fn configuration() -> Result<Value> {
    let mut schema = serde_json::to_value(schemars::schema_for!(Configuration))?;
    let definitions = schema.get_mut("$defs").map(Value::take).unwrap_or_default();
    inline(&mut schema, &definitions)?;
    let fields = schema.as_object_mut().context("the schema of the configuration is no object")?;
    for key in ["$schema", "$defs", "title", "description", "default", "required"] {
        fields.remove(key);
    }
    Ok(schema)
}

/// Replaces references by definitions, and closes objects with named fields.
fn inline(schema: &mut Value, definitions: &Value) -> Result<()> {
    match schema {
        Value::Object(fields) => {
            if let Some(target) = fields.get("$ref").and_then(Value::as_str) {
                let name = target.trim_start_matches("#/$defs/");
                *schema = definitions.get(name).cloned().with_context(|| format!("no definition {name}"))?;
                return inline(schema, definitions);
            }
            fields.remove("default");
            if fields.contains_key("properties") {
                fields.insert("additionalProperties".to_owned(), json!(false));
                fields.remove("required");
            }
            fields.values_mut().try_for_each(|field| inline(field, definitions))
        }
        Value::Array(items) => items.iter_mut().try_for_each(|item| inline(item, definitions)),
        _ => Ok(()),
    }
}

fn root(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let mut schema = properties(fields);
    if let Some(fields) = schema.as_object_mut() {
        fields.insert("$schema".to_owned(), json!("http://json-schema.org/draft-07/schema#"));
    }
    schema
}

/// An object with these fields and no others.
fn properties(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let fields: Map<String, Value> =
        fields.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
    json!({"type": "object", "additionalProperties": false, "properties": fields})
}

fn object<const N: usize>(fields: [(&'static str, Value); N]) -> Value {
    properties(fields)
}

fn boolean() -> Value {
    json!({"type": "boolean"})
}

fn text() -> Value {
    json!({"type": "string"})
}

/// A DNS label, such as the name of a namespace.
fn name() -> Value {
    json!({"type": "string", "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"})
}

fn digest() -> Value {
    json!({"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"})
}

/// A number of pods, or a percentage. Null means the default.
fn count() -> Value {
    json!({"anyOf": [{"type": "null"}, {"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]+%$"}]})
}

/// Labels, annotations or a selector.
fn strings() -> Value {
    json!({"type": "object", "additionalProperties": {"type": "string"}})
}

/// A list of Kubernetes objects, which the API server validates.
fn list() -> Value {
    json!({"type": "array", "items": {"type": "object"}})
}
