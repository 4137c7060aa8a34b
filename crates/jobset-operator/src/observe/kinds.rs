//! The watches of the operator: kinds, and the selection of each.

use super::ObjectKey;
use crate::names;
use kube::api::ApiResource;
use kube::core::GroupVersionKind;

/// CRD of cert-manager's Issuer.
pub const ISSUER_CRD: &str = "issuers.cert-manager.io";
/// CRD of cert-manager's Certificate.
pub const CERTIFICATE_CRD: &str = "certificates.cert-manager.io";
/// CRD of the Prometheus operator's `ServiceMonitor`.
pub const SERVICE_MONITOR_CRD: &str = "servicemonitors.monitoring.coreos.com";
/// CRD of the Prometheus operator's `PrometheusRule`.
pub const PROMETHEUS_RULE_CRD: &str = "prometheusrules.monitoring.coreos.com";
/// CRD of the quick starts in OpenShift's console.
pub const QUICK_START_CRD: &str = "consolequickstarts.console.openshift.io";
/// CRD of the samples in the YAML editor of OpenShift's console.
pub const YAML_SAMPLE_CRD: &str = "consoleyamlsamples.console.openshift.io";
/// CRD of OpenShift's Infrastructure.
pub const INFRASTRUCTURE_CRD: &str = "infrastructures.config.openshift.io";
/// CRD of OpenShift's `APIServer`.
pub const API_SERVER_CRD: &str = "apiservers.config.openshift.io";
/// CRD of OpenShift's Proxy.
pub const PROXY_CRD: &str = "proxies.config.openshift.io";

/// The objects of a kind that a watch selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// The objects of an installation of JobSet, by [`names::INSTALLATION_SELECTOR`].
    Installation,
    /// Objects that match this label selector.
    Labels(&'static str),
    /// One object.
    Name(&'static str),
}

/// The part of the index that a watch updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexPart {
    /// The managed objects.
    Objects,
    /// The JobSetOperator.
    Operator,
    /// The certificate Secrets: their hash, and the objects without data.
    Secrets,
    /// Which optional APIs are served.
    Apis,
    /// The configuration of the cluster.
    Facts,
    /// The operand's pods.
    Pods,
    /// The endpoints of the webhooks' Service.
    Endpoints,
    /// Deployments in other namespaces with the name of the operand's Deployment.
    OtherDeployments,
    /// Whether the namespace of the console's dashboards exists.
    DashboardNamespace,
}

/// One watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// API group.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Whether the kind is namespaced. The operator watches such a kind only in one namespace.
    pub namespaced: bool,
    /// The namespace, if it is not the operator's own.
    pub namespace: Option<&'static str>,
    /// The selected objects of the kind.
    pub selection: Selection,
    /// The part of the index that the watch updates.
    pub part: IndexPart,
    /// The CRD of the kind, if the API is optional.
    pub api: Option<&'static str>,
}

impl Watch {
    const fn cluster(group: &'static str, kind: &'static str) -> Self {
        Self {
            group,
            version: "v1",
            kind,
            namespaced: false,
            namespace: None,
            selection: Selection::Installation,
            part: IndexPart::Objects,
            api: None,
        }
    }

    const fn namespaced(group: &'static str, kind: &'static str) -> Self {
        Self { namespaced: true, ..Self::cluster(group, kind) }
    }

    const fn optional(group: &'static str, kind: &'static str, api: &'static str) -> Self {
        Self { api: Some(api), ..Self::namespaced(group, kind) }
    }

    const fn console(kind: &'static str, api: &'static str) -> Self {
        Self { api: Some(api), ..Self::cluster("console.openshift.io", kind) }
    }

    const fn fact(kind: &'static str, api: &'static str) -> Self {
        let fact = Self::cluster("config.openshift.io", kind).named("cluster");
        Self { part: IndexPart::Facts, api: Some(api), ..fact }
    }

    /// One object, whatever its labels are.
    const fn named(self, name: &'static str) -> Self {
        Self { selection: Selection::Name(name), ..self }
    }

    const fn webhooks(kind: &'static str) -> Self {
        Self::cluster("admissionregistration.k8s.io", kind)
    }

    const fn crd(name: &'static str, part: IndexPart) -> Self {
        let crd = Self::cluster("apiextensions.k8s.io", "CustomResourceDefinition").named(name);
        Self { part, ..crd }
    }

    const fn secret(name: &'static str) -> Self {
        Self { part: IndexPart::Secrets, ..Self::namespaced("", "Secret").named(name) }
    }

    /// The API resource of the kind.
    pub fn resource(&self) -> ApiResource {
        ApiResource::from_gvk(&GroupVersionKind::gvk(self.group, self.version, self.kind))
    }

    /// Whether the operator can work without this watch.
    pub fn is_optional(&self) -> bool {
        ["monitoring.coreos.com", "console.openshift.io"].contains(&self.group) || self.namespace.is_some()
    }

    /// Whether the rules of the operator in its own namespace are those for this watch.
    pub fn is_in_own_namespace(&self) -> bool {
        self.namespaced && self.namespace.is_none()
    }

    /// A name for logs and messages.
    pub fn title(&self) -> String {
        let resource = self.resource();
        let name = match self.selection {
            Selection::Installation => String::new(),
            Selection::Labels(selector) => format!("[{selector}]"),
            Selection::Name(_) if self.part == IndexPart::OtherDeployments => " of all namespaces".to_owned(),
            Selection::Name(name) => format!("/{name}"),
        };
        if self.group.is_empty() {
            format!("{}{name}", resource.plural)
        } else {
            format!("{}.{}{name}", resource.plural, self.group)
        }
    }
}

