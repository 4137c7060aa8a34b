//! The command line.

use clap::{ArgAction, Args, Parser, ValueEnum};
use manager_runtime::{
    logging::{self, Format, TimeEncoding},
    version,
};
use std::{convert::Infallible, ffi::OsString, path::PathBuf};

/// Runs groups of Jobs as one unit: the controller and admission webhooks of JobSet.
///
/// What it does is told by a configuration file; each flag given goes over what that says.
#[derive(Debug, Parser)]
#[command(
    name = "jobset-controller-manager",
    version = version::VERSION,
    long_version = version::long(),
    after_help = HELP,
    args_override_self = true
)]
pub struct Flags {
    /// Configuration file (config.jobset.x-k8s.io/v1alpha1, kind Configuration). Without it, the defaults.
    #[arg(long, value_name = "FILE", value_parser = path)]
    pub config: Option<PathBuf>,
    /// How to reach the API server. Without it, $KUBECONFIG, then the pod's service account, then ~/.kube/config.
    #[arg(long, value_name = "FILE", value_parser = path)]
    pub kubeconfig: Option<PathBuf>,
    /// Address and port of the metrics server; 0 switches it off. [configuration: metrics.bindAddress, or :8443]
    #[arg(long, value_name = "ADDRESS")]
    pub metrics_bind_address: Option<String>,
    /// Address and port of the probes; 0 switches them off. [configuration: health.healthProbeBindAddress, or :8081]
    #[arg(long, value_name = "ADDRESS")]
    pub health_probe_bind_address: Option<String>,
    /// Whether replicas elect a leader. [configuration: leaderElection.leaderElect, or true]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = go_bool)]
    pub leader_elect: Option<bool>,
    /// Requests a second to the API server. [configuration: clientConnection.qps, or 500]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub kube_api_qps: Option<f32>,
    /// Requests at once beyond that rate. [configuration: clientConnection.burst, or 500]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub kube_api_burst: Option<i32>,
    /// How to log.
    #[command(flatten)]
    pub logging: LoggingFlags,
}

/// How to log.
#[derive(Debug, Args)]
#[command(next_help_heading = "Logging")]
pub struct LoggingFlags {
    /// How much to log: error, info, debug, or a number (1 and 2 are debug, larger says more).
    #[arg(long = "zap-log-level", default_value = "info", value_name = "LEVEL", value_parser = logging::Level::from_zap)]
    log_level: logging::Level,
    /// How to write a line: console or json. [default: console, with --zap-devel=false json]
    #[arg(long = "zap-encoder", value_name = "FORMAT", ignore_case = true)]
    encoder: Option<Encoder>,
    /// Whether lines are for a person at a terminal.
    #[arg(long = "zap-devel", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", value_name = "BOOL", value_parser = go_bool)]
    devel: bool,
    /// How to write the time: iso8601, rfc3339, rfc3339nano, epoch, millis or nano.
    #[arg(long = "zap-time-encoding", default_value = "rfc3339nano", value_name = "ENCODING", value_parser = TimeEncoding::from_zap)]
    time_encoding: TimeEncoding,
    /// Taken for compatibility: there are no stack traces in the log.
    #[arg(long = "zap-stacktrace-level", value_name = "LEVEL", value_parser = ["info", "error", "panic"], ignore_case = true)]
    stacktrace_level: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Encoder {
    Json,
    Console,
}

const HELP: &str = "\
Flags may be written with one hyphen or two, values after a space or `=`; true or false only after `=`.

Examples:
  Beside a cluster, with certificates in ./certs and no leader election:
    jobset-controller-manager --config config.yaml --kubeconfig ~/.kube/config
  with config.yaml:
    apiVersion: config.jobset.x-k8s.io/v1alpha1
    kind: Configuration
    webhook: {port: 9443, certDir: ./certs}
    internalCertManagement: {enable: false}
    leaderElection: {leaderElect: false}";

impl Flags {
    /// Reads the command line of this process. Ends it, with status 2, when that makes no sense, and with status
    /// 0 behind `--help` and `--version`.
    #[must_use]
    pub fn of_process() -> Self {
        Self::parse_from(two_hyphens(std::env::args_os()))
    }
}

impl LoggingFlags {
    /// Starts logging so.
    pub fn init(&self) -> logging::LogHandle {
        let format = match (self.encoder, self.devel) {
            (Some(Encoder::Json), _) | (None, false) => Format::Json,
            (Some(Encoder::Console), _) | (None, true) => Format::Console,
        };
        logging::init_with_time(format, self.log_level, self.time_encoding)
    }
}

/// Programs written in Go take flags with one hyphen or two, and manifests use both.
fn two_hyphens(arguments: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    arguments.map(|argument| match argument.to_str().and_then(|text| text.strip_prefix('-')) {
        // -h and -V are flags of one letter.
        Some(flag) if flag.len() > 1 && flag.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            format!("--{flag}").into()
        }
        _ => argument,
    })
}

/// Reads a path. An empty one is as good as none: templates write `--kubeconfig=$X`.
#[allow(clippy::unnecessary_wraps, reason = "clap asks for a result")]
fn path(text: &str) -> Result<PathBuf, Infallible> {
    Ok(text.into())
}

/// Reads a truth value in each way that Go knows.
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
    fn one_hyphen_or_two() {
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
    fn flags_of_the_go_program_are_known() {
        let flags = parse(&[
            "--zap-devel=false",
            "--zap-encoder=console",
            "--zap-log-level=2",
            "--zap-stacktrace-level=error",
            "--zap-time-encoding=iso8601",
            // zap does not mind the case.
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
    fn what_is_wrong_is_named() {
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
