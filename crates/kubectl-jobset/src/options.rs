//! The command line.

use crate::explain::State;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use jiff::SignedDuration;
use jobset_plan::Gates;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Explains JobSets, and plans them without a cluster.
#[derive(Debug, Parser)]
#[command(name = "kubectl-jobset", bin_name = "kubectl jobset", version)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) connection: ConnectionOptions,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How to connect, as for kubectl.
#[derive(Args, Debug)]
pub(crate) struct ConnectionOptions {
    /// Kubeconfig file. Default: $KUBECONFIG, or ~/.kube/config
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig. Default: its current context
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Namespace. Default: that of the context
    #[arg(long, short, global = true, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
}

/// A command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// What a JobSet does, why it waits, what failed first, and what happens next
    #[command(after_help = "Example:\n  kubectl jobset explain train")]
    Explain {
        /// Name of the JobSet
        name: String,
        #[arg(long, short, value_enum, default_value_t)]
        output: Format,
    },
    /// What admission says about a file, and which objects the controller creates in which order; without a cluster
    #[command(
        after_help = "Examples:\n  kubectl jobset plan -f train.yaml\n  kubectl jobset plan -f - < train.yaml\n\n\
                            Exit code 3: admission refuses the JobSet."
    )]
    Plan {
        /// File with JobSets; - is standard input
        #[arg(long = "filename", short = 'f', value_name = "FILE")]
        file: String,
        /// Namespace of JobSets that name none
        #[arg(long = "in", value_name = "NAMESPACE")]
        namespace_of_file: Option<String>,
        #[command(flatten)]
        gates: GateOptions,
        #[arg(long, short, value_enum, default_value_t)]
        output: Format,
    },
    /// A JobSet, its Jobs and its pods, with states, nodes and restarts
    Tree {
        /// Name of the JobSet
        name: String,
        #[arg(long, short, value_enum, default_value_t)]
        output: Format,
    },
    /// All JobSets, with progress, restarts and queue
    #[command(visible_alias = "ls")]
    List {
        /// Label selector
        #[arg(long, short = 'l', value_name = "SELECTOR")]
        selector: Option<String>,
        /// All namespaces
        #[arg(long, short = 'A')]
        all_namespaces: bool,
        #[arg(long, short, value_enum, default_value_t)]
        output: Format,
    },
    /// The logs of a JobSet's pods, each line with the pod that wrote it
    #[command(after_help = "Examples:\n  kubectl jobset logs train --follow\n  \
                            kubectl jobset logs train --role workers --job-index 0 --tail 20\n  \
                            kubectl jobset logs train --first-failure")]
    Logs(LogOptions),
    /// What happened to a JobSet, its Jobs and its pods, the oldest first
    Events {
        /// Name of the JobSet
        name: String,
        #[arg(long, short, value_enum, default_value_t)]
        output: Format,
    },
    /// Suspend JobSets: their pods end, and their Jobs stay
    Suspend(SuspensionOptions),
    /// Resume suspended JobSets
    Resume(SuspensionOptions),
    /// Wait until a JobSet has a state; by default, until it has ended
    #[command(after_help = "Examples:\n  kubectl jobset wait train --for=Completed --timeout=2h\n  \
                            kubectl jobset wait train --for=Running,Completed\n\n\
                            Exit code 4: the JobSet ended without the state. Exit code 5: it timed out.")]
    Wait {
        /// Name of the JobSet
        name: String,
        /// States, any of which ends the wait
        #[arg(long = "for", value_enum, ignore_case = true, value_delimiter = ',', value_name = "STATE")]
        states: Vec<State>,
        /// The longest time, such as 90s, 10m or 2h. Default: forever
        #[arg(long, value_parser = duration, value_name = "TIME")]
        timeout: Option<Duration>,
    },
    /// A completion script for a shell
    #[command(
        after_help = "Example:\n  kubectl jobset completion bash > ~/.local/share/bash-completion/completions/kubectl-jobset"
    )]
    Completion {
        /// The shell
        shell: Shell,
    },
}

