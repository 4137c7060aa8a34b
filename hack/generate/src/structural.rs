//! Converts JSON Schema and OpenAPI to *structural schemas*, which the API server requires in a CRD: no references, a
//! type in every node, no `null` branches, and list-map keys that are required or have a default.
//!
//! There are two sources. schemars generates the schemas of this project's Rust types. Schemas of Kubernetes types
//! (with names that start with `io.k8s.`) come from Kubernetes' OpenAPI documents, because the Rust types have no list
//! types, keys, defaults and formats.

use crate::kubernetes::Kubernetes;
use anyhow::{Context, Result, anyhow, bail};
use schemars::JsonSchema;
use serde_json::{Map, Value, json};
use std::fmt::Write;

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const CONDITION: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Condition";
const CLAIM: &str = "io.k8s.api.core.v1.PersistentVolumeClaim";
const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
/// In the OpenAPI document, the default of its optional `status` is empty. In the API server, it is True.
const POD_CONDITION_PATTERN: &str = "io.k8s.api.batch.v1.PodFailurePolicyOnPodConditionsPattern";

/// Pattern of a quantity (Kubernetes: resource.Quantity).
const QUANTITY_PATTERN: &str = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$";

/// Fields of the metadata of templates and claims in a JobSet. The other fields belong to stored objects.
const EMBEDDED_METADATA: [&str; 5] = ["annotations", "finalizers", "labels", "name", "namespace"];

/// Keywords with the same meaning in both sources and in a CRD. The converter drops all others.
const KEPT: [&str; 20] = [
    "type",
    "format",
    "description",
    "enum",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "required",
    "nullable",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
    // Only the schemas of IntOrString and Quantity in this module have it.
    "anyOf",
];

/// The structural schema of a Rust type.
pub fn of<T: JsonSchema>(kubernetes: &Kubernetes) -> Result<Value> {
    let root =
        schemars::generate::SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>();
    let mut root = root.to_value();
    let definitions = match root.as_object_mut().and_then(|root| root.remove("$defs")) {
        Some(Value::Object(definitions)) => definitions,
        _ => Map::new(),
    };
    Converter { kubernetes, definitions: &definitions }
        .node(&root, Origin::Rust)
        .with_context(|| format!("schema of {}", T::schema_name()))
}

/// Source of a node. It decides how to convert descriptions and defaults.
#[derive(Clone, Copy, PartialEq)]
enum Origin {
    Rust,
    Kubernetes,
}

struct Converter<'a> {
    kubernetes: &'a Kubernetes,
    definitions: &'a Map<String, Value>,
}

