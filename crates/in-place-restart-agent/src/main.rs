//! Program `in-place-restart-agent`: holds the worker of a pod at a barrier until all pods of its JobSet are ready, and
//! restarts it in place when the JobSet restarts.
//!
//! ```text
//! watch    JobSet -> Event --\
//! signals  ------> Event ----> Agent::handle (agent.rs: no I/O) -> Effects -> annotate the pod, start the worker or the
//! worker   exit --> Event ---/                                               server for the startup probe, exit
//! ```
//!
//! The agent runs in every pod of a training. It is one thread with two connections to the API server, of which one is
//! short, and it stays below 10 MiB of memory.

mod agent;
#[cfg(test)]
mod agent_test;
mod annotate;
mod api;
mod backoff;
mod jobset;
mod only_agent;
mod probe;
mod report;
mod service_account;
mod settings;
mod watch;
#[cfg(test)]
mod watch_test;
mod worker;

use std::process::ExitCode;
use std::sync::Arc;

use nix::libc::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{error, info};

use crate::agent::{Agent, Effect, Event};
use crate::api::{Api, Timeouts};
use crate::only_agent::OnlyAgent;
use crate::probe::Port;
use crate::service_account::ServiceAccount;
use crate::settings::{Mode, Settings};
use crate::worker::Worker;

type Error = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        // It would panic if standard error is closed.
        .log_internal_errors(false)
        .init();
    match start() {
        // Without waiting for threads that resolve names.
        Ok(code) => std::process::exit(code.into()),
        Err(error) => {
            error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the agent and returns its exit code.
fn start() -> Result<u8, Error> {
    let variable = |name: &str| std::env::var_os(name);
    let search = variable("PATH").unwrap_or_default();
    let settings = Settings::read(variable, |name| worker::find_program(name, &search))?;
    let account = ServiceAccount::read(variable)?;
    let _only = OnlyAgent::claim(&account.namespace, &settings.pod)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(settings, account))
}

/// What the lifted barrier starts.
enum Start {
    Worker { shell: std::path::PathBuf, command: String },
    Server { port: Option<Port>, path: String },
}

async fn run(settings: Settings, account: ServiceAccount) -> Result<u8, Error> {
    let Settings { jobset, pod, restart_code, mode } = settings;
    let start = match mode {
        Mode::MainContainer { shell, command } => Start::Worker { shell, command },
        Mode::Sidecar { path, port } => Start::Server { port: Some(Port::reserve(port)?), path },
    };
    let runs_worker = matches!(start, Start::Worker { .. });
    let mode = if runs_worker { "main container" } else { "sidecar" };
    let namespace = &account.namespace;
    info!("watching JobSet \"{jobset}\" in namespace \"{namespace}\" for pod \"{pod}\", mode: {mode}");

    let mut signals = Signals::new(runs_worker)?;
    let mut children = signal(SignalKind::child())?;
    let api = Arc::new(Api::new(account, Timeouts::default()));
    let (sender, mut versions) = mpsc::channel(1);
    tokio::spawn(watch::observe(Arc::clone(&api), jobset, sender));

    let mut agent = Agent::new(restart_code, runs_worker);
    let mut process = Process { api, pod, start, worker: None };
    loop {
        let event = tokio::select! {
            // The end of the worker is final, and a signal more urgent than the JobSet.
            biased;
            _ = children.recv() => match worker::reap(process.worker.as_ref()) {
                Some(code) => Event::WorkerEnded(code),
                None => continue,
            },
            signal = signals.next() => Event::Signal(signal),
            Some(jobset) = versions.recv() => Event::JobSet(jobset),
        };
        for effect in agent.handle(&event) {
            if let Some(code) = process.execute(effect)? {
                return Ok(code);
            }
        }
    }
}

struct Process {
    api: Arc<Api>,
    pod: String,
    start: Start,
    worker: Option<Worker>,
}

impl Process {
    /// Executes an effect. Returns the exit code if it ends the agent.
    fn execute(&mut self, effect: Effect) -> Result<Option<u8>, Error> {
        match effect {
            Effect::Annotate(attempt) => {
                info!(
                    "in-place restart attempt {attempt}: holding the worker until all pods have reached it"
                );
                tokio::spawn(annotate::annotate(Arc::clone(&self.api), self.pod.clone(), attempt));
            }
            Effect::Lift(reason) => match &mut self.start {
                Start::Worker { shell, command } => {
                    info!("starting the worker: {reason}");
                    let worker = Worker::start(shell, command).map_err(|error| {
                        format!("cannot start WORKER_COMMAND with {}: {error}", shell.display())
                    })?;
                    self.worker = Some(worker);
                }
                Start::Server { port, path } => {
                    info!("answering the startup probe: {reason}");
                    if let Some(port) = port.take() {
                        tokio::spawn(probe::serve(port.listen()?, path.clone()));
                    }
                }
            },
            Effect::Forward(signal) => {
                if let Some(worker) = &self.worker {
                    worker.signal(signal);
                }
            }
            Effect::Exit(code, reason) => {
                info!("exiting with code {code}: {reason}");
                if let Some(worker) = &self.worker {
                    worker.signal(nix::libc::SIGKILL);
                }
                return Ok(Some(code));
            }
        }
        Ok(None)
    }
}

/// The signals that the agent handles.
struct Signals(Vec<(i32, Signal)>);

impl Signals {
    /// Listens for signals. Only a worker can need others than SIGINT and SIGTERM.
    fn new(runs_worker: bool) -> std::io::Result<Self> {
        let mut numbers = vec![SIGINT, SIGTERM];
        if runs_worker {
            numbers.extend([SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH]);
        }
        let listen = |number| Ok((number, signal(SignalKind::from_raw(number))?));
        Ok(Self(numbers.into_iter().map(listen).collect::<std::io::Result<_>>()?))
    }

    /// The next signal.
    async fn next(&mut self) -> i32 {
        std::future::poll_fn(|context| {
            for (number, signal) in &mut self.0 {
                if signal.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready(*number);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}
