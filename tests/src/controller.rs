//! Runs the JobSet controller as a process on this machine, for a cluster whose nodes cannot run it.
//!
//! It uses `manifests/` as an installation on Kubernetes does, so that the suites also test these files:
//!
//! * CRDs, namespace, service account and RBAC are unchanged. The controller authenticates with a token of that service
//!   account, so it has only the rights of the manifests.
//! * Webhook configurations have an address of this machine instead of a Service.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use devcluster::process::{self, Daemon, Record};
use devcluster::state::Layout;
use jobset_api::configuration::{self, Configuration, InPlaceRestart};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, DynamicObject, PostParams};
use kube::{Client, ResourceExt as _};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::objects;
use crate::wait::{TIMEOUT, wait_for};

/// Name of the program, of its log file, and of its Deployment in `manifests/`.
pub const PROGRAM: &str = "jobset-controller-manager";
/// Image of the agent in the configuration.
pub const AGENT_IMAGE: &str = "agent.example/jobset:v1";

/// Field manager of the objects in the manifests.
const FIELD_MANAGER: &str = "kubectl";

/// A running controller.
#[derive(Debug)]
pub struct Controller {
    layout: Layout,
    daemon: Daemon,
    record: Record,
    user: String,
    metrics: SocketAddr,
    probes: SocketAddr,
}

/// A controller manager to start: this project's, or another one for the same API, such as that of the Go project.
#[derive(Clone, Debug)]
pub struct Program {
    /// Name of its process, its log file and its folder. Two controllers of one cluster have different names.
    pub name: String,
    /// Path of the program.
    pub path: PathBuf,
    /// Arguments besides `--config` and `--kubeconfig`.
    pub arguments: Vec<String>,
    /// A JSON merge patch for its configuration file.
    pub configuration: Value,
}

impl Controller {
    /// Installs `manifests/` on the cluster, starts the controller, and waits until its webhooks respond.
    ///
    /// The controller runs until [`Controller::stop`], or until the cluster is taken down.
    pub async fn start(client: &Client, layout: &Layout) -> Result<Self> {
        Self::start_with(client, layout, &[]).await
    }

    /// Like [`Controller::start`], with feature gates. Stops a running controller first.
    pub async fn start_with(
        client: &Client,
        layout: &Layout,
        feature_gates: &[(&str, bool)],
    ) -> Result<Self> {
        let gates = feature_gates.iter().map(|(gate, on)| ((*gate).to_owned(), Value::Bool(*on))).collect();
        let program = Program {
            name: PROGRAM.to_owned(),
            path: beside_this_program(PROGRAM)?,
            arguments: Vec::new(),
            configuration: json!({ "featureGates": Value::Object(gates) }),
        };
        Self::launch(client, layout, &program).await
    }

