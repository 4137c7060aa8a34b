//! Runs a suite: starts its cluster, runs its tests, and always takes the cluster down.
//!
//! A suite is a test program with its own main function, which takes the cluster down after the last test:
//!
//! ```text
//! up -> prepare -> tests, several in parallel -> keep the logs -> down
//! ```
//!
//! A suite may have several parts, which run one after the other on the same cluster. Each has its own preparation.
//!
//! A panic in a test fails only that test. Ctrl-C and SIGTERM also take the cluster down. The next run removes the
//! cluster of a killed run.

use std::future::Future;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use devcluster::{NodeKind, Settings};
use futures::future::{BoxFuture, LocalBoxFuture};
use libtest_mimic::{Arguments, Conclusion, Failed, Trial};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::cluster::{KEEP, SuiteCluster};

/// A test: a name for filters, and a function that receives the prepared value.
pub struct Test<Prepared> {
    /// Path of the function in the suite.
    pub name: &'static str,
    /// Runs the test.
    pub run: fn(Arc<Prepared>) -> BoxFuture<'static, Result<()>>,
}

/// Lists tests by the paths of their functions, which are `async fn(Arc<Prepared>) -> Result<()>`.
#[macro_export]
macro_rules! tests {
    ($($test:path),+ $(,)?) => {
        vec![$($crate::suite::Test {
            name: stringify!($test),
            run: |prepared| Box::pin($test(prepared)),
        }),+]
    };
}

/// Tests that share a prepared value.
pub struct Part<Prepared> {
    parallel: usize,
    prepare: Box<dyn FnOnce(SuiteCluster) -> LocalBoxFuture<'static, Result<Prepared>>>,
    tests: Vec<Test<Prepared>>,
    skipped: Option<String>,
}

impl<Prepared> Part<Prepared> {
    /// `parallel` is the number of tests that run in parallel, unless an argument of the program overrides it; with 1,
    /// tests run in the order of the list. `prepare` returns the shared value. It is not called if filters exclude all
    /// tests.
    pub fn new<Preparing>(
        parallel: usize,
        prepare: impl FnOnce(SuiteCluster) -> Preparing + 'static,
        tests: Vec<Test<Prepared>>,
    ) -> Self
    where
        Preparing: Future<Output = Result<Prepared>> + 'static,
    {
        Self { parallel, prepare: Box::new(|cluster| Box::pin(prepare(cluster))), tests, skipped: None }
    }

    /// Skips the tests if there is a reason, such as a missing prerequisite with its remedy. They count as ignored.
    #[must_use]
    pub fn skipped_because(self, reason: Option<String>) -> Self {
        Self { skipped: reason, ..self }
    }
}

/// Runs a suite with one part; see [`Part::new`].
pub fn run<Prepared, Preparing>(
    name: &'static str,
    node: NodeKind,
    parallel: usize,
    prepare: impl FnOnce(SuiteCluster) -> Preparing + 'static,
    tests: Vec<Test<Prepared>>,
) -> ExitCode
where
    Prepared: Send + Sync + 'static,
    Preparing: Future<Output = Result<Prepared>> + 'static,
{
    run_parts(name, node, vec![Part::new(parallel, prepare, tests)])
}

