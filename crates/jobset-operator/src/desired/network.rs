//! Who may talk with operator and operand over the network.
//!
//! A pod that a `NetworkPolicy` selects for a direction is denied everything in it that no policy allows, so that each
//! policy here is "deny all, and allow this". Policies of other pods in the namespace are none of our business.

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
