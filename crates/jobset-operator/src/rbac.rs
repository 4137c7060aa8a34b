//! Who may do what, in one table, each rule with its reason.
//!
//! Two programs are granted rights: the *operand* (`jobset-controller-manager`) and the *operator*. The operator
//! creates the operand's roles, and Kubernetes lets nobody hand out rights that he does not hold himself
//! (privilege escalation prevention), so the operator's rules are its own plus all of the operand's.
//!
//! Everything that shows these rules (the objects that the operator applies, `manifests/`, `deploy/`, the bundle)
//! is made from this table. No rule holds a wildcard, and the operator writes only objects that it knows by name.
//! `create` by name works because the operator only ever creates through server-side apply, where the API server
//! knows the name when it checks the right.

use crate::names;
use k8s_openapi::api::rbac::v1::PolicyRule;

/// One grant and why it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Why the grant is needed, for the reader of the generated files.
    pub reason: &'static str,
    /// API groups; the core group is "".
    pub groups: &'static [&'static str],
    /// Resources of these groups, subresources as `jobs/status`.
    pub resources: &'static [&'static str],
    /// Names the grant is limited to; empty means all.
    pub names: &'static [&'static str],
    /// Paths that are no resources, such as `/metrics`.
    pub urls: &'static [&'static str],
    /// Verbs.
    pub verbs: &'static [&'static str],
}

impl Rule {
    const NONE: Rule = Rule { reason: "", groups: &[], resources: &[], names: &[], urls: &[], verbs: &[] };
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

/// A role of the operand, bound to the operand's service account by a binding of the same stem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperandRole {
    /// Name of the Role or `ClusterRole`.
    pub name: &'static str,
    /// Name of its binding.
    pub binding: &'static str,
    /// What it grants.
    pub rules: &'static [Rule],
}

const READ: &[&str] = &["get", "list", "watch"];
const EDIT: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];
const STATUS: &[&str] = &["get", "patch", "update"];
/// Server-side apply, and delete: what the operator does with an object that it manages. `delete` is also what
/// OpenShift asks of whoever writes owner references on an object that exists.
const MANAGE: &[&str] = &["create", "delete", "get", "patch"];
/// Reading a whole kind; lists cannot be limited to several names.
const FOLLOW: &[&str] = &["list", "watch"];

/// Cluster roles of the operand.
pub const OPERAND_CLUSTER_ROLES: &[OperandRole] = &[
    OperandRole {
        name: "jobset-manager-role",
        binding: "jobset-manager-rolebinding",
        rules: &[
            Rule {
                reason: "JobSets are read, defaulted, resumed, and deleted when their time to live is over",
                groups: &["jobset.x-k8s.io"],
                resources: &["jobsets"],
                verbs: EDIT,
                ..Rule::NONE
            },
            Rule {
                reason: "what the controller observed is written to the status of the JobSet",
                groups: &["jobset.x-k8s.io"],
                resources: &["jobsets/status"],
                verbs: STATUS,
                ..Rule::NONE
            },
            Rule {
                reason: "OpenShift asks for it from whoever sets an owner reference that blocks the owner's deletion",
                groups: &["jobset.x-k8s.io"],
                resources: &["jobsets/finalizers"],
                verbs: &["update"],
                ..Rule::NONE
            },
            Rule {
                reason: "the Jobs of a JobSet are created, suspended, resumed and deleted",
                groups: &["batch"],
                resources: &["jobs"],
                verbs: EDIT,
                ..Rule::NONE
            },
            Rule {
                reason: "the start time of a suspended Job is cleared before it is resumed",
                groups: &["batch"],
                resources: &["jobs/status"],
                verbs: STATUS,
                ..Rule::NONE
            },
            Rule {
                reason: "the headless Service gives pods their DNS names",
                groups: &[""],
                resources: &["services"],
                verbs: EDIT,
                ..Rule::NONE
            },
            Rule {
                reason: "volume claims of a JobSet are made from its templates, and given to the JobSet or kept",
                groups: &[""],
                resources: &["persistentvolumeclaims"],
                verbs: &["create", "get", "list", "watch"],
                ..Rule::NONE
            },
            Rule {
                reason: "exclusive placement and in-place restart look at pods and evict those that are misplaced",
                groups: &[""],
                resources: &["pods"],
                verbs: &["delete", "get", "list", "patch", "update", "watch"],
                ..Rule::NONE
            },
            Rule {
                reason: "a pod that is evicted for its placement says so in a condition first",
                groups: &[""],
                resources: &["pods/status"],
                verbs: STATUS,
                ..Rule::NONE
            },
            Rule {
                reason: "exclusive placement reads the topology labels of nodes",
                groups: &[""],
                resources: &["nodes"],
                verbs: READ,
                ..Rule::NONE
            },
            Rule {
                reason: "what happens to a JobSet is told in events",
                groups: &["", "events.k8s.io"],
                resources: &["events"],
                verbs: &["create", "patch", "update", "watch"],
                ..Rule::NONE
            },
            Rule {
                reason: "without cert-manager the controller writes the CA of its certificate into its webhooks",
                groups: &["admissionregistration.k8s.io"],
                resources: &["mutatingwebhookconfigurations", "validatingwebhookconfigurations"],
                verbs: &["get", "list", "update", "watch"],
                ..Rule::NONE
            },
        ],
    },
    OperandRole {
        name: "jobset-metrics-reader",
        binding: "jobset-metrics-reader-rolebinding",
        rules: &[Rule {
            reason: "a scraper that is bound to this role may read the metrics",
            urls: &["/metrics"],
            verbs: &["get"],
            ..Rule::NONE
        }],
    },
    OperandRole {
        name: "jobset-proxy-role",
        binding: "jobset-proxy-rolebinding",
        rules: &[
            Rule {
                reason: "the metrics server asks who is scraping",
                groups: &["authentication.k8s.io"],
                resources: &["tokenreviews"],
                verbs: &["create"],
                ..Rule::NONE
            },
            Rule {
                reason: "the metrics server asks whether the scraper may",
                groups: &["authorization.k8s.io"],
                resources: &["subjectaccessreviews"],
                verbs: &["create"],
                ..Rule::NONE
            },
        ],
    },
];

