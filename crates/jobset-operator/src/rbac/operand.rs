//! Permissions of the operand, of Prometheus, and of users of JobSets.

use super::{EDIT, READ, Rule};
use crate::names;

/// A role of the operand, and its binding to the operand's ServiceAccount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperandRole {
    /// Name of the Role or `ClusterRole`.
    pub name: &'static str,
    /// Name of its binding.
    pub binding: &'static str,
    /// The rules.
    pub rules: &'static [Rule],
}

impl OperandRole {
    /// The rules that an operand needs. `internal_certificates`: whether it issues its own certificates. `is_enabled`:
    /// whether a feature gate is enabled.
    pub fn needed_rules(
        &self,
        internal_certificates: bool,
        is_enabled: impl Fn(&str) -> bool,
    ) -> impl Iterator<Item = &'static Rule> {
        self.rules.iter().filter(move |rule| {
            (internal_certificates || !rule.internal_certificates)
                && rule.feature_gate.is_none_or(&is_enabled)
        })
    }
}

/// Cluster roles of the operand.
pub const OPERAND_CLUSTER_ROLES: &[OperandRole] = &[
    OperandRole {
        name: "jobset-manager-role",
        binding: "jobset-manager-rolebinding",
        rules: &[
            Rule {
                reason: "the controller watches JobSets, and deletes them when their TTL expires",
                groups: &["jobset.x-k8s.io"],
                resources: &["jobsets"],
                verbs: &["delete", "list", "watch"],
                ..Rule::NONE
            },
            Rule {
                reason: "the controller updates the status of JobSets",
                groups: &["jobset.x-k8s.io"],
                resources: &["jobsets/status"],
                verbs: &["update"],
                ..Rule::NONE
            },
            Rule {
                reason: "OpenShift requires it for owner references with blockOwnerDeletion",
                groups: &["jobset.x-k8s.io"],
                resources: &["jobsets/finalizers"],
                verbs: &["update"],
                ..Rule::NONE
            },
            Rule {
                reason: "the controller creates, suspends, resumes and deletes the Jobs of a JobSet",
                groups: &["batch"],
                resources: &["jobs"],
                verbs: &["create", "delete", "get", "list", "patch", "watch"],
                ..Rule::NONE
            },
            Rule {
                reason: "the controller clears the start time of a suspended Job before it resumes the Job",
                groups: &["batch"],
                resources: &["jobs/status"],
                verbs: &["patch"],
                ..Rule::NONE
            },
            Rule {
                reason: "the headless Service gives pods their DNS names, and has the ports of their containers",
                groups: &[""],
                resources: &["services"],
                verbs: &["create", "get", "list", "patch", "watch"],
                ..Rule::NONE
            },
            Rule {
                reason: "the controller creates the PersistentVolumeClaims of a JobSet from its templates",
                groups: &[""],
                resources: &["persistentvolumeclaims"],
                verbs: &["create", "get", "list", "watch"],
                ..Rule::NONE
            },
            Rule {
                reason: "exclusive placement assigns the pods of a Job to the topology domain of its leader pod",
                groups: &[""],
                resources: &["pods"],
                verbs: &["delete", "get", "list", "watch"],
                ..Rule::NONE
            },
            Rule {
                reason: "the controller marks pods outside the topology domain of their leader before it deletes them",
                groups: &[""],
                resources: &["pods/status"],
                verbs: &["patch"],
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
                reason: "with the feature gate JobSetWorkloadAwareSchedulingAPI, the controller creates the Workload and the \
                         PodGroups of a JobSet",
                groups: &["scheduling.k8s.io"],
                resources: &["workloads", "podgroups"],
                verbs: &["create", "delete", "get", "list", "patch", "watch"],
                feature_gate: Some(names::GANG_SCHEDULING_GATE),
                ..Rule::NONE
            },
            Rule {
                reason: "the controller records events about JobSets",
                groups: &["events.k8s.io"],
                resources: &["events"],
                verbs: &["create", "patch"],
                ..Rule::NONE
            },
            Rule {
                reason: "the controller issues its certificates, and sets the CA bundle of its webhooks",
                groups: &["admissionregistration.k8s.io"],
                resources: &["mutatingwebhookconfigurations", "validatingwebhookconfigurations"],
                names: &[names::MUTATING_WEBHOOKS, names::VALIDATING_WEBHOOKS],
                verbs: &["get", "list", "patch", "watch"],
                internal_certificates: true,
                ..Rule::NONE
            },
        ],
    },
    OperandRole {
        name: names::METRICS_READER_ROLE,
        binding: "jobset-metrics-reader-rolebinding",
        rules: &[Rule {
            reason: "clients that are bound to this role may read the metrics",
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
                reason: "the metrics server authenticates clients",
                groups: &["authentication.k8s.io"],
                resources: &["tokenreviews"],
                verbs: &["create"],
                ..Rule::NONE
            },
            Rule {
                reason: "the metrics server authorizes clients, and the controller checks whether the agent of in-place \
                         restart has its permissions",
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
                reason: "replicas elect their leader with this Lease",
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
                reason: "a new leader records an event",
                groups: &["events.k8s.io"],
                resources: &["events"],
                verbs: &["create", "patch"],
                ..Rule::NONE
            },
        ],
    },
    OperandRole {
        name: names::SECRETS_ROLE,
        binding: names::SECRETS_ROLE_BINDING,
        rules: &[
            Rule {
                reason: "the controller issues its certificates, and stores them in this Secret",
                groups: &[""],
                resources: &["secrets"],
                names: &[names::INTERNAL_WEBHOOK_SECRET],
                verbs: &["get", "list", "update", "watch"],
                internal_certificates: true,
                ..Rule::NONE
            },
            Rule {
                reason: "the first replica creates that Secret",
                groups: &[""],
                resources: &["secrets"],
                verbs: &["create"],
                internal_certificates: true,
                ..Rule::NONE
            },
        ],
    },
];

