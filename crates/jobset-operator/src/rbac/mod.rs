//! RBAC rules in one table, each with its reason.
//!
//! Two programs get permissions: the *operand* (`jobset-controller-manager`) and the *operator*. The operator creates
//! the operand's roles. Kubernetes prevents privilege escalation: a client can grant only permissions that it has.
//! The operator's rules are therefore its own rules and all rules of the operand.
//!
//! This table is the source of the objects that the operator applies, of `manifests/`, `deploy/` and the bundle. No
//! rule contains a wildcard, and the operator writes only objects that a rule names. `create` works with a name
//! because the operator creates objects only by server-side apply, where the name is part of the request path.

mod coverage;
mod operand;
mod operator;

pub use coverage::covers;
pub use operand::{OPERAND_CLUSTER_ROLES, OPERAND_ROLES, OperandRole, PROMETHEUS_ROLE, USER_ROLES, UserRole};
pub use operator::{OPERATOR_CLUSTER_RULES, OPERATOR_RULES};

use k8s_openapi::api::rbac::v1::PolicyRule;

/// One grant, and the reason for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Why the grant is needed. The generated files contain it as a comment.
    pub reason: &'static str,
    /// API groups; the core group is "".
    pub groups: &'static [&'static str],
    /// Resources of these groups, subresources as `jobs/status`.
    pub resources: &'static [&'static str],
    /// Names that limit the grant; empty means all.
    pub names: &'static [&'static str],
    /// Non-resource paths, such as `/metrics`.
    pub urls: &'static [&'static str],
    /// Allowed verbs.
    pub verbs: &'static [&'static str],
    /// Whether only an operand that issues its own certificates needs the grant.
    pub internal_certificates: bool,
    /// The feature gate of the operand without which it does not need the grant.
    pub feature_gate: Option<&'static str>,
}

impl Rule {
    const NONE: Rule = Rule {
        reason: "",
        groups: &[],
        resources: &[],
        names: &[],
        urls: &[],
        verbs: &[],
        internal_certificates: false,
        feature_gate: None,
    };
}

impl From<&Rule> for PolicyRule {
    fn from(rule: &Rule) -> Self {
        let list = |items: &[&str]| items.iter().map(|&item| item.to_owned()).collect::<Vec<_>>();
        let optional = |items: &[&str]| (!items.is_empty()).then(|| list(items));
        PolicyRule {
            api_groups: optional(rule.groups),
            non_resource_urls: optional(rule.urls),
            resource_names: optional(rule.names),
            resources: optional(rule.resources),
            verbs: list(rule.verbs),
        }
    }
}

const READ: &[&str] = &["get", "list", "watch"];
const EDIT: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];

/// All cluster-wide rules of the operator: its own, then those of the operand that its own do not cover.
pub fn operator_cluster_rules() -> Vec<Rule> {
    let of_operand = OPERAND_CLUSTER_ROLES.iter().flat_map(|role| role.needed_rules(false, |_| true));
    let of_users = USER_ROLES.iter().flat_map(|role| role.rules);
    with_granted(OPERATOR_CLUSTER_RULES, of_operand.chain(of_users))
}

/// All rules of the operator in its namespace: its own, then those of the operand that its own do not cover.
pub fn operator_rules() -> Vec<Rule> {
    let roles = OPERAND_ROLES.iter().chain([&PROMETHEUS_ROLE]);
    with_granted(OPERATOR_RULES, roles.flat_map(|role| role.needed_rules(false, |_| true)))
}

fn with_granted(own: &[Rule], granted: impl Iterator<Item = &'static Rule>) -> Vec<Rule> {
    let mut all = own.to_vec();
    for rule in granted {
        if !covers(&policy(&all), &[rule.into()]) {
            all.push(*rule);
        }
    }
    all
}

fn policy(rules: &[Rule]) -> Vec<PolicyRule> {
    rules.iter().map(PolicyRule::from).collect()
}

#[cfg(test)]
mod tests {
    use super::operator::LIST_WATCH;
    use super::*;
    use crate::names;

