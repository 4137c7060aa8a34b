//! The settings of the process: flags override the configuration file, which overrides defaults.

mod effective;
mod file;
mod flags;

pub use flags::Flags;

use crate::certificates::{CertificateSource, Internal};
use anyhow::{Context, Result, anyhow, bail};
use jobset_api::{
    Configuration,
    configuration::{self, Tls},
};
use jobset_plan::{
    Gates,
    validation::{self, FieldError},
};
use manager_runtime::{
    leader::{self, LeaseSettings, Timings},
    metrics::server::MetricsServer,
    probes::bind_address,
    tls::TlsOptions,
};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};
use tracing::info;

/// The validated settings.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) webhook: SocketAddr,
    pub(crate) webhook_certificates: CertificateSource,
    /// TLS options of both HTTPS servers.
    pub(crate) tls: TlsOptions,
    pub(crate) metrics: Option<MetricsServer>,
    pub(crate) probes: Option<SocketAddr>,
    pub(crate) live_path: String,
    pub(crate) ready_path: String,
    pub(crate) lease: Option<LeaseSettings>,
    pub(crate) qps: f32,
    pub(crate) burst: i32,
    pub(crate) gates: Gates,
    /// Image of the agent that admission adds to pods.
    pub(crate) agent_image: Option<String>,
}

/// Namespace of the controller if the pod's own namespace is unknown.
const NAMESPACE: &str = "jobset-system";
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

impl Settings {
    /// Reads the configuration file if a flag names one, and applies the flags.
    pub(crate) fn read(flags: &Flags) -> Result<Self> {
        let configuration = match flags.config.as_deref().filter(|path| !path.as_os_str().is_empty()) {
            None => Configuration::default(),
            Some(path) => file::read(path)?,
        };
        let configuration = effective::effective(configuration, flags);
        let settings = Self::check(&configuration, || std::fs::read_to_string(NAMESPACE_FILE).ok())?;
        let yaml = serde_yaml::to_string(&configuration).context("cannot print the configuration")?;
        info!(config = yaml, "configuration");
        Ok(settings)
    }

    /// Validates the effective configuration.
    fn check(configuration: &Configuration, own_namespace: impl FnOnce() -> Option<String>) -> Result<Self> {
        let Configuration {
            webhook,
            leader_election,
            metrics,
            health,
            tls,
            internal_cert_management,
            client_connection,
            ..
        } = configuration;
        let own_namespace = own_namespace().map(|text| text.trim().to_owned());
        let webhook_certificates = if internal_cert_management.enable.unwrap_or(true) {
            let namespace = own_namespace.clone().unwrap_or_else(|| NAMESPACE.to_owned());
            CertificateSource::Internal(internal(internal_cert_management, namespace)?)
        } else {
            CertificateSource::Folder(webhook.cert_dir.clone().into())
        };
        let host = match webhook.host.as_str() {
            "" => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            host => host.parse().map_err(|_| anyhow!("webhook.host: {host:?} is not an IP address"))?,
        };
        let Tls { min_version, cipher_suites } = tls.clone().unwrap_or_default();
        let tls = TlsOptions::parse(&min_version, &cipher_suites)?;
        let metrics_address =
            bind_address(&metrics.bind_address).map_err(|error| anyhow!("metrics.bindAddress: {error}"))?;
        let probes = bind_address(&health.health_probe_bind_address)
            .map_err(|error| anyhow!("health.healthProbeBindAddress: {error}"))?;
        let live_path = endpoint("health.livenessEndpointName", &health.liveness_endpoint_name)?;
        let ready_path = endpoint("health.readinessEndpointName", &health.readiness_endpoint_name)?;
        if ready_path.trim_end_matches('/') == live_path.trim_end_matches('/') {
            bail!(
                "health.readinessEndpointName: {ready_path:?} is also livenessEndpointName: set two different paths"
            );
        }
        let elect = leader_election.leader_elect.unwrap_or(true);
        let timings = timings(leader_election)?;
        let (qps, burst) = rate(client_connection)?;
        Ok(Self {
            webhook: SocketAddr::new(host, webhook.port.unwrap_or(9443)),
            webhook_certificates,
            metrics: metrics_address.map(|address| MetricsServer {
                address,
                certificates: metrics.cert_dir.clone().into(),
                options: tls.clone(),
            }),
            tls,
            probes,
            live_path,
            ready_path,
            lease: elect.then(|| lease(leader_election, timings, own_namespace)).transpose()?,
            qps,
            burst,
            agent_image: agent_image(configuration)?,
            gates: Gates::configured(&configuration.feature_gates).context("featureGates")?,
        })
    }
}

