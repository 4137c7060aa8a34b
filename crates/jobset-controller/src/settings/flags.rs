//! The command line.

use clap::{ArgAction, Args, Parser, ValueEnum};
use manager_runtime::{
    logging::{self, Format, TimeEncoding},
    version,
};
use std::{convert::Infallible, ffi::OsString, path::PathBuf};

/// Runs groups of Jobs as one unit: the controller and admission webhooks of JobSet.
///
/// A configuration file configures the controller. Flags override the file.
#[derive(Debug, Parser)]
#[command(
    name = "jobset-controller-manager",
    version = version::VERSION,
    long_version = version::long(),
    after_help = HELP,
    args_override_self = true
)]
pub struct Flags {
    /// Configuration file (config.jobset.x-k8s.io/v1alpha1, kind Configuration). [default: built-in defaults]
    #[arg(long, value_name = "FILE", value_parser = path)]
    pub config: Option<PathBuf>,
    /// Kubeconfig file. Without it, the controller uses $KUBECONFIG, the pod's service account, or ~/.kube/config, in
    /// this order.
    #[arg(long, value_name = "FILE", value_parser = path)]
    pub kubeconfig: Option<PathBuf>,
    /// Address and port of the metrics server; 0 disables it. [configuration: metrics.bindAddress, or :8443]
    #[arg(long, value_name = "ADDRESS")]
    pub metrics_bind_address: Option<String>,
    /// Address and port of the probes; 0 disables them. [configuration: health.healthProbeBindAddress, or :8081]
    #[arg(long, value_name = "ADDRESS")]
    pub health_probe_bind_address: Option<String>,
    /// Whether replicas elect a leader. [configuration: leaderElection.leaderElect, or true]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = go_bool)]
    pub leader_elect: Option<bool>,
    /// Maximum requests per second to the API server. [configuration: clientConnection.qps, or 500]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub kube_api_qps: Option<f32>,
    /// Maximum burst of requests above that rate. [configuration: clientConnection.burst, or 500]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub kube_api_burst: Option<i32>,
    /// Flags for logging.
    #[command(flatten)]
    pub logging: LoggingFlags,
}

/// Flags for logging.
#[derive(Debug, Args)]
#[command(next_help_heading = "Logging")]
pub struct LoggingFlags {
    /// Log level: error, info, debug, or a number (1 and 2 are debug, a larger number logs more).
    #[arg(long = "zap-log-level", default_value = "info", value_name = "LEVEL", value_parser = logging::Level::from_zap)]
    log_level: logging::Level,
    /// Format of log lines: console or json. [default: console, with --zap-devel=false json]
    #[arg(long = "zap-encoder", value_name = "FORMAT", ignore_case = true)]
    encoder: Option<Encoder>,
    /// Whether the log is for a developer at a terminal.
    #[arg(long = "zap-devel", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", value_name = "BOOL", value_parser = go_bool)]
    devel: bool,
    /// Time format: iso8601, rfc3339, rfc3339nano, epoch, millis or nano.
    #[arg(long = "zap-time-encoding", default_value = "rfc3339nano", value_name = "ENCODING", value_parser = TimeEncoding::from_zap)]
    time_encoding: TimeEncoding,
    /// Accepted for compatibility. The log contains no stack traces.
    #[arg(long = "zap-stacktrace-level", value_name = "LEVEL", value_parser = ["info", "error", "panic"], ignore_case = true)]
    stacktrace_level: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Encoder {
    Json,
    Console,
}

const HELP: &str = "\
Flags start with one or two hyphens. Values follow after a space or `=`; true and false follow only after `=`.

Examples:
  Outside a cluster, with certificates in ./certs and without leader election:
    jobset-controller-manager --config config.yaml --kubeconfig ~/.kube/config
  with config.yaml:
    apiVersion: config.jobset.x-k8s.io/v1alpha1
    kind: Configuration
    webhook: {port: 9443, certDir: ./certs}
    internalCertManagement: {enable: false}
    leaderElection: {leaderElect: false}";

impl Flags {
    /// Parses the command line of this process. Exits with status 2 if the command line is invalid, and with status 0
    /// after `--help` and `--version`.
    #[must_use]
    pub fn of_process() -> Self {
        Self::parse_from(two_hyphens(std::env::args_os()))
    }
}

impl LoggingFlags {
    /// Starts logging with these flags.
    pub fn init(&self) -> logging::LogHandle {
        let format = match (self.encoder, self.devel) {
            (Some(Encoder::Json), _) | (None, false) => Format::Json,
            (Some(Encoder::Console), _) | (None, true) => Format::Console,
        };
        logging::init_with_time(format, self.log_level, self.time_encoding)
    }
}

/// Go programs accept flags with one or two hyphens, and manifests use both.
fn two_hyphens(arguments: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    arguments.map(|argument| match argument.to_str().and_then(|text| text.strip_prefix('-')) {
        // -h and -V are short flags.
        Some(flag) if flag.len() > 1 && flag.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            format!("--{flag}").into()
        }
        _ => argument,
    })
}

/// Parses a path. An empty path counts as unset: templates write `--kubeconfig=$X`.
#[allow(clippy::unnecessary_wraps, reason = "clap requires a Result")]
fn path(text: &str) -> Result<PathBuf, Infallible> {
    Ok(text.into())
}

/// Parses a boolean as Go does.
fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("neither true nor false".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Flags, clap::Error> {
        let arguments = std::iter::once("manager").chain(arguments.iter().copied());
        Flags::try_parse_from(two_hyphens(arguments.map(OsString::from)))
    }

    #[test]
    fn flags_have_one_or_two_hyphens() {
        for arguments in [
            &["--leader-elect=false", "--kube-api-qps", "3"][..],
            &["-leader-elect=false", "-kube-api-qps=3"],
            &["--leader-elect", "--leader-elect=F", "-kube-api-qps", "7", "-kube-api-qps", "3"],
        ] {
            let flags = parse(arguments).unwrap();
            assert_eq!((flags.leader_elect, flags.kube_api_qps), (Some(false), Some(3.0)), "{arguments:?}");
        }
        assert_eq!(parse(&["-leader-elect"]).unwrap().leader_elect, Some(true));
        assert_eq!(parse(&[]).unwrap().leader_elect, None);
        for empty in [&["--config="][..], &["--config", ""]] {
            assert_eq!(parse(empty).unwrap().config, Some(PathBuf::new()), "{empty:?}");
        }
    }

    #[test]
    fn flags_of_the_go_program_are_accepted() {
        let flags = parse(&[
            "--zap-devel=false",
            "--zap-encoder=console",
            "--zap-log-level=2",
            "--zap-stacktrace-level=error",
            "--zap-time-encoding=iso8601",
            // zap ignores the case.
            "--zap-encoder=JSON",
            "--zap-log-level=INFO",
            "--zap-stacktrace-level=Error",
            "--metrics-bind-address=:8443",
            "--health-probe-bind-address=:8081",
        ])
        .unwrap();
        assert_eq!(flags.metrics_bind_address.as_deref(), Some(":8443"));
    }

    #[test]
    fn errors_name_the_invalid_flag() {
        for (arguments, text) in [
            (&["--sideways"][..], "'--sideways'"),
            (&["--leader-elect=maybe"], "neither true nor false"),
            (&["--kube-api-burst=x"], "--kube-api-burst"),
            (&["--zap-log-level=loud"], "\"loud\""),
            (&["--zap-time-encoding=sundial"], "\"sundial\""),
        ] {
            let error = parse(arguments).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{arguments:?}");
            assert!(error.to_string().contains(text), "{arguments:?}: {error}");
        }
    }
}