impl Converter<'_> {
    /// Converts a schema. Keywords next to a reference, such as a field's description, override those of its target.
    fn node(&self, schema: &Value, origin: Origin) -> Result<Value> {
        let schema = schema.as_object().with_context(|| format!("expected an object, found {schema}"))?;
        let mut node = match reference(schema)? {
            Some(name) => self.named(name)?,
            None => Map::new(),
        };
        for keyword in KEPT {
            match (keyword, schema.get(keyword)) {
                (_, None) => {}
                ("anyOf", Some(_)) if origin == Origin::Rust => {}
                ("type", Some(Value::Array(types))) => {
                    let mut types = types.iter().filter(|one| *one != "null");
                    node.insert("type".into(), types.next().context("the only type is null")?.clone());
                    if let Some(second) = types.next() {
                        bail!("second type {second}: a structural schema has one type");
                    }
                }
                ("enum", Some(Value::Array(values))) => {
                    node.insert("enum".into(), values.iter().filter(|one| !one.is_null()).cloned().collect());
                }
                ("description", Some(Value::String(text))) if origin == Origin::Rust => {
                    node.insert("description".into(), reflow(text).into());
                }
                (_, Some(value)) => {
                    node.insert(keyword.into(), value.clone());
                }
            }
        }
        if let Some(Value::Array(meanings)) = schema.get("x-enum-meanings") {
            let description = with_meanings(node.get("description"), meanings)?;
            node.insert("description".into(), description.into());
        }
        if let Some(default) = schema.get("default").filter(|default| !is_zero(default)) {
            node.insert("default".into(), default.clone());
        }
        if let Some(items) = schema.get("items") {
            node.insert("items".into(), self.node(items, origin).context("items")?);
        }
        if let Some(values @ Value::Object(_)) = schema.get("additionalProperties") {
            node.insert(
                "additionalProperties".into(),
                self.node(values, origin).context("additionalProperties")?,
            );
        }
        if let Some(Value::Object(properties)) = schema.get("properties") {
            let required = schema.get("required").and_then(Value::as_array);
            let mut converted = Map::new();
            for (name, property) in properties {
                let mut result = self.node(property, origin).with_context(|| name.clone())?;
                let is_required = required.is_some_and(|all| all.iter().any(|one| one == name));
                if origin == Origin::Kubernetes && !is_required && is_scalar_zero(property) {
                    set(&mut result, "default", property.get("default").cloned().unwrap_or_default());
                }
                converted.insert(name.clone(), result);
            }
            node.insert("properties".into(), converted.into());
        }
        if !node.contains_key("type") && !node.contains_key("x-kubernetes-int-or-string") {
            bail!("schema without type: {}", Value::from(schema.clone()));
        }
        Ok(node.into())
    }

    /// Converts the schema with this name.
    fn named(&self, name: &str) -> Result<Map<String, Value>> {
        let converted = match name {
            INT_OR_STRING => int_or_string(),
            QUANTITY => {
                let mut quantity = int_or_string();
                set(&mut quantity, "pattern", QUANTITY_PATTERN.into());
                quantity
            }
            OBJECT_META => self.embedded_metadata()?,
            CONDITION => self.condition()?,
            CLAIM => self.claim()?,
            _ if name.starts_with("io.k8s.") => self.kubernetes_node(name)?,
            _ => {
                let schema =
                    self.definitions.get(name).ok_or_else(|| anyhow!("there is no schema {name}"))?;
                self.node(schema, Origin::Rust).with_context(|| name.to_owned())?
            }
        };
        match converted {
            Value::Object(map) => Ok(map),
            other => bail!("{name}: expected an object, found {other}"),
        }
    }

    fn kubernetes_node(&self, name: &str) -> Result<Value> {
        let schema = self
            .kubernetes
            .schemas
            .get(name)
            .ok_or_else(|| anyhow!("Kubernetes {} has no schema {name}", self.kubernetes.version))?;
        let mut node = self.node(schema, Origin::Kubernetes).with_context(|| name.to_owned())?;
        if name == POD_CONDITION_PATTERN
            && let Some(status) = node.pointer_mut("/properties/status").and_then(Value::as_object_mut)
        {
            status.remove("default");
        }
        Ok(node)
    }

    /// Metadata of an object in a JobSet. Finalizers are a list and not a set here, because the JobSet API accepts
    /// duplicates.
    fn embedded_metadata(&self) -> Result<Value> {
        let mut meta = self.kubernetes_node(OBJECT_META)?;
        let properties = meta
            .get_mut("properties")
            .and_then(Value::as_object_mut)
            .context("metadata has no properties")?;
        properties.retain(|name, _| EMBEDDED_METADATA.contains(&name.as_str()));
        if let Some(finalizers) = properties.get_mut("finalizers").and_then(Value::as_object_mut) {
            finalizers.remove("x-kubernetes-list-type");
        }
        Ok(meta)
    }

    /// A condition, with the limits of its Go type, which the OpenAPI document does not contain.
    fn condition(&self) -> Result<Value> {
        let mut condition = self.kubernetes_node(CONDITION)?;
        let limits = [
            ("message", json!({ "maxLength": 32768 })),
            ("observedGeneration", json!({ "minimum": 0 })),
            (
                "reason",
                json!({ "minLength": 1, "maxLength": 1024, "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$" }),
            ),
            ("status", json!({ "enum": ["True", "False", "Unknown"] })),
            ("type", json!({ "maxLength": 316, "pattern": jobset_api::schema::QUALIFIED_NAME })),
        ];
        for (field, limit) in limits {
            let property = condition
                .pointer_mut(&format!("/properties/{field}"))
                .and_then(Value::as_object_mut)
                .with_context(|| format!("the condition has no {field}"))?;
            property.extend(limit.as_object().cloned().unwrap_or_default());
        }
        Ok(condition)
    }

    /// A claim, with a default for each object that Go clients write even if it is empty. Claims in a JobSet are
    /// immutable: without these defaults, a Go client could not update a JobSet that it has read.
    fn claim(&self) -> Result<Value> {
        let mut claim = self.kubernetes_node(CLAIM)?;
        for written in ["spec", "spec/properties/resources", "status"] {
            let object = claim
                .pointer_mut(&format!("/properties/{written}"))
                .with_context(|| format!("the claim has no {written}"))?;
            set(object, "default", json!({}));
        }
        Ok(claim)
    }
}

/// The name of the schema to which this one refers: by `$ref`, by the only branch of `allOf`, or by `anyOf` with null.
fn reference(schema: &Map<String, Value>) -> Result<Option<&str>> {
    let holder = if let Some(Value::Array(all)) = schema.get("allOf") {
        all.first()
    } else if let Some(Value::Array(any)) = schema.get("anyOf") {
        any.iter().find(|branch| branch.get("$ref").is_some())
    } else {
        None
    };
    match holder.and_then(|holder| holder.get("$ref")).or_else(|| schema.get("$ref")) {
        None => Ok(None),
        Some(Value::String(path)) => Ok(path.rsplit('/').next()),
        Some(other) => bail!("$ref: expected a string, found {other}"),
    }
}

fn int_or_string() -> Value {
    json!({ "anyOf": [{ "type": "integer" }, { "type": "string" }], "x-kubernetes-int-or-string": true })
}

