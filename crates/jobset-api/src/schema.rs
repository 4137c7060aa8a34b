//! Parts of the CRD schemas that the types do not express: rules, list types and unusual types.
//!
//! The `#[schemars(...)]` attributes of the fields use these functions, so that a field, its meaning and its
//! constraints are in one place. `hack/generate` converts the result into the structural schemas of the CRDs.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// A CEL rule (`x-kubernetes-validations`) and the message of the API server if an object breaks it.
pub(crate) fn rule(rule: &str, message: &str) -> Value {
    json!([{ "rule": rule, "message": message }])
}

/// The field cannot change if both the old and the new object have it. Users can add and remove it.
pub(crate) fn immutable() -> Value {
    rule("self == oldSelf", "Value is immutable")
}

/// A Go `int`: an integer without a format.
pub(crate) fn integer(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer" })
}

/// Any JSON object, or null. Its content stays unchanged.
pub(crate) fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "nullable": true, "x-kubernetes-preserve-unknown-fields": true })
}

/// Kubernetes: a DNS-1123 label, such as the name of a namespace.
pub const DNS_LABEL: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";

/// Kubernetes: a DNS-1123 subdomain, such as the name of a service account.
pub const DNS_SUBDOMAIN: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

/// Kubernetes: a qualified name, with or without a domain prefix.
pub const QUALIFIED_NAME: &str = "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?\
     (([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$";
