//! The operator's control loop: it reconciles after each change, until the process ends.

use crate::act::{Actor, ApiDeletion};
use crate::desired::crd_ownership::release;
use crate::desired::plan::{Plan, plan};
use crate::desired::problem::Problem;
use crate::desired::settings::{Mode, Settings};
use crate::desired::status::{Failure, Report, status, unsynced_status, upgradeable};
use crate::measure::Gauges;
use crate::names;
use crate::observe::watch::Observer;
use crate::observe::{Index, ObjectKey, Observed, Unsynced};
use crate::reasons;
use jobset_api::JobSetOperator;
use jobset_api::jobset_operator::{LogLevel, SINGLETON};
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
/// Delay before the operator reports to OLM again, after a failure. OLM grants the permission, so it may come later.
const OLM_RETRY_DELAY: Duration = Duration::from_mins(1);

/// The operator.
pub struct Operator {
    settings: Settings,
    index: Arc<Index>,
    observer: Observer,
    actor: Actor,
    gauges: Gauges,
    log: LogHandle,
    log_level: LogLevel,
    mode: Option<Mode>,
    /// Whether there was a JobSetOperator since the process started.
    was_configured: bool,
    /// The reported reason why the JobSet CRD stays.
    api_stays: Option<String>,
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
            actor: Actor::new(client, &settings.namespace, Arc::clone(&index), instance, metrics, fence),
            settings,
            index,
            gauges,
            log,
            log_level: LogLevel::Normal,
            mode: None,
            was_configured: false,
            api_stays: None,
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
        // First of all, and also while other watches fail: a deletion of the JobSetOperator must not delete JobSets.
        let not_released = self.release_api().await;
        let (observed, unsynced) = self.index.snapshot();
        // An optional watch may fail. The operator waits until it has synced or failed.
        if unsynced.iter().any(|unsynced| !unsynced.optional || unsynced.error.is_none()) {
            let result = self.report_unsynced(&observed, &unsynced).await;
            return if not_released.is_some() { ReconcileResult::Failed } else { result };
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
        plan.problems.extend(watch_failures(&unsynced, true));
        plan.passing.extend(watch_failures(&unsynced, false));
        self.log_mode(plan.mode);
        self.was_configured |= operator.is_some();
        let mut failures: Vec<Failure> = not_released.into_iter().collect();
        if let Some(operator) = operator.as_deref().filter(|_| plan.mode != Mode::Absent) {
            failures.extend(self.actor.execute(&plan, &observed, operator).await);
        }
        failures.extend(self.retire_api(&plan, &observed).await);
        for failure in &failures {
            warn!(object = %failure.key, error = failure.message, "cannot write the object");
        }
        let (reported, status_changes_at) = match operator.as_deref().filter(|_| plan.mode != Mode::Absent) {
            Some(operator) => self.report(operator, &plan, &failures).await,
            None => (true, None),
        };
        let olm_retry = self.report_to_olm(&plan).await;
        self.gauges.certificates(&self.index.snapshot().0);
        if !failures.is_empty() || !reported {
            return ReconcileResult::Failed;
        }
        let planned = plan.reconcile_at.into_iter().chain(status_changes_at).map(delay_until);
        ReconcileResult::Done(planned.chain(olm_retry).min())
    }

    /// Releases the JobSet CRD from a JobSetOperator that owns it. Returns the failure.
    async fn release_api(&self) -> Option<Failure> {
        let (observed, _) = self.index.snapshot();
        let release = release(&observed)?;
        let result = self.actor.release_api(&release, observed.operator.as_deref()).await;
        let error = result.err()?;
        warn!(%error, "cannot remove the owner reference of the JobSet CRD, its owner's deletion deletes every JobSet");
        Some(error.into_failure(jobset_crd()))
    }

    /// Deletes the JobSet CRD if it is no longer needed, or waits for the deletion of the last JobSet.
    async fn retire_api(&mut self, plan: &Plan, observed: &Observed) -> Option<Failure> {
        if !plan.delete_unused_api {
            self.observer.watch_jobsets(false);
            self.report_kept_api(observed, plan.api_stays.as_deref());
            return None;
        }
        // The watch starts before the check, so the deletion of the last JobSet after the check requeues.
        self.observer.watch_jobsets(true);
        match self.actor.delete_api_if_unused(observed).await {
            Ok(ApiDeletion::Deleted) => self.observer.watch_jobsets(false),
            Ok(ApiDeletion::HasJobSets) => self.report_kept_api(observed, Some("JobSets exist")),
            Ok(ApiDeletion::OutOfDate) => {}
            Err(error) => return Some(error.into_failure(jobset_crd())),
        }
        None
    }

