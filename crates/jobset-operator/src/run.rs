//! The operator's loop: one pass per change, until the process ends.

use crate::act::{Actor, status as act_status};
use crate::desired::plan::{Plan, plan};
use crate::desired::problem::Problem;
use crate::desired::settings::{Mode, Settings};
use crate::desired::status::{Failure, status, status_of_the_unseen};
use crate::measure::Gauges;
use crate::names;
use crate::observe::watch::Observer;
use crate::observe::{Index, ObjectKey, Observed, Unsynced};
use jobset_api::JobSetOperator;
use jobset_api::jobset_operator::{JobSetOperatorStatus, LogLevel, SINGLETON};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use manager_runtime::leader::Fence;
use manager_runtime::logging::{Level, LogHandle};
use manager_runtime::metrics::Metrics;
use manager_runtime::metrics::controller::{ControllerMetrics, Outcome};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// Longest pause before the operator tries again what failed.
const LONGEST_RETRY: Duration = Duration::from_secs(15);

/// The operator.
pub struct Operator {
    client: Client,
    settings: Settings,
    index: Arc<Index>,
    observer: Observer,
    actor: Actor,
    gauges: Gauges,
    log: LogHandle,
    log_level: LogLevel,
    mode: Option<Mode>,
    metrics: ControllerMetrics,
}

/// What came of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// All is as it should be, and stays so for this long without a change.
    Settled(Option<Duration>),
    /// Something failed.
    Failed,
    /// The process has to start anew.
    StartAnew,
}

impl Operator {
    /// Starts to watch. `instance` names this process in events.
    ///
    /// # Errors
    /// When a metric of the operator's own has a name that is taken.
    pub fn start(
        client: Client,
        settings: Settings,
        instance: String,
        log: LogHandle,
        metrics: &Metrics,
        fence: Fence,
        shutdown: &CancellationToken,
    ) -> prometheus::Result<Self> {
        let gauges = Gauges::new(metrics)?;
        let index = Arc::new(Index::measured(metrics));
        Ok(Self {
            observer: Observer::start(
                client.clone(),
                &settings.namespace,
                Arc::clone(&index),
                shutdown.child_token(),
            ),
            actor: Actor::new(
                client.clone(),
                &settings.namespace,
                Arc::clone(&index),
                instance,
                metrics,
                fence,
            ),
            client,
            settings,
            index,
            gauges,
            log,
            log_level: LogLevel::Normal,
            mode: None,
            metrics: metrics.controller(names::CONTROLLER),
        })
    }

