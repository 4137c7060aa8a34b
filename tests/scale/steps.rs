//! Performs the steps of a scenario: with a controller, or for the floor with plain requests to Jobs.

use anyhow::{Context as _, Result, bail};
use devcluster::progress::Step as Bar;
use jiff::Timestamp;
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt as _};
use serde_json::json;

use crate::generator::NAMESPACE;
use crate::observer::{Observer, Totals};
use crate::requests;
use crate::scenario::{Load, Step};

/// The objects of a run, and their state.
pub(crate) struct Workload {
    pub(crate) load: Load,
    /// The JobSets, or for the floor the Jobs.
    objects: Vec<DynamicObject>,
    api: Api<DynamicObject>,
    pods: Api<DynamicObject>,
    observer: Observer,
}

/// When a step took place.
pub(crate) struct Performed {
    pub(crate) started: Timestamp,
    pub(crate) ended: Timestamp,
    /// For the floor: when the last response was complete, or the last Job was deleted.
    pub(crate) last_write: Option<Timestamp>,
    /// The Job that failed.
    pub(crate) failed_job: Option<String>,
}

impl Workload {
    /// JobSets, for a controller.
    pub(crate) async fn of_job_sets(
        client: &Client,
        load: Load,
        objects: Vec<DynamicObject>,
    ) -> Result<Self> {
        let api = api_of(client, NAMESPACE, "jobset.x-k8s.io", "v1alpha2", "JobSet");
        Self::new(client, load, objects, api, Totals::of_job_set).await
    }

    /// Jobs, for the floor.
    pub(crate) async fn of_jobs(client: &Client, load: Load, objects: Vec<DynamicObject>) -> Result<Self> {
        Self::new(client, load, objects, api_of(client, NAMESPACE, "batch", "v1", "Job"), Totals::of_job)
            .await
    }

    async fn new(
        client: &Client,
        load: Load,
        objects: Vec<DynamicObject>,
        api: Api<DynamicObject>,
        state_of: fn(&DynamicObject) -> Totals,
    ) -> Result<Self> {
        let observer = Observer::start(api.clone(), state_of).await?;
        Ok(Self { load, objects, api, pods: api_of(client, NAMESPACE, "", "v1", "Pod"), observer })
    }

    /// Performs a step with a controller.
    pub(crate) async fn perform(&self, step: &Step, bar: &Bar) -> Result<Performed> {
        let jobs = u64::from(self.load.jobs());
        let job_sets = u64::from(self.load.job_sets);
        let names = requests::names(&self.objects);
        let started = Timestamp::now();
        let mut failed_job = None;
        match step {
            Step::Create {} => {
                requests::create(&self.api, &self.objects, bar).await?;
                self.until("ready Jobs", bar, |it| it.ready == jobs).await?;
            }
            Step::FailOneJob {} => {
                let job = format!("js-0-w-{}", self.load.jobs_each / 2);
                self.fail_pod_of(&job, bar).await?;
                failed_job = Some(job);
                self.until("ready Jobs after a restart", bar, |it| it.restarts == 1 && it.ready == jobs)
                    .await?;
            }
            Step::Suspend {} => {
                requests::patch(&self.api, &names, &json!({ "spec": { "suspend": true } }), bar).await?;
                let suspended =
                    |it: &Totals| it.suspended == jobs && it.suspended_objects == job_sets && it.ready == 0;
                self.until("suspended Jobs", bar, suspended).await?;
            }
            Step::Resume {} => {
                requests::patch(&self.api, &names, &json!({ "spec": { "suspend": false } }), bar).await?;
                let resumed =
                    |it: &Totals| it.suspended == 0 && it.suspended_objects == 0 && it.ready == jobs;
                self.until("resumed Jobs", bar, resumed).await?;
            }
        }
        Ok(Performed { started, ended: Timestamp::now(), last_write: None, failed_job })
    }

    /// Performs a step without a controller: the writes of Jobs that a controller would send.
    pub(crate) async fn perform_floor(&self, step: &Step, bar: &Bar) -> Result<Option<Performed>> {
        let jobs = u64::from(self.load.jobs());
        let names = requests::names(&self.objects);
        let started = Timestamp::now();
        let mut last_write = None;
        match step {
            Step::Create {} => {
                requests::create(&self.api, &self.objects, bar).await?;
                last_write = Some(Timestamp::now());
                self.until("ready Jobs", bar, |it| it.ready == jobs).await?;
            }
            Step::FailOneJob {} => {
                requests::delete(&self.api, &names, bar).await?;
                self.until("the deletion of the Jobs", bar, |it| it.objects == 0).await?;
            }
            Step::Suspend {} => {
                requests::patch(&self.api, &names, &json!({ "spec": { "suspend": true } }), bar).await?;
                last_write = Some(Timestamp::now());
                self.until("suspended Jobs", bar, |it| it.suspended == jobs && it.ready == 0).await?;
            }
            Step::Resume {} => {
                requests::patch(&self.api, &names, &json!({ "spec": { "suspend": false } }), bar).await?;
                last_write = Some(Timestamp::now());
                self.until("resumed Jobs", bar, |it| it.suspended == 0 && it.ready == jobs).await?;
            }
        }
        let ended = Timestamp::now();
        let last_write = last_write.or(Some(ended));
        Ok(Some(Performed { started, ended, last_write, failed_job: None }))
    }

    async fn until(&self, what: &str, bar: &Bar, condition: impl Fn(&Totals) -> bool) -> Result<()> {
        let jobs = self.load.jobs();
        let show = |totals: &Totals| {
            bar.message(format!("{} of {jobs} Jobs ready, {} suspended", totals.ready, totals.suspended));
        };
        self.observer.until(what, show, condition).await
    }

    async fn fail_pod_of(&self, job: &str, bar: &Bar) -> Result<()> {
        let selector = format!("batch.kubernetes.io/job-name={job}");
        let pods = self.pods.list(&ListParams::default().labels(&selector)).await?.items;
        let Some(pod) = pods.first() else { bail!("Job {job} has no pod") };
        let change = json!({ "metadata": { "annotations": { "devcluster.jobset.dev/outcome": "fail" } } });
        requests::patch(&self.pods, &[pod.name_any()], &change, bar).await.context("cannot fail a pod")
    }
}

/// The API of a kind in a namespace.
pub(crate) fn api_of(
    client: &Client,
    namespace: &str,
    group: &str,
    version: &str,
    kind: &str,
) -> Api<DynamicObject> {
    let resource = kube::core::ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    Api::namespaced_with(client.clone(), namespace, &resource)
}