    fn all_rules() -> Vec<Rule> {
        operator_cluster_rules().into_iter().chain(operator_rules()).collect()
    }

    #[test]
    fn the_operator_has_every_permission_that_it_grants() {
        let rules_of = |role: &OperandRole| role.needed_rules(false, |_| true).copied().collect::<Vec<_>>();
        for role in OPERAND_CLUSTER_ROLES {
            assert!(covers(&policy(&operator_cluster_rules()), &policy(&rules_of(role))), "{}", role.name);
        }
        for role in USER_ROLES {
            assert!(covers(&policy(&operator_cluster_rules()), &policy(role.rules)), "{}", role.name);
        }
        let mut in_namespace = operator_cluster_rules();
        in_namespace.extend(operator_rules());
        for role in OPERAND_ROLES.iter().chain([&PROMETHEUS_ROLE]) {
            assert!(covers(&policy(&in_namespace), &policy(&rules_of(role))), "{}", role.name);
        }
    }

    #[test]
    fn only_an_operand_that_issues_certificates_may_write_secrets_and_webhooks() {
        let written = |rules: &[Rule]| {
            let writes = |rule: &&Rule| rule.verbs.iter().any(|verb| !READ.contains(verb));
            let mut resources = rules.iter().filter(writes).flat_map(|rule| rule.resources);
            resources.any(|name| *name == "secrets" || name.ends_with("webhookconfigurations"))
        };
        let roles = || OPERAND_CLUSTER_ROLES.iter().chain(OPERAND_ROLES);
        let internal: Vec<Rule> = roles().flat_map(|role| role.rules).copied().collect();
        let issued: Vec<Rule> =
            roles().flat_map(|role| role.needed_rules(false, |_| true)).copied().collect();
        assert!(written(&internal));
        assert!(!written(&issued));
        assert!(issued.iter().all(|rule| !rule.resources.contains(&"secrets")), "not even read access");
        let unnamed = |rule: &Rule| rule.resources.contains(&"secrets") && rule.names.is_empty();
        assert!(!all_rules().iter().any(unnamed), "the operator needs no right for all Secrets");
    }

    #[test]
    fn rules_of_a_feature_gate_need_it() {
        let rules = |is_enabled: fn(&str) -> bool| {
            let rules =
                OPERAND_CLUSTER_ROLES.iter().flat_map(move |role| role.needed_rules(false, is_enabled));
            rules.flat_map(|rule| rule.resources).copied().collect::<Vec<_>>()
        };
        let of_gangs = |resources: &[&str]| {
            ["workloads", "podgroups"].iter().filter(|&resource| resources.contains(resource)).count()
        };
        assert_eq!(of_gangs(&rules(|_| false)), 0);
        assert_eq!(of_gangs(&rules(|gate| gate == names::GANG_SCHEDULING_GATE)), 2);
        let held: Vec<_> = operator_cluster_rules().iter().flat_map(|rule| rule.resources).copied().collect();
        assert_eq!(of_gangs(&held), 2, "the operator may grant them");
    }

    #[test]
    fn no_rule_has_a_wildcard_or_lacks_a_reason() {
        for rule in all_rules() {
            assert!(!rule.reason.is_empty(), "{rule:?}");
            for part in [rule.groups, rule.resources, rule.names, rule.urls, rule.verbs] {
                assert!(part.iter().all(|item| !item.contains('*')), "{rule:?}");
            }
            assert!(
                !rule.verbs.contains(&"deletecollection") && !rule.verbs.contains(&"escalate"),
                "{rule:?}"
            );
        }
    }

    #[test]
    fn write_rules_of_the_operator_name_their_objects() {
        let managed =
            ["deployments", "clusterroles", "clusterrolebindings", "roles", "rolebindings", "issuers"];
        for rule in all_rules() {
            if rule.resources.iter().any(|resource| managed.contains(resource)) && rule.names.is_empty() {
                assert_eq!(rule.verbs, LIST_WATCH, "{rule:?}");
            }
        }
    }
}
