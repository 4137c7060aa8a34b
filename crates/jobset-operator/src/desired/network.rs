//! Network policies of operator and operand.
//!
//! A `NetworkPolicy` denies its pods all traffic of a direction that no policy allows, so each policy here means "deny
//! all, and allow this". It does not affect other pods in the namespace.

use super::{DesiredError, template};
use crate::names;
use askama::Template;
use kube::api::DynamicObject;

/// The policies of operator and operand.
pub(super) fn policies() -> Result<Vec<DynamicObject>, DesiredError> {
    #[derive(Template)]
    #[template(path = "network-policies.yaml")]
    struct NetworkPolicies<'a> {
        operator: &'a str,
        operand: &'a str,
    }
    template::objects(
        "network-policies.yaml",
        &NetworkPolicies { operator: names::OPERATOR, operand: names::OPERAND },
    )
}