    /// Like [`Controller::start`], with this program. Stops a running controller of the same name first.
    pub async fn launch(client: &Client, layout: &Layout, program: &Program) -> Result<Self> {
        process::stop(layout, &program.name, Duration::from_secs(10))?;
        let manifests = Manifests::read(&objects::repository().join("manifests"))?;
        for object in &manifests.prerequisites {
            objects::apply(client, object, FIELD_MANAGER).await?;
        }
        let folder = layout.root().join(&program.name);
        let certificates = folder.join("certificates");
        std::fs::create_dir_all(&certificates)
            .with_context(|| format!("cannot create {}", certificates.display()))?;
        let ca = write_certificates(&certificates)?;
        let webhook = free_address()?;
        let probes = free_address()?;
        let metrics = free_address()?;
        let mut settings = configuration_at(webhook, probes);
        settings.metrics.bind_address = metrics.to_string();
        settings.webhook.cert_dir = certificates.display().to_string();
        settings.internal_cert_management.enable = Some(false);
        settings.leader_election.leader_elect = Some(false);
        let configuration = folder.join("config.yaml");
        let mut settings = serde_json::to_value(settings)?;
        json_patch::merge(&mut settings, &program.configuration);
        write(&configuration, &serde_yaml::to_string(&settings)?)?;
        let kubeconfig = folder.join("kubeconfig");
        let token = manifests.token(client).await?;
        write(&kubeconfig, &kubeconfig_with_token(&layout.kubeconfig(), &token)?)?;

        let daemon = Daemon::new(&program.name, &program.path)
            .args(["--config".into(), configuration.display().to_string()])
            .args(["--kubeconfig".into(), kubeconfig.display().to_string()])
            .args(program.arguments.clone());
        let record = daemon.spawn(layout)?;
        let (namespace, account) = &manifests.account;
        let controller = Self {
            layout: layout.clone(),
            daemon,
            record,
            user: format!("system:serviceaccount:{namespace}:{account}"),
            metrics,
            probes,
        };
        controller.wait_until_ready().await?;
        for object in &manifests.webhooks {
            objects::apply(client, &with_address(object, webhook, &ca)?, FIELD_MANAGER).await?;
        }
        // The API server uses changed webhook configurations with a short delay.
        let valid = objects::one(&jobset_of("{}"))?;
        let invalid =
            objects::one(&jobset_of("{successPolicy: {operator: All, targetReplicatedJobs: [ghost]}}"))?;
        let called = wait_for(
            "the API server to call the webhooks",
            TIMEOUT,
            || async {
                let valid = objects::create(client, "default", &valid, true).await;
                Ok((valid, objects::create(client, "default", &invalid, true).await))
            },
            |(valid, invalid)| {
                let defaulted = |jobset: &DynamicObject| jobset.data.pointer("/spec/successPolicy").is_some();
                valid.as_ref().is_ok_and(defaulted) && invalid.as_ref().is_err_and(|it| it.code == 422)
            },
        )
        .await;
        called.map(|_| controller)
    }

    /// The controller's user in the audit log.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Address of its metrics endpoint.
    pub fn metrics(&self) -> SocketAddr {
        self.metrics
    }

    /// Its log file.
    pub fn log(&self) -> PathBuf {
        self.layout.log(&self.record.name)
    }

    /// Returns an error with the end of the log if the controller has ended.
    pub fn check(&self) -> Result<()> {
        self.record.check(&self.layout)
    }

    /// Its process ID.
    pub fn pid(&self) -> i32 {
        self.record.pid
    }

    /// Waits until its readiness probe succeeds.
    pub async fn wait_until_ready(&self) -> Result<()> {
        let ready = || async {
            self.check()?;
            Ok(readiness(self.probes).await)
        };
        let result = wait_for("the controller to be ready", TIMEOUT, ready, Result::is_ok).await?;
        result.map_err(anyhow::Error::msg)
    }

    /// Starts the controller again after [`Controller::stop`], with the same configuration. Does not wait until it is
    /// ready.
    pub fn start_again(&mut self) -> Result<()> {
        self.record = self.daemon.spawn(&self.layout)?;
        Ok(())
    }

    /// Kills the controller, without time to release its lease.
    pub fn kill(&self) -> Result<()> {
        kill(Pid::from_raw(self.record.pid), Signal::SIGKILL)
            .with_context(|| format!("cannot kill {}", self.record.name))
    }

    /// Stops the controller.
    pub fn stop(&self) -> Result<()> {
        process::stop(&self.layout, &self.record.name, Duration::from_secs(10))
    }
}

fn jobset_of(spec: &str) -> String {
    format!(
        "{{apiVersion: jobset.x-k8s.io/v1alpha2, kind: JobSet, metadata: {{name: webhooks}}, spec: {spec}}}"
    )
}

/// Path of a program that Cargo built beside the running one.
pub fn beside_this_program(name: &str) -> Result<PathBuf> {
    let this = std::env::current_exe().context("cannot find the path of this program")?;
    // target/debug/name, next to target/debug/program or target/debug/deps/test-program.
    this.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
        .ok_or_else(|| anyhow!("{name} is not built: run `cargo build --workspace`"))
}

/// The objects in `manifests/`.
pub(crate) struct Manifests {
    /// Objects that the controller needs before it starts.
    pub(crate) prerequisites: Vec<DynamicObject>,
    /// The webhook configurations.
    pub(crate) webhooks: Vec<DynamicObject>,
    /// Namespace and name of the controller's service account.
    pub(crate) account: (String, String),
}

