//! Running a suite: one cluster, all its tests, and the end of the cluster, whatever happens.
//!
//! A suite is a test program with a main of its own, because something has to run after the last test:
//!
//! ```text
//! up -> prepare -> tests, several at a time -> keep the logs -> down
//! ```
//!
//! A suite may have several parts, one after the other on the same cluster: each is prepared anew.
//!
//! A panic in a test fails that test alone. Ctrl-C and SIGTERM take the cluster down as well; what a killed run
//! left behind is taken down at the next start.

use std::future::Future;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use devcluster::NodeKind;
use futures::future::{BoxFuture, LocalBoxFuture};
use libtest_mimic::{Arguments, Conclusion, Failed, Trial};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::cluster::{KEEP, SuiteCluster};

/// One test: a name to filter by, and a function that is given what the suite prepared.
pub struct Test<Prepared> {
    /// The function's path below the suite.
    pub name: &'static str,
    /// Runs it.
    pub run: fn(Arc<Prepared>) -> BoxFuture<'static, Result<()>>,
}

/// The tests of a suite from the paths of their functions, `async fn(Arc<Prepared>) -> Result<()>`.
#[macro_export]
macro_rules! tests {
    ($($test:path),+ $(,)?) => {
        vec![$($crate::suite::Test {
            name: stringify!($test),
            run: |prepared| Box::pin($test(prepared)),
        }),+]
    };
}

/// Tests that share what is prepared for them.
pub struct Part<Prepared> {
    at_once: usize,
    prepare: Box<dyn FnOnce(SuiteCluster) -> LocalBoxFuture<'static, Result<Prepared>>>,
    tests: Vec<Test<Prepared>>,
}

impl<Prepared> Part<Prepared> {
    /// `at_once` of these tests run side by side, unless the program's arguments say otherwise; with 1, they run in
    /// the order of the list. `prepare` makes what they share. It is not called when none of them is chosen.
    pub fn new<Preparing>(
        at_once: usize,
        prepare: impl FnOnce(SuiteCluster) -> Preparing + 'static,
        tests: Vec<Test<Prepared>>,
    ) -> Self
    where
        Preparing: Future<Output = Result<Prepared>> + 'static,
    {
        Self { at_once, prepare: Box::new(|cluster| Box::pin(prepare(cluster))), tests }
    }
}

/// Runs a suite of one part: `at_once`, `prepare` and `tests` are those of [`Part::new`].
pub fn run<Prepared, Preparing>(
    name: &'static str,
    node: NodeKind,
    at_once: usize,
    prepare: impl FnOnce(SuiteCluster) -> Preparing + 'static,
    tests: Vec<Test<Prepared>>,
) -> ExitCode
where
    Prepared: Send + Sync + 'static,
    Preparing: Future<Output = Result<Prepared>> + 'static,
{
    run_parts(name, node, vec![Part::new(at_once, prepare, tests)])
}

/// Runs the suite `name` on a cluster with these nodes, as the program's arguments say.
pub fn run_parts<Prepared: Send + Sync + 'static>(
    name: &'static str,
    node: NodeKind,
    mut parts: Vec<Part<Prepared>>,
) -> ExitCode {
    let arguments = Arguments::from_args();
    let chosen = |test: &Test<Prepared>| !arguments.is_filtered_out(&Trial::test(test.name, || Ok(())));
    if arguments.list || !parts.iter().flat_map(|part| &part.tests).any(chosen) {
        let tests = parts.iter().flat_map(|part| &part.tests);
        let trials = tests.map(|test| Trial::test(test.name, || Ok(()))).collect();
        return libtest_mimic::run(&arguments, trials).exit_code();
    }
    parts.retain(|part| part.tests.iter().any(chosen));
    match with_cluster(name, node, |runtime, cluster| {
        let mut all_passed = true;
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

fn run_part<Prepared: Send + Sync + 'static>(
    runtime: &Arc<Runtime>,
    cluster: &SuiteCluster,
    arguments: &Arguments,
    part: Part<Prepared>,
) -> Result<Conclusion> {
    let logs = cluster.logs_kept_in();
    let mut arguments = arguments.clone();
    arguments.test_threads.get_or_insert(part.at_once);
    let preparing = (part.prepare)(cluster.clone());
    let prepared = Arc::new(runtime.block_on(preparing).context("the suite cannot be prepared")?);
    let trials = part.tests.into_iter().map(|test| {
        let (runtime, prepared, logs) = (Arc::clone(runtime), Arc::clone(&prepared), logs.clone());
        Trial::test(test.name, move || {
            runtime.block_on((test.run)(prepared)).map_err(|error| {
                Failed::from(format!(
                    "{error:#}\nlogs of the cluster and of our programs: {}",
                    logs.display()
                ))
            })
        })
    });
    Ok(libtest_mimic::run(&arguments, trials.collect()))
}

/// Brings the suite's cluster up, does `work` with it, and takes it down.
fn with_cluster<T>(
    name: &'static str,
    node: NodeKind,
    work: impl FnOnce(&Arc<Runtime>, SuiteCluster) -> Result<T>,
) -> Result<T> {
    let runtime = Arc::new(Runtime::new().context("cannot start the test program's threads")?);
    take_down_on_signal(&runtime, name)?;
    SuiteCluster::take_down(name).context("what an earlier run left cannot be cleaned up")?;
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let cluster = SuiteCluster::up(name, node).context("the suite's cluster does not start")?;
        work(&runtime, cluster)
    }));
    SuiteCluster::keep_logs(name);
    let down = if std::env::var_os(KEEP).is_some() {
        SuiteCluster::tell_how_to_use(name);
        Ok(())
    } else {
        SuiteCluster::take_down(name).context("the suite's cluster cannot be taken down")
    };
    match outcome {
        Ok(Ok(value)) => down.map(|()| value),
        // The first fault is the one to tell.
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
        // Not eprintln, which panics when nobody reads any more.
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