/// Whether this is a zero value of Go. As a default, it means that the field is absent.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// Whether a property's default is a zero value of a scalar. In optional fields of Kubernetes types, such a default is
/// intended: `secretKeyRef.name: ""` allows to use the name as a list-map key. [`POD_CONDITION_PATTERN`] is the
/// exception.
fn is_scalar_zero(property: &Value) -> bool {
    property.get("default").is_some_and(|default| {
        is_zero(default) && matches!(default, Value::String(_) | Value::Bool(_) | Value::Number(_))
    })
}

/// Joins the lines of each paragraph of a doc comment, because `kubectl explain` wraps lines itself.
fn reflow(text: &str) -> String {
    text.split("\n\n")
        .map(|paragraph| paragraph.split('\n').map(str::trim).collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join("\n\n")
}

/// Appends the meanings of a field's values to its description.
fn with_meanings(description: Option<&Value>, meanings: &[Value]) -> Result<String> {
    let mut text = description.and_then(Value::as_str).unwrap_or_default().to_owned();
    text.push_str("\n\nPossible values:");
    for meaning in meanings {
        let [value, meaning] = [0, 1].map(|index| meaning.get(index).and_then(Value::as_str));
        let (value, meaning) = value.zip(meaning).context("x-enum-meanings must contain pairs of strings")?;
        write!(text, "\n- `{value}`: {}", meaning.trim())?;
    }
    Ok(text)
}

fn set(node: &mut Value, keyword: &str, value: Value) {
    if let Some(map) = node.as_object_mut() {
        map.insert(keyword.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::from_value;

    /// Schemas of two Kubernetes types.
    fn kubernetes() -> Kubernetes {
        let schemas = json!({
            "io.k8s.Kettle": {
                "type": "object",
                "description": "A kettle.",
                "required": ["litres"],
                "properties": {
                    "litres": { "type": "integer", "format": "int32", "default": 0 },
                    "lid": { "default": {}, "allOf": [{ "$ref": "#/components/schemas/io.k8s.Lid" }] },
                    "colour": { "type": "string", "default": "" },
                    "material": { "type": "string", "default": "steel" },
                    "leaves": { "type": "array", "items": { "type": "string", "default": "" } },
                    "capacity": { "$ref": "#/components/schemas/io.k8s.apimachinery.pkg.api.resource.Quantity" },
                },
                "x-kubernetes-unions": [],
            },
            "io.k8s.Lid": { "type": "object", "description": "A lid." },
        });
        Kubernetes { version: "v0".into(), schemas: from_value(schemas).unwrap() }
    }

    fn convert(schema: &Value) -> Result<Value> {
        let kubernetes = kubernetes();
        Converter { kubernetes: &kubernetes, definitions: &Map::new() }.node(schema, Origin::Rust)
    }

    #[test]
    fn a_kubernetes_type_is_inlined_with_its_intended_defaults() {
        let field = json!({
            "description": "The kettle\nto use.\n\nOne is enough.",
            "anyOf": [{ "$ref": "#/$defs/io.k8s.Kettle" }, { "type": "null" }],
        });
        assert_eq!(
            convert(&field).unwrap(),
            json!({
                "type": "object",
                "description": "The kettle to use.\n\nOne is enough.",
                "required": ["litres"],
                "properties": {
                    "litres": { "type": "integer", "format": "int32" },
                    "lid": { "type": "object", "description": "A lid." },
                    "colour": { "type": "string", "default": "" },
                    "material": { "type": "string", "default": "steel" },
                    "leaves": { "type": "array", "items": { "type": "string" } },
                    "capacity": {
                        "anyOf": [{ "type": "integer" }, { "type": "string" }],
                        "pattern": QUANTITY_PATTERN,
                        "x-kubernetes-int-or-string": true,
                    },
                },
            })
        );
    }

    #[test]
    fn an_optional_enum_has_no_null_and_describes_its_values() {
        let field = json!({
            "description": "How it is heated.",
            "type": ["string", "null"],
            "enum": ["Gas", "Wood", null],
            "x-enum-meanings": [["Gas", " With gas."], ["Wood", " With wood."]],
        });
        assert_eq!(
            convert(&field).unwrap(),
            json!({
                "description": "How it is heated.\n\nPossible values:\n- `Gas`: With gas.\n- `Wood`: With wood.",
                "type": "string",
                "enum": ["Gas", "Wood"],
            })
        );
    }

    #[test]
    fn an_error_names_the_field_that_is_not_structural() {
        let message = |schema: Value| format!("{:#}", convert(&schema).unwrap_err());
        let object = |field: Value| json!({ "type": "object", "properties": { "kettle": field } });
        assert_eq!(
            message(object(json!({ "$ref": "#/$defs/io.k8s.Pan" }))),
            "kettle: Kubernetes v0 has no schema io.k8s.Pan"
        );
        assert_eq!(message(object(json!({ "$ref": "#/$defs/Pan" }))), "kettle: there is no schema Pan");
        assert_eq!(message(object(json!({ "minimum": 1 }))), "kettle: schema without type: {\"minimum\":1}");
        assert_eq!(
            message(object(json!({ "type": ["string", "integer"] }))),
            "kettle: second type \"integer\": a structural schema has one type"
        );
    }
}