    /// Reports once why the JobSet CRD stays. An operator that never had a JobSetOperator removes nothing, and only
    /// logs.
    fn report_kept_api(&mut self, observed: &Observed, why: Option<&str>) {
        if self.api_stays.as_deref() == why {
            return;
        }
        self.api_stays = why.map(str::to_owned);
        let crd = observed.get("CustomResourceDefinition", names::JOBSET_CRD);
        let (Some(why), Some(crd)) = (why, crd) else { return };
        info!(why, "keeping the JobSet CRD");
        if self.was_configured {
            self.actor.recorder().api_kept(observed.operator.as_deref(), &crd.object, why);
        }
    }

    /// Updates the status. The execution of the plan may have changed objects, so this takes a new snapshot. Returns
    /// whether the status is stored, and when it changes if nothing else does.
    async fn report(
        &self,
        operator: &JobSetOperator,
        plan: &Plan,
        failures: &[Failure],
    ) -> (bool, Option<Timestamp>) {
        let (observed, _) = self.index.snapshot();
        let report = status(&self.settings, &observed, plan, failures, operator, &now());
        (self.store(operator, &report).await, report.reconcile_at)
    }

    async fn store(&self, operator: &JobSetOperator, report: &Report) -> bool {
        self.gauges.conditions(&report.status);
        let stored = self.actor.store_status(operator, &report.status).await;
        if let Err(error) = &stored {
            warn!(%error, "cannot write the status");
        }
        stored.is_ok()
    }

    /// Reports watches that fail. The operator changes nothing before all watches have synced.
    async fn report_unsynced(&self, observed: &Observed, unsynced: &[Unsynced]) -> ReconcileResult {
        let (problem, passing) = (watch_failures(unsynced, true), watch_failures(unsynced, false));
        let Some(operator) = observed.operator.as_deref().filter(|_| problem.is_some() || passing.is_some())
        else {
            return ReconcileResult::Done(None);
        };
        let (problems, passing) = (problem.into_iter().collect(), passing.into_iter().collect());
        let report = unsynced_status(&self.settings, observed, problems, passing, operator, &now());
        if !self.store(operator, &report).await {
            return ReconcileResult::Failed;
        }
        ReconcileResult::Done(report.reconcile_at.map(delay_until))
    }

    /// Reports condition Upgradeable to OLM, if OLM installed the operator. Returns the delay before a retry.
    async fn report_to_olm(&mut self, plan: &Plan) -> Option<Duration> {
        let name = self.settings.operator_condition.as_deref()?;
        let error = self.actor.report_upgradeable(name, &upgradeable(plan), &now()).await.err()?;
        warn!(%error, name, "cannot report condition Upgradeable to OLM in its OperatorCondition, retrying");
        Some(OLM_RETRY_DELAY)
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

fn jobset_crd() -> ObjectKey {
    ObjectKey::new("CustomResourceDefinition", names::JOBSET_CRD)
}

/// The watches that fail: those that the API server forbids, or all others.
fn watch_failures(unsynced: &[Unsynced], forbidden: bool) -> Option<Problem> {
    let message = |unsynced: &Unsynced| {
        let error = unsynced.error.as_ref().filter(|error| error.forbidden == forbidden)?;
        Some(format!("cannot watch {}: {}", unsynced.title, error.message))
    };
    let messages: Vec<String> = unsynced.iter().filter_map(message).collect();
    (!messages.is_empty()).then(|| Problem { reason: reasons::WATCH_FAILED, message: messages.join("\n") })
}

/// The delay until shortly after a time, so that the next decision is not a moment too early.
fn delay_until(at: Timestamp) -> Duration {
    let delay: Duration = Timestamp::now().duration_until(at).try_into().unwrap_or_default();
    delay + Duration::from_millis(10)
}

/// The current time in whole seconds. Kubernetes stores no fractions, and a stored status must equal the written one.
fn now() -> Time {
    let now = Timestamp::now();
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}