/// Which logs.
#[derive(Args, Debug)]
pub(crate) struct LogOptions {
    /// Name of the JobSet
    pub(crate) name: String,
    /// Only this ReplicatedJob
    #[arg(long, short, value_name = "NAME")]
    pub(crate) role: Option<String>,
    /// Only the Job with this index in its ReplicatedJob
    #[arg(long, short = 'i', value_name = "INDEX")]
    pub(crate) job_index: Option<u32>,
    /// Only the pods with this index in their Job
    #[arg(long, value_name = "INDEX")]
    pub(crate) pod_index: Option<u32>,
    /// Only this container
    #[arg(long, short, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// Go on with what the containers write, also after a restart, until the JobSet has ended
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// The logs of the containers before their last restart
    #[arg(long, short, conflicts_with = "follow")]
    pub(crate) previous: bool,
    /// The number of lines from the end of each log
    #[arg(long, value_name = "LINES")]
    pub(crate) tail: Option<i64>,
    /// Only the log of the container that failed first
    #[arg(long, conflicts_with_all = ["role", "job_index", "pod_index", "container", "follow", "previous"])]
    pub(crate) first_failure: bool,
}

/// Which JobSets to suspend or resume.
#[derive(Args, Debug)]
pub(crate) struct SuspensionOptions {
    /// Names of the JobSets
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Also JobSets that Kueue suspends and resumes
    #[arg(long)]
    pub(crate) force: bool,
}

/// Format of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
    /// For programs
    Yaml,
}

/// Feature gates of the controller.
#[derive(Args, Debug)]
pub(crate) struct GateOptions {
    /// Feature gates of the controller, such as ElasticJobSet=true,RestartJob=true
    #[arg(long, value_name = "NAME=BOOL", value_delimiter = ',', value_parser = gate)]
    feature_gates: Vec<(String, bool)>,
}

impl GateOptions {
    pub(crate) fn gates(self) -> anyhow::Result<Gates> {
        let named: BTreeMap<_, _> = self.feature_gates.into_iter().collect();
        Ok(Gates::configured(&named)?)
    }
}

/// A duration such as `90s`, `10m` or `1h30m`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time: use 90s, 10m or 1h30m, for example");
    let duration: SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(duration).map_err(|_| wrong())
}

fn gate(text: &str) -> Result<(String, bool), String> {
    let (name, value) =
        text.split_once('=').ok_or_else(|| format!("{text:?} has no value: use {text}=true"))?;
    let value = value.parse().map_err(|_| format!("{name}: {value:?} is neither true nor false"))?;
    Ok((name.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn options_are_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn options_of_kubectl_stand_before_or_after_the_command() {
        for line in [
            "kubectl-jobset -n a explain b",
            "kubectl-jobset explain b -n a",
            "kubectl-jobset explain --namespace=a b",
        ] {
            let options = Options::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(options.connection.namespace.as_deref(), Some("a"), "{line}");
        }
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_mins(90)));
        for wrong in ["", "90", "-5s", "soon"] {
            assert!(duration(wrong).unwrap_err().contains("for example"), "{wrong}");
        }
    }

    #[test]
    fn a_wrong_gate_is_an_error_with_its_name() {
        let error = |gates: &str| {
            let line = ["kubectl-jobset", "plan", "-f", "x", "--feature-gates", gates];
            match Options::try_parse_from(line) {
                Err(error) => error.to_string(),
                Ok(Options { command: Command::Plan { gates, .. }, .. }) => {
                    gates.gates().unwrap_err().to_string()
                }
                Ok(_) => String::new(),
            }
        };
        assert!(error("RestartJob").contains("RestartJob=true"));
        assert!(error("RestartJob=maybe").contains("neither true nor false"));
        assert!(error("Nothing=true").contains("Nothing"));
    }
}
