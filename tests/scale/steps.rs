//! The steps of a scenario with a controller, except for those that stop the controller. `floor.rs` has those without.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use devcluster::progress::Step as Bar;
use jiff::Timestamp;
use jobset_tests::wait::{TIMEOUT, wait_for};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, ResourceExt as _};
use serde_json::json;

use crate::admission;
use crate::generator::{self, NAMESPACE};
use crate::observer::{Observer, Totals};
use crate::requests;
use crate::result::Latency;
use crate::scenario::{Amount, Load, Scenario, Step};

/// Pause between two looks at the JobSets of step `churn`.
const CHURN_INTERVAL: Duration = Duration::from_millis(200);

/// The objects of a run, and their state.
pub(crate) struct Workload {
    scenario: Scenario,
    pub(crate) load: Load,
    /// The JobSets, or for the floor the Jobs.
    pub(crate) objects: Vec<DynamicObject>,
    pub(crate) api: Api<DynamicObject>,
    pub(crate) job_sets: Api<DynamicObject>,
    jobs: Api<DynamicObject>,
    pods: Api<DynamicObject>,
    observer: Observer,
}

/// When a step took place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Performed {
    pub(crate) started: Timestamp,
    pub(crate) ended: Timestamp,
    /// For the floor: when the last response was complete, or the last Job was deleted.
    pub(crate) last_write: Option<Timestamp>,
    /// The Job that failed.
    pub(crate) failed_job: Option<String>,
    /// Latency of admission.
    pub(crate) latency: Option<Latency>,
}

/// A deleted Job.
pub(crate) struct DeletedJob {
    name: String,
    uid: Option<String>,
}

impl Workload {
    /// JobSets, for a controller.
    pub(crate) async fn of_job_sets(
        client: &Client,
        scenario: &Scenario,
        load: Load,
        objects: Vec<DynamicObject>,
    ) -> Result<Self> {
        let api = api_of(client, NAMESPACE, "jobset.x-k8s.io", "v1alpha2", "JobSet");
        Self::new(client, scenario, load, objects, api, Totals::of_job_set).await
    }

    /// Jobs, for the floor.
    pub(crate) async fn of_jobs(
        client: &Client,
        scenario: &Scenario,
        load: Load,
        objects: Vec<DynamicObject>,
    ) -> Result<Self> {
        let api = api_of(client, NAMESPACE, "batch", "v1", "Job");
        Self::new(client, scenario, load, objects, api, Totals::of_job).await
    }

    async fn new(
        client: &Client,
        scenario: &Scenario,
        load: Load,
        objects: Vec<DynamicObject>,
        api: Api<DynamicObject>,
        state_of: fn(&DynamicObject) -> Totals,
    ) -> Result<Self> {
        Ok(Self {
            scenario: scenario.clone(),
            load,
            objects,
            observer: Observer::start(api.clone(), state_of).await?,
            api,
            job_sets: api_of(client, NAMESPACE, "jobset.x-k8s.io", "v1alpha2", "JobSet"),
            jobs: api_of(client, NAMESPACE, "batch", "v1", "Job"),
            pods: api_of(client, NAMESPACE, "", "v1", "Pod"),
        })
    }

    /// Performs a step.
    pub(crate) async fn perform(&self, step: &Step, soak: Duration, bar: &Bar) -> Result<Performed> {
        let jobs = u64::from(self.load.jobs());
        let job_sets = u64::from(self.load.job_sets);
        let names = requests::names(&self.objects);
        let mut performed = Performed { started: Timestamp::now(), ..Performed::default() };
        match step {
            Step::Create {} => {
                requests::create(&self.api, &self.objects).await?;
                let done = |it: &Totals| it.ready + it.suspended;
                self.until("ready or suspended Jobs", bar, (jobs, done), |it| done(it) == jobs).await?;
            }
            Step::FailOneJob {} => {
                let job = format!("js-0-w-{}", self.load.jobs_each / 2);
                self.fail_pod_of(&job).await?;
                performed.failed_job = Some(job);
                let restarted = |it: &Totals| it.restarts == 1 && it.ready == jobs;
                self.until("ready Jobs after a restart", bar, (jobs, |it| it.ready), restarted).await?;
            }
            Step::Suspend {} => {
                requests::patch(&self.api, &names, &json!({ "spec": { "suspend": true } })).await?;
                let suspended =
                    |it: &Totals| it.suspended == jobs && it.suspended_objects == job_sets && it.ready == 0;
                self.until("suspended Jobs", bar, (jobs, |it| it.suspended), suspended).await?;
            }
            Step::Resume {} => {
                requests::patch(&self.api, &names, &json!({ "spec": { "suspend": false } })).await?;
                let resumed =
                    |it: &Totals| it.suspended == 0 && it.suspended_objects == 0 && it.ready == jobs;
                self.until("resumed Jobs", bar, (jobs, |it| it.ready), resumed).await?;
            }
            Step::Complete {} => {
                let pods = self.pod_names(ListParams::default()).await?;
                performed.started = Timestamp::now();
                self.complete(&pods, job_sets, bar).await?;
            }
            Step::Settle { seconds } => tokio::time::sleep(Duration::from_secs(*seconds)).await,
            Step::Admission { rate, seconds } => {
                performed.latency = Some(self.admission(*rate, *seconds, bar).await?);
            }
            Step::Churn {} => self.churn(soak, bar).await?,
            Step::RestartController {} | Step::FailOver {} => {
                bail!("step {} stops the controller", step.name())
            }
        }
        performed.ended = Timestamp::now();
        Ok(performed)
    }

