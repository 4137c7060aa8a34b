//! Renders YAML templates to objects.

use super::DesiredError;
use askama::Template;
use askama::filters::Escaper;
use kube::api::DynamicObject;
use serde::Deserialize;
use std::fmt::{self, Write};

/// Writes each value of a template as a quoted scalar. JSON strings are valid YAML.
#[derive(Clone, Copy, Debug)]
pub struct Quoted;

impl Escaper for Quoted {
    fn write_escaped_str<W: Write>(&self, mut dest: W, string: &str) -> fmt::Result {
        dest.write_str(&serde_json::Value::from(string).to_string())
    }
}

/// Renders a template.
pub fn text(name: &'static str, template: &impl Template) -> Result<String, DesiredError> {
    template.render().map_err(|source| DesiredError::Template { name, source })
}

/// Renders a template and parses its objects, one per YAML document.
pub fn objects(name: &'static str, template: &impl Template) -> Result<Vec<DynamicObject>, DesiredError> {
    let text = text(name, template)?;
    serde_yaml::Deserializer::from_str(&text)
        .map(|document| DynamicObject::deserialize(document).map_err(|error| error.to_string()))
        .collect::<Result<_, _>>()
        .map_err(|message| DesiredError::Object { name, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Template)]
    #[template(source = "apiVersion: v1\nkind: {{ kind }}\nmetadata: {name: {{ name }}}\n", ext = "yaml")]
    struct Sample<'a> {
        kind: &'a str,
        name: &'a str,
    }

    #[test]
    fn a_value_cannot_change_the_structure_of_a_document() {
        let hostile = "x\"}\nspec: {a: 1";
        let objects = objects("sample", &Sample { kind: "ConfigMap", name: hostile }).unwrap();
        assert_eq!(objects.len(), 1);
        assert_eq!(objects[0].metadata.name.as_deref(), Some(hostile));
        assert_eq!(objects[0].data, serde_json::json!({}));
    }
}
