//! A JobSet under test: reads it and its children, and changes it and its pods.
//!
//! Simulated pods run until a test ends them, so that tests do not depend on the speed of the machine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jobset_tests::objects;
use jobset_tests::wait::{TIMEOUT, holds_for, wait_for};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::Integration;

/// How long a test checks that something does not happen.
pub(crate) const OBSERVATION_TIME: Duration = Duration::from_millis(1500);

/// Default of the fields that a test does not set: a Job with one pod that is not retried.
const REPLICATED_JOB: &str = "{template: {spec: {backoffLimit: 0, template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}}}";

/// A JobSet on the cluster.
pub(crate) struct LiveJobSet {
    suite: Arc<Integration>,
    pub(crate) api: Api<DynamicObject>,
    pub(crate) jobs: Api<Job>,
    pub(crate) pods: Api<Pod>,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
}

impl LiveJobSet {
    /// Creates a JobSet in a new namespace. Its ReplicatedJobs get the missing fields of [`REPLICATED_JOB`].
    pub(crate) async fn create(suite: &Arc<Integration>, name: &str, spec: &str) -> Result<Self> {
        let namespace = suite.cluster.namespace(&suite.client).await?;
        Self::create_in(suite, &namespace, name, spec).await
    }

    /// Creates a JobSet in this namespace; see [`Self::create`].
    pub(crate) async fn create_in(
        suite: &Arc<Integration>,
        namespace: &str,
        name: &str,
        spec: &str,
    ) -> Result<Self> {
        let mut spec: Value = serde_yaml::from_str(spec).with_context(|| spec.to_owned())?;
        for own in spec["replicatedJobs"].as_array_mut().context("a JobSet has ReplicatedJobs")? {
            let mut replicated_job: Value = serde_yaml::from_str(REPLICATED_JOB)?;
            merge(&mut replicated_job, own.take());
            *own = replicated_job;
        }
        let object = serde_json::from_value(json!({
            "apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "metadata": { "name": name }, "spec": spec,
        }))?;
        let created = objects::create(&suite.client, namespace, &object, false).await?;
        Ok(Self {
            suite: Arc::clone(suite),
            api: objects::api_of(&suite.client, &created).await?,
            jobs: Api::namespaced(suite.client.clone(), namespace),
            pods: Api::namespaced(suite.client.clone(), namespace),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: created.uid().context("a created object has a uid")?,
        })
    }

    /// The same JobSet, with another controller.
    pub(crate) fn with(&self, suite: &Arc<Integration>) -> Self {
        Self {
            suite: Arc::clone(suite),
            api: self.api.clone(),
            jobs: self.jobs.clone(),
            pods: self.pods.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            uid: self.uid.clone(),
        }
    }

    // --- reading ------------------------------------------------------------------------------------------

    /// The JobSet, if it still exists.
    pub(crate) async fn get(&self) -> Result<Option<DynamicObject>> {
        self.suite.controller.check()?;
        Ok(self.api.get_opt(&self.name).await?)
    }

