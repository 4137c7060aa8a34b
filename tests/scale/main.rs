//! A benchmark of JobSet controllers, with budgets.
//!
//! ```text
//! scenarios/*.yaml -> for each size, round and subject: a new cluster -> steps -> measurements
//!                     -> table, budgets, results.json, report.html
//! ```
//!
//! A subject is a controller, or the floor: the same writes by plain parallel requests, without a controller.

mod admission;
mod audit;
mod budget;
mod checker;
mod floor;
mod generator;
mod observer;
mod plot;
mod report;
mod requests;
mod result;
mod run;
mod scenario;
mod series;
mod statistics;
mod steps;
mod surroundings;
mod table;
mod trial;
mod usage;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use devcluster::progress::Progress;
use jobset_tests::controller::{PROGRAM, Program, beside_this_program};
use jobset_tests::{objects, suite};
use serde_json::{Value, json};

use crate::checker::Outcome;
use crate::result::{Results, Run};
use crate::run::Subject;
use crate::scenario::Scenario;

/// Name of this project's controller in results.
const DEFAULT_NAME: &str = "rust";

/// Runs scenarios with JobSet controllers on clusters of devcluster, and measures time, API requests, CPU time and
/// memory. Each run has a new cluster. Runs of different controllers alternate.
#[derive(Parser)]
#[command(name = "scale")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
struct Arguments {
    /// Only these scenarios
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    /// These sizes instead of those of the scenarios
    #[arg(long, value_name = "N")]
    size: Vec<u32>,
    /// Also the sizes that take many minutes
    #[arg(long, conflicts_with_all = ["size", "short"])]
    full: bool,
    /// The short version: small sizes, without the floor
    #[arg(long, conflicts_with = "size")]
    short: bool,
    /// A controller: its name in the results, its path, and arguments besides --config and --kubeconfig, separated by
    /// spaces. The first one is compared with the budgets. Default: jobset-controller-manager beside this program
    #[arg(long, value_name = "NAME=PATH [ARGUMENTS]", value_parser = controller)]
    controller: Vec<(String, Program)>,
    /// A YAML file with fields of the controllers' configuration
    #[arg(long, value_name = "FILE")]
    configuration: Option<PathBuf>,
    /// Number of runs of each controller
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Duration of the step churn
    #[arg(long, value_name = "N", default_value_t = 30)]
    soak_minutes: u64,
    /// Do not measure the floor
    #[arg(long)]
    no_floor: bool,
    /// Do not run anything: print the table of an earlier results.json, check its budgets, and render its report
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
    /// Report exceeded budgets, but do not fail
    #[arg(long)]
    ignore_budgets: bool,
    /// Folder of the results
    #[arg(long, value_name = "DIR", default_value = "target/scale")]
    output: PathBuf,
    /// List the scenarios
    #[arg(long)]
    list: bool,
}

fn controller(text: &str) -> Result<(String, Program)> {
    let (name, command) = text.split_once('=').context("write NAME=PATH")?;
    let mut words = command.split_whitespace().map(str::to_owned);
    let path = PathBuf::from(words.next().context("write NAME=PATH")?);
    let path = path.canonicalize().with_context(|| format!("{} does not exist", path.display()))?;
    ensure!(
        !name.is_empty() && name != result::FLOOR,
        "{name:?} is not the name of a controller: use another one"
    );
    // This project's controller is compared without the agent, which other controllers do not have.
    let configuration = json!({ "inPlaceRestart": null });
    Ok((
        name.to_owned(),
        Program { name: PROGRAM.to_owned(), path, arguments: words.collect(), configuration },
    ))
}

