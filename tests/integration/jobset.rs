//! One JobSet under test: what its user does to it and its pods, and what its user sees.
//!
//! Simulated pods run until a test ends them, so that no test depends on how fast the machine is.

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

/// How long to watch for what must not happen.
const WATCHFULNESS: Duration = Duration::from_millis(1500);

/// What a ReplicatedJob has where a test does not say otherwise: a Job of one pod, which is not tried again.
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
    /// Creates it in a namespace of its own. What is missing in its ReplicatedJobs is filled in.
    pub(crate) async fn create(suite: &Arc<Integration>, name: &str, spec: &str) -> Result<Self> {
        let namespace = suite.cluster.namespace(&suite.client).await?;
        Self::create_in(suite, &namespace, name, spec).await
    }

    /// Creates it in this namespace.
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

    // --- what a user sees ---------------------------------------------------------------------------------

    /// The JobSet, if it is there still.
    pub(crate) async fn get(&self) -> Result<Option<DynamicObject>> {
        self.suite.controller.check()?;
        Ok(self.api.get_opt(&self.name).await?)
    }

    /// Its status, as soon as `condition` holds for it.
    pub(crate) async fn status_when(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Result<Value> {
        let look = || async {
            let jobset = self.get().await?.with_context(|| format!("JobSet {} is gone", self.name))?;
            Ok(jobset.data["status"].clone())
        };
        let seen =
            wait_for(&format!("{what} in {}/{}", self.namespace, self.name), TIMEOUT, look, condition).await;
        match seen {
            Ok(status) => Ok(status),
            Err(error) => {
                Err(error.context(format!("while its Jobs were {:#?}", self.job_statuses().await?)))
            }
        }
    }

    /// What its Jobs say of themselves, for messages.
    async fn job_statuses(&self) -> Result<Vec<String>> {
        let jobs = self.jobs_now().await?;
        Ok(jobs.into_iter().map(|(name, job)| format!("{name}: {}", json!(job.status))).collect())
    }

    /// Waits for exactly these conditions in this order: type, status, reason, message.
    pub(crate) async fn conditions_become(&self, expected: &[[&str; 4]]) -> Result<Value> {
        let what = format!("conditions {expected:#?}");
        self.status_when(&what, |status| conditions(status) == expected).await
    }

    /// Waits for exactly these counters, in this order: see [`counts`].
    pub(crate) async fn counts_become(&self, expected: &[Value]) -> Result<Value> {
        let what = format!("counters {expected:#?}");
        self.status_when(&what, |status| {
            status["replicatedJobsStatus"].as_array().is_some_and(|all| all == expected)
        })
        .await
    }

    /// Waits for exactly these Jobs; see [`in_short`] for how each is described.
    pub(crate) async fn jobs_become(&self, expected: &[&str]) -> Result<BTreeMap<String, Job>> {
        let look = || self.jobs_now();
        let what = format!("Jobs {expected:?} of {}/{}", self.namespace, self.name);
        let seen = wait_for(&what, TIMEOUT, look, |jobs| jobs.keys().eq(expected.iter().copied())).await?;
        Ok(seen.into_values().map(|job| (self.short_name(&job), job)).collect())
    }

    /// Watches that these Jobs, and no others, stay as they are.
    pub(crate) async fn jobs_stay(&self, expected: &[&str]) -> Result<()> {
        self.jobs_become(expected).await?;
        let what = format!("having the Jobs {expected:?} of {}/{}", self.namespace, self.name);
        let look = || async { Ok(self.jobs_now().await?.into_keys().collect::<Vec<_>>()) };
        holds_for(&what, WATCHFULNESS, look, |jobs| jobs == expected).await
    }

    /// Its Jobs, by their description.
    async fn jobs_now(&self) -> Result<BTreeMap<String, Job>> {
        self.suite.controller.check()?;
        let selector = format!("jobset.sigs.k8s.io/jobset-name={}", self.name);
        let jobs = self.jobs.list(&ListParams::default().labels(&selector)).await?.items;
        Ok(jobs
            .into_iter()
            .map(|job| (format!("{}{}", self.short_name(&job), in_short(&job)), job))
            .collect())
    }

    /// Waits for exactly these events about it, oldest first: "Type Reason: note", and " xN" when it was repeated.
    pub(crate) async fn events_become(&self, expected: &[&str]) -> Result<()> {
        let look = || async { Ok(self.events_now().await?.iter().map(described).collect::<Vec<_>>()) };
        let what = format!("events {expected:#?} about {}/{}", self.namespace, self.name);
        wait_for(&what, TIMEOUT, look, |events| events == expected).await.map(drop)
    }

    /// The event of this reason about it, as soon as there is one that satisfies `condition`.
    pub(crate) async fn event(&self, reason: &str, condition: impl Fn(&Event) -> bool) -> Result<Event> {
        let look = || async {
            let mut events = self.events_now().await?.into_iter();
            Ok(events.find(|event| event.reason.as_deref() == Some(reason)))
        };
        let is_told = |event: &Option<Event>| event.as_ref().is_some_and(&condition);
        let what = format!("an event {reason} about {}/{}", self.namespace, self.name);
        wait_for(&what, TIMEOUT, look, is_told).await?.context("it was just seen")
    }

    /// The events of this reason about it, the oldest first.
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

    // --- what a user does ---------------------------------------------------------------------------------

    /// Changes its spec, as a typed client does: read, change, replace.
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

    /// Suspends it, or resumes it.
    pub(crate) async fn suspend(&self, suspend: bool) -> Result<()> {
        self.edit(|spec| spec["suspend"] = suspend.into()).await
    }

    /// Deletes it, and waits until it is gone.
    pub(crate) async fn delete(&self) -> Result<()> {
        self.api.delete(&self.name, &kube::api::DeleteParams::background()).await?;
        wait_for("the JobSet to be gone", TIMEOUT, || self.get(), Option::is_none).await.map(drop)
    }

    /// Ends the running pods of this Job with success.
    pub(crate) async fn succeed(&self, job: &str) -> Result<()> {
        self.annotate_pods(job, &json!({ "outcome": "succeed" })).await
    }

    /// Ends the running pods of this Job with exit code 1.
    pub(crate) async fn fail(&self, job: &str) -> Result<()> {
        self.annotate_pods(job, &json!({ "outcome": "fail" })).await
    }

    /// Makes pods of this Job Ready that were to wait for it: see [`UNREADY`].
    pub(crate) async fn make_ready(&self, job: &str) -> Result<()> {
        self.annotate_pods(job, &json!({ "ready-after": "0s" })).await
    }

    /// Tells the running pods of this Job what becomes of them; see [`Self::annotate_pod`].
    pub(crate) async fn annotate_pods(&self, job: &str, fate: &Value) -> Result<()> {
        for pod in self.running_pods(job).await? {
            self.annotate_pod(&pod, fate).await?;
        }
        Ok(())
    }

    /// Names of the pods of this Job, as soon as as many run as it wants.
    pub(crate) async fn running_pods(&self, job: &str) -> Result<Vec<String>> {
        let job = self.jobs.get(&self.full_name(job)).await?;
        let wanted = job.spec.as_ref().and_then(|spec| spec.parallelism).and_then(|it| it.try_into().ok());
        let selector = format!("batch.kubernetes.io/controller-uid={}", job.uid().unwrap_or_default());
        let look = || async {
            let mut pods = self.pods.list(&ListParams::default().labels(&selector)).await?.items;
            pods.retain(|pod| phase(pod) == "Running" && pod.metadata.deletion_timestamp.is_none());
            Ok(pods.iter().map(ResourceExt::name_any).collect::<Vec<_>>())
        };
        let what = format!("pods of {} to run", job.name_any());
        wait_for(&what, TIMEOUT, look, |pods| Some(pods.len()) == wanted).await
    }

    /// Tells a pod what becomes of it, by annotations that KWOK's stages look at.
    pub(crate) async fn annotate_pod(&self, pod: &str, fate: &Value) -> Result<()> {
        let fate = fate.as_object().context("annotations are a map")?;
        let annotations: BTreeMap<String, &Value> =
            fate.iter().map(|(key, value)| (format!("devcluster.jobset.dev/{key}"), value)).collect();
        let patch = json!({ "metadata": { "annotations": annotations } });
        self.pods.patch(pod, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Keeps this Job from going away when it is deleted, until [`Self::release`].
    pub(crate) async fn hold(&self, job: &str) -> Result<()> {
        let patch = json!({ "metadata": { "finalizers": [HOLD] } });
        self.jobs.patch(&self.full_name(job), &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Lets a Job go that was held.
    pub(crate) async fn release(&self, job: &str) -> Result<()> {
        let name = self.full_name(job);
        let attempt = || async {
            let mut job = self.jobs.get(&name).await?;
            job.finalizers_mut().retain(|finalizer| finalizer != HOLD);
            match self.jobs.replace(&name, &PostParams::default(), &job).await {
                Err(kube::Error::Api(status)) if status.is_conflict() => Ok(false),
                other => Ok(other.map(|_| true)?),
            }
        };
        wait_for("releasing a Job without conflict", TIMEOUT, attempt, |done| *done).await.map(drop)
    }

    pub(crate) fn full_name(&self, job: &str) -> String {
        format!("{}-{job}", self.name)
    }

    fn short_name(&self, job: &Job) -> String {
        let name = job.name_any();
        name.strip_prefix(&format!("{}-", self.name)).unwrap_or(&name).to_owned()
    }
}

const HOLD: &str = "jobset.dev/held-by-test";

/// A template whose pods run, but are not Ready before [`LiveJobSet::make_ready`].
pub(crate) const UNREADY: &str =
    "{spec: {template: {metadata: {annotations: {devcluster.jobset.dev/ready-after: 1h}}}}}";

/// A Job's attempt and what is special about it, such as "@1", "@0 deleting", "@0 suspended", "@2 complete".
fn in_short(job: &Job) -> String {
    let attempt = job.labels().get("jobset.sigs.k8s.io/restart-attempt").map_or("?", String::as_str);
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let is = |kind: &str| conditions.clone().any(|it| it.type_ == kind && it.status == "True");
    let special = if job.metadata.deletion_timestamp.is_some() {
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
    format!("@{attempt}{special}")
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

fn described(event: &Event) -> String {
    let [kind, reason, note] =
        [&event.type_, &event.reason, &event.note].map(|it| it.as_deref().unwrap_or(""));
    let repeated = event.series.as_ref().map_or_else(String::new, |series| format!(" x{}", series.count));
    format!("{kind} {reason}: {note}{repeated}")
}

pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// Puts `own` over `base`: maps entry by entry, anything else as a whole.
fn merge(base: &mut Value, own: Value) {
    match (base, own) {
        (Value::Object(base), Value::Object(own)) => {
            for (key, value) in own {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, own) => *base = own,
    }
}

/// Runs a test for each case, side by side, and says which case failed.
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
