//! The operator's control loop: it reconciles after each change, until the process ends.

use crate::act::{Actor, status as act_status};
use crate::desired::plan::{Plan, plan};
use crate::desired::problem::Problem;
use crate::desired::settings::{Mode, Settings};
use crate::desired::status::{Failure, status, unsynced_status};
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

/// The longest delay before a retry.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(15);

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

/// The result of a reconcile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReconcileResult {
    /// Nothing failed. Reconcile again after this delay, if any.
    Done(Option<Duration>),
    /// Something failed. Retry.
    Failed,
    /// The process must restart.
    Restart,
}

impl Operator {
    /// Starts the watches. `instance` is the name of this process in events.
    ///
    /// # Errors
    /// When a metric cannot be registered.
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

    /// Reconciles until `shutdown`, or until the cluster's TLS profile changes: running servers keep their TLS options.
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
            match self.reconcile().await {
                ReconcileResult::Done(requeue_after) => {
                    running.end(Outcome::Success);
                    index.queue.done(&());
                    if let Some(delay) = requeue_after {
                        index.queue.add_after((), delay);
                    }
                }
                ReconcileResult::Failed => {
                    running.end(Outcome::Error);
                    let delay = index.queue.retry(&());
                    index.queue.add_after((), MAX_RETRY_DELAY);
                    debug!(?delay, "reconcile failed, requeued");
                }
                ReconcileResult::Restart => return,
            }
        }
    }

    /// Brings the cluster closer to the desired state.
    async fn reconcile(&mut self) -> ReconcileResult {
        let (observed, unsynced) = self.index.snapshot();
        // An optional watch may fail. The operator waits until it has synced or failed.
        if unsynced.iter().any(|unsynced| !unsynced.optional || unsynced.error.is_none()) {
            return if self.report_unsynced(&observed, &unsynced).await {
                ReconcileResult::Done(None)
            } else {
                ReconcileResult::Failed
            };
        }
        if self.settings.tls_profile != observed.facts.tls_profile {
            info!("the cluster's TLS profile changed, restarting to apply it");
            return ReconcileResult::Restart;
        }
        let operator = observed.operator.clone();
        if let Some(operator) = &operator {
            self.set_log_level(operator);
        }
        let began = Timestamp::now();
        let mut plan = match plan(&self.settings, &observed, began) {
            Ok(plan) => plan,
            Err(error) => {
                // The templates are part of the program, so this error is a defect.
                warn!(%error, "cannot render the desired objects");
                return ReconcileResult::Failed;
            }
        };
        plan.problems.extend(watch_failures(&unsynced));
        self.log_mode(plan.mode);
        let mut failures = Vec::new();
        if let Some(operator) = operator.as_deref().filter(|_| plan.mode != Mode::Absent) {
            failures = self.actor.execute(&plan, &observed, operator).await;
        }
        failures.extend(self.retire_api(&plan, &observed).await);
        for failure in &failures {
            warn!(object = %failure.key, error = failure.message, "cannot write the object");
        }
        let reported = match operator.as_deref().filter(|_| plan.mode != Mode::Absent) {
            Some(operator) => self.report(operator, &plan, &failures).await,
            None => true,
        };
        self.gauges.certificates(&self.index.snapshot().0);
        if !failures.is_empty() || !reported {
            return ReconcileResult::Failed;
        }
        let until = plan.reconcile_at.map(|at| began.duration_until(at));
        ReconcileResult::Done(until.map(|until| until.try_into().unwrap_or_default()))
    }

    /// Deletes the JobSet CRD if it is no longer needed, or waits for the deletion of the last JobSet.
    async fn retire_api(&self, plan: &Plan, observed: &Observed) -> Option<Failure> {
        if !plan.delete_unused_api {
            self.observer.watch_jobsets(false);
            return None;
        }
        // The watch starts before the check, so the deletion of the last JobSet after the check requeues.
        self.observer.watch_jobsets(true);
        let key = || ObjectKey::new("CustomResourceDefinition", crate::names::JOBSET_CRD);
        match self.actor.delete_api_if_unused(observed).await {
            Ok(deleted) => {
                if deleted {
                    self.observer.watch_jobsets(false);
                }
                None
            }
            Err(error) => Some(Failure { key: key(), message: error.to_string() }),
        }
    }

    /// Updates the status. The execution of the plan may have changed objects, so this takes a new snapshot.
    async fn report(&self, operator: &JobSetOperator, plan: &Plan, failures: &[Failure]) -> bool {
        let (observed, _) = self.index.snapshot();
        let new = status(&self.settings, &observed, plan, failures, operator, &now());
        self.store_status(operator, new).await
    }

    async fn store_status(&self, operator: &JobSetOperator, new: JobSetOperatorStatus) -> bool {
        self.gauges.conditions(&new);
        if !act_status::differs(operator, &new) {
            return true;
        }
        match act_status::write(&self.client, operator, &new).await {
            Ok(Some(stored)) => {
                self.actor.recorder().status_changed(operator, &new);
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

    /// Reports watches that fail. The operator changes nothing before all watches have synced.
    async fn report_unsynced(&self, observed: &Observed, unsynced: &[Unsynced]) -> bool {
        if let (Some(operator), Some(problem)) = (observed.operator.as_deref(), watch_failures(unsynced)) {
            let new = unsynced_status(&self.settings, observed, problem, operator, &now());
            return self.store_status(operator, new).await;
        }
        true
    }

    fn log_mode(&mut self, mode: Mode) {
        if self.mode.replace(mode) == Some(mode) {
            return;
        }
        match mode {
            Mode::Absent => info!("waiting for a JobSetOperator named {SINGLETON}"),
            Mode::Managed => info!("managing the operand"),
            Mode::Unmanaged => info!("the JobSetOperator is Unmanaged, changing nothing"),
            Mode::Removed => info!("removing the operand"),
        }
    }

    fn set_log_level(&mut self, operator: &JobSetOperator) {
        let level = operator.spec.operator_log_level.clone().unwrap_or(LogLevel::Normal);
        // An empty or unknown level means Normal.
        let level = if matches!(level, LogLevel::Unknown(_)) { LogLevel::Normal } else { level };
        if level == self.log_level {
            return;
        }
        self.log.set(match level {
            LogLevel::Debug => Level::Debug,
            LogLevel::Trace => Level::Trace,
            LogLevel::TraceAll => Level::TraceAll,
            LogLevel::Normal | LogLevel::Unknown(_) => Level::Info,
        });
        info!(from = %self.log_level, to = %level, "log level changed");
        self.actor.recorder().log_level_changed(operator, self.log_level.as_str(), level.as_str());
        self.log_level = level;
    }
}

fn watch_failures(unsynced: &[Unsynced]) -> Option<Problem> {
    let message =
        |unsynced: &Unsynced| Some(format!("cannot watch {}: {}", unsynced.title, unsynced.error.as_ref()?));
    let messages: Vec<String> = unsynced.iter().filter_map(message).collect();
    (!messages.is_empty()).then(|| Problem { reason: "WatchFailed", message: messages.join("\n") })
}

/// The current time in whole seconds. Kubernetes stores no fractions, and a stored status must equal the written one.
fn now() -> Time {
    let now = Timestamp::now();
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}
