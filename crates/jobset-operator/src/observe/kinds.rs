//! The kinds that the operator watches, and what of each.

use crate::names;
use kube::api::ApiResource;
use kube::core::GroupVersionKind;

/// CRD of cert-manager's Issuer.
pub const ISSUER_CRD: &str = "issuers.cert-manager.io";
/// CRD of cert-manager's Certificate.
pub const CERTIFICATE_CRD: &str = "certificates.cert-manager.io";
/// CRD of the Prometheus operator's `ServiceMonitor`.
pub const SERVICE_MONITOR_CRD: &str = "servicemonitors.monitoring.coreos.com";

/// What of a kind is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// What carries our label.
    OurLabel,
    /// One object.
    Name(&'static str),
}

/// What a watch feeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feeds {
    /// The objects that we manage.
    Objects,
    /// The JobSetOperator.
    Operator,
    /// The Secrets of certificates: their hash, and the objects without their content.
    Secrets,
    /// Which optional APIs are served.
    Apis,
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
    /// Whether the kind lives in namespaces; then only the operator's is watched.
    pub namespaced: bool,
    /// What of the kind is watched.
    pub selection: Selection,
    /// What the watch feeds.
    pub feeds: Feeds,
    /// The CRD that the kind comes from, where it is optional.
    pub api: Option<&'static str>,
}

impl Watch {
    const fn cluster(group: &'static str, kind: &'static str) -> Self {
        Self {
            group,
            version: "v1",
            kind,
            namespaced: false,
            selection: Selection::OurLabel,
            feeds: Feeds::Objects,
            api: None,
        }
    }

    const fn namespaced(group: &'static str, kind: &'static str) -> Self {
        Self { namespaced: true, ..Self::cluster(group, kind) }
    }

    const fn optional(group: &'static str, kind: &'static str, api: &'static str) -> Self {
        Self { api: Some(api), ..Self::namespaced(group, kind) }
    }

    const fn crd(name: &'static str, feeds: Feeds) -> Self {
        let crd = Self::cluster("apiextensions.k8s.io", "CustomResourceDefinition");
        Self { selection: Selection::Name(name), feeds, ..crd }
    }

    const fn secret(name: &'static str) -> Self {
        Self { selection: Selection::Name(name), feeds: Feeds::Secrets, ..Self::namespaced("", "Secret") }
    }

    /// The kind, as the client wants it.
    pub fn resource(&self) -> ApiResource {
        ApiResource::from_gvk(&GroupVersionKind::gvk(self.group, self.version, self.kind))
    }

    /// A name for logs and messages.
    pub fn title(&self) -> String {
        let resource = self.resource();
        let name = match self.selection {
            Selection::OurLabel => String::new(),
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
        selection: Selection::Name("cluster"),
        feeds: Feeds::Operator,
        api: Some(names::OPERATOR_CRD),
        ..Watch::cluster("operator.openshift.io", "JobSetOperator")
    },
    Watch::crd(names::OPERATOR_CRD, Feeds::Apis),
    Watch::crd(ISSUER_CRD, Feeds::Apis),
    Watch::crd(CERTIFICATE_CRD, Feeds::Apis),
    Watch::crd(SERVICE_MONITOR_CRD, Feeds::Apis),
    Watch::crd(names::JOBSET_CRD, Feeds::Objects),
    Watch::secret(names::CA_SECRET),
    Watch::secret(names::WEBHOOK_SECRET),
    Watch::secret(names::METRICS_SECRET),
    Watch::namespaced("", "ServiceAccount"),
    Watch::namespaced("", "Service"),
    Watch::namespaced("", "ConfigMap"),
    Watch::namespaced("apps", "Deployment"),
    Watch::namespaced("rbac.authorization.k8s.io", "Role"),
    Watch::namespaced("rbac.authorization.k8s.io", "RoleBinding"),
    Watch::cluster("rbac.authorization.k8s.io", "ClusterRole"),
    Watch::cluster("rbac.authorization.k8s.io", "ClusterRoleBinding"),
    Watch::cluster("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
    Watch::cluster("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
    Watch::optional("cert-manager.io", "Issuer", ISSUER_CRD),
    Watch::optional("cert-manager.io", "Certificate", CERTIFICATE_CRD),
    Watch::optional("monitoring.coreos.com", "ServiceMonitor", SERVICE_MONITOR_CRD),
];

/// The watch that covers a kind of object that we manage.
pub fn of_kind(kind: &str) -> Option<&'static Watch> {
    WATCHES.iter().find(|watch| watch.kind == kind && matches!(watch.feeds, Feeds::Objects | Feeds::Secrets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rbac::{Rule, operator_cluster_rules, operator_rules};

    #[test]
    fn every_watch_is_granted() {
        for watch in WATCHES {
            let rules = if watch.namespaced { operator_rules() } else { operator_cluster_rules() };
            let plural = watch.resource().plural;
            let granted = |verb: &str| {
                rules.iter().any(|rule: &Rule| {
                    rule.groups.contains(&watch.group)
                        && rule.resources.contains(&plural.as_str())
                        && rule.verbs.contains(&verb)
                        && match watch.selection {
                            Selection::OurLabel => rule.names.is_empty(),
                            Selection::Name(name) => rule.names.is_empty() || rule.names.contains(&name),
                        }
                })
            };
            assert!(granted("list") && granted("watch"), "{}", watch.title());
        }
    }
}
