//! The metrics of operator and controller, through their Services.
//!
//! The request contains the token of this pod's service account, so it is sent only to a server whose certificate the CA
//! in the Secret of the metrics server signed.

use super::archive::Archive;
use crate::names;
use http::Request;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::{Client, Config};
use manager_runtime::certificates::decide::certificates_der;
use manager_runtime::logging::in_one_line;
use std::io;
use std::time::Duration;

/// A network policy drops the connections of namespaces without the label `metrics: enabled`.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Service, the Secrets that can have its certificate, and the file.
const SERVERS: [(&str, &[&str], &str); 2] = [
    (names::METRICS_SERVICE, &[names::METRICS_SECRET, names::BUILT_IN_METRICS_SECRET], "controller"),
    (names::OPERATOR_METRICS_SERVICE, &[names::OPERATOR_METRICS_SECRET], "operator"),
];

/// Adds the metrics of the installation in this namespace.
pub(super) async fn collect(client: &Client, namespace: &str, archive: &mut Archive) -> io::Result<()> {
    for (service, secrets, program) in SERVERS {
        match scrape(client, namespace, service, secrets).await {
            Ok(Some(metrics)) => {
                archive.text(&format!("namespaces/{namespace}/metrics/{program}.txt"), &metrics)?;
            }
            Ok(None) => {}
            Err(reason) => archive.missing(format!("metrics of Service {namespace}/{service}"), reason),
        }
    }
    Ok(())
}

/// The metrics; None if the namespace has no such Secret.
async fn scrape(
    client: &Client,
    namespace: &str,
    service: &str,
    secrets: &[&str],
) -> Result<Option<String>, String> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let mut roots = Vec::new();
    let mut exists = false;
    for name in secrets {
        let secret = api.get_opt(name).await.map_err(|error| in_one_line(&error))?;
        let data = secret.and_then(|secret| secret.data).unwrap_or_default();
        exists |= !data.is_empty();
        let authority = data.get("ca.crt").and_then(|bytes| String::from_utf8(bytes.0.clone()).ok());
        roots.extend(certificates_der(&authority.unwrap_or_default()));
    }
    if !exists {
        return Ok(None);
    }
    let token = Config::incluster().map_err(|_| "only a pod of the cluster can request them".to_owned())?;
    let url = format!("https://{service}.{namespace}.svc:8443").parse();
    let mut config = Config::new(url.map_err(|error: http::uri::InvalidUri| error.to_string())?);
    config.root_cert = Some(roots);
    config.auth_info = token.auth_info;
    config.connect_timeout = Some(TIMEOUT);
    config.read_timeout = Some(TIMEOUT);
    let server = Client::try_from(config).map_err(|error| in_one_line(&error))?;
    let request = Request::get("/metrics").body(Vec::new()).map_err(|error| error.to_string())?;
    match tokio::time::timeout(TIMEOUT, server.request_text(request)).await {
        Ok(response) => response.map(Some).map_err(|error| in_one_line(&error)),
        Err(_) => Err(format!(
            "no response within {} seconds: a NetworkPolicy allows only namespaces with the label metrics: enabled",
            TIMEOUT.as_secs()
        )),
    }
}