    /// Waits until the observed objects satisfy a condition. The bar shows how many of `total` are done.
    pub(crate) async fn until(
        &self,
        what: &str,
        bar: &Bar,
        (total, done): (u64, fn(&Totals) -> u64),
        condition: impl Fn(&Totals) -> bool,
    ) -> Result<()> {
        bar.total(total);
        let mut shown = 0;
        let show = |totals: &Totals| {
            bar.advance(done(totals).saturating_sub(shown));
            shown = shown.max(done(totals));
        };
        self.observer.until(what, show, condition).await
    }

    /// The names of some pods.
    pub(crate) async fn pod_names(&self, selection: ListParams) -> Result<Vec<String>> {
        let pods = self.pods.list_metadata(&selection).await.context("cannot list pods")?;
        Ok(pods.items.iter().map(kube::ResourceExt::name_any).collect())
    }

    /// Lets these pods succeed, and waits until `objects` objects are completed.
    pub(crate) async fn complete(&self, pods: &[String], objects: u64, bar: &Bar) -> Result<()> {
        let change = json!({ "metadata": { "annotations": { "devcluster.jobset.dev/outcome": "succeed" } } });
        requests::patch(&self.pods, pods, &change).await?;
        self.until("completed objects", bar, (objects, |it| it.completed), |it| it.completed == objects).await
    }

    /// Sends JobSets to admission.
    pub(crate) async fn admission(&self, rate: Amount, seconds: u32, bar: &Bar) -> Result<Latency> {
        let object = generator::job_set(&self.scenario, &self.load, "dry-run")?;
        admission::load(
            &self.job_sets,
            &serde_json::from_value(object)?,
            rate.at(self.load.size),
            seconds,
            bar,
        )
        .await
    }

    async fn fail_pod_of(&self, job: &str) -> Result<()> {
        let selector = format!("batch.kubernetes.io/job-name={job}");
        let pods = self.pod_names(ListParams::default().labels(&selector)).await?;
        let Some(pod) = pods.first() else { bail!("Job {job} has no pod") };
        let change = json!({ "metadata": { "annotations": { "devcluster.jobset.dev/outcome": "fail" } } });
        requests::patch(&self.pods, std::slice::from_ref(pod), &change).await
    }

    /// Creates JobSets as others are deleted, and at the end waits until all are deleted.
    async fn churn(&self, soak: Duration, bar: &Bar) -> Result<()> {
        let (begin, mut created) = (Instant::now(), 0);
        bar.total(soak.as_secs());
        let mut shown = 0;
        while begin.elapsed() < soak {
            let missing = u64::from(self.load.job_sets).saturating_sub(self.observer.totals().objects);
            let objects = (created..created + missing).map(|index| {
                let object = generator::job_set(&self.scenario, &self.load, &format!("js-{index}"))?;
                Ok(serde_json::from_value(object)?)
            });
            let objects = objects.collect::<Result<Vec<_>>>()?;
            requests::create(&self.api, &objects).await?;
            created += missing;
            bar.advance(begin.elapsed().as_secs().saturating_sub(shown));
            shown = begin.elapsed().as_secs();
            bar.message(format!("{created} JobSets"));
            tokio::time::sleep(CHURN_INTERVAL).await;
        }
        self.until("the deletion of the last JobSets", bar, (0, |_| 0), |it| it.objects == 0).await
    }

    /// Deletes one Job.
    pub(crate) async fn delete_job(&self, bar: &Bar) -> Result<DeletedJob> {
        let name = "js-0-w-0".to_owned();
        let uid = self.jobs.get_metadata(&name).await?.uid();
        bar.message(format!("deleting Job {name}"));
        self.jobs.delete(&name, &DeleteParams::background()).await?;
        Ok(DeletedJob { name, uid })
    }

    /// Waits until the controller has created a deleted Job again.
    pub(crate) async fn until_recreated(&self, deleted: &DeletedJob) -> Result<()> {
        let read =
            || async { Ok(self.jobs.get_metadata_opt(&deleted.name).await?.and_then(|job| job.uid())) };
        let what = format!("Job {} to be recreated", deleted.name);
        wait_for(&what, TIMEOUT, read, |uid| uid.is_some() && *uid != deleted.uid).await.map(drop)
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
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    Api::namespaced_with(client.clone(), namespace, &resource)
}
