//! The JobSet controller as a process of this machine, beside a cluster whose nodes cannot run it.
//!
//! It gets from `manifests/` what it would get on plain Kubernetes, so that these files are tested with it:
//!
//! * CRDs, namespace, service account and RBAC as they are; it calls the API server with a token of that
//!   account, and so with no right more than the manifests give;
//! * the webhook configurations, save that they name an address of this machine instead of a Service.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use devcluster::process::{self, Daemon, Record};
use devcluster::state::Layout;
use jobset_api::configuration::{self, Configuration};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, DynamicObject, PostParams};
use kube::{Client, ResourceExt as _};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::objects;
use crate::wait::{PATIENCE, wait_for};

/// Name of the program, of its log file, and of its Deployment in `manifests/`.
pub const PROGRAM: &str = "jobset-controller-manager";

/// Who applies what the manifests hold.
const FIELD_MANAGER: &str = "kubectl";

/// A running controller.
#[derive(Debug)]
pub struct Controller {
    layout: Layout,
    record: Record,
    user: String,
    metrics: SocketAddr,
}

impl Controller {
    /// Installs `manifests/` on the cluster and starts the controller; returns when its webhooks answer.
    ///
    /// It runs until [`Controller::stop`], or until the cluster is taken down.
    pub async fn start(client: &Client, layout: &Layout) -> Result<Self> {
        Self::start_with(client, layout, &[]).await
    }

    /// The same with feature gates other than the default. One that runs already is ended before.
    pub async fn start_with(
        client: &Client,
        layout: &Layout,
        feature_gates: &[(&str, bool)],
    ) -> Result<Self> {
        process::stop(layout, PROGRAM, Duration::from_secs(10))?;
        let manifests = Manifests::read(&objects::repository().join("manifests"))?;
        for object in &manifests.foundation {
            objects::apply(client, object, FIELD_MANAGER).await?;
        }
        let folder = layout.root().join(PROGRAM);
        let certificates = folder.join("certificates");
        std::fs::create_dir_all(&certificates)
            .with_context(|| format!("cannot create {}", certificates.display()))?;
        let ca = write_certificates(&certificates)?;
        let webhook = free_address()?;
        let probes = free_address()?;
        let metrics = free_address()?;
        let mut settings = configuration_at(webhook, probes);
        settings.feature_gates = feature_gates.iter().map(|(gate, on)| ((*gate).to_owned(), *on)).collect();
        settings.metrics.bind_address = metrics.to_string();
        settings.webhook.cert_dir = certificates.display().to_string();
        settings.internal_cert_management.enable = Some(false);
        settings.leader_election.leader_elect = Some(false);
        let configuration = folder.join("config.yaml");
        write(&configuration, &serde_yaml::to_string(&settings)?)?;
        let kubeconfig = folder.join("kubeconfig");
        let token = manifests.token(client).await?;
        write(&kubeconfig, &kubeconfig_with_token(&layout.kubeconfig(), &token)?)?;

        let record = Daemon::new(PROGRAM, beside_this_program(PROGRAM)?)
            .args(["--config".into(), configuration.display().to_string()])
            .args(["--kubeconfig".into(), kubeconfig.display().to_string()])
            .spawn(layout)?;
        let (namespace, account) = &manifests.account;
        let controller = Self {
            layout: layout.clone(),
            record,
            user: format!("system:serviceaccount:{namespace}:{account}"),
            metrics,
        };
        wait_for(
            "the controller to be ready",
            PATIENCE,
            || async {
                controller.check()?;
                Ok(readiness(probes).await)
            },
            Result::is_ok,
        )
        .await?
        .map_err(anyhow::Error::msg)?;
        for object in &manifests.webhooks {
            objects::apply(client, &pointed_at(object, webhook, &ca)?, FIELD_MANAGER).await?;
        }
        // The API server learns of changed webhooks a moment later.
        let plain = objects::one(&jobset_of("{}"))?;
        let impossible =
            objects::one(&jobset_of("{successPolicy: {operator: All, targetReplicatedJobs: [ghost]}}"))?;
        let called = wait_for(
            "the API server to call the webhooks",
            PATIENCE,
            || async {
                let plain = objects::create(client, "default", &plain, true).await;
                Ok((plain, objects::create(client, "default", &impossible, true).await))
            },
            |(plain, impossible)| {
                let defaulted = |jobset: &DynamicObject| jobset.data.pointer("/spec/successPolicy").is_some();
                plain.as_ref().is_ok_and(defaulted) && impossible.as_ref().is_err_and(|it| it.code == 422)
            },
        )
        .await;
        called.map(|_| controller)
    }

