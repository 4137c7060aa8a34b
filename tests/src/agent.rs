//! Runs the in-place-restart-agent as a process on this machine, with the files that kubelet mounts into a pod.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::config::KubeConfigOptions;
use kube::{Client, Config, ResourceExt as _};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::cluster::SuiteCluster;
use crate::controller::{beside_this_program, free_address, kubeconfig_with_token, probe};
use crate::objects;
use crate::wait::{TIMEOUT, wait_for};

/// Name of the program.
pub const PROGRAM: &str = "in-place-restart-agent";
/// Annotation of the pod.
pub const ATTEMPT: &str = "jobset.sigs.k8s.io/in-place-restart-attempt";
/// Name of JobSet, pod and role.
const NAME: &str = "in-place-restart";

/// A namespace with a JobSet that no controller reconciles, and one pod. The test writes the JobSet's status.
#[derive(Clone)]
pub struct Workload {
    client: Client,
    /// The namespace.
    pub namespace: String,
    jobset: DynamicObject,
    /// The files of the service account.
    folder: PathBuf,
    /// Of the administrator.
    kubeconfig: PathBuf,
}

/// Permissions of the service account in-place-restart.
pub fn permissions() -> Result<Vec<DynamicObject>> {
    objects::read(&objects::repository().join("docs/examples/in-place-restart-rbac.yaml"))
}

impl Workload {
    /// Creates the namespace with a pod, without the JobSet and without permissions.
    pub async fn new(cluster: &SuiteCluster, client: &Client) -> Result<Self> {
        let namespace = cluster.namespace(client).await?;
        let account = permissions()?.remove(0);
        objects::create(client, &namespace, &account, false).await?;
        let this = Self::without_pod(cluster, client, namespace)?;
        let container = json!({"name": "c", "image": "busybox"});
        this.create_pod(&json!({"serviceAccountName": NAME, "containers": [container]})).await?;
        this.write_token(&this.token().await?)?;
        Ok(this)
    }

    /// The workload in a namespace that contains the service account.
    pub fn without_pod(cluster: &SuiteCluster, client: &Client, namespace: String) -> Result<Self> {
        let folder = cluster.layout().root().join(PROGRAM).join(&namespace);
        std::fs::create_dir_all(&folder)?;
        std::fs::copy(cluster.layout().pki().join("ca.crt"), folder.join("ca.crt"))?;
        std::fs::write(folder.join("namespace"), &namespace)?;
        let jobset = serde_json::from_value(json!({
            "apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet",
            "metadata": {"name": NAME, "namespace": namespace},
            "spec": {
                "managedBy": "example.com/test",
                "replicatedJobs": [{"name": "w", "template": {"spec": {
                    "completions": 1, "parallelism": 1, "backoffLimit": i32::MAX, "podReplacementPolicy": "Failed",
                    "template": {"spec": {"restartPolicy": "OnFailure", "containers": [{"name": "c", "image": "i"}]}},
                }}}],
            },
        }))?;
        Ok(Self {
            client: client.clone(),
            namespace,
            jobset,
            folder,
            kubeconfig: cluster.layout().kubeconfig(),
        })
    }

