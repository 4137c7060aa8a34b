//! Network policies of operator and operand.
//!
//! A `NetworkPolicy` denies its pods all traffic of a direction that no policy allows, so each policy here means "deny
//! all, and allow this". It does not affect other pods in the namespace.

use super::{DesiredError, template};
use crate::names;
use askama::Template;
use jobset_api::jobset_operator::PrometheusServer;
use kube::api::DynamicObject;
use std::collections::BTreeSet;

/// The policies of operator and operand. They admit these Prometheus servers.
pub(super) fn policies(prometheus: &[PrometheusServer]) -> Result<Vec<DynamicObject>, DesiredError> {
    #[derive(Template)]
    #[template(path = "network-policies.yaml")]
    struct NetworkPolicies<'a> {
        operator: &'a str,
        operand: &'a str,
        prometheus_namespaces: BTreeSet<&'a str>,
    }
    template::objects(
        "network-policies.yaml",
        &NetworkPolicies {
            operator: names::OPERATOR,
            operand: names::OPERAND,
            prometheus_namespaces: prometheus.iter().map(|server| server.namespace.as_str()).collect(),
        },
    )
}