/// Role of each Prometheus in the namespace of operator and operand, for clusters that serve the monitoring API.
pub const PROMETHEUS_ROLE: OperandRole = OperandRole {
    name: names::PROMETHEUS_ROLE,
    binding: names::PROMETHEUS_ROLE,
    rules: &[
        Rule {
            reason: "Prometheus discovers targets through Services, endpoints and pods",
            groups: &[""],
            resources: &["services", "endpoints", "pods"],
            verbs: READ,
            ..Rule::NONE
        },
        Rule {
            reason: "newer versions of Prometheus discover targets through EndpointSlices instead of endpoints",
            groups: &["discovery.k8s.io"],
            resources: &["endpointslices"],
            verbs: READ,
            ..Rule::NONE
        },
    ],
};

/// A role for users. Kubernetes aggregates it to its default roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserRole {
    /// Name of the `ClusterRole`.
    pub name: &'static str,
    /// Default roles that include it.
    pub aggregate_to: &'static [&'static str],
    /// The rules.
    pub rules: &'static [Rule],
}

/// Users who may edit or view a namespace may edit or view its JobSets.
pub const USER_ROLES: &[UserRole] = &[
    UserRole {
        name: names::EDITOR_ROLE,
        aggregate_to: &["admin", "edit"],
        rules: &[
            Rule {
                reason: "users who may edit a namespace may edit its JobSets",
                groups: &["jobset.x-k8s.io"],
                resources: &["jobsets"],
                verbs: EDIT,
                ..Rule::NONE
            },
            Rule {
                reason: "and read their status",
                groups: &["jobset.x-k8s.io"],
                resources: &["jobsets/status"],
                verbs: &["get"],
                ..Rule::NONE
            },
        ],
    },
    UserRole {
        name: names::VIEWER_ROLE,
        aggregate_to: &["view"],
        rules: &[
            Rule {
                reason: "users who may view a namespace may view its JobSets",
                groups: &["jobset.x-k8s.io"],
                resources: &["jobsets"],
                verbs: READ,
                ..Rule::NONE
            },
            Rule {
                reason: "and read their status",
                groups: &["jobset.x-k8s.io"],
                resources: &["jobsets/status"],
                verbs: &["get"],
                ..Rule::NONE
            },
        ],
    },
];