fn main() -> ExitCode {
    match main_with(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn main_with(arguments: &Arguments) -> Result<()> {
    let all = scenario::read_folder(&objects::repository().join("tests/scale/scenarios"))?;
    if arguments.list {
        for scenario in &all {
            println!("{:<16} {}", scenario.name, scenario.description);
        }
        return Ok(());
    }
    let selected = select(&all, &arguments.scenario)?;
    let subjects = subjects(arguments)?;
    if let Some(file) = &arguments.results {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let results: Results = serde_json::from_str(&text)
            .with_context(|| format!("{} does not contain results of this program", file.display()))?;
        return conclude(arguments, &all, &results, subjects.iter().find(|subject| !subject.is_floor()));
    }
    let progress = Progress::new();
    let mut results = Results {
        started: jiff::Timestamp::now().to_string(),
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
        runs: Vec::new(),
    };
    std::fs::create_dir_all(&arguments.output)
        .with_context(|| format!("cannot create {}", arguments.output.display()))?;
    let soak = Duration::from_mins(arguments.soak_minutes);
    let mut failures = Vec::new();
    for (scenario, size, round, subject) in plan(arguments, &selected, &subjects) {
        let title = format!("{}, size {size}, round {round}: {}", scenario.name, subject.name());
        progress.note(&title);
        let settings = run::settings(&scenario.load(size));
        let run = suite::with_cluster("scale", settings, |runtime, cluster| {
            runtime.block_on(run::run(&cluster, scenario, size, subject, soak, &progress))
        });
        match run {
            Ok(run) => results.runs.push(Run { round, ..run }),
            // The other runs may take hours, and their results are useful.
            Err(error) => {
                progress.note(format!("error: {title}: {error:#}"));
                failures.push(title);
            }
        }
        write(arguments, "results.json", &serde_json::to_string(&results)?)?;
    }
    let verdict = conclude(arguments, &all, &results, subjects.iter().find(|subject| !subject.is_floor()));
    ensure!(failures.is_empty(), "{} runs failed: {}", failures.len(), failures.join("; "));
    verdict
}

/// The runs, in their order: the subjects take turns.
fn plan<'a>(
    arguments: &Arguments,
    scenarios: &[&'a Scenario],
    subjects: &'a [Subject],
) -> Vec<(&'a Scenario, u32, u32, &'a Subject)> {
    let mut runs = Vec::new();
    for scenario in scenarios {
        for size in sizes(scenario, arguments) {
            for round in 1..=arguments.rounds {
                let subjects =
                    subjects.iter().filter(|subject| !subject.is_floor() || scenario.needs_floor());
                runs.extend(subjects.map(|subject| (*scenario, size, round, subject)));
            }
        }
    }
    runs
}

/// Prints the table and the budgets, and writes the report. Returns an error if a budget is exceeded.
fn conclude(
    arguments: &Arguments,
    scenarios: &[Scenario],
    results: &Results,
    subject: Option<&Subject>,
) -> Result<()> {
    print!("{}", table::render(results));
    let verdicts =
        checker::check(results, scenarios, subject.map_or(DEFAULT_NAME, Subject::name), arguments.short);
    write(arguments, "report.html", &report::render(results, scenarios, &verdicts)?)?;
    let exceeded: Vec<_> = verdicts.iter().filter(|verdict| verdict.is_exceeded()).collect();
    let kept = verdicts.iter().filter(|verdict| matches!(verdict.outcome, Outcome::Kept(_))).count();
    println!("\nbudgets: {kept} kept, {} exceeded", exceeded.len());
    for verdict in &exceeded {
        println!("  {verdict}");
    }
    println!("report: {}", arguments.output.join("report.html").display());
    ensure!(exceeded.is_empty() || arguments.ignore_budgets, "{} budgets are exceeded", exceeded.len());
    Ok(())
}

fn select<'a>(all: &'a [Scenario], names: &[String]) -> Result<Vec<&'a Scenario>> {
    if let Some(unknown) = names.iter().find(|name| !all.iter().any(|scenario| scenario.name == **name)) {
        let known: Vec<_> = all.iter().map(|scenario| scenario.name.as_str()).collect();
        bail!("there is no scenario {unknown}: use {}", known.join(", "));
    }
    Ok(all.iter().filter(|scenario| names.is_empty() || names.contains(&scenario.name)).collect())
}

fn subjects(arguments: &Arguments) -> Result<Vec<Subject>> {
    let mut controllers = arguments.controller.clone();
    if controllers.is_empty() {
        let path = beside_this_program(PROGRAM)?;
        controllers.push(controller(&format!("{DEFAULT_NAME}={}", path.display()))?);
    }
    for (index, (name, _)) in controllers.iter().enumerate() {
        let before = controllers.iter().take(index);
        ensure!(
            before.clone().all(|(other, _)| other != name),
            "two controllers have the name {name}: use different names"
        );
    }
    if let Some(file) = &arguments.configuration {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let fields: Value =
            serde_yaml::from_str(&text).with_context(|| format!("{} is not YAML", file.display()))?;
        for (_, program) in &mut controllers {
            json_patch::merge(&mut program.configuration, &fields);
        }
    }
    let floor = (!arguments.no_floor && !arguments.short).then_some(Subject::Floor);
    let controllers = controllers.into_iter().map(|(name, program)| Subject::Controller(name, program));
    Ok(floor.into_iter().chain(controllers).collect())
}

fn sizes(scenario: &Scenario, arguments: &Arguments) -> Vec<u32> {
    if !arguments.size.is_empty() {
        arguments.size.clone()
    } else if arguments.short {
        scenario.short_size.into_iter().collect()
    } else {
        let full = scenario.full_sizes.iter().filter(|_| arguments.full);
        scenario.sizes.iter().chain(full).copied().collect()
    }
}

fn write(arguments: &Arguments, name: &str, text: &str) -> Result<()> {
    let file = arguments.output.join(name);
    std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
}
