//! Runs the JobSet operator as a process on this machine, for a cluster whose nodes cannot run it.
//!
//! It uses `deploy/` without the Deployment. The operator authenticates with a token of its service account, so it has
//! only the rights of the manifests.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use devcluster::process::{self, Daemon, Record};
use devcluster::state::Layout;
use kube::Client;

use crate::controller::{beside_this_program, kubeconfig_with_token, token_of, write};
use crate::objects;

/// Name of the program, of its log file, and of its service account.
pub const PROGRAM: &str = "jobset-operator";
/// Namespace of the operator in `deploy/`.
pub const NAMESPACE: &str = "openshift-jobset-operator";
/// Image of the operand.
pub const OPERAND_IMAGE: &str = "registry.example/jobset:operand";

/// An installed operator. It need not run.
#[derive(Clone, Debug)]
pub struct Operator {
    layout: Layout,
    kubeconfig: PathBuf,
}

impl Operator {
    /// Installs `deploy/` without the Deployment. Does not start the operator.
    pub async fn install(client: &Client, layout: &Layout) -> Result<Self> {
        for object in objects::read_folder(&objects::repository().join("deploy"))? {
            if !["Deployment", "JobSetOperator"].contains(&objects::kind(&object)) {
                objects::apply(client, &object, "kubectl").await?;
            }
        }
        let folder = layout.root().join(PROGRAM);
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let kubeconfig = folder.join("kubeconfig");
        let token = token_of(client, NAMESPACE, PROGRAM).await?;
        write(&kubeconfig, &kubeconfig_with_token(&layout.kubeconfig(), &token)?)?;
        Ok(Self { layout: layout.clone(), kubeconfig })
    }

    /// Starts the operator.
    pub fn start(&self) -> Result<()> {
        self.start_with(&[])
    }

    /// Starts the operator with environment variables.
    pub fn start_with(&self, environment: &[(&str, &str)]) -> Result<()> {
        let daemon = Daemon::new(PROGRAM, beside_this_program(PROGRAM)?)
            .args(["operator", "--listen", "0", "--metrics-bind-address", "0"].map(str::to_owned))
            .args(["--namespace".into(), NAMESPACE.to_owned()])
            .args(["--operand-image".into(), OPERAND_IMAGE.to_owned()])
            .args(["--kubeconfig".into(), self.kubeconfig.display().to_string()]);
        environment
            .iter()
            .fold(daemon, |daemon, (name, value)| daemon.env(*name, *value))
            .spawn(&self.layout)?;
        Ok(())
    }

    /// Stops the operator with SIGTERM, as a rollout does.
    pub fn stop(&self) -> Result<()> {
        process::stop(&self.layout, PROGRAM, Duration::from_secs(20))
    }

    /// Whether the operator runs.
    pub fn runs(&self) -> bool {
        Record::find(&self.layout, PROGRAM).is_some_and(|record| record.is_alive())
    }

    /// The operator's user in the audit log.
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{NAMESPACE}:{PROGRAM}")
    }

    /// Resident memory of the operator in KiB.
    pub fn resident_memory(&self) -> Result<u64> {
        let record = Record::find(&self.layout, PROGRAM).context("the operator is not running")?;
        let status = std::fs::read_to_string(format!("/proc/{}/status", record.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches("kB").trim().parse()?)
    }

    /// Its log file.
    pub fn log(&self) -> PathBuf {
        self.layout.log(PROGRAM)
    }
}
