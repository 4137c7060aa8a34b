//! Decides which certificates the operand serves with, and which CAs the API server trusts for the operand's webhooks.
//!
//! The two providers store certificates in Secrets with different names, so that an ordinary rollout moves the
//! operand's pods from one provider to the other. No admission request fails during the move, because each step waits
//! until the operator observes the previous one:
//!
//! ```text
//! the new provider's Secrets are complete
//!   └► the webhook configurations trust the new CA in addition to the old one
//!        └► the Deployment mounts the new Secrets
//!             └► every pod serves with them, and no old pod is left: delete the old CA and the old provider's objects
//! ```
//!
//! The rotation of a CA within one provider takes the same steps. The operator reads the trusted CAs from the webhook
//! configurations, so that a restart of the operator loses no state.

use super::cert_manager::{Issuance, issuance};
use super::operand_state::OperandState;
use super::problem::Problem;
use super::settings::Settings;
use crate::names;
use crate::observe::{ObjectKey, Observed, kinds};
use crate::reasons;
use jobset_api::JobSetOperator;
use jobset_api::jobset_operator::CertificateProvider;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use manager_runtime::certificates::decide::certificates;
use manager_runtime::certificates::{Decision, DesiredSecret, Lifetimes, decide, inject, issue};
use std::collections::BTreeMap;

/// The issuer of certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// cert-manager. It writes the Secrets that its Certificates name.
    CertManager,
    /// The operator itself.
    BuiltIn,
}

impl Provider {
    pub(super) const ALL: [Provider; 2] = [Provider::CertManager, Provider::BuiltIn];

    /// Secret of the webhook server's certificate.
    pub fn webhook_secret(self) -> &'static str {
        match self {
            Provider::CertManager => names::WEBHOOK_SECRET,
            Provider::BuiltIn => names::BUILT_IN_WEBHOOK_SECRET,
        }
    }

    /// Secret of the metrics server's certificate.
    pub fn metrics_secret(self) -> &'static str {
        match self {
            Provider::CertManager => names::METRICS_SECRET,
            Provider::BuiltIn => names::BUILT_IN_METRICS_SECRET,
        }
    }

    /// All Secrets of this provider.
    pub fn secrets(self) -> &'static [&'static str] {
        match self {
            Provider::CertManager => &[names::CA_SECRET, names::WEBHOOK_SECRET, names::METRICS_SECRET],
            Provider::BuiltIn => &[names::BUILT_IN_WEBHOOK_SECRET, names::BUILT_IN_METRICS_SECRET],
        }
    }

    fn is_complete(self, observed: &Observed) -> bool {
        [self.webhook_secret(), self.metrics_secret()]
            .iter()
            .all(|secret| observed.complete_secret(secret).is_some())
    }
}

/// A Secret to write.
#[derive(Clone, Debug)]
pub struct Issue {
    /// The desired Secret.
    pub desired: DesiredSecret,
    /// The change.
    pub decision: Decision,
}

/// The decision on certificates.
#[derive(Debug)]
pub(super) struct Certification {
    /// The desired provider.
    pub desired: Provider,
    /// The provider whose certificates the operand serves with, or None if no provider's certificates are complete.
    pub serving: Option<Provider>,
    /// Hashes of these certificates, webhook server first.
    pub hashes: Option<(String, String)>,
    /// The desired CA bundle of the webhook configurations, PEM.
    pub ca_bundle: String,
    /// Whether every existing webhook configuration trusts the certificates of the desired pods.
    pub trusted: bool,
    /// Whether every existing webhook configuration trusts the CA that signs cert-manager's next certificate.
    pub next_trusted: bool,
    /// Whether every pod serves with the desired certificates, so that the previous ones are no longer needed.
    pub settled: bool,
    /// Secrets to write.
    pub issue: Vec<Issue>,
    /// When to decide again.
    pub reconcile_at: Option<Timestamp>,
    /// What the operand waits for.
    pub waiting: Vec<String>,
    /// The problems that wait for the administrator.
    pub problems: Vec<Problem>,
    /// The problems that can pass.
    pub passing: Vec<Problem>,
}

impl Certification {
    /// Whether the operand still needs the Secrets of this provider.
    pub(super) fn keeps(&self, provider: Provider) -> bool {
        self.desired == provider || !self.settled
    }

    /// Whether the operand needs cert-manager's Certificates. It also needs them during the move to the other provider.
    pub(super) fn needs_issuers(&self, observed: &Observed) -> bool {
        let issued = observed.get("Certificate", names::WEBHOOK_CERTIFICATE).is_some();
        observed.cert_manager() && (self.desired == Provider::CertManager || !self.settled && issued)
    }
}

