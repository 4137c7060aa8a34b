//! What the operand may do.

use super::{EDIT, READ, Rule};
use crate::names;

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

/// Cluster roles of the operand.
pub const OPERAND_CLUSTER_ROLES: &[OperandRole] = &[
    OperandRole {
        name: "jobset-manager-role",
        binding: "jobset-manager-rolebinding",
        rules: &[
            Rule {
                reason: "JobSets are followed, and deleted when their time to live is over",
                groups: &["jobset.x-k8s.io"],
                resources: &["jobsets"],
                verbs: &["delete", "list", "watch"],
                ..Rule::NONE
            },
            Rule {
                reason: "what the controller observed is written to the status of the JobSet",
                groups: &["jobset.x-k8s.io"],
                resources: &["jobsets/status"],
                verbs: &["update"],
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
                verbs: &["create", "delete", "get", "list", "patch", "watch"],
                ..Rule::NONE
            },
            Rule {
                reason: "the start time of a suspended Job is cleared before it is resumed",
                groups: &["batch"],
                resources: &["jobs/status"],
                verbs: &["patch"],
                ..Rule::NONE
            },
            Rule {
                reason: "the headless Service gives pods their DNS names",
                groups: &[""],
                resources: &["services"],
                verbs: &["create", "get", "list", "watch"],
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
                reason: "exclusive placement sends the pods of a Job to where its leader pod is",
                groups: &[""],
                resources: &["pods"],
                verbs: &["list", "watch"],
                ..Rule::NONE
            },
            Rule {
                reason: "exclusive placement reads the topology labels of nodes",
                groups: &[""],
                resources: &["nodes"],
                verbs: &["list", "watch"],
                ..Rule::NONE
            },
            Rule {
                reason: "what happens to a JobSet is told in events",
                groups: &["events.k8s.io"],
                resources: &["events"],
                verbs: &["create", "patch"],
                ..Rule::NONE
            },
            Rule {
                reason: "without cert-manager the controller puts its CA into its webhooks",
                groups: &["admissionregistration.k8s.io"],
                resources: &["mutatingwebhookconfigurations", "validatingwebhookconfigurations"],
                names: &[names::MUTATING_WEBHOOKS, names::VALIDATING_WEBHOOKS],
                verbs: &["get", "list", "patch", "watch"],
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
                reason: "replicas elect their leader through this Lease",
                groups: &["coordination.k8s.io"],
                resources: &["leases"],
                names: &[names::OPERAND_LEASE],
                verbs: &["get", "list", "update", "watch"],
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
                reason: "a change of leader is told in an event",
                groups: &["events.k8s.io"],
                resources: &["events"],
                verbs: &["create", "patch"],
                ..Rule::NONE
            },
        ],
    },
    OperandRole {
        name: "jobset-manager-secrets-role",
        binding: "jobset-manager-secrets-rolebinding",
        rules: &[
            Rule {
                reason: "without cert-manager the controller keeps its certificates in this Secret",
                groups: &[""],
                resources: &["secrets"],
                names: &[names::INTERNAL_WEBHOOK_SECRET],
                verbs: &["get", "list", "update", "watch"],
                ..Rule::NONE
            },
            Rule {
                reason: "the first replica creates that Secret",
                groups: &[""],
                resources: &["secrets"],
                verbs: &["create"],
                ..Rule::NONE
            },
        ],
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

/// A role for people, who get it with the role that Kubernetes gave them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserRole {
    /// Name of the `ClusterRole`.
    pub name: &'static str,
    /// Roles of Kubernetes that it becomes a part of.
    pub part_of: &'static [&'static str],
    /// What it grants.
    pub rules: &'static [Rule],
}

/// Whoever may change or look at what is in a project may change or look at its JobSets.
pub const USER_ROLES: &[UserRole] = &[
    UserRole {
        name: names::EDITOR_ROLE,
        part_of: &["admin", "edit"],
        rules: &[
            Rule {
                reason: "who may change a project may run JobSets in it",
                groups: &["jobset.x-k8s.io"],
                resources: &["jobsets"],
                verbs: EDIT,
                ..Rule::NONE
            },
            Rule {
                reason: "and see how they are",
                groups: &["jobset.x-k8s.io"],
                resources: &["jobsets/status"],
                verbs: &["get"],
                ..Rule::NONE
            },
        ],
    },
    UserRole {
        name: names::VIEWER_ROLE,
        part_of: &["view"],
        rules: &[
            Rule {
                reason: "who may look at a project may look at its JobSets",
                groups: &["jobset.x-k8s.io"],
                resources: &["jobsets"],
                verbs: READ,
                ..Rule::NONE
            },
            Rule {
                reason: "and see how they are",
                groups: &["jobset.x-k8s.io"],
                resources: &["jobsets/status"],
                verbs: &["get"],
                ..Rule::NONE
            },
        ],
    },
];
