//! What the cluster says about itself: the objects named `cluster` of `config.openshift.io`. A cluster that is not
//! OpenShift has none of them.

use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::Value;
use tracing::warn;

/// The cluster's own configuration, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterFacts {
    /// Whether losing one node must not stop what runs on nodes (Infrastructure, `status.infrastructureTopology`).
    pub highly_available: bool,
    /// Which TLS the cluster's servers shall speak (`APIServer`, `spec.tlsSecurityProfile`); none where the cluster
    /// says nothing about it.
    pub tls_profile: Option<TlsSecurityProfile>,
    /// How the cluster reaches the outside (Proxy, `status`).
    pub proxy: Option<ProxySettings>,
}

/// OpenShift's TLS profiles. Without any, Intermediate holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsSecurityProfile {
    /// For old clients.
    Old,
    /// For today's clients.
    Intermediate,
    /// For clients that know TLS 1.3.
    Modern,
    /// As the administrator lists it.
    Custom {
        /// Lowest version, such as `VersionTLS12`.
        min_version: String,
        /// Names of cipher suites, as OpenSSL spells them.
        ciphers: Vec<String>,
    },
}

/// Proxy of requests that leave the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxySettings {
    /// For `http` addresses.
    pub http_proxy: String,
    /// For `https` addresses.
    pub https_proxy: String,
    /// Hosts and networks that are reached directly.
    pub no_proxy: String,
}

impl ProxySettings {
    /// As environment variables; none for what is not set.
    pub fn environment(&self) -> Vec<(&'static str, &str)> {
        [("HTTP_PROXY", &self.http_proxy), ("HTTPS_PROXY", &self.https_proxy), ("NO_PROXY", &self.no_proxy)]
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name, value.as_str()))
            .collect()
    }
}

impl ClusterFacts {
    /// Takes in one of the objects, or its absence.
    pub(super) fn learn(&mut self, kind: &str, object: Option<&DynamicObject>) {
        match kind {
            "Infrastructure" => self.highly_available = object.is_some_and(is_highly_available),
            "APIServer" => self.tls_profile = object.map(tls_profile),
            "Proxy" => self.proxy = object.map(proxy),
            _ => {}
        }
    }
}

/// Asks for the cluster's TLS profile, for a server that starts before anything is watched.
pub async fn read_tls_profile(client: &Client) -> Option<TlsSecurityProfile> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("config.openshift.io", "v1", "APIServer"));
    let servers: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    match servers.get_opt("cluster").await {
        Ok(server) => server.as_ref().map(tls_profile),
        // Neither the object nor its kind.
        Err(kube::Error::Api(status)) if status.code == 404 => None,
        Err(error) => {
            warn!(%error, "cannot read the cluster's TLS profile");
            None
        }
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn is_highly_available(infrastructure: &DynamicObject) -> bool {
    // OpenShift before 4.8 knew only the topology of the control plane.
    let of_nodes = text(&infrastructure.data, "/status/infrastructureTopology");
    let of_control_plane = text(&infrastructure.data, "/status/controlPlaneTopology");
    (if of_nodes.is_empty() { of_control_plane } else { of_nodes }) == "HighlyAvailable"
}

fn tls_profile(server: &DynamicObject) -> TlsSecurityProfile {
    let profile = server.data.pointer("/spec/tlsSecurityProfile").unwrap_or(&Value::Null);
    match text(profile, "/type") {
        "Old" => TlsSecurityProfile::Old,
        "Modern" => TlsSecurityProfile::Modern,
        "Custom" => TlsSecurityProfile::Custom {
            min_version: text(profile, "/custom/minTLSVersion").to_owned(),
            ciphers: profile
                .pointer("/custom/ciphers")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(|cipher| cipher.as_str().map(str::to_owned))
                .collect(),
        },
        _ => TlsSecurityProfile::Intermediate,
    }
}

fn proxy(proxy: &DynamicObject) -> ProxySettings {
    let setting = |name: &str| text(&proxy.data, &format!("/status/{name}")).to_owned();
    ProxySettings {
        http_proxy: setting("httpProxy"),
        https_proxy: setting("httpsProxy"),
        no_proxy: setting("noProxy"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn learnt(kind: &str, content: &Value) -> ClusterFacts {
        let mut object: DynamicObject =
            serde_json::from_value(json!({"metadata": {"name": "cluster"}})).unwrap();
        object.data = content.clone();
        let mut facts = ClusterFacts::default();
        facts.learn(kind, Some(&object));
        facts
    }

    #[test]
    fn the_topology_of_the_nodes_counts_and_before_it_existed_that_of_the_control_plane() {
        for (nodes, control_plane, expected) in [
            ("HighlyAvailable", "External", true),
            ("HighlyAvailable", "SingleReplica", true),
            ("SingleReplica", "HighlyAvailable", false),
            ("", "HighlyAvailable", true),
            ("", "SingleReplica", false),
            ("", "", false),
        ] {
            let status = json!({"infrastructureTopology": nodes, "controlPlaneTopology": control_plane});
            let facts = learnt("Infrastructure", &json!({ "status": status }));
            assert_eq!(facts.highly_available, expected, "{nodes} {control_plane}");
        }
    }

    #[test]
    fn tls_profiles() {
        let profile = |profile: Value| {
            learnt("APIServer", &json!({"spec": {"tlsSecurityProfile": profile}})).tls_profile.unwrap()
        };
        assert_eq!(profile(Value::Null), TlsSecurityProfile::Intermediate);
        assert_eq!(
            profile(json!({"type": "Intermediate", "intermediate": {}})),
            TlsSecurityProfile::Intermediate
        );
        assert_eq!(profile(json!({"type": "Old"})), TlsSecurityProfile::Old);
        assert_eq!(profile(json!({"type": "Modern"})), TlsSecurityProfile::Modern);
        let custom =
            json!({"type": "Custom", "custom": {"ciphers": ["A", "B"], "minTLSVersion": "VersionTLS12"}});
        assert_eq!(
            profile(custom),
            TlsSecurityProfile::Custom {
                min_version: "VersionTLS12".into(),
                ciphers: vec!["A".into(), "B".into()]
            }
        );
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let mut facts = learnt("Proxy", &json!({"status": {"httpsProxy": "http://proxy.example:3128"}}));
        let environment = facts.proxy.as_ref().unwrap().environment();
        assert_eq!(environment, [("HTTPS_PROXY", "http://proxy.example:3128")]);
        facts.learn("Proxy", None);
        assert_eq!(facts, ClusterFacts::default());
    }
}
