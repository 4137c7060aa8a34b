//! `kubectl jobset`: explains JobSets, and plans them without a cluster.
//!
//! ```text
//! options     the command line
//! cluster     reads objects with the user's own rights
//! explain/    why a JobSet waits, what failed first, and what happens next     pure
//! dry_run     what a file creates, and in which order                          pure
//! tree, list, events  tables                                                   pure
//! logs, follow        which logs, and their lines
//! suspension, wait    when to change a JobSet, and when a wait ends            pure
//! ```
//!
//! The decisions are those of `jobset-plan`, the functions that the controller runs.

mod cluster;
mod dry_run;
mod events;
mod explain;
mod follow;
mod list;
mod logs;
mod options;
mod suspension;
mod table;
mod tree;
mod wait;

use anstream::{eprintln, print, println};
use anyhow::{Context, bail};
use clap::{CommandFactory, Parser};
use cluster::Cluster;
use explain::{State, state_of};
use follow::Extent;
use jiff::Timestamp;
use logs::Selection;
use options::{Command, ConnectionOptions, Format, LogOptions, Options, SuspensionOptions};
use std::io::{IsTerminal, Read};
use std::process::ExitCode;
use std::time::Duration;
use wait::Verdict;

/// Exit code for a JobSet that admission refuses.
const REFUSED: u8 = 3;
/// Exit code for a JobSet that ended otherwise than `wait` expects.
const NEVER: u8 = 4;
/// Exit code for a `wait` that timed out.
const TIMED_OUT: u8 = 5;