/// Roles of the operand in its own namespace.
pub const OPERAND_ROLES: &[OperandRole] = &[
    OperandRole {
        name: "jobset-leader-election-role",
        binding: "jobset-leader-election-rolebinding",
        rules: &[
            Rule {
                reason: "replicas elect their leader through a Lease",
                groups: &["coordination.k8s.io"],
                resources: &["leases"],
                verbs: EDIT,
                ..Rule::NONE
            },
            Rule {
                reason: "locks of older releases were ConfigMaps",
                groups: &[""],
                resources: &["configmaps"],
                verbs: EDIT,
                ..Rule::NONE
            },
            Rule {
                reason: "a change of leader is told in an event",
                groups: &[""],
                resources: &["events"],
                verbs: &["create", "patch"],
                ..Rule::NONE
            },
        ],
    },
    OperandRole {
        name: "jobset-manager-secrets-role",
        binding: "jobset-manager-secrets-rolebinding",
        rules: &[Rule {
            reason: "without cert-manager the controller keeps its certificate in a Secret",
            groups: &[""],
            resources: &["secrets"],
            verbs: &["get", "list", "update", "watch"],
            ..Rule::NONE
        }],
    },
];

/// Role of the cluster's Prometheus in the operand's namespace; exists where the monitoring API does.
pub const PROMETHEUS_ROLE: OperandRole = OperandRole {
    name: names::PROMETHEUS_ROLE,
    binding: names::PROMETHEUS_ROLE,
    rules: &[
        Rule {
            reason: "Prometheus finds its targets through Services, their endpoints and pods",
            groups: &[""],
            resources: &["services", "endpoints", "pods"],
            verbs: READ,
            ..Rule::NONE
        },
        Rule {
            reason: "Prometheus may also discover targets through Ingresses",
            groups: &["extensions", "networking.k8s.io"],
            resources: &["ingresses"],
            verbs: READ,
            ..Rule::NONE
        },
    ],
};

