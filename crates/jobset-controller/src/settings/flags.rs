//! The command line.

use clap::Parser;
use manager_runtime::logging;
use std::path::PathBuf;

/// Runs groups of Jobs as one unit: the controller and admission webhooks of JobSet.
#[derive(Debug, Parser)]
#[command(name = "jobset-controller-manager", version, after_help = HELP)]
pub struct Flags {
    /// Configuration file (config.jobset.x-k8s.io/v1alpha1, kind Configuration). Without it, the defaults.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How to reach the API server. Without it, $KUBECONFIG, then the pod's service account, then ~/.kube/config.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Address and port of the probes, over the configuration's; 0 switches them off.
    #[arg(long, value_name = "ADDRESS")]
    pub health_probe_bind_address: Option<String>,
    /// Whether replicas elect a leader, over the configuration's.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub leader_elect: Option<bool>,
    /// Requests a second to the API server, over the configuration's.
    #[arg(long, value_name = "NUMBER")]
    pub kube_api_qps: Option<f32>,
    /// Requests at once beyond that rate, over the configuration's.
    #[arg(long, value_name = "NUMBER")]
    pub kube_api_burst: Option<i32>,
    /// How much to log: error, info, debug, or a number (2 is debug, larger says more).
    #[arg(long, default_value = "info", value_name = "LEVEL", value_parser = logging::Level::from_zap)]
    pub zap_log_level: logging::Level,
    /// How to log: json or console.
    #[arg(long, default_value = "console", value_name = "FORMAT", value_parser = ["json", "console"])]
    pub zap_encoder: String,
}

const HELP: &str = "\
Examples:
  Beside a cluster, with certificates in ./certs and no leader election:
    jobset-controller-manager --config config.yaml --kubeconfig ~/.kube/config
  with config.yaml:
    apiVersion: config.jobset.x-k8s.io/v1alpha1
    kind: Configuration
    webhook: {port: 9443, certDir: ./certs}
    internalCertManagement: {enable: false}
    leaderElection: {leaderElect: false}";