    /// The user as whom it calls the API server, as the audit log names it.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Where it serves its metrics.
    pub fn metrics(&self) -> SocketAddr {
        self.metrics
    }

    /// Its log file.
    pub fn log(&self) -> PathBuf {
        self.layout.log(PROGRAM)
    }

    /// An error that quotes the log when the controller has died.
    pub fn check(&self) -> Result<()> {
        self.record.check(&self.layout)
    }

    /// Ends it.
    pub fn stop(&self) -> Result<()> {
        process::stop(&self.layout, PROGRAM, Duration::from_secs(10))
    }
}

fn jobset_of(spec: &str) -> String {
    format!(
        "{{apiVersion: jobset.x-k8s.io/v1alpha2, kind: JobSet, metadata: {{name: webhooks}}, spec: {spec}}}"
    )
}

/// The program of this name that cargo built beside the one that runs.
pub fn beside_this_program(name: &str) -> Result<PathBuf> {
    let this = std::env::current_exe().context("cannot find out where this program is")?;
    // target/debug/name beside target/debug/program or target/debug/deps/test-program.
    this.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
        .ok_or_else(|| anyhow!("{name} is not built: run `cargo build --workspace`"))
}

/// What `manifests/` holds, sorted by what becomes of it here.
pub(crate) struct Manifests {
    pub(crate) foundation: Vec<DynamicObject>,
    pub(crate) webhooks: Vec<DynamicObject>,
    /// Namespace and name of the controller's service account.
    pub(crate) account: (String, String),
}

impl Manifests {
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let mut foundation = Vec::new();
        let mut webhooks = Vec::new();
        let mut account = None;
        for object in objects::read_folder(folder)? {
            match objects::kind(&object) {
                "CustomResourceDefinition"
                | "Namespace"
                | "ServiceAccount"
                | "Role"
                | "RoleBinding"
                | "ClusterRole"
                | "ClusterRoleBinding" => foundation.push(object),
                "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => webhooks.push(object),
                "Deployment" if object.name_any() == PROGRAM => {
                    let deployment: Deployment = object.try_parse()?;
                    let namespace = deployment.namespace();
                    let pod = deployment.spec.template.spec;
                    account = namespace.zip(pod.and_then(|pod| pod.service_account_name));
                }
                _ => {}
            }
        }
        // Namespaces before what is in them.
        foundation.sort_by_key(|object| objects::kind(object) != "Namespace");
        let account = account.ok_or_else(|| {
            anyhow!("no Deployment {PROGRAM} with namespace and serviceAccountName in {}", folder.display())
        })?;
        Ok(Self { foundation, webhooks, account })
    }

    pub(crate) async fn token(&self, client: &Client) -> Result<String> {
        let (namespace, name) = &self.account;
        token_of(client, namespace, name).await
    }
}

/// A token of this service account, which outlives the suite.
pub(crate) async fn token_of(client: &Client, namespace: &str, name: &str) -> Result<String> {
    let spec = TokenRequestSpec { expiration_seconds: Some(24 * 3600), ..TokenRequestSpec::default() };
    let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    let answer = Api::<ServiceAccount>::namespaced(client.clone(), namespace)
        .create_token_request(name, &PostParams::default(), &request)
        .await
        .with_context(|| format!("cannot get a token for service account {namespace}/{name}"))?;
    answer.status.and_then(|status| status.token).ok_or_else(|| anyhow!("the API server gave an empty token"))
}

