//! Converts Kubernetes objects to files.

use crate::yaml;
use anyhow::{Context, Result, ensure};
use jobset_operator::rbac::{self, Rule};
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::{ResourceExt, api::DynamicObject};
use serde_json::{Value, json};

/// The kind of an object.
pub fn kind(object: &DynamicObject) -> &str {
    object.types.as_ref().map_or("", |types| types.kind.as_str())
}

/// An object as JSON.
pub fn json(object: &DynamicObject) -> Result<Value> {
    serde_json::to_value(object).with_context(|| format!("{} {}", kind(object), object.name_any()))
}

/// A YAML file with these objects. In roles, a comment above each rule gives its reason.
pub fn file<'a>(objects: impl IntoIterator<Item = &'a DynamicObject>) -> Result<String> {
    let mut text = yaml::NOTICE.to_owned();
    for (index, object) in objects.into_iter().enumerate() {
        if index > 0 {
            text.push_str("---\n");
        }
        let document = yaml::document(&json(object)?)?;
        match kind(object) {
            "ClusterRole" | "Role" => text.push_str(&with_reasons(&document, &rules_of(object)?)?),
            _ => text.push_str(&document),
        }
    }
    Ok(text)
}

/// The rules of the RBAC table that this role has. Some rules of the table only some roles need.
fn rules_of(role: &DynamicObject) -> Result<Vec<Rule>> {
    let found = role.data.get("rules").and_then(Value::as_array).context("a role has no rules")?;
    let mut rules = table_of(role)?;
    rules.retain(|rule| found.contains(&json!(PolicyRule::from(rule))));
    Ok(rules)
}

/// The rules of the RBAC table for roles of this name.
fn table_of(role: &DynamicObject) -> Result<Vec<Rule>> {
    let name = role.name_any();
    if name == jobset_operator::names::OPERATOR {
        return Ok(match kind(role) {
            "ClusterRole" => rbac::operator_cluster_rules(),
            _ => rbac::operator_rules(),
        });
    }
    let of_operand =
        rbac::OPERAND_CLUSTER_ROLES.iter().chain(rbac::OPERAND_ROLES).chain([&rbac::PROMETHEUS_ROLE]);
    of_operand
        .map(|role| (role.name, role.rules))
        .chain(rbac::USER_ROLES.iter().map(|role| (role.name, role.rules)))
        .find(|(role, _)| *role == name)
        .map(|(_, rules)| rules.to_vec())
        .with_context(|| format!("the RBAC table has no role {name}"))
}

/// Inserts the reason of each rule as a comment above it. `rules` is the only top-level list of a role, so its items
/// are the lines that start with a dash.
fn with_reasons(document: &str, rules: &[Rule]) -> Result<String> {
    let mut reasons = rules.iter().map(|rule| rule.reason);
    let mut text = String::new();
    for line in document.lines() {
        if line.starts_with("- ") {
            let reason = reasons.next().context("the role has more rules than the RBAC table")?;
            text.push_str("# ");
            text.push_str(reason);
            text.push('\n');
        }
        text.push_str(line);
        text.push('\n');
    }
    ensure!(reasons.next().is_none(), "a rule of the role is in the RBAC table twice");
    Ok(text)
}
