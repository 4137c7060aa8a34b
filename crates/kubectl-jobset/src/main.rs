//! `kubectl jobset`: explains JobSets, and plans them without a cluster.
//!
//! ```text
//! options     the command line
//! cluster     reads objects with the user's own rights
//! explain/    why a JobSet waits, what failed first, and what happens next     pure
//! dry_run     what a file creates, and in which order                          pure
//! tree, list  tables                                                           pure
//! ```
//!
//! The decisions are those of `jobset-plan`, the functions that the controller runs.

mod cluster;
mod dry_run;
mod explain;
mod list;
mod options;
mod table;
mod tree;

use anstream::{eprintln, println};
use anyhow::{Context, bail};
use clap::{CommandFactory, Parser};
use jiff::Timestamp;
use options::{Command, Format, Options};
use std::io::{IsTerminal, Read};
use std::process::ExitCode;

/// Exit code for a JobSet that admission refuses.
const REFUSED: u8 = 3;

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
            let cluster = connection.connect().await?;
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
            let cluster = connection.connect().await?;
            let tree = tree::of(&cluster.observe(&name).await?, Timestamp::now());
            print(output, &tree, tree::Branch::text)?;
        }
        Command::List { selector, all_namespaces, output } => {
            let cluster = connection.connect().await?;
            let jobsets = cluster.jobsets(all_namespaces, selector.as_deref()).await?;
            if jobsets.is_empty() {
                eprintln!("No JobSets found{}.", cluster.whereabouts(all_namespaces));
            }
            print(output, &list::of(&jobsets, all_namespaces, Timestamp::now()), list::List::text)?;
        }
        Command::Plan { file, namespace_of_file, gates, output } => {
            let text = read(&file)?;
            let gates = gates.gates()?;
            let mut code = ExitCode::SUCCESS;
            for jobset in dry_run::read(&text).with_context(|| format!("--filename {file}"))? {
                let planned = dry_run::plan(&jobset, namespace_of_file.as_deref(), &gates)?;
                if !planned.refusals.is_empty() {
                    code = ExitCode::from(REFUSED);
                }
                print(output, &planned, ToString::to_string)?;
            }
            return Ok(code);
        }
        Command::Completion { shell } => {
            let mut command = Options::command();
            clap_complete::generate(shell, &mut command, "kubectl-jobset", &mut std::io::stdout());
        }
    }
    Ok(ExitCode::SUCCESS)
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