/// Decides on certificates.
pub(super) fn decide_certification(
    settings: &Settings,
    observed: &Observed,
    operator: &JobSetOperator,
    now: Timestamp,
) -> Certification {
    let desired = desired_provider(observed, operator);
    let mut issue = Vec::new();
    let Issuance { mut waiting, mut problems, passing, mut reconcile_at } = match desired {
        Provider::CertManager if observed.cert_manager() => issuance(observed, now),
        _ => Issuance::default(),
    };
    if desired == Provider::CertManager && !observed.cert_manager() {
        problems.push(Problem {
            reason: reasons::MISSING_DEPENDENCY,
            message: "please make sure that cert-manager is installed on your cluster".to_owned(),
        });
    }
    let built_in = built_in(&settings.namespace).into_iter().filter(|_| desired == Provider::BuiltIn);
    for desired in built_in.chain(operator_metrics(settings, observed)) {
        let found = secret_in(observed, &desired.secret);
        match decide(found.as_ref(), &desired, now) {
            Decision::Keep { until } => {
                reconcile_at = Some(reconcile_at.map_or(until, |earliest: Timestamp| earliest.min(until)));
            }
            Decision::Refuse { reason } => {
                problems.push(Problem { reason: reasons::FOREIGN_SECRET, message: reason });
            }
            decision => {
                if !observed.secrets.contains_key(&desired.secret) {
                    waiting.push(format!("the operator is creating Secret {}", desired.secret));
                }
                issue.push(Issue { desired, decision });
            }
        }
    }

    let state = OperandState::of(observed);
    let serving = [Some(desired), mounted_provider(observed)]
        .into_iter()
        .flatten()
        .find(|provider| provider.is_complete(observed));
    let secret = |name: &str| observed.complete_secret(name);
    let hashes = serving.and_then(|provider| {
        let hash = |name| secret(name).map(|secret| secret.hash.clone());
        Some((hash(provider.webhook_secret())?, hash(provider.metrics_secret())?))
    });
    let authorities = serving
        .and_then(|provider| secret(provider.webhook_secret()))
        .map(|secret| certificates(&secret.ca))
        .unwrap_or_default();

    let is_served = |name: &str, hash: Option<&String>| {
        state.as_ref().and_then(|state| state.annotations.get(name)) == hash && hash.is_some()
    };
    let settled = serving == Some(desired)
        && issue.iter().all(|issue| issue.desired.secret == names::OPERATOR_METRICS_SECRET)
        && state.as_ref().is_some_and(OperandState::is_rolled_out)
        // The Deployment does not count terminating pods, and they serve with their old certificates.
        && observed.ending_pods == 0
        && mounted_provider(observed) == serving
        && is_served(names::WEBHOOK_CERTIFICATE_HASH, hashes.as_ref().map(|(webhook, _)| webhook))
        && is_served(names::METRICS_CERTIFICATE_HASH, hashes.as_ref().map(|(_, metrics)| metrics));

    let configurations = webhook_configurations(observed);
    let trusts_first = |authorities: &[String]| {
        authorities.first().is_some_and(|authority| {
            configurations.iter().all(|configuration| inject::trusts(configuration, authority))
        })
    };
    let trusted = trusts_first(&authorities);
    // With this CA, cert-manager signs the next certificate. Pods may read that one before the operator observes it.
    let issuing = secret(names::CA_SECRET).filter(|_| desired == Provider::CertManager);
    let next = issuing.map(|secret| certificates(&secret.ca)).unwrap_or_default();
    let next_trusted = trusts_first(&next);
    let mut bundle = authorities;
    if !bundle.is_empty() {
        bundle
            .extend(next.into_iter().filter(|certificate| !bundle.contains(certificate)).collect::<Vec<_>>());
    }
    if !settled {
        for configuration in &configurations {
            for certificate in certificates(&inject::trusted(configuration)) {
                if !bundle.contains(&certificate) {
                    bundle.push(certificate);
                }
            }
        }
    }
    Certification {
        desired,
        serving,
        hashes,
        ca_bundle: bundle.concat(),
        trusted,
        next_trusted,
        settled,
        issue,
        reconcile_at,
        waiting,
        problems,
        passing,
    }
}

fn desired_provider(observed: &Observed, operator: &JobSetOperator) -> Provider {
    match operator.spec.certificates.as_ref().and_then(|spec| spec.provider.as_ref()) {
        Some(CertificateProvider::CertManager) => Provider::CertManager,
        Some(CertificateProvider::BuiltIn) => Provider::BuiltIn,
        None | Some(CertificateProvider::Auto | CertificateProvider::Unknown(_)) => {
            if observed.cert_manager() { Provider::CertManager } else { Provider::BuiltIn }
        }
    }
}