/// Reads the image of the agent. The API server would reject pods with white space in an image.
fn agent_image(configuration: &Configuration) -> Result<Option<String>> {
    let agent = configuration.in_place_restart.as_ref();
    let image = agent.map(|agent| agent.agent_image.as_str()).filter(|image| !image.is_empty());
    if let Some(image) = image.filter(|image| image.contains(char::is_whitespace)) {
        bail!(
            "inPlaceRestart.agentImage: {image:?} is not an image such as registry.example/jobset-operator:v1"
        );
    }
    Ok(image.map(str::to_owned))
}

/// Reads the names of the objects around certificates that the controller issues.
fn internal(names: &configuration::InternalCertManagement, namespace: String) -> Result<Internal> {
    let service = names.webhook_service_name.clone().unwrap_or_default();
    let secret = names.webhook_secret_name.clone().unwrap_or_default();
    let wrong = |field: &'static str, value: &str, messages: Vec<&str>| {
        let error =
            |message| FieldError::invalid_text(format!("internalCertManagement.{field}"), value, message);
        messages.into_iter().map(error).collect::<Vec<_>>()
    };
    let messages = validation::dns_1035_label(&service, "must be no more than 63 characters");
    let mut errors = wrong("webhookServiceName", &service, messages);
    errors.extend(wrong("webhookSecretName", &secret, validation::dns_1123_subdomain(&secret)));
    if !errors.is_empty() {
        bail!(validation::aggregate(&errors));
    }
    Ok(Internal { namespace, service, secret })
}

/// Reads the timings of leader election. Validates them even if leader election is disabled.
fn timings(election: &configuration::LeaderElection) -> Result<Timings> {
    if election.resource_lock != "leases" {
        bail!("leaderElection.resourceLock: {:?} is not supported: set leases", election.resource_lock);
    }
    let timings = Timings {
        lease_duration: duration("leaderElection.leaseDuration", election.lease_duration.as_deref())?,
        renew_deadline: duration("leaderElection.renewDeadline", election.renew_deadline.as_deref())?,
        retry_period: duration("leaderElection.retryPeriod", election.retry_period.as_deref())?,
    };
    timings.check().context("leaderElection")?;
    Ok(timings)
}

fn lease(
    election: &configuration::LeaderElection,
    timings: Timings,
    own_namespace: Option<String>,
) -> Result<LeaseSettings> {
    let namespace = match election.resource_namespace.as_str() {
        "" => own_namespace.context(
            "leaderElection.resourceNamespace is required outside a cluster: set it, or set leaderElection.leaderElect \
             to false",
        )?,
        namespace => namespace.to_owned(),
    };
    for (field, name) in [("resourceNamespace", &namespace), ("resourceName", &election.resource_name)] {
        if let Some(why) = validation::dns_1123_subdomain(name).first() {
            bail!(FieldError::invalid_text(format!("leaderElection.{field}"), name, *why));
        }
    }
    Ok(LeaseSettings {
        name: election.resource_name.clone(),
        namespace,
        identity: leader::identity(),
        timings,
    })
}

/// Reads the rate limit of requests. As in other Kubernetes clients, a negative rate means no limit.
fn rate(client: &configuration::ClientConnection) -> Result<(f32, i32)> {
    let (qps, burst) = (client.qps.unwrap_or(500.0), client.burst.unwrap_or(500));
    if qps.is_nan() || qps == 0.0 {
        bail!("clientConnection.qps: {qps} must be greater than 0, or negative for no limit");
    }
    if qps < 0.0 {
        return Ok((f32::INFINITY, burst));
    }
    if burst < 1 {
        bail!("clientConnection.burst: {burst} must be at least 1");
    }
    Ok((qps, burst))
}

/// Reads the path of a probe.
fn endpoint(field: &str, path: &str) -> Result<String> {
    let is_plain = path.bytes().all(|byte| byte.is_ascii_graphic() && !b"{}*?#".contains(&byte));
    if !path.starts_with('/') || path.contains("//") || !is_plain {
        bail!("{field}: {path:?} is not a path such as /healthz");
    }
    Ok(path.to_owned())
}

/// Parses a duration in Go's format: numbers with units, such as `1m30s`.
fn duration(field: &str, text: Option<&str>) -> Result<Duration> {
    let text = text.unwrap_or_default();
    let span = text.parse::<jiff::SignedDuration>().ok().and_then(|span| span.try_into().ok());
    span.with_context(|| format!("{field}: {text:?} is not a duration such as 15s or 1m30s"))
}

