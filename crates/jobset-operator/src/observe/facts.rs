//! The configuration of the cluster: the objects named `cluster` in `config.openshift.io`. Only OpenShift has them.

use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use manager_runtime::client::WatchBackoff;
use serde_json::Value;
use std::time::{Duration, Instant};
use tokio::time::sleep;
use tracing::warn;

/// How long the operator retries to read the TLS profile before it exits. The kubelet then restarts it.
const READ_TIMEOUT: Duration = Duration::from_mins(2);

/// The configuration of the cluster, as far as the operator needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterFacts {
    /// Whether workloads must survive the loss of one node (Infrastructure, `status.infrastructureTopology`).
    pub highly_available: bool,
    /// The TLS profile of the cluster's servers (`APIServer`, `spec.tlsSecurityProfile`). None on other clusters than
    /// OpenShift.
    pub tls_profile: Option<TlsSecurityProfile>,
    /// The cluster-wide proxy for egress (Proxy, `status`).
    pub proxy: Option<ProxySettings>,
}

/// OpenShift's TLS profiles. The default is Intermediate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsSecurityProfile {
    /// For legacy clients.
    Old,
    /// For current clients.
    Intermediate,
    /// For clients that support TLS 1.3.
    Modern,
    /// Version and suites from the administrator.
    Custom {
        /// Minimum version, such as `VersionTLS12`.
        min_version: String,
        /// OpenSSL names of cipher suites.
        ciphers: Vec<String>,
    },
}

/// Proxy for requests that leave the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxySettings {
    /// For `http` addresses.
    pub http_proxy: String,
    /// For `https` addresses.
    pub https_proxy: String,
    /// Hosts and networks without proxy.
    pub no_proxy: String,
}

impl ProxySettings {
    /// The environment variables of all settings that are not empty.
    pub fn environment(&self) -> Vec<(&'static str, &str)> {
        [("HTTP_PROXY", &self.http_proxy), ("HTTPS_PROXY", &self.https_proxy), ("NO_PROXY", &self.no_proxy)]
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name, value.as_str()))
            .collect()
    }
}

impl ClusterFacts {
    /// Whether the cluster is an OpenShift cluster: it has a configuration.
    pub fn is_openshift(&self) -> bool {
        self.highly_available || self.tls_profile.is_some() || self.proxy.is_some()
    }

    /// Updates the facts with one of the objects, or with its absence.
    pub(super) fn update(&mut self, kind: &str, object: Option<&DynamicObject>) {
        match kind {
            "Infrastructure" => self.highly_available = object.is_some_and(is_highly_available),
            "APIServer" => self.tls_profile = object.map(tls_profile),
            "Proxy" => self.proxy = object.map(proxy),
            _ => {}
        }
    }
}

/// Reads the cluster's TLS profile, for servers that start before the watches. Returns None on other clusters than
/// OpenShift. Retries errors for a limited time: an unreadable profile does not mean that there is none.
///
/// # Errors
/// The last error, after two minutes.
pub async fn read_tls_profile(client: &Client) -> kube::Result<Option<TlsSecurityProfile>> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("config.openshift.io", "v1", "APIServer"));
    let servers: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let read = || async {
        match servers.get_opt("cluster").await {
            // The API does not exist.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            answer => answer,
        }
    };
    let server = until_answered(READ_TIMEOUT, read).await?;
    Ok(server.as_ref().map(tls_profile))
}

/// Repeats a request until it succeeds, or until it fails after `limit`.
async fn until_answered<T, Sending>(limit: Duration, request: impl Fn() -> Sending) -> kube::Result<T>
where
    Sending: Future<Output = kube::Result<T>>,
{
    let (started, mut backoff) = (Instant::now(), WatchBackoff::default());
    loop {
        let error = match request().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let Some(delay) = backoff.next().filter(|_| started.elapsed() < limit) else { return Err(error) };
        warn!(%error, ?delay, "cannot read the cluster's TLS profile, retrying");
        sleep(delay).await;
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn is_highly_available(infrastructure: &DynamicObject) -> bool {
    // OpenShift before 4.8 reports only the topology of the control plane.
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
    use std::cell::Cell;
    use std::future::ready;

    fn facts_of(kind: &str, content: &Value) -> ClusterFacts {
        let mut object: DynamicObject =
            serde_json::from_value(json!({"metadata": {"name": "cluster"}})).unwrap();
        object.data = content.clone();
        let mut facts = ClusterFacts::default();
        facts.update(kind, Some(&object));
        facts
    }

    #[test]
    fn the_topology_of_the_nodes_precedes_that_of_the_control_plane() {
        for (nodes, control_plane, expected) in [
            ("HighlyAvailable", "External", true),
            ("HighlyAvailable", "SingleReplica", true),
            ("SingleReplica", "HighlyAvailable", false),
            ("", "HighlyAvailable", true),
            ("", "SingleReplica", false),
            ("", "", false),
        ] {
            let status = json!({"infrastructureTopology": nodes, "controlPlaneTopology": control_plane});
            let facts = facts_of("Infrastructure", &json!({ "status": status }));
            assert_eq!(facts.highly_available, expected, "{nodes} {control_plane}");
        }
    }

    #[test]
    fn every_tls_profile_is_parsed() {
        let profile = |profile: Value| {
            facts_of("APIServer", &json!({"spec": {"tlsSecurityProfile": profile}})).tls_profile.unwrap()
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
    fn a_deleted_object_resets_its_fact() {
        let mut facts = facts_of("Proxy", &json!({"status": {"httpsProxy": "http://proxy.example:3128"}}));
        let environment = facts.proxy.as_ref().unwrap().environment();
        assert_eq!(environment, [("HTTPS_PROXY", "http://proxy.example:3128")]);
        facts.update("Proxy", None);
        assert_eq!(facts, ClusterFacts::default());
    }

    #[tokio::test]
    async fn an_error_is_not_the_absence_of_a_profile() {
        let failure = || kube::Error::Service("connection refused".into());
        let attempts = Cell::new(0);
        let third_succeeds = || {
            attempts.set(attempts.get() + 1);
            ready(if attempts.get() < 3 { Err(failure()) } else { Ok("profile") })
        };
        assert_eq!(until_answered(Duration::from_hours(1), third_succeeds).await.unwrap(), "profile");
        assert_eq!(attempts.get(), 3);
        let fails = || ready(Err::<(), _>(failure()));
        assert!(until_answered(Duration::ZERO, fails).await.is_err(), "the limit is reached");
    }
}