    /// Waits until its status satisfies `condition`. Returns the status.
    pub(crate) async fn status_when(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Result<Value> {
        let read = || async {
            let jobset = self.get().await?.with_context(|| format!("JobSet {} was deleted", self.name))?;
            Ok(jobset.data["status"].clone())
        };
        let seen =
            wait_for(&format!("{what} in {}/{}", self.namespace, self.name), TIMEOUT, read, condition).await;
        match seen {
            Ok(status) => Ok(status),
            Err(error) => {
                Err(error.context(format!("statuses of its Jobs: {:#?}", self.job_statuses().await?)))
            }
        }
    }

    /// The statuses of its Jobs, for error messages.
    async fn job_statuses(&self) -> Result<Vec<String>> {
        let jobs = self.jobs_now().await?;
        Ok(jobs.into_iter().map(|(name, job)| format!("{name}: {}", json!(job.status))).collect())
    }

    /// Waits for exactly these conditions, in this order. Each has type, status, reason and message.
    pub(crate) async fn conditions_become(&self, expected: &[[&str; 4]]) -> Result<Value> {
        let what = format!("conditions {expected:#?}");
        self.status_when(&what, |status| conditions(status) == expected).await
    }

    /// Waits for exactly these counters, in this order; see [`counts`].
    pub(crate) async fn counts_become(&self, expected: &[Value]) -> Result<Value> {
        let what = format!("counters {expected:#?}");
        self.status_when(&what, |status| {
            status["replicatedJobsStatus"].as_array().is_some_and(|all| all == expected)
        })
        .await
    }

    /// Waits for exactly these Jobs; see [`describe_job`] for the format.
    pub(crate) async fn jobs_become(&self, expected: &[&str]) -> Result<BTreeMap<String, Job>> {
        let read = || self.jobs_now();
        let what = format!("Jobs {expected:?} of {}/{}", self.namespace, self.name);
        let seen = wait_for(&what, TIMEOUT, read, |jobs| jobs.keys().eq(expected.iter().copied())).await?;
        Ok(seen.into_values().map(|job| (self.short_name(&job), job)).collect())
    }

    /// Waits for exactly these Jobs, and checks that they do not change for [`OBSERVATION_TIME`].
    pub(crate) async fn jobs_stay(&self, expected: &[&str]) -> Result<()> {
        self.jobs_become(expected).await?;
        let what = format!("Jobs {expected:?} of {}/{}", self.namespace, self.name);
        let read = || async { Ok(self.jobs_now().await?.into_keys().collect::<Vec<_>>()) };
        holds_for(&what, OBSERVATION_TIME, read, |jobs| jobs == expected).await
    }

    /// Its Jobs, by name and description.
    async fn jobs_now(&self) -> Result<BTreeMap<String, Job>> {
        self.suite.controller.check()?;
        let selector = format!("jobset.sigs.k8s.io/jobset-name={}", self.name);
        let jobs = self.jobs.list(&ListParams::default().labels(&selector)).await?.items;
        Ok(jobs
            .into_iter()
            .map(|job| (format!("{}{}", self.short_name(&job), describe_job(&job)), job))
            .collect())
    }

    /// Waits for exactly these events about the JobSet, in order of their time. The format is "Type Reason: note", with
    /// " xN" at the end of repeated events.
    pub(crate) async fn events_become(&self, expected: &[&str]) -> Result<()> {
        let read = || async { Ok(self.events_now().await?.iter().map(describe_event).collect::<Vec<_>>()) };
        let what = format!("events {expected:#?} about {}/{}", self.namespace, self.name);
        wait_for(&what, TIMEOUT, read, |events| events == expected).await.map(drop)
    }

    /// Waits for an event with this reason about the JobSet that satisfies `condition`. Returns the event.
    pub(crate) async fn event(&self, reason: &str, condition: impl Fn(&Event) -> bool) -> Result<Event> {
        let read = || async {
            let mut events = self.events_now().await?.into_iter();
            Ok(events.find(|event| event.reason.as_deref() == Some(reason)))
        };
        let satisfies = |event: &Option<Event>| event.as_ref().is_some_and(&condition);
        let what = format!("an event {reason} about {}/{}", self.namespace, self.name);
        wait_for(&what, TIMEOUT, read, satisfies).await?.context("the event is missing")
    }

    /// The events with this reason about the JobSet, in order of their time.
    pub(crate) async fn events_of(&self, reason: &str) -> Result<Vec<Event>> {
        let mut events = self.events_now().await?;
        events.retain(|event| event.reason.as_deref() == Some(reason));
        Ok(events)
    }

    async fn events_now(&self) -> Result<Vec<Event>> {
        let api: Api<Event> = Api::namespaced(self.suite.client.clone(), &self.namespace);
        let mut events = api.list(&ListParams::default()).await?.items;
        events.retain(|event| event.regarding.as_ref().is_some_and(|it| it.uid.as_ref() == Some(&self.uid)));
        events.sort_by_key(|event| event.event_time.clone().map(|time| time.0));
        Ok(events)
    }

    // --- changing -----------------------------------------------------------------------------------------

    /// Changes its spec, as a typed client does: get, change, replace.
    pub(crate) async fn edit(&self, change: impl Fn(&mut Value)) -> Result<()> {
        let attempt = || async {
            let mut jobset = self.api.get(&self.name).await?;
            change(&mut jobset.data["spec"]);
            match self.api.replace(&self.name, &PostParams::default(), &jobset).await {
                Err(kube::Error::Api(status)) if status.is_conflict() => Ok(false),
                other => Ok(other.map(|_| true)?),
            }
        };
        wait_for("an edit without conflict", TIMEOUT, attempt, |done| *done).await.map(drop)
    }

    /// Suspends or resumes it.
    pub(crate) async fn suspend(&self, suspend: bool) -> Result<()> {
        self.edit(|spec| spec["suspend"] = suspend.into()).await
    }

    /// Deletes it, and waits until the API server has removed it.
    pub(crate) async fn delete(&self) -> Result<()> {
        self.api.delete(&self.name, &kube::api::DeleteParams::background()).await?;
        wait_for("the JobSet to be deleted", TIMEOUT, || self.get(), Option::is_none).await.map(drop)
    }

    /// Ends the running pods of this Job with exit code 0.
    pub(crate) async fn succeed(&self, job: &str) -> Result<()> {
        self.annotate_pods(job, &json!({ "outcome": "succeed" })).await
    }

    /// Ends the running pods of this Job with exit code 1.
    pub(crate) async fn fail(&self, job: &str) -> Result<()> {
        self.annotate_pods(job, &json!({ "outcome": "fail" })).await
    }

    /// Makes the pods of this Job Ready; see [`UNREADY`].
    pub(crate) async fn make_ready(&self, job: &str) -> Result<()> {
        self.annotate_pods(job, &json!({ "ready-after": "0s" })).await
    }

    /// Sets the simulated behavior of the running pods of this Job; see [`Self::annotate_pod`].
    pub(crate) async fn annotate_pods(&self, job: &str, behavior: &Value) -> Result<()> {
        for pod in self.running_pods(job).await? {
            self.annotate_pod(&pod, behavior).await?;
        }
        Ok(())
    }

    /// Waits until as many pods of this Job run as its `parallelism`. Returns their names.
    pub(crate) async fn running_pods(&self, job: &str) -> Result<Vec<String>> {
        let job = self.jobs.get(&self.full_name(job)).await?;
        let wanted = job.spec.as_ref().and_then(|spec| spec.parallelism).and_then(|it| it.try_into().ok());
        let selector = format!("batch.kubernetes.io/controller-uid={}", job.uid().unwrap_or_default());
        let read = || async {
            let mut pods = self.pods.list(&ListParams::default().labels(&selector)).await?.items;
            pods.retain(|pod| phase(pod) == "Running" && pod.metadata.deletion_timestamp.is_none());
            Ok(pods.iter().map(ResourceExt::name_any).collect::<Vec<_>>())
        };
        let what = format!("pods of {} to run", job.name_any());
        wait_for(&what, TIMEOUT, read, |pods| Some(pods.len()) == wanted).await
    }

    /// Sets the simulated behavior of a pod with annotations that KWOK's stages read.
    pub(crate) async fn annotate_pod(&self, pod: &str, behavior: &Value) -> Result<()> {
        let behavior = behavior.as_object().context("annotations are a map")?;
        let annotations: BTreeMap<String, &Value> =
            behavior.iter().map(|(key, value)| (format!("devcluster.jobset.dev/{key}"), value)).collect();
        let patch = json!({ "metadata": { "annotations": annotations } });
        self.pods.patch(pod, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Adds a finalizer to this Job, so that its deletion does not end before [`Self::remove_finalizer`].
    pub(crate) async fn add_finalizer(&self, job: &str) -> Result<()> {
        let patch = json!({ "metadata": { "finalizers": [FINALIZER] } });
        self.jobs.patch(&self.full_name(job), &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Removes the finalizer of [`Self::add_finalizer`].
    pub(crate) async fn remove_finalizer(&self, job: &str) -> Result<()> {
        let name = self.full_name(job);
        let attempt = || async {
            let mut job = self.jobs.get(&name).await?;
            job.finalizers_mut().retain(|finalizer| finalizer != FINALIZER);
            match self.jobs.replace(&name, &PostParams::default(), &job).await {
                Err(kube::Error::Api(status)) if status.is_conflict() => Ok(false),
                other => Ok(other.map(|_| true)?),
            }
        };
        wait_for("an update of a Job without conflict", TIMEOUT, attempt, |done| *done).await.map(drop)
    }

    pub(crate) fn full_name(&self, job: &str) -> String {
        format!("{}-{job}", self.name)
    }

    fn short_name(&self, job: &Job) -> String {
        let name = job.name_any();
        name.strip_prefix(&format!("{}-", self.name)).unwrap_or(&name).to_owned()
    }
}

const FINALIZER: &str = "jobset.dev/test";

/// A template whose pods run, but become Ready only after [`LiveJobSet::make_ready`].
pub(crate) const UNREADY: &str =
    "{spec: {template: {metadata: {annotations: {devcluster.jobset.dev/ready-after: 1h}}}}}";

/// The attempt and state of a Job, such as "@1", "@0 deleting", "@0 suspended", "@2 complete".
fn describe_job(job: &Job) -> String {
    let attempt = job.labels().get("jobset.sigs.k8s.io/restart-attempt").map_or("?", String::as_str);
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let is = |kind: &str| conditions.clone().any(|it| it.type_ == kind && it.status == "True");
    let state = if job.metadata.deletion_timestamp.is_some() {
        " deleting"
    } else if is("Complete") {
        " complete"
    } else if is("Failed") {
        " failed"
    } else if job.spec.as_ref().is_some_and(|spec| spec.suspend == Some(true)) {
        " suspended"
    } else {
        ""
    };
    format!("@{attempt}{state}")
}

/// An entry of `replicatedJobsStatus`.
pub(crate) fn counts(name: &str, [ready, succeeded, failed, active, suspended]: [i32; 5]) -> Value {
    json!({
        "name": name, "ready": ready, "succeeded": succeeded, "failed": failed, "active": active,
        "suspended": suspended,
    })
}

/// Type, status, reason and message of each condition.
fn conditions(status: &Value) -> Vec<[&str; 4]> {
    let conditions = status["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    conditions
        .iter()
        .map(|condition| {
            ["type", "status", "reason", "message"].map(|key| condition[key].as_str().unwrap_or_default())
        })
        .collect()
}

fn describe_event(event: &Event) -> String {
    let [kind, reason, note] =
        [&event.type_, &event.reason, &event.note].map(|it| it.as_deref().unwrap_or(""));
    let repeated = event.series.as_ref().map_or_else(String::new, |series| format!(" x{}", series.count));
    format!("{kind} {reason}: {note}{repeated}")
}

pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// Merges `own` into `base`: maps entry by entry; other values are replaced.
pub(crate) fn merge(base: &mut Value, own: Value) {
    match (base, own) {
        (Value::Object(base), Value::Object(own)) => {
            for (key, value) in own {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, own) => *base = own,
    }
}

/// Runs a test for each case concurrently. The error names the cases that failed.
pub(crate) async fn each<Case, Running>(
    cases: impl IntoIterator<Item = (&'static str, Case)>,
    test: impl Fn(&'static str, Case) -> Running,
) -> Result<()>
where
    Running: Future<Output = Result<()>>,
{
    let running = cases.into_iter().map(|(name, case)| {
        let running = test(name, case);
        async move { running.await.with_context(|| format!("case {name}")).err() }
    });
    let failures: Vec<_> = futures::future::join_all(running).await.into_iter().flatten().collect();
    ensure!(
        failures.is_empty(),
        "{}",
        failures.iter().map(|failure| format!("{failure:#}")).collect::<Vec<_>>().join("\n")
    );
    Ok(())
}