    /// Creates the pod.
    pub async fn create_pod(&self, spec: &Value) -> Result<()> {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": NAME, "annotations": {"mine": "yes", "jobset.sigs.k8s.io/jobset-name": NAME}},
            "spec": spec,
        });
        objects::create(&self.client, &self.namespace, &serde_json::from_value(pod)?, false).await?;
        Ok(())
    }

    /// Like [`Workload::new`], with permissions and the JobSet.
    pub async fn with_jobset(cluster: &SuiteCluster, client: &Client) -> Result<Self> {
        let this = Self::new(cluster, client).await?;
        this.grant("").await?;
        this.create_jobset().await?;
        Ok(this)
    }

    /// Creates the JobSet, with restart strategy InPlaceRestart.
    pub async fn create_jobset(&self) -> Result<()> {
        // Admission evaluates the gate InPlaceRestart only for new JobSets.
        objects::create(&self.client, &self.namespace, &self.jobset, false).await?;
        let policy = json!({"maxRestarts": 3, "restartStrategy": "InPlaceRestart"});
        self.patch_jobset(&json!({"spec": {"failurePolicy": policy}})).await
    }

    /// Changes the JobSet.
    pub async fn patch_jobset(&self, patch: &Value) -> Result<()> {
        let api = objects::api_of(&self.client, &self.jobset).await?;
        api.patch(NAME, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Writes the attempts in the status of the JobSet.
    pub async fn set_status(&self, previous: Option<i32>, current: Option<i32>) -> Result<()> {
        let api = objects::api_of(&self.client, &self.jobset).await?;
        let status = json!({"status": {
            "restarts": 0, "previousInPlaceRestartAttempt": previous, "currentInPlaceRestartAttempt": current,
        }});
        api.patch_status(NAME, &PatchParams::default(), &Patch::Merge(status)).await?;
        Ok(())
    }

    /// Applies the role and its binding, without its rule for this resource.
    pub async fn grant(&self, except: &str) -> Result<()> {
        for mut object in permissions()? {
            if !["Role", "RoleBinding"].contains(&objects::kind(&object)) {
                continue;
            }
            object.metadata.namespace = Some(self.namespace.clone());
            if let Some(rules) = object.data.get_mut("rules").and_then(Value::as_array_mut) {
                rules.retain(|rule| rule.get("resources") != Some(&json!([except])));
            }
            objects::apply(&self.client, &object, "kubectl").await?;
        }
        Ok(())
    }

    /// A token of the service account, bound to the pod as kubelet's tokens are.
    pub async fn token(&self) -> Result<String> {
        let pod = BoundObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            name: Some(NAME.into()),
            uid: None,
        };
        let spec = TokenRequestSpec { bound_object_ref: Some(pod), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
        let response = Api::<ServiceAccount>::namespaced(self.client.clone(), &self.namespace)
            .create_token_request(NAME, &PostParams::default(), &request)
            .await?;
        response.status.and_then(|status| status.token).context("the API server returned no token")
    }

    /// Writes the token file.
    pub fn write_token(&self, token: &str) -> Result<()> {
        // As kubelet does: a reader never sees half of it.
        let temporary = self.folder.join("token.new");
        std::fs::write(&temporary, token)?;
        Ok(std::fs::rename(temporary, self.folder.join("token"))?)
    }

    /// The attempt in the pod's annotation.
    pub async fn annotation(&self) -> Result<Option<String>> {
        let pod = Api::<Pod>::namespaced(self.client.clone(), &self.namespace).get(NAME).await?;
        Ok(pod.annotations().get(ATTEMPT).cloned())
    }

    /// Patches a pod with the rights of the agent, in a dry run. The inner error is the API server's message.
    pub async fn patch_as_agent(&self, pod: &str, patch: &Value) -> Result<Result<(), String>> {
        let kubeconfig = kubeconfig_with_token(&self.kubeconfig, &self.token().await?)?;
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(serde_yaml::from_str(&kubeconfig)?, &options).await?;
        let pods = Api::<Pod>::namespaced(Client::try_from(config)?, &self.namespace);
        let params = PatchParams { dry_run: true, ..PatchParams::default() };
        let result = pods.patch(pod, &params, &Patch::Merge(patch)).await;
        Ok(result.map(drop).map_err(|error| error.to_string()))
    }

    /// Waits until the pod has this attempt.
    pub async fn wait_for_annotation(&self, attempt: &str) -> Result<()> {
        let what = format!("the pod to have attempt {attempt}");
        wait_for(&what, TIMEOUT, || self.annotation(), |it| it.as_deref() == Some(attempt)).await.map(drop)
    }

    /// Starts an agent. The log contains the lines of all agents of this workload.
    pub fn start(&self, cluster: &SuiteCluster, variables: &[(&str, &str)]) -> Result<Agent> {
        let kubeconfig: Value =
            serde_yaml::from_str(&std::fs::read_to_string(cluster.layout().kubeconfig())?)?;
        let server =
            kubeconfig.pointer("/clusters/0/cluster/server").and_then(Value::as_str).unwrap_or_default();
        let (host, port) = server
            .strip_prefix("https://")
            .and_then(|it| it.rsplit_once(':'))
            .ok_or_else(|| anyhow!("{server:?} is not the URL of an API server"))?;
        let log = cluster.layout().log(&format!("{PROGRAM}-{}", self.namespace));
        let file = std::fs::File::options().create(true).append(true).open(&log)?;
        let address = free_address()?;
        let mut command = Command::new(beside_this_program(PROGRAM)?);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("KUBERNETES_SERVICE_HOST", host)
            .env("KUBERNETES_SERVICE_PORT", port)
            .env("IN_PLACE_RESTART_AGENT_TEST_SERVICE_ACCOUNT", &self.folder)
            .env("JOBSET_NAME", NAME)
            .env("POD_NAME", NAME)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .kill_on_drop(true);
        if !variables.iter().any(|(name, _)| *name == "WORKER_COMMAND") {
            command.env("STARTUP_PROBE_PORT", address.port().to_string());
        }
        Ok(Agent { child: command.spawn()?, log, address })
    }
}

/// A running agent. It is killed when this value is dropped.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    log: PathBuf,
    address: std::net::SocketAddr,
}

