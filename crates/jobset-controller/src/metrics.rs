//! The metrics of JobSets. `manager-runtime` has the metrics of any controller.
//!
//! Series with the name of a JobSet are removed ten minutes after its deletion: late enough for one more scrape, and
//! early enough for a cluster with many short-lived JobSets. Use `jobset_finished_total` for sums over time: it is
//! never removed.

mod repairs;

use crate::act::ActError;
use crate::observe::{Index, Placement};
use jiff::Timestamp;
use jobset_api::{
    JobSet, JobSetStatus,
    conditions::{self, reasons},
};
use jobset_plan::{JobRecord, LabelValue, Outcome};
use manager_runtime::metrics::{
    Metrics,
    controller::{ControllerMetrics, Running},
};
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts};
pub(crate) use repairs::RepairMetrics;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The series of a JobSet stay this long after its deletion.
const KEPT_FOR: Duration = Duration::from_mins(10);
/// After this number of finished JobSets, the series of deleted JobSets are removed even without a scrape.
const CLEAN_EVERY: usize = 64;
/// From a second to a week.
const ATTEMPT_SECONDS: &[f64] =
    &[1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 10800.0, 21600.0, 43200.0, 86400.0, 259_200.0, 604_800.0];
/// From a millisecond to a minute.
const WRITE_SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Reasons of failed Jobs (Kubernetes: batch/v1, conditions `Failed` and `FailureTarget`). All others share one label
/// value.
const CAUSES: &[&str] = &[
    "BackoffLimitExceeded",
    "DeadlineExceeded",
    "FailedIndexes",
    "MaxFailedIndexesExceeded",
    "PodFailurePolicy",
];

/// The metrics of the JobSet controller. Clones share them.
#[derive(Clone)]
pub(crate) struct JobSetMetrics {
    controller: ControllerMetrics,
    completed: IntCounterVec,
    failed: IntCounterVec,
    deadline_exceeded: IntCounterVec,
    finished: IntCounterVec,
    restarts: IntCounterVec,
    attempts: HistogramVec,
    writes: Histogram,
    failed_requests: IntCounterVec,
    tracked: Arc<Mutex<HashMap<String, TrackedJobSet>>>,
}

/// A JobSet that restarted or finished.
struct TrackedJobSet {
    namespace: String,
    name: String,
    /// When the current attempt began.
    began: Timestamp,
    /// When the controller first missed the JobSet.
    gone: Option<Instant>,
}

impl JobSetMetrics {
    /// # Errors
    /// When a metric with one of the names is already registered.
    pub(crate) fn new(metrics: &Metrics, index: &Index, placement: &Placement) -> prometheus::Result<Self> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            metrics.register(IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        let own = &["jobset_name", "namespace"];
        let attempts = HistogramOpts::new(
            "jobset_attempt_duration_seconds",
            "How long attempts of JobSets took, from creation, resumption or restart to their end",
        );
        let writes = HistogramOpts::new(
            "jobset_reconcile_to_write_seconds",
            "How long reconciles that wrote took until the API server had answered the last write",
        );
        let objects = metrics.register(IntGaugeVec::new(
            Opts::new("jobset_index_objects", "Objects that the controller keeps a record of"),
            &["kind"],
        )?)?;
        let measured = Self {
            controller: metrics.controller("jobset"),
            completed: counters("jobset_completed_total", "The total number of completed JobSets", own)?,
            failed: counters("jobset_failed_total", "The total number of failed JobSets", own)?,
            deadline_exceeded: counters(
                "jobset_active_deadline_exceeded_total",
                "The total number of JobSets that failed because they exceeded activeDeadlineSeconds",
                own,
            )?,
            finished: counters(
                "jobset_finished_total",
                "The total number of JobSets that finished by terminal state",
                &["terminal_state"],
            )?,
            restarts: counters(
                "jobset_restarts_total",
                "The total number of restarts by failure policy action and by the reason for which the first Job failed",
                &["action", "cause"],
            )?,
            attempts: metrics
                .register(HistogramVec::new(attempts.buckets(ATTEMPT_SECONDS.to_vec()), &["outcome"])?)?,
            writes: metrics.register(Histogram::with_opts(writes.buckets(WRITE_SECONDS.to_vec()))?)?,
            failed_requests: counters(
                "jobset_failed_requests_total",
                "The total number of requests of reconciles that failed by kind of request",
                &["action"],
            )?,
            tracked: Arc::default(),
        };
        for action in ActError::ACTIONS {
            measured.failed_requests.with_label_values(&[action]);
        }
        for state in [conditions::COMPLETED, conditions::FAILED] {
            measured.finished.with_label_values(&[state]);
        }
        let (index, placement, cleaned) = (index.clone(), placement.clone(), measured.clone());
        metrics.before_scrape(move || {
            for (kind, count) in index.sizes().into_iter().chain(placement.sizes()) {
                objects.with_label_values(&[kind]).set(i64::try_from(count).unwrap_or(i64::MAX));
            }
            cleaned.clean(|uid| index.has_jobset(uid), Instant::now());
        });
        Ok(measured)
    }