    /// Works until `shutdown`, or until the cluster's TLS profile changes: servers keep the TLS they began with.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let index = Arc::clone(&self.index);
        self.metrics.workers(1);
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = index.queue.next() => {}
            }
            let running = self.metrics.begin();
            match self.pass().await {
                Pass::Settled(look_again) => {
                    running.end(Outcome::Success);
                    index.queue.done(&());
                    if let Some(delay) = look_again {
                        index.queue.add_after((), delay);
                    }
                }
                Pass::Failed => {
                    running.end(Outcome::Error);
                    let delay = index.queue.retry(&());
                    index.queue.add_after((), LONGEST_RETRY);
                    debug!(?delay, "trying again");
                }
                Pass::StartAnew => return,
            }
        }
    }

    /// Brings the cluster one step nearer to what is wanted.
    async fn pass(&mut self) -> Pass {
        let (observed, unsynced) = self.index.snapshot();
        // What is optional may fail, but is waited for until it is known that it does.
        if unsynced.iter().any(|unsynced| !unsynced.optional || unsynced.error.is_none()) {
            return if self.report_unsynced(&observed, &unsynced).await {
                Pass::Settled(None)
            } else {
                Pass::Failed
            };
        }
        if self.settings.tls_profile != observed.facts.tls_profile {
            info!("the cluster's TLS profile changed: starting anew to serve with it");
            return Pass::StartAnew;
        }
        let operator = observed.operator.clone();
        if let Some(operator) = &operator {
            self.set_log_level(operator);
        }
        let began = Timestamp::now();
        let mut plan = match plan(&self.settings, &observed, began) {
            Ok(plan) => plan,
            Err(error) => {
                // The templates are part of the program: a version that cannot fill them in never will.
                warn!(%error, "cannot say what should exist");
                return Pass::Failed;
            }
        };
        plan.problems.extend(watch_failures(&unsynced));
        self.log_mode(plan.mode);
        let mut failures = Vec::new();
        if let Some(operator) = operator.as_deref().filter(|_| plan.mode != Mode::Absent) {
            failures = self.actor.carry_out(&plan, &observed, operator).await;
        }
        failures.extend(self.retire_api(&plan, &observed).await);
        for failure in &failures {
            warn!(object = %failure.key, error = failure.message, "failed");
        }
        let reported = match operator.as_deref().filter(|_| plan.mode != Mode::Absent) {
            Some(operator) => self.report(operator, &plan, &failures).await,
            None => true,
        };
        self.gauges.certificates(&self.index.snapshot().0);
        if !failures.is_empty() || !reported {
            return Pass::Failed;
        }
        let until = plan.look_again.map(|at| began.duration_until(at));
        Pass::Settled(until.map(|until| until.try_into().unwrap_or_default()))
    }

    /// Deletes the JobSet API when its time has come, and otherwise waits for the last JobSet.
    async fn retire_api(&self, plan: &Plan, observed: &Observed) -> Option<Failure> {
        if !plan.delete_unused_api {
            self.observer.follow_jobsets(false);
            return None;
        }
        // Watched before they are counted: a JobSet that is deleted in between wakes the next pass.
        self.observer.follow_jobsets(true);
        let key = || ObjectKey::new("CustomResourceDefinition", crate::names::JOBSET_CRD);
        match self.actor.delete_api_if_unused(observed).await {
            Ok(gone) => {
                if gone {
                    self.observer.follow_jobsets(false);
                }
                None
            }
            Err(error) => Some(Failure { key: key(), message: error.to_string() }),
        }
    }

    /// Says how it is. Objects may have changed while the plan was carried out, so that they are looked at again.
    async fn report(&self, operator: &JobSetOperator, plan: &Plan, failures: &[Failure]) -> bool {
        let (observed, _) = self.index.snapshot();
        let new = status(&self.settings, &observed, plan, failures, operator, &now());
        self.tell(operator, new).await
    }

    async fn tell(&self, operator: &JobSetOperator, new: JobSetOperatorStatus) -> bool {
        self.gauges.conditions(&new);
        if !act_status::differs(operator, &new) {
            return true;
        }
        match act_status::write(&self.client, operator, &new).await {
            Ok(Some(stored)) => {
                self.actor.announcer().status_changed(operator, &new);
                self.index.status_written(stored);
                true
            }
            Ok(None) => true,
            Err(error) => {
                warn!(%error, "cannot write the status");
                false
            }
        }
    }

    /// Without the whole picture nothing is done. That a watch cannot start is told, or it would never be noticed.
    async fn report_unsynced(&self, observed: &Observed, unsynced: &[Unsynced]) -> bool {
        if let (Some(operator), Some(problem)) = (observed.operator.as_deref(), watch_failures(unsynced)) {
            let new = status_of_the_unseen(&self.settings, observed, problem, operator, &now());
            return self.tell(operator, new).await;
        }
        true
    }

    fn log_mode(&mut self, mode: Mode) {
        if self.mode.replace(mode) == Some(mode) {
            return;
        }
        match mode {
            Mode::Absent => info!("no JobSetOperator named {SINGLETON}: waiting for one"),
            Mode::Managed => info!("managing the operand"),
            Mode::Unmanaged => info!("the JobSetOperator is unmanaged: touching nothing"),
            Mode::Removed => info!("removing the operand"),
        }
    }

    fn set_log_level(&mut self, operator: &JobSetOperator) {
        let wanted = operator.spec.operator_log_level.clone().unwrap_or(LogLevel::Normal);
        // Empty means Normal, and so does whatever this version does not know.
        let wanted = if matches!(wanted, LogLevel::Unknown(_)) { LogLevel::Normal } else { wanted };
        if wanted == self.log_level {
            return;
        }
        self.log.set(match wanted {
            LogLevel::Debug => Level::Debug,
            LogLevel::Trace => Level::Trace,
            LogLevel::TraceAll => Level::TraceAll,
            LogLevel::Normal | LogLevel::Unknown(_) => Level::Info,
        });
        info!(from = %self.log_level, to = %wanted, "log level changed");
        self.actor.announcer().log_level_changed(operator, self.log_level.as_str(), wanted.as_str());
        self.log_level = wanted;
    }
}

fn watch_failures(unsynced: &[Unsynced]) -> Option<Problem> {
    let message =
        |unsynced: &Unsynced| Some(format!("cannot watch {}: {}", unsynced.title, unsynced.error.as_ref()?));
    let messages: Vec<String> = unsynced.iter().filter_map(message).collect();
    (!messages.is_empty()).then(|| Problem { reason: "WatchFailed", message: messages.join("\n") })
}

/// Now, to the second, as Kubernetes stores times: a status read back equals the one written.
fn now() -> Time {
    let now = Timestamp::now();
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}