#[cfg(test)]
mod tests {
    use super::{file::parse, *};
    use clap::Parser;
    use std::path::Path;

    fn check(flags: &[&str], yaml: &str) -> Result<Settings> {
        let flags = Flags::try_parse_from(["manager"].iter().chain(flags)).unwrap();
        let head = "apiVersion: config.jobset.x-k8s.io/v1alpha1\nkind: Configuration\n";
        let text = format!("{head}internalCertManagement: {{enable: false}}\n{yaml}");
        let configuration = effective::effective(parse(&text)?, &flags);
        Settings::check(&configuration, || Some("jobs-home\n".to_owned()))
    }

    #[test]
    fn defaults() {
        let settings = check(&[], "").unwrap();
        assert_eq!(settings.webhook.to_string(), "[::]:9443");
        let folder = "/tmp/k8s-webhook-server/serving-certs";
        assert!(
            matches!(settings.webhook_certificates, CertificateSource::Folder(path) if path == Path::new(folder))
        );
        assert_eq!(settings.probes.unwrap().to_string(), "[::]:8081");
        let metrics = settings.metrics.unwrap();
        assert_eq!(metrics.address.to_string(), "[::]:8443");
        assert_eq!(metrics.certificates, Path::new("/tmp/k8s-metrics-server/serving-certs"));
        assert_eq!((settings.qps, settings.burst), (500.0, 500));
        assert_eq!(settings.agent_image, None);
        let lease = settings.lease.unwrap();
        assert_eq!(
            (lease.namespace.as_str(), lease.name.as_str()),
            ("jobs-home", "6d4f6a47.jobset.x-k8s.io")
        );
        let Timings { lease_duration, renew_deadline, retry_period } = lease.timings;
        assert_eq!([lease_duration, renew_deadline, retry_period].map(|time| time.as_secs()), [15, 10, 2]);
    }

    #[test]
    fn the_controller_issues_certificates_by_default() {
        let check = |yaml: &str| {
            let flags = Flags::try_parse_from(["manager"]).unwrap();
            let head = "apiVersion: config.jobset.x-k8s.io/v1alpha1\nkind: Configuration\n";
            let configuration = effective::effective(parse(&format!("{head}{yaml}")).unwrap(), &flags);
            Settings::check(&configuration, || None)
        };
        let out_of_cluster = "leaderElection: {leaderElect: false}";
        let settings = check(out_of_cluster).unwrap();
        let CertificateSource::Internal(names) = settings.webhook_certificates else {
            panic!("{:?}", settings.webhook_certificates)
        };
        assert_eq!(
            (names.namespace.as_str(), names.service.as_str(), names.secret.as_str()),
            ("jobset-system", "jobset-webhook-service", "jobset-webhook-server-cert")
        );
        let bad = "internalCertManagement: {webhookServiceName: 1st, webhookSecretName: a_b}";
        let error = check(bad).unwrap_err().to_string();
        for part in [
            "internalCertManagement.webhookServiceName: Invalid value: \"1st\": a DNS-1035 label must",
            "internalCertManagement.webhookSecretName: Invalid value: \"a_b\": a lowercase RFC 1123 subdomain must",
        ] {
            assert!(error.contains(part), "{error}");
        }
        let off =
            format!("{bad}\n{out_of_cluster}").replace("{webhookService", "{enable: false, webhookService");
        assert!(check(&off).is_ok(), "unused names are not validated");
    }

    #[test]
    fn flags_override_the_file() {
        let yaml =
            "leaderElection: {leaderElect: true, leaseDuration: 1m30s}\nclientConnection: {qps: 7, burst: 9}";
        let settings = check(&[], yaml).unwrap();
        assert_eq!((settings.qps, settings.burst), (7.0, 9));
        assert_eq!(settings.lease.unwrap().timings.lease_duration.as_secs(), 90);
        assert!(check(&["--kube-api-qps=-1"], yaml).unwrap().qps.is_infinite(), "no limit");
        let flags = ["--leader-elect=false", "--kube-api-qps", "3", "--health-probe-bind-address", "0"];
        let settings = check(&flags, yaml).unwrap();
        assert!(settings.lease.is_none() && settings.probes.is_none());
        let metrics = "metrics: {bindAddress: ':1'}";
        assert!(check(&["--metrics-bind-address", "0"], metrics).unwrap().metrics.is_none());
        assert_eq!((settings.qps, settings.burst), (3.0, 9));
    }

