//! The kinds of objects to collect, and which objects of them.

use super::redact::Author;
use crate::names;
use jobset_api::labels;
use kube::api::ApiResource;
use kube::core::GroupVersionKind;
use serde_json::Value;
use std::collections::BTreeSet;

/// Namespaces in which an installation usually is.
pub(super) const USUAL_NAMESPACES: [&str; 2] = [names::NAMESPACE, "jobset-system"];

/// Objects of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// API group; the core group is "".
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Name of the resource in URLs.
    pub plural: &'static str,
    /// Where to look.
    pub scope: Scope,
    /// Which of the objects.
    pub select: Select,
}

/// Where to look for objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Cluster-scoped objects.
    Cluster,
    /// The namespaces of operator and controller.
    Installation,
    /// The namespaces of JobSets: all, unless the user names some.
    JobSets,
}

/// Which objects of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Select {
    /// All.
    All,
    /// Those whose name shows that they are of an installation of JobSet. OLM and Helm add to the names.
    OfInstallation,
    /// The one named `cluster`, with the configuration of an OpenShift cluster.
    OfCluster,
    /// Those with the label of a JobSet.
    Labelled,
    /// Those that a JobSet owns.
    Owned,
}

const fn target(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    scope: Scope,
    select: Select,
) -> Target {
    Target { group, version, kind, plural, scope, select }
}

/// Everything to collect, besides events, logs and metrics. JobSets come before what belongs to them.
pub(super) const TARGETS: &[Target] = {
    use Scope::{Cluster, Installation, JobSets};
    use Select::{All, Labelled, OfCluster, OfInstallation, Owned};
    &[
        target("operator.openshift.io", "v1", "JobSetOperator", "jobsetoperators", Cluster, All),
        target(
            "apiextensions.k8s.io",
            "v1",
            "CustomResourceDefinition",
            "customresourcedefinitions",
            Cluster,
            OfInstallation,
        ),
        target(
            "admissionregistration.k8s.io",
            "v1",
            "MutatingWebhookConfiguration",
            "mutatingwebhookconfigurations",
            Cluster,
            OfInstallation,
        ),
        target(
            "admissionregistration.k8s.io",
            "v1",
            "ValidatingWebhookConfiguration",
            "validatingwebhookconfigurations",
            Cluster,
            OfInstallation,
        ),
        target("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", Cluster, OfInstallation),
        target(
            "rbac.authorization.k8s.io",
            "v1",
            "ClusterRoleBinding",
            "clusterrolebindings",
            Cluster,
            OfInstallation,
        ),
        target("config.openshift.io", "v1", "Infrastructure", "infrastructures", Cluster, OfCluster),
        target("config.openshift.io", "v1", "APIServer", "apiservers", Cluster, OfCluster),
        target("config.openshift.io", "v1", "Proxy", "proxies", Cluster, OfCluster),
        target("", "v1", "Pod", "pods", Installation, OfInstallation),
        target("", "v1", "Service", "services", Installation, OfInstallation),
        target("", "v1", "ServiceAccount", "serviceaccounts", Installation, OfInstallation),
        target("", "v1", "ConfigMap", "configmaps", Installation, OfInstallation),
        target("", "v1", "Secret", "secrets", Installation, OfInstallation),
        target("", "v1", "ResourceQuota", "resourcequotas", Installation, All),
        target("", "v1", "LimitRange", "limitranges", Installation, All),
        target("apps", "v1", "Deployment", "deployments", Installation, OfInstallation),
        target("apps", "v1", "ReplicaSet", "replicasets", Installation, OfInstallation),
        target("coordination.k8s.io", "v1", "Lease", "leases", Installation, OfInstallation),
        target("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", Installation, OfInstallation),
        target("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", Installation, OfInstallation),
        target("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", Installation, All),
        target("rbac.authorization.k8s.io", "v1", "Role", "roles", Installation, OfInstallation),
        target(
            "rbac.authorization.k8s.io",
            "v1",
            "RoleBinding",
            "rolebindings",
            Installation,
            OfInstallation,
        ),
        target("cert-manager.io", "v1", "Issuer", "issuers", Installation, OfInstallation),
        target("cert-manager.io", "v1", "Certificate", "certificates", Installation, OfInstallation),
        target(
            "cert-manager.io",
            "v1",
            "CertificateRequest",
            "certificaterequests",
            Installation,
            OfInstallation,
        ),
        target(
            "monitoring.coreos.com",
            "v1",
            "ServiceMonitor",
            "servicemonitors",
            Installation,
            OfInstallation,
        ),
        target(
            "monitoring.coreos.com",
            "v1",
            "PrometheusRule",
            "prometheusrules",
            Installation,
            OfInstallation,
        ),
        target("operators.coreos.com", "v1alpha1", "Subscription", "subscriptions", Installation, All),
        target(
            "operators.coreos.com",
            "v1alpha1",
            "ClusterServiceVersion",
            "clusterserviceversions",
            Installation,
            OfInstallation,
        ),
        target("operators.coreos.com", "v1alpha1", "InstallPlan", "installplans", Installation, All),
        target("operators.coreos.com", "v1", "OperatorGroup", "operatorgroups", Installation, All),
        target(
            "operators.coreos.com",
            "v2",
            "OperatorCondition",
            "operatorconditions",
            Installation,
            OfInstallation,
        ),
        target("jobset.x-k8s.io", "v1alpha2", "JobSet", "jobsets", JobSets, All),
        target("batch", "v1", "Job", "jobs", JobSets, Labelled),
        target("", "v1", "Pod", "pods", JobSets, Labelled),
        target("", "v1", "Service", "services", JobSets, Owned),
        target("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", JobSets, Labelled),
        target("scheduling.k8s.io", "v1beta1", "Workload", "workloads", JobSets, Labelled),
        target("scheduling.k8s.io", "v1beta1", "PodGroup", "podgroups", JobSets, Labelled),
    ]
};

