//! What the CRD schemas say beyond the shape of the types: rules, list types, and the odd shapes.
//!
//! The `#[schemars(...)]` attributes beside the fields use these, so that a field, its meaning and its
//! constraints stand in one place. `hack/generate` turns the result into the structural schemas of the CRDs.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// A CEL rule (`x-kubernetes-validations`) and what the API server answers when it is broken.
pub(crate) fn rule(rule: &str, message: &str) -> Value {
    json!([{ "rule": rule, "message": message }])
}

/// The field cannot change between two objects that both have it; adding and removing it stays possible.
pub(crate) fn immutable() -> Value {
    rule("self == oldSelf", "Value is immutable")
}

/// A Go `int`: an integer without a format.
pub(crate) fn integer(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer" })
}

/// Any JSON object, kept as it is; null too.
pub(crate) fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "nullable": true, "x-kubernetes-preserve-unknown-fields": true })
}

/// Kubernetes: a qualified name, with or without a domain prefix.
pub const QUALIFIED_NAME: &str = "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?\
     (([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$";