impl Agent {
    /// Pid of the process.
    pub fn pid(&self) -> Result<Pid> {
        let pid = self.child.id().context("the agent has ended")?;
        Ok(Pid::from_raw(pid.try_into()?))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(self.pid()?, signal)?)
    }

    /// Waits for the end of the process, and returns its exit code.
    pub async fn exit_code(&mut self) -> Result<i32> {
        let status = tokio::time::timeout(TIMEOUT, self.child.wait()).await;
        let status = status
            .with_context(|| format!("the agent does not end: {}", self.log().unwrap_or_default()))??;
        status.code().with_context(|| format!("the agent ended by a signal: {status}"))
    }

    /// Whether the process has ended.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Probes like kubelet.
    pub async fn probe(&self) -> Result<(), String> {
        probe(self.address, "/barrier-is-down").await
    }

    /// Waits until the startup probe succeeds.
    pub async fn wait_until_lifted(&self) -> Result<()> {
        wait_for("the startup probe to succeed", TIMEOUT, || async { Ok(self.probe().await) }, Result::is_ok)
            .await
            .map(drop)
    }

    /// The log.
    pub fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(&self.log)?)
    }

    /// Waits until the log contains this text.
    pub async fn wait_for_log(&self, text: &str) -> Result<String> {
        let what = format!("the agent to log {text:?}");
        wait_for(&what, TIMEOUT, || async { self.log() }, |log| log.contains(text)).await
    }

    /// Resident memory of the process now, and at its peak, in KiB.
    pub fn memory(&self) -> Result<(u64, u64)> {
        let status =
            std::fs::read_to_string(Path::new("/proc").join(self.pid()?.to_string()).join("status"))?;
        let of = |name: &str| -> Option<u64> {
            status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
        };
        of("VmRSS:").zip(of("VmHWM:")).context("the process has no memory")
    }
}

/// Waits until a process has ended. Its parent may not have read its exit code.
pub async fn wait_until_gone(pid: Pid) -> Result<()> {
    let path = Path::new("/proc").join(pid.to_string()).join("status");
    let status = || async { Ok(std::fs::read_to_string(&path).unwrap_or_default()) };
    let is_gone = |status: &String| status.is_empty() || status.contains("State:\tZ");
    wait_for("the process to end", Duration::from_mins(1), status, is_gone).await.map(drop)
}