/// What the operator itself needs cluster-wide.
pub const OPERATOR_CLUSTER_RULES: &[Rule] = &[
    Rule {
        reason: "the JobSetOperator named cluster says what to do",
        groups: &["operator.openshift.io"],
        resources: &["jobsetoperators"],
        names: &["cluster"],
        verbs: READ,
        ..Rule::NONE
    },
    Rule {
        reason: "what the operator did and found is written to its status",
        groups: &["operator.openshift.io"],
        resources: &["jobsetoperators/status"],
        names: &["cluster"],
        verbs: STATUS,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator installs the JobSet API, and deletes it when it is wanted no more and no JobSet is left",
        groups: &["apiextensions.k8s.io"],
        resources: &["customresourcedefinitions"],
        names: &["jobsets.jobset.x-k8s.io"],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator notices when the APIs that it uses come and go",
        groups: &["apiextensions.k8s.io"],
        resources: &["customresourcedefinitions"],
        names: &[
            "certificates.cert-manager.io",
            "issuers.cert-manager.io",
            "jobsets.jobset.x-k8s.io",
            "jobsetoperators.operator.openshift.io",
            "servicemonitors.monitoring.coreos.com",
        ],
        verbs: READ,
        ..Rule::NONE
    },
    Rule {
        reason: "before it deletes the JobSet API the operator makes sure that no JobSet is left",
        groups: &["jobset.x-k8s.io"],
        resources: &["jobsets"],
        verbs: FOLLOW,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator applies the operand's cluster roles",
        groups: &["rbac.authorization.k8s.io"],
        resources: &["clusterroles"],
        names: &["jobset-manager-role", "jobset-metrics-reader", "jobset-proxy-role"],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator binds them to the operand",
        groups: &["rbac.authorization.k8s.io"],
        resources: &["clusterrolebindings"],
        names: &[
            "jobset-manager-rolebinding",
            "jobset-metrics-reader-rolebinding",
            "jobset-proxy-rolebinding",
        ],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator repairs cluster roles and bindings that were changed",
        groups: &["rbac.authorization.k8s.io"],
        resources: &["clusterroles", "clusterrolebindings"],
        verbs: FOLLOW,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator registers the operand's admission webhooks",
        groups: &["admissionregistration.k8s.io"],
        resources: &["mutatingwebhookconfigurations", "validatingwebhookconfigurations"],
        names: &[names::MUTATING_WEBHOOKS, names::VALIDATING_WEBHOOKS],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator repairs webhook configurations that were changed",
        groups: &["admissionregistration.k8s.io"],
        resources: &["mutatingwebhookconfigurations", "validatingwebhookconfigurations"],
        verbs: FOLLOW,
        ..Rule::NONE
    },
    Rule {
        reason: "what the operator did is told in events on the JobSetOperator",
        groups: &["events.k8s.io"],
        resources: &["events"],
        verbs: &["create", "patch"],
        ..Rule::NONE
    },
];

/// What the operator itself needs in its namespace.
pub const OPERATOR_RULES: &[Rule] = &[
    Rule {
        reason: "replicas of the operator elect their leader through this Lease",
        groups: &["coordination.k8s.io"],
        resources: &["leases"],
        names: &[names::OPERATOR_LEASE],
        verbs: &["get", "patch", "update"],
        ..Rule::NONE
    },
    Rule {
        reason: "the first leader creates the Lease",
        groups: &["coordination.k8s.io"],
        resources: &["leases"],
        verbs: &["create"],
        ..Rule::NONE
    },
    Rule {
        reason: "the operator applies the operand's Deployment",
        groups: &["apps"],
        resources: &["deployments"],
        names: &[names::OPERAND],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator applies the operand's ServiceAccount",
        groups: &[""],
        resources: &["serviceaccounts"],
        names: &[names::OPERAND],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator applies the Services of the operand's webhooks and metrics",
        groups: &[""],
        resources: &["services"],
        names: &[names::WEBHOOK_SERVICE, names::METRICS_SERVICE],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator applies the operand's configuration",
        groups: &[""],
        resources: &["configmaps"],
        names: &[names::CONFIG_MAP],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator applies the operand's roles",
        groups: &["rbac.authorization.k8s.io"],
        resources: &["roles"],
        names: &["jobset-leader-election-role", "jobset-manager-secrets-role", names::PROMETHEUS_ROLE],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator binds them",
        groups: &["rbac.authorization.k8s.io"],
        resources: &["rolebindings"],
        names: &[
            "jobset-leader-election-rolebinding",
            "jobset-manager-secrets-rolebinding",
            names::PROMETHEUS_ROLE,
        ],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator asks cert-manager for the operand's certificates",
        groups: &["cert-manager.io"],
        resources: &["issuers"],
        names: &[names::SELF_SIGNED_ISSUER, names::CA_ISSUER],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator asks cert-manager for the operand's certificates",
        groups: &["cert-manager.io"],
        resources: &["certificates"],
        names: &[names::CA_CERTIFICATE, names::WEBHOOK_CERTIFICATE, names::METRICS_CERTIFICATE],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator waits for the certificates and rolls the operand out when they change; keys that \
                 nobody uses any more go with the operand",
        groups: &[""],
        resources: &["secrets"],
        names: &[names::CA_SECRET, names::METRICS_SECRET, names::WEBHOOK_SECRET],
        verbs: &["delete", "get", "list", "patch", "watch"],
        ..Rule::NONE
    },
    Rule {
        reason: "the operator has the cluster's Prometheus scrape the operand",
        groups: &["monitoring.coreos.com"],
        resources: &["servicemonitors"],
        names: &[names::SERVICE_MONITOR],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator repairs what was changed by others",
        groups: &[""],
        resources: &["configmaps", "serviceaccounts", "services"],
        verbs: FOLLOW,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator repairs what was changed by others",
        groups: &["apps"],
        resources: &["deployments"],
        verbs: FOLLOW,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator repairs what was changed by others",
        groups: &["rbac.authorization.k8s.io"],
        resources: &["roles", "rolebindings"],
        verbs: FOLLOW,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator repairs what was changed by others, and reads why a certificate is not ready",
        groups: &["cert-manager.io"],
        resources: &["certificates", "issuers"],
        verbs: FOLLOW,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator repairs what was changed by others",
        groups: &["monitoring.coreos.com"],
        resources: &["servicemonitors"],
        verbs: FOLLOW,
        ..Rule::NONE
    },
];