impl Target {
    /// The kind, for the client.
    pub(super) fn resource(&self) -> ApiResource {
        let gvk = GroupVersionKind::gvk(self.group, self.version, self.kind);
        ApiResource::from_gvk_with_plural(&gvk, self.plural)
    }

    /// Label selector of a list request.
    pub(super) fn selector(&self) -> Option<&'static str> {
        (self.select == Select::Labelled).then_some(labels::JOBSET_NAME)
    }

    /// Field selector of a list request. A right for one name also allows such a request.
    pub(super) fn fields(&self) -> Option<&'static str> {
        (self.select == Select::OfCluster).then_some("metadata.name=cluster")
    }

    /// Whether to collect this object of the kind.
    pub(super) fn includes(&self, object: &Value) -> bool {
        match self.select {
            Select::OfInstallation => is_of_installation(text(object, "/metadata/name")),
            Select::Owned => {
                let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
                owners.into_iter().flatten().any(|owner| text(owner, "/kind") == "JobSet")
            }
            Select::All | Select::OfCluster | Select::Labelled => true,
        }
    }

    /// Who writes such objects.
    pub(super) fn author(&self) -> Author {
        if self.scope == Scope::JobSets { Author::User } else { Author::Installation }
    }

    /// The file of the objects in a namespace, or of one cluster-scoped object.
    pub(super) fn path(&self, namespace: &str, name: &str) -> String {
        let group = if self.group.is_empty() { "core" } else { self.group };
        if self.scope == Scope::Cluster {
            return format!("cluster-scoped-resources/{group}/{}/{name}.yaml", self.plural);
        }
        // An installation and JobSets can have objects of these kinds in one namespace.
        let is_shared = self.scope == Scope::JobSets && ["pods", "services"].contains(&self.plural);
        let prefix = if is_shared { "jobsets-" } else { "" };
        format!("namespaces/{namespace}/{group}/{prefix}{}.yaml", self.plural)
    }
}

/// Whether a name is of an installation of JobSet. cert-manager's Secrets have no name of the project.
fn is_of_installation(name: &str) -> bool {
    name.contains("jobset") || [names::WEBHOOK_SECRET, names::METRICS_SECRET].contains(&name)
}

/// The namespaces of an installation that an object shows: the target of a webhook configuration, or the namespace of a
/// Deployment.
pub(super) fn namespaces_of(object: &Value) -> BTreeSet<String> {
    let webhooks = object.get("webhooks").and_then(Value::as_array).into_iter().flatten();
    let targets = webhooks.map(|webhook| text(webhook, "/clientConfig/service/namespace"));
    let own = (object.get("kind") == Some(&"Deployment".into())).then(|| text(object, "/metadata/namespace"));
    targets.chain(own).filter(|namespace| !namespace.is_empty()).map(str::to_owned).collect()
}