    #[test]
    fn fields_without_a_value_are_unset() {
        let yaml = "webhook:\nmetrics: {certDir: , bindAddress: null}\nfeatureGates:\ntls:\nhealth: ~";
        assert_eq!(check(&[], yaml).unwrap().webhook.port(), 9443);
        for (yaml, expected) in [("{agentImage: a}", Some("a")), ("{agentImage: ''}", None), ("", None)] {
            let settings = check(&[], &format!("inPlaceRestart: {yaml}")).unwrap();
            assert_eq!(settings.agent_image.as_deref(), expected);
        }
        assert_eq!(check(&[], "webhook: {port: 0}\n---\n").unwrap().webhook.port(), 9443);
    }

    #[test]
    fn errors_name_the_invalid_field() {
        for (yaml, text) in [
            ("invalidField: 1", "strict decoding error: unknown field \"invalidField\""),
            (
                "tls: {min: 1}\nwebhook: {ports: [1]}",
                "strict decoding error: unknown field \"tls.min\", unknown field \"webhook.ports\"",
            ),
            ("featureGates: {Sideways: true}", "unrecognized feature gate: Sideways"),
            (
                "featureGates: {TLSOptions: false}",
                "featureGates: cannot set feature gate TLSOptions to false, feature is locked to true",
            ),
            (
                "leaderElection: {leaseDuration: 9s}",
                "leaderElection: leaseDuration 9s must be greater than renewDeadline 10s",
            ),
            ("leaderElection: {leaseDuration: soon}", "leaderElection.leaseDuration: \"soon\""),
            (
                "featureGates: {RestartJob: true, RestartJob: false}",
                "duplicate entry with key \"RestartJob\"",
            ),
            ("health: {}\nhealth: {}", "duplicate entry with key \"health\""),
            ("webhook: {port: 70000}", "webhook.port: invalid value: integer `70000`"),
            ("health: {livenessEndpointName: alive}", "health.livenessEndpointName: \"alive\""),
            ("health: {readinessEndpointName: '/{x}'}", "health.readinessEndpointName: \"/{x}\""),
            ("health: {readinessEndpointName: /healthz/}", "is also livenessEndpointName"),
            (
                "leaderElection: {leaderElect: false, leaseDuration: banana}",
                "leaderElection.leaseDuration: \"banana\"",
            ),
            ("leaderElection: {resourceLock: configmaps}", "leaderElection.resourceLock: \"configmaps\""),
            ("webhook: {host: here}", "webhook.host: \"here\""),
            ("health: {readinessEndpointName: '/a?b'}", "health.readinessEndpointName: \"/a?b\""),
            ("health: {readinessEndpointName: /ä}", "health.readinessEndpointName: \"/ä\""),
            ("clientConnection: {qps: .nan}", "clientConnection.qps: NaN must be greater than 0"),
            ("clientConnection: {qps: 0}", "clientConnection.qps: 0 must be greater than 0"),
            ("clientConnection: {burst: 0}", "clientConnection.burst: 0 must be at least 1"),
            (
                "leaderElection: {resourceNamespace: Here}",
                "leaderElection.resourceNamespace: Invalid value: \"Here\": a lowercase RFC 1123 subdomain must",
            ),
            ("leaderElection: {resourceName: a/b}", "leaderElection.resourceName: Invalid value: \"a/b\""),
            ("metrics: {bindAddress: nowhere}", "metrics.bindAddress: \"nowhere\""),
            (
                "tls: {minVersion: VersionTLS11, cipherSuites: [TLS_NONE]}",
                "tls: invalid minVersion: VersionTLS11 is not supported. Please use VersionTLS12 or VersionTLS13; \
                 invalid cipher suites: Cipher suite TLS_NONE not supported or doesn't exist.",
            ),
            (
                "tls: {minVersion: VersionTLS13, cipherSuites: [TLS_AES_128_GCM_SHA256]}",
                "tls.cipherSuites: may not be specified when `minVersion` is 'VersionTLS13'",
            ),
            ("inPlaceRestart: {agentImage: a b}", "inPlaceRestart.agentImage: \"a b\" is not an image"),
            ("inPlaceRestart: {image: a}", "unknown field \"inPlaceRestart.image\""),
            ("health: {healthProbeBindAddress: nowhere}", "health.healthProbeBindAddress: \"nowhere\""),
        ] {
            let error = format!("{:#}", check(&[], yaml).unwrap_err());
            assert!(error.contains(text) && !error.contains("Jiff"), "{yaml}: {error}");
        }
    }
}
