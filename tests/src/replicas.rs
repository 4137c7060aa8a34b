//! Runs several JobSet controllers for one cluster, as a Deployment does. They elect a leader, issue their
//! certificates, and serve behind one address.
//!
//! The installation is that of `manifests/`, except for the webhooks' Service, which refers to this machine.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use devcluster::process::MARK;
use devcluster::state::Layout;
use kube::Client;
use kube::api::DynamicObject;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::balancer::Balancer;
use crate::controller::{
    Manifests, PROGRAM, beside_this_program, configuration_at, free_address, kubeconfig_with_token, probe,
    readiness, write,
};
use crate::objects;
use crate::wait::{TIMEOUT, wait_for};

/// Namespace of the controllers, their Lease and their Secret.
pub const NAMESPACE: &str = "jobset-system";
/// Name of the Lease.
pub const LEASE: &str = "6d4f6a47.jobset.x-k8s.io";
/// Name of the Secret with the certificates.
pub const SECRET: &str = "jobset-webhook-server-cert";
/// Kinds and names of the webhook configurations.
pub const WEBHOOKS: [(&str, &str); 2] = [
    ("MutatingWebhookConfiguration", "jobset-mutating-webhook-configuration"),
    ("ValidatingWebhookConfiguration", "jobset-validating-webhook-configuration"),
];

/// `manifests/` on a cluster, without controllers.
pub struct Installation {
    client: Client,
    layout: Layout,
    manifests: Manifests,
    balancer: Balancer,
    started: AtomicU32,
}

/// Options of a replica.
#[derive(Clone, Debug, Default)]
pub struct ReplicaOptions {
    /// Disables leader election. A controller that loses its lease ends, which can happen on an overloaded machine.
    /// Tests that do not test elections therefore disable it.
    pub without_election: bool,
    /// Address at which the replica reaches the API server, and the CA of its certificate as PEM. Default: those of the
    /// cluster.
    pub api_server: Option<(SocketAddr, String)>,
}

/// A controller process.
pub struct Replica {
    /// Unique name.
    pub name: String,
    /// Its log file.
    pub log: PathBuf,
    /// Credential ID of its token, which identifies its requests in the audit log.
    pub credential: String,
    /// Address of its webhooks.
    pub webhook: SocketAddr,
    probes: SocketAddr,
    child: Child,
    pid: Pid,
    restarts: u32,
    /// Earliest time of the next restart, if the process has ended.
    restart_at: Option<Instant>,
}

/// Pause before the first restart. Each further pause is twice as long. The kubelet uses 10 s and at most 5 min.
const SHORTEST_RESTART_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause before a restart.
const LONGEST_RESTART_PAUSE: Duration = Duration::from_secs(8);