/// Whether an event is about an installation, or about one of these objects of JobSets, each as kind and name.
pub(super) fn includes_event(
    event: &Value,
    of_installation: bool,
    objects: &BTreeSet<(String, String)>,
) -> bool {
    let (kind, name) = (text(event, "/involvedObject/kind"), text(event, "/involvedObject/name"));
    of_installation && is_of_installation(name) || objects.contains(&(kind.to_owned(), name.to_owned()))
}

/// A text field; empty if there is none.
pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn find(kind: &str, scope: Scope) -> &'static Target {
        TARGETS.iter().find(|target| target.kind == kind && target.scope == scope).unwrap()
    }

    #[test]
    fn an_object_of_an_installation_has_its_name() {
        let secret = find("Secret", Scope::Installation);
        for (name, expected) in [
            ("jobset-controller-manager", true),
            ("jobset-operator.v1.0.0-5d4f", true),
            ("6d4f6a47.jobset.x-k8s.io", true),
            ("openshift-jobset-operator-lock", true),
            ("webhook-server-cert", true),
            ("metrics-server-cert", true),
            ("database-password", false),
        ] {
            assert_eq!(secret.includes(&json!({"metadata": {"name": name}})), expected, "{name}");
        }
    }

    #[test]
    fn a_service_belongs_to_the_jobset_that_owns_it() {
        let service = find("Service", Scope::JobSets);
        let owned = |kind: &str| json!({"metadata": {"name": "a", "ownerReferences": [{"kind": kind}]}});
        assert!(service.includes(&owned("JobSet")));
        assert!(
            !service.includes(&owned("Deployment"))
                && !service.includes(&json!({"metadata": {"name": "jobset"}}))
        );
    }

    #[test]
    fn no_two_kinds_have_the_same_file() {
        let mut paths: Vec<_> = TARGETS.iter().map(|target| target.path("ns", "name")).collect();
        paths.sort();
        let number = paths.len();
        paths.dedup();
        assert_eq!(paths.len(), number, "{paths:?}");
        assert_eq!(find("Pod", Scope::Installation).path("ns", ""), "namespaces/ns/core/pods.yaml");
        assert_eq!(find("Pod", Scope::JobSets).path("ns", ""), "namespaces/ns/core/jobsets-pods.yaml");
        assert_eq!(
            find("JobSetOperator", Scope::Cluster).path("", "cluster"),
            "cluster-scoped-resources/operator.openshift.io/jobsetoperators/cluster.yaml"
        );
    }

    #[test]
    fn secrets_are_only_those_of_the_installation() {
        let secrets: Vec<_> = TARGETS.iter().filter(|target| target.kind == "Secret").collect();
        assert_eq!(secrets.len(), 1);
        assert_eq!((secrets[0].scope, secrets[0].select), (Scope::Installation, Select::OfInstallation));
        assert!(
            TARGETS
                .iter()
                .all(|target| (target.scope == Scope::JobSets) == (target.author() == Author::User))
        );
    }

    #[test]
    fn webhooks_and_deployments_show_the_namespace_of_an_installation() {
        let webhooks = json!({"kind": "MutatingWebhookConfiguration", "webhooks": [
            {"clientConfig": {"service": {"namespace": "a"}}}, {"clientConfig": {"url": "https://b"}},
        ]});
        assert_eq!(namespaces_of(&webhooks), BTreeSet::from(["a".to_owned()]));
        let deployment = json!({"kind": "Deployment", "metadata": {"namespace": "c"}});
        assert_eq!(namespaces_of(&deployment), BTreeSet::from(["c".to_owned()]));
        assert_eq!(namespaces_of(&json!({"kind": "Pod", "metadata": {"namespace": "d"}})), BTreeSet::new());
    }

    #[test]
    fn events_are_about_collected_objects() {
        let event = |kind: &str, name: &str| json!({"involvedObject": {"kind": kind, "name": name}});
        let objects = BTreeSet::from([("Pod".to_owned(), "train-0".to_owned())]);
        assert!(includes_event(&event("Pod", "train-0"), false, &objects));
        assert!(!includes_event(&event("Job", "train-0"), true, &objects));
        assert!(includes_event(&event("Pod", "jobset-operator-5d4f"), true, &objects));
        assert!(!includes_event(&event("Pod", "jobset-operator-5d4f"), false, &objects));
    }
}