/// The defaults, save for the addresses of its servers; metrics are off.
pub(crate) fn configuration_at(webhook: SocketAddr, probes: SocketAddr) -> Configuration {
    let mut configuration = Configuration {
        api_version: configuration::API_VERSION.into(),
        kind: configuration::KIND.into(),
        ..Configuration::default()
    };
    configuration.webhook.port = Some(webhook.port());
    configuration.webhook.host = webhook.ip().to_string();
    configuration.metrics.bind_address = "0".into();
    configuration.health.health_probe_bind_address = probes.to_string();
    configuration
}

/// Writes `tls.crt` and `tls.key` for 127.0.0.1; returns the authority's certificate as PEM.
pub fn write_certificates(folder: &Path) -> Result<String> {
    let mut authority = CertificateParams::new([])?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let certificate =
        CertificateParams::new([Ipv4Addr::LOCALHOST.to_string()])?.signed_by(&key, &authority)?;
    write(&folder.join("tls.crt"), &certificate.pem())?;
    write(&folder.join("tls.key"), &key.serialize_pem())?;
    Ok(authority.pem())
}

/// The administrator's kubeconfig with this token in the place of its credentials.
pub(crate) fn kubeconfig_with_token(administrator: &Path, token: &str) -> Result<String> {
    let text = std::fs::read_to_string(administrator)
        .with_context(|| format!("cannot read {}", administrator.display()))?;
    let mut kubeconfig: Value = serde_yaml::from_str(&text)?;
    let users = kubeconfig.get_mut("users").and_then(Value::as_array_mut);
    let Some([user]) = users.map(Vec::as_mut_slice) else {
        bail!("{} does not name one user", administrator.display())
    };
    *user = json!({ "name": user.get("name"), "user": { "token": token } });
    Ok(serde_yaml::to_string(&kubeconfig)?)
}

/// A webhook configuration with every webhook at this address in the place of a Service.
fn pointed_at(object: &DynamicObject, address: SocketAddr, ca: &str) -> Result<DynamicObject> {
    let redirect = |client: &mut WebhookClientConfig| {
        let path = client.service.take().and_then(|service| service.path).unwrap_or_default();
        client.url = Some(format!("https://{address}{path}"));
        client.ca_bundle = Some(ByteString(ca.as_bytes().to_vec()));
    };
    let mut redirected = if objects::kind(object) == "MutatingWebhookConfiguration" {
        let mut configuration: MutatingWebhookConfiguration = object.clone().try_parse()?;
        configuration.webhooks.iter_mut().flatten().for_each(|webhook| redirect(&mut webhook.client_config));
        serde_json::to_value(configuration)?
    } else {
        let mut configuration: ValidatingWebhookConfiguration = object.clone().try_parse()?;
        configuration.webhooks.iter_mut().flatten().for_each(|webhook| redirect(&mut webhook.client_config));
        serde_json::to_value(configuration)?
    };
    // Nobody shall inject another authority.
    if let Some(metadata) = redirected.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("annotations");
    }
    Ok(serde_json::from_value(redirected)?)
}

/// Probes readiness; see [`probe`].
pub(crate) async fn readiness(address: SocketAddr) -> Result<(), String> {
    probe(address, "/readyz").await
}

/// Probes this path; what was answered when it was not 200.
pub(crate) async fn probe(address: SocketAddr, path: &str) -> Result<(), String> {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer.lines().next().unwrap_or_default().to_owned())
    };
    let line = ask.await.map_err(|error| error.to_string())?;
    if line.contains(" 200 ") { Ok(()) } else { Err(line) }
}

/// An address of this machine that nobody listens on.
pub fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr()?)
}

pub(crate) fn write(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