impl Installation {
    /// Installs `manifests/`. No controller may be running on the cluster.
    pub async fn new(client: &Client, layout: &Layout) -> Result<Self> {
        let manifests = Manifests::read(&objects::repository().join("manifests"))?;
        let balancer = Balancer::start().await?;
        for object in &manifests.prerequisites {
            objects::apply(client, object, "kubectl").await?;
        }
        // The API server resolves the external name and uses the port in the webhook configuration.
        let service: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": "jobset-webhook-service", "namespace": NAMESPACE },
            "spec": { "type": "ExternalName", "externalName": "localhost" },
        }))?;
        objects::apply(client, &service, "kubectl").await?;
        let installation = Self {
            client: client.clone(),
            layout: layout.clone(),
            manifests,
            balancer,
            started: AtomicU32::new(0),
        };
        installation.apply_webhooks().await?;
        Ok(installation)
    }

    /// Applies the webhook configurations, as an administrator does in each upgrade.
    pub async fn apply_webhooks(&self) -> Result<()> {
        for (kind, _) in WEBHOOKS {
            let object = self.webhooks(kind).with_context(|| format!("manifests/ contains no {kind}"))?;
            objects::apply(&self.client, &object, "kubectl").await?;
        }
        Ok(())
    }

    /// The webhook configuration of this kind, with the port of the balancer.
    pub fn webhooks(&self, kind: &str) -> Option<DynamicObject> {
        let mut object = self.manifests.webhooks.iter().find(|object| objects::kind(object) == kind)?.clone();
        for webhook in object.data.get_mut("webhooks")?.as_array_mut()? {
            let service = webhook.pointer_mut("/clientConfig/service")?.as_object_mut()?;
            service.insert("port".into(), json!(self.balancer.address().port()));
        }
        Some(object)
    }

    /// The controllers' user in the audit log.
    pub fn user(&self) -> String {
        let (namespace, account) = &self.manifests.account;
        format!("system:serviceaccount:{namespace}:{account}")
    }

    /// The cluster's folder.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Starts a controller.
    pub async fn start(&self, options: &ReplicaOptions) -> Result<Replica> {
        let name = format!("replica-{}", self.started.fetch_add(1, Ordering::Relaxed));
        let folder = self.layout.root().join(&name);
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let (webhook, probes) = (free_address()?, free_address()?);
        let mut settings = configuration_at(webhook, probes);
        settings.leader_election.leader_elect = Some(!options.without_election);
        settings.leader_election.resource_namespace = NAMESPACE.into();
        write(&folder.join("config.yaml"), &serde_yaml::to_string(&settings)?)?;
        // Its own token identifies its requests in the audit log.
        let token = self.manifests.token(&self.client).await?;
        let mut kubeconfig = kubeconfig_with_token(&self.layout.kubeconfig(), &token)?;
        if let Some((address, ca)) = &options.api_server {
            let mut value: Value = serde_yaml::from_str(&kubeconfig)?;
            let cluster =
                value.pointer_mut("/clusters/0/cluster").context("the kubeconfig has no cluster")?;
            let ca = k8s_openapi::ByteString(ca.as_bytes().to_vec());
            *cluster = json!({ "server": format!("https://{address}"), "certificate-authority-data": ca });
            kubeconfig = serde_yaml::to_string(&value)?;
        }
        write(&folder.join("kubeconfig"), &kubeconfig)?;
        let credential = credential_of(&token)?;
        let log = self.layout.log(&name);
        let child = self.run(&name)?;
        let pid = pid_of(&child)?;
        Ok(Replica { name, log, credential, webhook, probes, pid, child, restarts: 0, restart_at: None })
    }

    /// Restarts controllers that have ended, with the same name and folder. As with the kubelet, the pause before a
    /// restart grows. The caller polls this function; it returns the number of controllers that it restarted.
    pub fn restart_ended(&self, replicas: &mut [Replica]) -> Result<u32> {
        let mut restarted = 0;
        for replica in replicas {
            if replica.runs()? {
                continue;
            }
            let pause = SHORTEST_RESTART_PAUSE * 2_u32.saturating_pow(replica.restarts.min(8));
            let now = Instant::now();
            if now < *replica.restart_at.get_or_insert(now + pause.min(LONGEST_RESTART_PAUSE)) {
                continue;
            }
            replica.child = self.run(&replica.name)?;
            replica.pid = pid_of(&replica.child)?;
            replica.restart_at = None;
            replica.restarts += 1;
            restarted += 1;
        }
        Ok(restarted)
    }

    fn run(&self, name: &str) -> Result<Child> {
        let (folder, log) = (self.layout.root().join(name), self.layout.log(name));
        let output = std::fs::OpenOptions::new().create(true).append(true).open(&log);
        let output = output.with_context(|| format!("cannot write {}", log.display()))?;
        Command::new(beside_this_program(PROGRAM)?)
            .arg("--config")
            .arg(folder.join("config.yaml"))
            .arg("--kubeconfig")
            .arg(folder.join("kubeconfig"))
            .env(MARK, self.layout.root())
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {PROGRAM}"))
    }

    /// Starts a controller and waits until it is ready.
    pub async fn start_ready(&self) -> Result<Replica> {
        let mut replica = self.start(&ReplicaOptions::default()).await?;
        replica.wait_until_ready().await?;
        Ok(replica)
    }

    /// Sends the API server's admission requests to these replicas.
    pub fn balance<'a>(&self, replicas: impl IntoIterator<Item = &'a Replica>) {
        let servers: Vec<SocketAddr> = replicas.into_iter().map(|replica| replica.webhook).collect();
        self.balancer.set(servers);
    }
}

impl Replica {
    /// Waits until it is ready.
    pub async fn wait_until_ready(&mut self) -> Result<()> {
        let probes = self.probes;
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Err(anyhow!(
                    "{} ended with {status} before it was ready; see {}",
                    self.name,
                    self.log.display()
                ));
            }
            let result = readiness(probes).await;
            if result.is_ok() {
                return Ok(());
            }
            ensure!(started.elapsed() < TIMEOUT, "{} is not ready: {result:?}", self.name);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Whether its readiness probe succeeds.
    pub async fn is_ready(&self) -> bool {
        readiness(self.probes).await.is_ok()
    }

    /// Whether its liveness probe succeeds.
    pub async fn is_live(&self) -> bool {
        probe(self.probes, "/healthz").await.is_ok()
    }

    /// Whether its process runs.
    pub fn runs(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Waits until its process ends.
    pub async fn wait_for_exit(&mut self, limit: Duration) -> Result<ExitStatus> {
        let ended = tokio::time::timeout(limit, self.child.wait()).await;
        Ok(ended.map_err(|_| anyhow!("{} is still running after {limit:?}", self.name))??)
    }

    /// The contents of its log file.
    pub fn log_text(&self) -> Result<String> {
        std::fs::read_to_string(&self.log).with_context(|| format!("cannot read {}", self.log.display()))
    }

    /// Waits until its log contains this text.
    pub async fn wait_for_log(&self, text: &str) -> Result<()> {
        let what = format!("{} to log {text:?}", self.name);
        let read = || async { Ok(self.log_text()?.contains(text)) };
        wait_for(&what, TIMEOUT, read, |found| *found).await.map(drop)
    }

    /// Its identity in the Lease.
    pub fn identity(&self) -> Result<String> {
        let log = self.log_text()?;
        let (_, rest) = log.rsplit_once("identity=").context("the log contains no identity yet")?;
        Ok(rest.split_whitespace().next().unwrap_or_default().trim_matches('"').to_owned())
    }
}

fn pid_of(child: &Child) -> Result<Pid> {
    Ok(Pid::from_raw(i32::try_from(child.id().context("the process has already ended")?)?))
}

/// The credential ID of a service account token in the audit log.
fn credential_of(token: &str) -> Result<String> {
    let claims = token.split('.').nth(1).context("the token has no claims")?;
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims)?)?;
    let id = claims.get("jti").and_then(Value::as_str).context("the token has no jti")?;
    Ok(format!("JTI={id}"))
}