    /// The metrics of repairs of exclusive placement.
    ///
    /// # Errors
    /// When a metric with one of the names is already registered.
    pub(crate) fn repairs(&self, metrics: &Metrics) -> prometheus::Result<RepairMetrics> {
        RepairMetrics::new(metrics, self.failed_requests.with_label_values(&["EvictPod"]))
    }

    /// Counts a failed request of a reconcile; see [`ActError::action`].
    pub(crate) fn request_failed(&self, action: &str) {
        self.failed_requests.with_label_values(&[action]).inc();
    }

    /// Sets the number of concurrent reconciles.
    pub(crate) fn workers(&self, count: usize) {
        self.controller.workers(count);
    }

    /// Records the start of a reconcile.
    pub(crate) fn begin(&self) -> Running {
        self.controller.begin()
    }

    /// Records the duration of a reconcile that wrote.
    pub(crate) fn wrote(&self, began: Instant) {
        self.writes.observe(began.elapsed().as_secs_f64());
    }

    /// Records that the API server stored `new` in place of the status in `jobset`.
    pub(crate) fn status_stored(
        &self,
        jobset: &JobSet,
        new: &JobSetStatus,
        jobs: &[Arc<JobRecord>],
        index: &Index,
    ) {
        let nothing = JobSetStatus::default();
        let old = jobset.status.as_ref().unwrap_or(&nothing);
        let now = Timestamp::now();
        let restarts = restarts(old, new);
        for (action, count) in &restarts {
            self.restarts.with_label_values(&[*action, cause(jobs, old.restarts)]).inc_by(*count);
        }
        if new.restarts > old.restarts {
            self.end_attempt(jobset, "restarted", now);
        }
        if old.terminal_state.is_empty() && !new.terminal_state.is_empty() {
            self.end_attempt(jobset, &new.terminal_state.to_lowercase(), now);
            self.finished.with_label_values(&[new.terminal_state.as_str()]).inc();
            let (namespace, name) = name_of(jobset);
            if exceeded_deadline(new) {
                self.deadline_exceeded.with_label_values(&[name, namespace]).inc();
            }
            match new.terminal_state.as_str() {
                conditions::COMPLETED => self.completed.with_label_values(&[name, namespace]).inc(),
                conditions::FAILED => self.failed.with_label_values(&[name, namespace]).inc(),
                _ => {}
            }
            if self.lock().len().is_multiple_of(CLEAN_EVERY) {
                self.clean(|uid| index.has_jobset(uid), Instant::now());
            }
        }
    }

    fn end_attempt(&self, jobset: &JobSet, outcome: &str, now: Timestamp) {
        let Some(uid) = jobset.metadata.uid.clone() else { return };
        let (namespace, name) = name_of(jobset);
        let mut tracked = self.lock();
        let jobset = tracked.entry(uid).or_insert_with(|| TrackedJobSet {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            began: attempt_began(jobset).unwrap_or(now),
            gone: None,
        });
        let took = now.duration_since(std::mem::replace(&mut jobset.began, now));
        self.attempts.with_label_values(&[outcome]).observe(took.as_secs_f64().max(0.0));
    }