/// The provider whose Secrets the operand's Deployment mounts now.
fn mounted_provider(observed: &Observed) -> Option<Provider> {
    let live = observed.get("Deployment", names::OPERAND)?;
    let volumes = live.object.data.pointer("/spec/template/spec/volumes")?.as_array()?;
    Provider::ALL.into_iter().find(|provider| {
        let secret = |volume: &serde_json::Value| volume.pointer("/secret/secretName").cloned();
        volumes.iter().any(|volume| secret(volume).is_some_and(|name| name == provider.webhook_secret()))
    })
}

/// Since when and until when the API server accepts the certificate that the operand's webhooks serve with, and its
/// Secret. None if the operand mounts no certificate that the operator can read.
pub(super) fn served_validity(observed: &Observed) -> Option<(&'static str, Timestamp, Timestamp)> {
    let name = mounted_provider(observed)?.webhook_secret();
    let secret = observed.complete_secret(name)?;
    let (begin, end) = (issue::begins(&secret.certificate).ok()?, issue::ends(&secret.certificate).ok()?);
    // The CA that signed it is the first one.
    let authority = issue::begins(&secret.ca).ok().zip(issue::ends(&secret.ca).ok());
    let (ca_begin, ca_end) = authority.unwrap_or((begin, end));
    Some((name, begin.max(ca_begin), end.min(ca_end)))
}

fn webhook_configurations(observed: &Observed) -> Vec<&kube::api::DynamicObject> {
    [
        ("MutatingWebhookConfiguration", names::MUTATING_WEBHOOKS),
        ("ValidatingWebhookConfiguration", names::VALIDATING_WEBHOOKS),
    ]
    .into_iter()
    .filter_map(|(kind, name)| Some(&*observed.get(kind, name)?.object))
    .collect()
}

fn secret_in(observed: &Observed, name: &str) -> Option<Secret> {
    let live = observed.get("Secret", name)?;
    (*live.object).clone().try_parse().ok()
}

/// The Secrets that the operator issues for the operand. Each has a separate CA.
fn built_in(namespace: &str) -> [DesiredSecret; 2] {
    [
        (Provider::BuiltIn.webhook_secret(), names::WEBHOOK_SERVICE, "jobset-webhook-ca"),
        (Provider::BuiltIn.metrics_secret(), names::METRICS_SERVICE, "jobset-metrics-ca"),
    ]
    .map(|(secret, service, authority)| desired_secret(namespace, secret, service, authority))
}

/// The certificate of the operator's own metrics server, if the cluster has `ServiceMonitors`.
fn operator_metrics(settings: &Settings, observed: &Observed) -> Option<DesiredSecret> {
    let (secret, service) = (names::OPERATOR_METRICS_SECRET, names::OPERATOR_METRICS_SERVICE);
    observed
        .apis
        .contains(kinds::SERVICE_MONITOR_CRD)
        .then(|| desired_secret(&settings.namespace, secret, service, "jobset-operator-metrics-ca"))
}

fn desired_secret(namespace: &str, secret: &str, service: &str, authority: &str) -> DesiredSecret {
    DesiredSecret {
        namespace: namespace.to_owned(),
        secret: secret.to_owned(),
        labels: BTreeMap::new(),
        dns_names: dns_names(service, namespace).to_vec(),
        authority: authority.to_owned(),
        organization: names::OPERATOR.to_owned(),
        lifetimes: Lifetimes::default(),
    }
}

/// The DNS names of a Service.
pub(super) fn dns_names(service: &str, namespace: &str) -> [String; 2] {
    [format!("{service}.{namespace}.svc"), format!("{service}.{namespace}.svc.cluster.local")]
}

/// The Secrets of the previous provider, which are no longer needed. While a Certificate exists, cert-manager creates
/// its Secret again.
pub(super) fn unused_secrets(certification: &Certification, observed: &Observed) -> Vec<ObjectKey> {
    let unused = Provider::ALL.into_iter().filter(|&provider| {
        let has_certificates =
            provider == Provider::CertManager && observed.objects.keys().any(|key| key.kind == "Certificate");
        !certification.keeps(provider) && !has_certificates
    });
    unused
        .flat_map(Provider::secrets)
        .filter(|name| {
            observed
                .get("Secret", name)
                .is_some_and(|live| live.has_operator_label() && live.has_operator_owner())
        })
        .map(|name| ObjectKey::new("Secret", name))
        .collect()
}