fn main() -> ExitCode {
    let options = Options::parse();
    match run(options) {
        Ok(code) => code,
        Err(error) => {
            let style = anstyle::AnsiColor::Red.on_default().bold();
            eprintln!("{style}error:{style:#} {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let Options { connection, command } = options;
    match command {
        Command::Explain { name, output } => {
            let cluster = Cluster::connect(connection).await?;
            let mut observed = cluster.observe(&name).await?;
            let now = Timestamp::now();
            let failure = explain::first_failure(&observed, now);
            if let Some(failure) = &failure {
                observed.log = cluster.end_of_log(failure).await;
            }
            let explanation = explain::explain(&observed, failure, now)?;
            print(output, &explanation, ToString::to_string)?;
        }
        Command::Tree { name, output } => {
            let cluster = Cluster::connect(connection).await?;
            let tree = tree::of(&cluster.observe(&name).await?, Timestamp::now());
            print(output, &tree, tree::Branch::text)?;
        }
        Command::List { selector, all_namespaces, output } => {
            let cluster = Cluster::connect(connection).await?;
            let jobsets = cluster.jobsets(all_namespaces, selector.as_deref()).await?;
            if jobsets.is_empty() {
                eprintln!("No JobSets found{}.", cluster.in_namespace(all_namespaces));
            }
            print(output, &list::of(&jobsets, all_namespaces, Timestamp::now()), list::List::text)?;
        }
        Command::Plan { file, namespace_of_file, gates, output } => {
            let text = read(&file)?;
            let gates = gates.gates()?;
            let mut code = ExitCode::SUCCESS;
            for jobset in dry_run::read(&text).with_context(|| format!("--filename {file}"))? {
                let planned = dry_run::plan(&jobset, namespace_of_file.as_deref(), &gates)?;
                if planned.is_refused() {
                    code = ExitCode::from(REFUSED);
                }
                print(output, &planned, ToString::to_string)?;
            }
            return Ok(code);
        }
        Command::Logs(options) => logs(&Cluster::connect(connection).await?, options).await?,
        Command::Events { name, output } => {
            let cluster = Cluster::connect(connection).await?;
            let events = events::of(&cluster.observe(&name).await?, Timestamp::now());
            if events.is_empty() {
                eprintln!(
                    "No events found for JobSet {name}: the API server keeps events for an hour by default."
                );
            }
            print(output, &events, |events| events::text(events))?;
        }
        Command::Suspend(options) => suspend(connection, options, true).await?,
        Command::Resume(options) => suspend(connection, options, false).await?,
        Command::Wait { name, states, timeout } => return wait(connection, &name, &states, timeout).await,
        Command::Completion { shell } => {
            let mut command = Options::command();
            clap_complete::generate(shell, &mut command, "kubectl-jobset", &mut std::io::stdout());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints logs.
async fn logs(cluster: &Cluster, options: LogOptions) -> anyhow::Result<()> {
    let LogOptions { name, role, job_index, pod_index, container, follow, previous, tail, first_failure } =
        options;
    if !first_failure {
        let selection = Selection { role, job: job_index, pod: pod_index, container };
        return follow::logs(cluster, &name, &selection, &Extent { previous, tail }, follow).await;
    }
    let observed = cluster.observe(&name).await?;
    let failure = explain::first_failure(&observed, Timestamp::now());
    let failure = failure.with_context(|| format!("nothing of JobSet {name} has failed"))?;
    eprintln!("{}", failure.sentence);
    let log = cluster.log(&failure, tail, None).await?;
    print!("{log}");
    Ok(())
}

/// Suspends or resumes JobSets.
async fn suspend(
    connection: ConnectionOptions,
    SuspensionOptions { names, force }: SuspensionOptions,
    suspend: bool,
) -> anyhow::Result<()> {
    let cluster = Cluster::connect(connection).await?;
    let done = if suspend { "suspended" } else { "resumed" };
    for name in names {
        let jobset = cluster.jobset(&name).await?;
        match suspension::patch(&jobset, suspend, force)? {
            Some(patch) => {
                cluster.patch(&jobset, patch).await?;
                println!("jobset/{name} {done}");
            }
            None => println!("jobset/{name} unchanged: it is {done} already"),
        }
    }
    Ok(())
}

/// Waits for a state of a JobSet.
async fn wait(
    connection: ConnectionOptions,
    name: &str,
    states: &[State],
    timeout: Option<Duration>,
) -> anyhow::Result<ExitCode> {
    let cluster = Cluster::connect(connection).await?;
    let waiting = cluster.wait(name, states);
    let waited = match timeout {
        Some(timeout) => tokio::time::timeout(timeout, waiting).await,
        None => Ok(waiting.await),
    };
    let Ok(decided) = waited else {
        let state = state_of(&cluster.jobset(name).await?);
        eprintln!("timed out: jobset/{name} is {state}. `kubectl jobset explain {name}` says why.");
        return Ok(ExitCode::from(TIMED_OUT));
    };
    let (verdict, state) = decided?;
    let state = state.map_or_else(|| "gone".to_owned(), |state| state.to_string());
    if verdict == Verdict::Reached {
        println!("jobset/{name} is {state}");
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("jobset/{name} is {state}, and will not be what you wait for.");
    Ok(ExitCode::from(NEVER))
}

/// Prints a value: as text for people, or as JSON or YAML for programs.
fn print<T: serde::Serialize>(
    format: Format,
    value: &T,
    text: impl FnOnce(&T) -> String,
) -> anyhow::Result<()> {
    match format {
        Format::Text => println!("{}", text(value).trim_end()),
        Format::Json => println!("{}", serde_json::to_string_pretty(value)?),
        Format::Yaml => println!("{}", serde_yaml::to_string(value)?.trim_end()),
    }
    Ok(())
}

/// The text of a file; `-` is standard input.
fn read(file: &str) -> anyhow::Result<String> {
    if file != "-" {
        return std::fs::read_to_string(file).with_context(|| format!("cannot read --filename {file}"));
    }
    let mut stdin = std::io::stdin();
    if stdin.is_terminal() {
        bail!("--filename -: standard input is a terminal; pipe a manifest into it, or name a file");
    }
    let mut text = String::new();
    stdin.read_to_string(&mut text).context("cannot read standard input")?;
    Ok(text)
}