/// All cluster-wide rules of the operator: its own, then the operand's that those do not cover.
pub fn operator_cluster_rules() -> Vec<Rule> {
    with_operand(OPERATOR_CLUSTER_RULES, OPERAND_CLUSTER_ROLES)
}

/// All rules of the operator in its namespace: its own, then the operand's that those do not cover.
pub fn operator_rules() -> Vec<Rule> {
    let mut roles = OPERAND_ROLES.to_vec();
    roles.push(PROMETHEUS_ROLE);
    with_operand(OPERATOR_RULES, &roles)
}

fn with_operand(own: &[Rule], roles: &[OperandRole]) -> Vec<Rule> {
    let mut all = own.to_vec();
    for rule in roles.iter().flat_map(|role| role.rules) {
        if !covers(&all, std::slice::from_ref(rule)) {
            all.push(*rule);
        }
    }
    all
}

/// Whether `held` grants everything that `wanted` grants: the question that the API server asks before it lets
/// anybody write a role.
pub fn covers(held: &[Rule], wanted: &[Rule]) -> bool {
    wanted.iter().all(|rule| single_grants(rule).iter().all(|grant| held.iter().any(|h| grants(h, grant))))
}

/// One verb on one resource, or on one path.
struct Grant {
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    name: Option<&'static str>,
    url: Option<&'static str>,
}

fn single_grants(rule: &Rule) -> Vec<Grant> {
    let mut all = Vec::new();
    for &verb in rule.verbs {
        for &url in rule.urls {
            all.push(Grant { verb, group: "", resource: "", name: None, url: Some(url) });
        }
        for &group in rule.groups {
            for &resource in rule.resources {
                if rule.names.is_empty() {
                    all.push(Grant { verb, group, resource, name: None, url: None });
                }
                for &name in rule.names {
                    all.push(Grant { verb, group, resource, name: Some(name), url: None });
                }
            }
        }
    }
    all
}

fn grants(rule: &Rule, grant: &Grant) -> bool {
    if !rule.verbs.contains(&grant.verb) {
        return false;
    }
    if let Some(url) = grant.url {
        return rule.urls.contains(&url);
    }
    rule.groups.contains(&grant.group)
        && rule.resources.contains(&grant.resource)
        && (rule.names.is_empty() || grant.name.is_some_and(|name| rule.names.contains(&name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_rules() -> Vec<Rule> {
        operator_cluster_rules().into_iter().chain(operator_rules()).collect()
    }

    #[test]
    fn the_operator_holds_every_right_it_hands_out() {
        for role in OPERAND_CLUSTER_ROLES {
            assert!(covers(&operator_cluster_rules(), role.rules), "{}", role.name);
        }
        let mut in_namespace = operator_cluster_rules();
        in_namespace.extend(operator_rules());
        for role in OPERAND_ROLES.iter().chain([&PROMETHEUS_ROLE]) {
            assert!(covers(&in_namespace, role.rules), "{}", role.name);
        }
    }

    #[test]
    fn covering_looks_at_verbs_resources_and_names() {
        let named =
            Rule { groups: &[""], resources: &["secrets"], names: &["a"], verbs: &["get"], ..Rule::NONE };
        let all = Rule { names: &[], ..named };
        let other = Rule { names: &["b"], ..named };
        let more = Rule { verbs: &["get", "list"], ..named };
        assert!(covers(&[all], &[named]));
        assert!(!covers(&[named], &[all]), "a grant by name is less than a grant on all");
        assert!(!covers(&[named], &[other]));
        assert!(!covers(&[named], &[more]));
        assert!(!covers(&[], &[named]));
    }

    #[test]
    fn nothing_is_granted_by_wildcard_or_without_a_reason() {
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
    fn the_operator_writes_what_it_manages_by_name_only() {
        let managed =
            ["deployments", "clusterroles", "clusterrolebindings", "roles", "rolebindings", "issuers"];
        for rule in all_rules() {
            if rule.resources.iter().any(|resource| managed.contains(resource)) && rule.names.is_empty() {
                assert_eq!(rule.verbs, FOLLOW, "{rule:?}");
            }
        }
    }
}
