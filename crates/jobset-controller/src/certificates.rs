//! The webhooks' certificate: from a folder, or issued by the controller.

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use kube::{Client, api::ApiResource};
use manager_runtime::{
    certificates::{DesiredSecret, Lifetimes, Rotator, State, Target},
    metrics::Metrics,
    probes::Readiness,
    tls::Certificate,
};
use std::{collections::BTreeMap, path::PathBuf};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// The readiness condition of this module, and its message until the condition is met.
pub(crate) const CONDITION: (&str, &str) = ("certificates", "certificates are not ready");

/// The names of the controller's webhook configurations in all manifests.
const MUTATING: &str = "jobset-mutating-webhook-configuration";
const VALIDATING: &str = "jobset-validating-webhook-configuration";

/// Field manager of the CA bundles in the webhook configurations.
const FIELD_MANAGER: &str = "jobset-webhook-ca";

/// The source of the webhooks' certificate.
#[derive(Clone, Debug)]
pub(crate) enum CertificateSource {
    /// `tls.crt` and `tls.key` in this folder.
    Folder(PathBuf),
    /// Certificates that the controller issues.
    Internal(Internal),
}

/// The objects around the certificates that the controller issues.
#[derive(Clone, Debug)]
pub(crate) struct Internal {
    /// Namespace of the Secret and the Service.
    pub(crate) namespace: String,
    /// Service that the API server calls.
    pub(crate) service: String,
    /// Secret that stores the certificates.
    pub(crate) secret: String,
}

/// Waits for a certificate, and reloads it until `shutdown`. Returns None if `shutdown` comes first.
pub(crate) async fn obtain(
    source: CertificateSource,
    client: Client,
    metrics: &Metrics,
    readiness: &Readiness,
    shutdown: &CancellationToken,
) -> Option<Certificate> {
    match source {
        CertificateSource::Folder(folder) => {
            let certificate = Certificate::watch(&folder, metrics.certificates(), shutdown).await?;
            readiness.met(CONDITION.0);
            Some(certificate)
        }
        CertificateSource::Internal(names) => {
            let mut state = names.rotator().start(client, shutdown.clone());
            let certificate = loop {
                let known = state.borrow_and_update().clone();
                report_readiness(&known, readiness);
                if let Some(pair) = known.serve {
                    match Certificate::from_pem(pair.certificate.as_bytes(), pair.key.as_bytes()) {
                        Ok(certificate) => break certificate,
                        Err(error) => warn!(%error, "cannot serve the certificate in the Secret"),
                    }
                }
                shutdown.run_until_cancelled(state.changed()).await?.ok()?;
            };
            tokio::spawn(reload(state, certificate.clone(), readiness.clone()));
            Some(certificate)
        }
    }
}

/// Serves each new certificate of the rotator. The rotator ends with the process.
async fn reload(mut state: watch::Receiver<State>, certificate: Certificate, readiness: Readiness) {
    while state.changed().await.is_ok() {
        let known = state.borrow_and_update().clone();
        report_readiness(&known, &readiness);
        if let Some(pair) = known.serve
            && let Err(error) = certificate.replace(pair.certificate.as_bytes(), pair.key.as_bytes())
        {
            warn!(%error, "cannot serve the certificate in the Secret");
        }
    }
}

fn report_readiness(state: &State, readiness: &Readiness) {
    let (condition, not_ready) = CONDITION;
    match &state.missing {
        Some(missing) => readiness.missing(condition, format!("{not_ready}: {missing}")),
        None => readiness.met(condition),
    }
}

impl Internal {
    fn rotator(&self) -> Rotator {
        let target = |resource, name: &str| Target { resource, name: name.to_owned() };
        Rotator {
            desired: DesiredSecret {
                namespace: self.namespace.clone(),
                secret: self.secret.clone(),
                labels: BTreeMap::from([
                    ("app.kubernetes.io/name".to_owned(), "jobset".to_owned()),
                    ("app.kubernetes.io/component".to_owned(), "certificate".to_owned()),
                ]),
                dns_names: vec![format!("{}.{}.svc", self.service, self.namespace)],
                authority: "jobset-ca".to_owned(),
                organization: "jobset".to_owned(),
                lifetimes: Lifetimes::default(),
            },
            targets: vec![
                target(ApiResource::erase::<MutatingWebhookConfiguration>(&()), MUTATING),
                target(ApiResource::erase::<ValidatingWebhookConfiguration>(&()), VALIDATING),
            ],
            field_manager: FIELD_MANAGER.to_owned(),
        }
    }
}