    /// Removes the series of JobSets that were deleted [`KEPT_FOR`] ago.
    fn clean(&self, exists: impl Fn(&str) -> bool, now: Instant) {
        let mut tracked = self.lock();
        let ended: Vec<TrackedJobSet> = tracked
            .extract_if(|uid, jobset| {
                if exists(uid) {
                    jobset.gone = None;
                    return false;
                }
                let gone = *jobset.gone.get_or_insert(now);
                now.saturating_duration_since(gone) >= KEPT_FOR
            })
            .map(|(_, jobset)| jobset)
            .collect();
        for jobset in ended {
            let labels = &[jobset.name.as_str(), jobset.namespace.as_str()];
            // A successor with the same name continues the series.
            if !tracked.values().any(|other| [other.name.as_str(), other.namespace.as_str()] == *labels) {
                for series in [&self.completed, &self.failed, &self.deadline_exceeded] {
                    // The series may be missing.
                    drop(series.remove_label_values(labels));
                }
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, TrackedJobSet>> {
        self.tracked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the JobSet failed because it exceeded `activeDeadlineSeconds`.
fn exceeded_deadline(status: &JobSetStatus) -> bool {
    let mut conditions = status.conditions.iter().filter(|condition| condition.status == "True");
    conditions.any(|condition| {
        condition.type_ == conditions::FAILED && condition.reason == reasons::DEADLINE_EXCEEDED
    })
}

/// Namespace and name.
fn name_of(jobset: &JobSet) -> (&str, &str) {
    let metadata = &jobset.metadata;
    (metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
}

/// The number of times that each failure policy action was applied between two versions of a status.
fn restarts(old: &JobSetStatus, new: &JobSetStatus) -> Vec<(&'static str, u64)> {
    let single = |status: &JobSetStatus, counts: bool| -> i64 {
        let of = |status: &jobset_api::ReplicatedJobStatus| {
            let all = if counts { &status.job_restarts_count_towards_max } else { &status.job_restarts };
            all.iter().copied().map(i64::from).sum::<i64>()
        };
        status.replicated_jobs_status.iter().map(of).sum()
    };
    let grown = |new: i64, old: i64| u64::try_from(new - old).unwrap_or(0);
    let all = grown(new.restarts.into(), old.restarts.into());
    let counting = grown(new.restarts_count_towards_max.into(), old.restarts_count_towards_max.into());
    let single_all = grown(single(new, false), single(old, false));
    let single_counting = grown(single(new, true), single(old, true));
    let mut applied = vec![
        ("RestartJobSet", counting),
        ("RestartJobSetAndIgnoreMaxRestarts", all.saturating_sub(counting)),
        ("RestartJob", single_counting),
        ("RestartJobAndIgnoreMaxRestarts", single_all.saturating_sub(single_counting)),
    ];
    applied.retain(|(_, count)| *count > 0);
    applied
}

/// The reason of the first failed Job of an attempt.
fn cause(jobs: &[Arc<JobRecord>], attempt: i32) -> &'static str {
    let of_attempt = jobs.iter().filter(|job| job.restart_attempt == LabelValue::Number(attempt));
    let failed = of_attempt.filter_map(|job| job.verdict.as_ref()).filter(|v| v.outcome != Outcome::Complete);
    let reason = failed.min_by_key(|verdict| verdict.at).map(|verdict| verdict.reason.as_str());
    CAUSES.iter().find(|cause| Some(**cause) == reason).copied().unwrap_or("Other")
}

/// When the current attempt began, according to the stored object: at the creation, a resumption, or a restart. After
/// all Jobs are ready again, the object contains only the end of the restart.
fn attempt_began(jobset: &JobSet) -> Option<Timestamp> {
    let conditions = jobset.status.iter().flat_map(|status| &status.conditions);
    let changes = conditions.filter(|condition| {
        condition.type_ == conditions::RESTARTING
            || condition.type_ == conditions::SUSPENDED && condition.status == "False"
    });
    let changes = changes.map(|condition| condition.last_transition_time.0);
    changes.chain(jobset.metadata.creation_timestamp.as_ref().map(|time| time.0)).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Source;
    use serde_json::{Value, json};

    fn jobset(uid: &str, status: &Value) -> JobSet {
        let mut jobset: JobSet = serde_json::from_value(json!({
            "metadata": {"name": "train", "namespace": "team", "uid": uid, "resourceVersion": "1",
                "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {},
        }))
        .unwrap();
        jobset.status = Some(serde_json::from_value(status.clone()).unwrap());
        jobset
    }

    fn measured() -> (Metrics, Index, JobSetMetrics) {
        let (metrics, index) = (Metrics::new().unwrap(), Index::default());
        let measured = JobSetMetrics::new(&metrics, &index, &Placement::default()).unwrap();
        (metrics, index, measured)
    }

    fn assert_line(metrics: &Metrics, line: &str) {
        let text = metrics.text().unwrap();
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }

    #[test]
    fn a_jobset_is_counted_only_when_it_finishes() {
        let (metrics, index, measured) = measured();
        let running = jobset("u", &json!({"restarts": 0}));
        index.apply_jobset(&running, Source::Watch);
        let completed = JobSetStatus { terminal_state: "Completed".into(), ..JobSetStatus::default() };
        measured.status_stored(&running, &JobSetStatus::default(), &[], &index);
        assert!(!metrics.text().unwrap().contains("jobset_completed_total{"));
        measured.status_stored(&running, &completed, &[], &index);
        let finished = JobSet { status: Some(completed.clone()), ..running };
        measured.status_stored(&finished, &completed, &[], &index);
        assert_line(&metrics, "# HELP jobset_completed_total The total number of completed JobSets");
        assert_line(&metrics, "jobset_completed_total{jobset_name=\"train\",namespace=\"team\"} 1");
        assert_line(&metrics, "jobset_finished_total{terminal_state=\"Completed\"} 1");
        assert_line(&metrics, "jobset_finished_total{terminal_state=\"Failed\"} 0");
        assert_line(&metrics, "jobset_attempt_duration_seconds_count{outcome=\"completed\"} 1");
        assert_line(&metrics, "jobset_index_objects{kind=\"JobSet\"} 1");
        assert!(!metrics.text().unwrap().contains("jobset_failed_total{"));
    }

    #[test]
    fn a_jobset_that_exceeded_its_deadline_is_counted() {
        let failed = |reason: &str| {
            let condition = json!({"type": "Failed", "status": "True", "reason": reason, "message": "",
                "lastTransitionTime": "2026-01-02T00:00:00Z"});
            let status = json!({"restarts": 0, "terminalState": "Failed", "conditions": [condition]});
            serde_json::from_value::<JobSetStatus>(status).unwrap()
        };
        let (metrics, index, measured) = measured();
        let running = jobset("u", &json!({"restarts": 0}));
        index.apply_jobset(&running, Source::Watch);
        measured.status_stored(&running, &failed("FailedJobs"), &[], &index);
        let has_series = || metrics.text().unwrap().contains("jobset_active_deadline_exceeded_total{");
        assert!(!has_series());
        measured.status_stored(&running, &failed("DeadlineExceeded"), &[], &index);
        let series = "{jobset_name=\"train\",namespace=\"team\"}";
        assert_line(&metrics, &format!("jobset_active_deadline_exceeded_total{series} 1"));
        assert_line(&metrics, &format!("jobset_failed_total{series} 2"));
        index.end_jobset("u");
        let now = Instant::now();
        measured.clean(|uid| index.has_jobset(uid), now);
        measured.clean(|uid| index.has_jobset(uid), now + KEPT_FOR);
        assert!(!has_series(), "the JobSet was deleted");
    }

    #[test]
    fn restarts_are_counted_by_action_and_cause() {
        let (metrics, index, measured) = measured();
        let old = jobset("u", &json!({"restarts": 1, "restartsCountTowardsMax": 1}));
        let new: JobSetStatus = serde_json::from_value(json!({
            "restarts": 3, "restartsCountTowardsMax": 2,
            "replicatedJobsStatus": [{"name": "w", "ready": 0, "succeeded": 0, "failed": 0, "active": 0,
                "suspended": 0, "jobRestarts": [1, 0], "jobRestartsCountTowardsMax": [1, 0]}],
        }))
        .unwrap();
        measured.status_stored(&old, &new, &[], &index);
        for action in ["RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts", "RestartJob"] {
            assert_line(&metrics, &format!("jobset_restarts_total{{action=\"{action}\",cause=\"Other\"}} 1"));
        }
        assert!(!metrics.text().unwrap().contains("RestartJobAndIgnoreMaxRestarts"));
        assert_line(&metrics, "jobset_attempt_duration_seconds_count{outcome=\"restarted\"} 1");
    }

    #[test]
    fn an_attempt_begins_at_the_latest_change() {
        let began = |conditions: Value| {
            attempt_began(&jobset("u", &json!({"restarts": 0, "conditions": conditions})))
                .unwrap()
                .to_string()
        };
        let condition = |type_: &str, status: &str, time: &str| json!({"type": type_, "status": status, "reason": "", "message": "", "lastTransitionTime": time});
        assert_eq!(began(json!([])), "2026-01-01T00:00:00Z");
        let resumed = condition("Suspended", "False", "2026-01-02T00:00:00Z");
        assert_eq!(began(json!([resumed])), "2026-01-02T00:00:00Z");
        let restarted = condition("RestartingJobSet", "True", "2026-01-03T00:00:00Z");
        assert_eq!(began(json!([restarted, resumed])), "2026-01-03T00:00:00Z");
        let done = condition("StartupPolicyCompleted", "True", "2026-01-04T00:00:00Z");
        assert_eq!(began(json!([done])), "2026-01-01T00:00:00Z");
    }

    #[test]
    fn every_metric_is_documented() {
        let (metrics, index, measured) = measured();
        let running = jobset("u", &json!({"restarts": 0}));
        for terminal_state in ["Completed", "Failed"] {
            let finished = serde_json::from_value(json!({
                "terminalState": terminal_state,
                "restarts": 1,
                "conditions": [{"type": terminal_state, "status": "True", "reason": "DeadlineExceeded", "message": "",
                    "lastTransitionTime": "2026-01-02T00:00:00Z"}],
            }))
            .unwrap();
            measured.status_stored(&running, &finished, &[], &index);
        }
        metrics.leads("lease", true);
        let _ = (
            metrics.queue("jobset"),
            metrics
                .webhooks()
                .instrument(axum::Router::new().route("/", axum::routing::get(|| async {})), ["/"]),
        );
        let (text, document) = (metrics.text().unwrap(), include_str!("../../../docs/metrics.md"));
        let names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        assert!(names.len() > 30, "{names:?}");
        for line in names {
            let (name, kind) = line.split_once(' ').unwrap();
            let row = document.lines().find(|row| row.starts_with('|') && row.contains(&format!("`{name}`")));
            assert!(row.is_some_and(|row| row.contains(&format!("| {kind} |"))), "{name} {kind}: {row:?}");
        }
    }

    #[test]
    fn series_are_removed_after_the_deletion_of_their_jobset() {
        let (metrics, index, measured) = measured();
        let running = jobset("u", &json!({"restarts": 0}));
        index.apply_jobset(&running, Source::Watch);
        let failed = JobSetStatus { terminal_state: "Failed".into(), ..JobSetStatus::default() };
        measured.status_stored(&running, &failed, &[], &index);
        let has_series = || metrics.text().unwrap().contains("jobset_failed_total{");
        let now = Instant::now();
        measured.clean(|uid| index.has_jobset(uid), now + 2 * KEPT_FOR);
        assert!(has_series(), "the JobSet exists");
        index.end_jobset("u");
        measured.clean(|uid| index.has_jobset(uid), now);
        assert!(has_series(), "the JobSet was just deleted");
        measured.clean(|uid| index.has_jobset(uid), now + KEPT_FOR);
        assert!(!has_series());
        assert!(measured.lock().is_empty());
    }

    #[test]
    fn a_successor_with_the_same_name_continues_the_series() {
        let (metrics, index, measured) = measured();
        let failed = JobSetStatus { terminal_state: "Failed".into(), ..JobSetStatus::default() };
        for uid in ["predecessor", "successor"] {
            let running = jobset(uid, &json!({"restarts": 0}));
            index.apply_jobset(&running, Source::Watch);
            measured.status_stored(&running, &failed, &[], &index);
            index.end_jobset("predecessor");
            measured.clean(|uid| index.has_jobset(uid), Instant::now());
        }
        measured.clean(|uid| index.has_jobset(uid), Instant::now() + KEPT_FOR);
        assert_eq!(measured.lock().len(), 1);
        assert_line(&metrics, "jobset_failed_total{jobset_name=\"train\",namespace=\"team\"} 2");
    }
}