impl Manifests {
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let mut prerequisites = Vec::new();
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
                | "ClusterRoleBinding" => prerequisites.push(object),
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
        // Namespaces come first.
        prerequisites.sort_by_key(|object| objects::kind(object) != "Namespace");
        let account = account.ok_or_else(|| {
            anyhow!(
                "{} contains no Deployment {PROGRAM} with namespace and serviceAccountName",
                folder.display()
            )
        })?;
        Ok(Self { prerequisites, webhooks, account })
    }

    pub(crate) async fn token(&self, client: &Client) -> Result<String> {
        let (namespace, name) = &self.account;
        token_of(client, namespace, name).await
    }
}

/// Requests a token of this service account, valid for longer than the suite runs.
pub(crate) async fn token_of(client: &Client, namespace: &str, name: &str) -> Result<String> {
    let spec = TokenRequestSpec { expiration_seconds: Some(24 * 3600), ..TokenRequestSpec::default() };
    let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    let response = Api::<ServiceAccount>::namespaced(client.clone(), namespace)
        .create_token_request(name, &PostParams::default(), &request)
        .await
        .with_context(|| format!("cannot get a token for service account {namespace}/{name}"))?;
    response.status.and_then(|status| status.token).ok_or_else(|| anyhow!("the API server returned no token"))
}

/// The default configuration with these addresses and without metrics.
pub(crate) fn configuration_at(webhook: SocketAddr, probes: SocketAddr) -> Configuration {
    let mut configuration = Configuration {
        api_version: configuration::API_VERSION.into(),
        kind: configuration::KIND.into(),
        ..Configuration::default()
    };
    configuration.in_place_restart = Some(InPlaceRestart { agent_image: AGENT_IMAGE.into() });
    configuration.webhook.port = Some(webhook.port());
    configuration.webhook.host = webhook.ip().to_string();
    configuration.metrics.bind_address = "0".into();
    configuration.health.health_probe_bind_address = probes.to_string();
    configuration
}

/// Writes `tls.crt` and `tls.key` for 127.0.0.1. Returns the CA certificate as PEM.
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

/// The administrator's kubeconfig with this token instead of its credentials.
pub fn kubeconfig_with_token(administrator: &Path, token: &str) -> Result<String> {
    let text = std::fs::read_to_string(administrator)
        .with_context(|| format!("cannot read {}", administrator.display()))?;
    let mut kubeconfig: Value = serde_yaml::from_str(&text)?;
    let users = kubeconfig.get_mut("users").and_then(Value::as_array_mut);
    let Some([user]) = users.map(Vec::as_mut_slice) else {
        bail!("{} must contain exactly one user", administrator.display())
    };
    *user = json!({ "name": user.get("name"), "user": { "token": token } });
    Ok(serde_yaml::to_string(&kubeconfig)?)
}

/// A webhook configuration with this address instead of a Service.
fn with_address(object: &DynamicObject, address: SocketAddr, ca: &str) -> Result<DynamicObject> {
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
    // Without its annotations, cert-manager does not inject another CA.
    if let Some(metadata) = redirected.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("annotations");
    }
    Ok(serde_json::from_value(redirected)?)
}

/// Probes readiness; see [`probe`].
pub(crate) async fn readiness(address: SocketAddr) -> Result<(), String> {
    probe(address, "/readyz").await
}

/// Probes this path. The error is the status line, or the reason why the probe received none.
pub(crate) async fn probe(address: SocketAddr, path: &str) -> Result<(), String> {
    let request = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
        let mut response = String::new();
        stream.read_to_string(&mut response).await?;
        Ok::<_, std::io::Error>(response.lines().next().unwrap_or_default().to_owned())
    };
    let line = request.await.map_err(|error| error.to_string())?;
    if line.contains(" 200 ") { Ok(()) } else { Err(line) }
}

/// A free address on this machine.
pub fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr()?)
}

pub(crate) fn write(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