/// Every watch of the operator.
pub const WATCHES: &[Watch] = &[
    Watch {
        part: IndexPart::Operator,
        api: Some(names::OPERATOR_CRD),
        ..Watch::cluster("operator.openshift.io", "JobSetOperator").named("cluster")
    },
    Watch::crd(names::OPERATOR_CRD, IndexPart::Apis),
    Watch::crd(ISSUER_CRD, IndexPart::Apis),
    Watch::crd(CERTIFICATE_CRD, IndexPart::Apis),
    Watch::crd(SERVICE_MONITOR_CRD, IndexPart::Apis),
    Watch::crd(PROMETHEUS_RULE_CRD, IndexPart::Apis),
    Watch::crd(QUICK_START_CRD, IndexPart::Apis),
    Watch::crd(YAML_SAMPLE_CRD, IndexPart::Apis),
    Watch::crd(INFRASTRUCTURE_CRD, IndexPart::Apis),
    Watch::crd(API_SERVER_CRD, IndexPart::Apis),
    Watch::crd(PROXY_CRD, IndexPart::Apis),
    Watch::crd(names::JOBSET_CRD, IndexPart::Objects),
    Watch::secret(names::CA_SECRET),
    Watch::secret(names::WEBHOOK_SECRET),
    Watch::secret(names::METRICS_SECRET),
    Watch::secret(names::BUILT_IN_WEBHOOK_SECRET),
    Watch::secret(names::BUILT_IN_METRICS_SECRET),
    Watch::secret(names::OPERATOR_METRICS_SECRET),
    Watch::namespaced("", "ServiceAccount"),
    Watch::namespaced("", "Service"),
    Watch::namespaced("", "ConfigMap").named(names::CONFIG_MAP),
    Watch::namespaced("apps", "Deployment").named(names::OPERAND),
    Watch::namespaced("policy", "PodDisruptionBudget"),
    Watch::namespaced("networking.k8s.io", "NetworkPolicy"),
    Watch::namespaced("rbac.authorization.k8s.io", "Role"),
    Watch::namespaced("rbac.authorization.k8s.io", "RoleBinding"),
    Watch::cluster("rbac.authorization.k8s.io", "ClusterRole"),
    Watch::cluster("rbac.authorization.k8s.io", "ClusterRoleBinding"),
    Watch::webhooks("MutatingWebhookConfiguration").named(names::MUTATING_WEBHOOKS),
    Watch::webhooks("ValidatingWebhookConfiguration").named(names::VALIDATING_WEBHOOKS),
    Watch { part: IndexPart::OtherDeployments, ..Watch::cluster("apps", "Deployment").named(names::OPERAND) },
    Watch {
        selection: Selection::Labels(names::OPERAND_SELECTOR),
        part: IndexPart::Pods,
        ..Watch::namespaced("", "Pod")
    },
    Watch {
        selection: Selection::Labels(names::WEBHOOK_ENDPOINTS_SELECTOR),
        part: IndexPart::Endpoints,
        ..Watch::namespaced("discovery.k8s.io", "EndpointSlice")
    },
    Watch::fact("Infrastructure", INFRASTRUCTURE_CRD),
    Watch::fact("APIServer", API_SERVER_CRD),
    Watch::fact("Proxy", PROXY_CRD),
    Watch::optional("cert-manager.io", "Issuer", ISSUER_CRD),
    Watch::optional("cert-manager.io", "Certificate", CERTIFICATE_CRD),
    Watch::optional("monitoring.coreos.com", "ServiceMonitor", SERVICE_MONITOR_CRD),
    Watch::optional("monitoring.coreos.com", "PrometheusRule", PROMETHEUS_RULE_CRD),
    Watch::console("ConsoleQuickStart", QUICK_START_CRD),
    Watch::console("ConsoleYAMLSample", YAML_SAMPLE_CRD),
    Watch {
        part: IndexPart::DashboardNamespace,
        ..Watch::cluster("", "Namespace").named(names::DASHBOARD_NAMESPACE)
    },
    Watch {
        namespace: Some(names::DASHBOARD_NAMESPACE),
        ..Watch::namespaced("", "ConfigMap").named(names::DASHBOARD)
    },
];

/// Whether this CRD defines a kind with the configuration of the cluster.
pub fn is_api_of_facts(crd: &str) -> bool {
    WATCHES.iter().any(|watch| watch.part == IndexPart::Facts && watch.api == Some(crd))
}

/// The watch of a managed object. If none has its name, that of another object of its kind.
pub fn watch_of(key: &ObjectKey) -> Option<&'static Watch> {
    let of_kind = || {
        WATCHES.iter().filter(|watch| {
            watch.kind == key.kind && matches!(watch.part, IndexPart::Objects | IndexPart::Secrets)
        })
    };
    let is_named = |watch: &&Watch| matches!(watch.selection, Selection::Name(name) if name == key.name);
    of_kind().find(is_named).or_else(|| of_kind().next())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rbac::{Rule, operator_cluster_rules, operator_rules};

    #[test]
    fn every_watch_has_its_permissions() {
        for watch in WATCHES {
            let rules = if watch.is_in_own_namespace() { operator_rules() } else { operator_cluster_rules() };
            let plural = watch.resource().plural;
            let granted = |verb: &str| {
                rules.iter().any(|rule: &Rule| {
                    rule.groups.contains(&watch.group)
                        && rule.resources.contains(&plural.as_str())
                        && rule.verbs.contains(&verb)
                        && match watch.selection {
                            Selection::Installation | Selection::Labels(_) => rule.names.is_empty(),
                            Selection::Name(name) => rule.names.is_empty() || rule.names.contains(&name),
                        }
                })
            };
            assert!(granted("list") && granted("watch"), "{}", watch.title());
        }
    }
}