/// Runs a suite on a cluster with these settings, such as its [`NodeKind`], with the program's arguments.
///
/// A program whose tests need different clusters calls this several times, with different names.
pub fn run_parts<Prepared: Send + Sync + 'static>(
    name: &'static str,
    settings: impl Into<Settings>,
    mut parts: Vec<Part<Prepared>>,
) -> ExitCode {
    let arguments = Arguments::from_args();
    let is_selected = |test: &Test<Prepared>| !arguments.is_filtered_out(&Trial::test(test.name, || Ok(())));
    if arguments.list || !parts.iter().flat_map(|part| &part.tests).any(is_selected) {
        let tests = parts.iter().flat_map(|part| &part.tests);
        let trials = tests.map(|test| Trial::test(test.name, || Ok(()))).collect();
        return libtest_mimic::run(&arguments, trials).exit_code();
    }
    parts.retain(|part| part.tests.iter().any(is_selected));
    let (skipped, parts): (Vec<_>, Vec<_>) = parts.into_iter().partition(|part| part.skipped.is_some());
    let mut all_passed = true;
    for part in skipped {
        all_passed &= !skip(&arguments, part).has_failed();
    }
    if parts.is_empty() {
        return if all_passed { ExitCode::SUCCESS } else { ExitCode::from(101) };
    }
    match with_cluster(name, settings.into(), |runtime, cluster| {
        for part in parts {
            all_passed &= !run_part(runtime, &cluster, &arguments, part)?.has_failed();
        }
        Ok(if all_passed { ExitCode::SUCCESS } else { ExitCode::from(101) })
    }) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Reports the tests of a part as ignored. With the argument `--include-ignored`, they fail with the reason.
fn skip<Prepared>(arguments: &Arguments, part: Part<Prepared>) -> Conclusion {
    let reason = part.skipped.unwrap_or_default();
    eprintln!("skipped: {reason}");
    let trials = part.tests.into_iter().map(|test| {
        let reason = reason.clone();
        Trial::test(test.name, move || Err(reason.into())).with_ignored_flag(true)
    });
    libtest_mimic::run(arguments, trials.collect())
}

fn run_part<Prepared: Send + Sync + 'static>(
    runtime: &Arc<Runtime>,
    cluster: &SuiteCluster,
    arguments: &Arguments,
    part: Part<Prepared>,
) -> Result<Conclusion> {
    let logs = cluster.kept_logs();
    let mut arguments = arguments.clone();
    arguments.test_threads.get_or_insert(part.parallel);
    let preparing = (part.prepare)(cluster.clone());
    let prepared = Arc::new(runtime.block_on(preparing).context("cannot prepare the suite")?);
    let trials = part.tests.into_iter().map(|test| {
        let (runtime, prepared, logs) = (Arc::clone(runtime), Arc::clone(&prepared), logs.clone());
        Trial::test(test.name, move || {
            runtime.block_on((test.run)(prepared)).map_err(|error| {
                Failed::from(format!(
                    "{error:#}\nlogs of the cluster and of the programs under test: {}",
                    logs.display()
                ))
            })
        })
    });
    Ok(libtest_mimic::run(&arguments, trials.collect()))
}

/// Starts a cluster, runs `work` with it, and takes it down, also after an error, a panic or a signal.
pub fn with_cluster<T>(
    name: &'static str,
    settings: Settings,
    work: impl FnOnce(&Arc<Runtime>, SuiteCluster) -> Result<T>,
) -> Result<T> {
    let runtime = Arc::new(Runtime::new().context("cannot start the async runtime")?);
    take_down_on_signal(&runtime, name)?;
    SuiteCluster::take_down(name).context("cannot take down the cluster of an earlier run")?;
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let cluster = SuiteCluster::up(name, settings).context("cannot start the suite's cluster")?;
        work(&runtime, cluster)
    }));
    SuiteCluster::keep_logs(name);
    let down = if std::env::var_os(KEEP).is_some() {
        SuiteCluster::print_instructions(name);
        Ok(())
    } else {
        SuiteCluster::take_down(name).context("cannot take down the suite's cluster")
    };
    match outcome {
        Ok(Ok(value)) => down.map(|()| value),
        // The first error is the relevant one.
        Ok(Err(error)) => Err(error),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn take_down_on_signal(runtime: &Runtime, name: &'static str) -> Result<()> {
    let _guard = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    runtime.spawn(async move {
        let code = tokio::select! {
            _ = interrupt.recv() => 130,
            _ = terminate.recv() => 143,
        };
        // Not eprintln, which panics if standard error is closed.
        drop(writeln!(std::io::stderr(), "interrupted: taking the cluster down"));
        if let Err(error) = tokio::task::spawn_blocking(move || SuiteCluster::take_down(name))
            .await
            .map_err(Into::into)
            .flatten()
        {
            drop(writeln!(std::io::stderr(), "error: {error:#}"));
        }
        std::process::exit(code);
    });
    Ok(())
}
