//! Reads the objects of a JobSet with the user's own rights. What the user may not read is a gap of the explanation, and
//! no failure.

use crate::explain::{Failure, Observed, State, state_of};
use crate::options::ConnectionOptions;
use crate::wait::{Verdict, verdict};
use anyhow::{Context, anyhow, bail};
use jobset_api::{JobSet, configuration::Configuration, jobset, labels};
use jobset_controller::recorded::{Recorded, RecordedScheduling};
use jobset_plan::{Gates, topology_keys};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{ConfigMap, Event, Pod},
};
use kube::{
    Client, Config, Resource,
    api::{Api, ApiResource, DynamicObject, ListParams, LogParams, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::{GroupVersionKind, NamespaceResourceScope},
    runtime::wait::await_condition,
};
use manager_runtime::client::api_message;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;

/// Where the configuration of a controller usually is.
const CONFIGURATIONS: [&str; 2] = ["openshift-jobset-operator", "jobset-system"];
const CONFIGURATION: &str = "jobset-manager-config";
/// Lines of the log of a failed container.
const LOG_LINES: i64 = 10;
/// Bytes of these lines.
const LOG_BYTES: i64 = 16 * 1024;
/// The most similar names in an error.
const NEAR_NAMES: usize = 3;

/// A cluster, and the namespace of the user.
pub(crate) struct Cluster {
    client: Client,
    namespace: String,
}

impl Cluster {
    pub(crate) async fn connect(options: ConnectionOptions) -> anyhow::Result<Self> {
        let ConnectionOptions { kubeconfig, context, namespace } = options;
        let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
        let config = match &kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path)
                    .with_context(|| format!("cannot read --kubeconfig {}", path.display()))?;
                Config::from_custom_kubeconfig(file, &options).await
            }
            None => Config::from_kubeconfig(&options).await,
        };
        let config = config.context("found no cluster: set --kubeconfig, KUBECONFIG or --context")?;
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).context("cannot connect with this kubeconfig")?;
        Ok(Self { client, namespace })
    }

    /// The namespace, for a message; empty for all namespaces.
    pub(crate) fn in_namespace(&self, all_namespaces: bool) -> String {
        if all_namespaces { String::new() } else { format!(" in namespace {}", self.namespace) }
    }

    /// JobSets, sorted by namespace and name.
    pub(crate) async fn jobsets(&self, all: bool, selector: Option<&str>) -> anyhow::Result<Vec<JobSet>> {
        let api: Api<JobSet> = if all {
            Api::all(self.client.clone())
        } else {
            Api::namespaced(self.client.clone(), &self.namespace)
        };
        let params = ListParams { label_selector: selector.map(str::to_owned), ..ListParams::default() };
        let list = api.list(&params).await.map_err(|error| refused("JobSets", &error))?;
        Ok(list.items)
    }

    /// A JobSet, and what explains it.
    pub(crate) async fn observe(&self, name: &str) -> anyhow::Result<Observed> {
        let jobset = self.jobset(name).await?;
        let of_jobset = ListParams::default().labels(&format!("{}={name}", labels::JOBSET_NAME));
        let everything = ListParams::default();
        let mut gaps = Vec::new();
        let (jobs, pods, services, claims, events) = tokio::join!(
            self.list::<Job>(&of_jobset),
            self.list::<Pod>(&of_jobset),
            self.list(&everything),
            self.list(&everything),
            self.list::<Event>(&everything),
        );
        // Without its Jobs, nothing can be said.
        let jobs = jobs.map_err(|error| refused("Jobs", &error))?;
        let pods = or_gap(pods, "pods", &mut gaps);
        let services = or_gap(services, "services", &mut gaps);
        let claims = or_gap(claims, "persistentvolumeclaims", &mut gaps);
        let events = or_gap(events, "events", &mut gaps);
        let nodes = if topology_keys(&jobset).next().is_some() {
            let nodes = Api::all(self.client.clone()).list(&everything).await.map(|list| list.items);
            or_gap(nodes, "nodes", &mut gaps)
        } else {
            Vec::new()
        };
        let scheduling = if jobset.spec.scheduling.is_some() {
            self.scheduling(&mut gaps).await
        } else {
            RecordedScheduling::Unknown
        };
        let kueue = self.kueue_workloads(&jobset, &mut gaps).await;
        let gates = self.gates(&mut gaps).await;
        let recorded = Recorded { jobset, jobs, pods, services, claims, nodes, scheduling };
        Ok(Observed { recorded, gates, events, kueue, gaps, log: Vec::new() })
    }

    /// A JobSet.
    pub(crate) async fn jobset(&self, name: &str) -> anyhow::Result<JobSet> {
        let found = self.api::<JobSet>().get_opt(name).await.map_err(|error| refused("JobSets", &error))?;
        match found {
            Some(jobset) => Ok(jobset),
            None => bail!(self.not_found(name).await),
        }
    }

    /// Changes a JobSet by a merge patch. Only this version of it: another client can have changed it.
    pub(crate) async fn patch(&self, jobset: &JobSet, mut patch: Value) -> anyhow::Result<()> {
        let name = jobset.metadata.name.as_deref().unwrap_or_default();
        json_patch::merge(
            &mut patch,
            &json!({"metadata": {"uid": jobset.metadata.uid, "resourceVersion": jobset.metadata.resource_version}}),
        );
        let sent = self.api::<JobSet>().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
        sent.map(drop).map_err(|error| anyhow!("cannot change JobSet {name}: {}", api_message(&error)))
    }

    /// Watches a JobSet until it has one of these states, or can have none of them any more. Returns the last state.
    pub(crate) async fn wait(
        &self,
        name: &str,
        wanted: &[State],
    ) -> anyhow::Result<(Verdict, Option<State>)> {
        self.jobset(name).await?;
        let is_decided = |jobset: Option<&JobSet>| verdict(jobset.map(state_of), wanted) != Verdict::NotYet;
        let last = await_condition(self.api::<JobSet>(), name, is_decided)
            .await
            .map_err(|error| anyhow!("cannot watch JobSet {name}: {error}"))?
            .as_ref()
            .map(state_of);
        Ok((verdict(last, wanted), last))
    }

    /// The pods of the namespace.
    pub(crate) fn pods(&self) -> Api<Pod> {
        self.api()
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn list<K>(&self, params: &ListParams) -> kube::Result<Vec<K>>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        Ok(self.api::<K>().list(params).await?.items)
    }

    /// The error for a JobSet that does not exist.
    async fn not_found(&self, name: &str) -> String {
        let namespace = &self.namespace;
        let names: Vec<String> = match self.jobsets(false, None).await {
            Ok(jobsets) => jobsets.into_iter().filter_map(|jobset| jobset.metadata.name).collect(),
            Err(_) => Vec::new(),
        };
        let near = near(name, names.iter().map(String::as_str));
        let rest = match (names.len(), near.as_slice()) {
            (0, _) => "the namespace has no JobSet; set -n for another namespace".to_owned(),
            (count, []) => format!("the namespace has {count} others; `kubectl jobset list` shows them"),
            (_, near) => format!("did you mean {}?", near.join(" or ")),
        };
        format!("JobSet {name} does not exist in namespace {namespace}: {rest}")
    }

    async fn scheduling(&self, gaps: &mut Vec<String>) -> RecordedScheduling {
        let everything = ListParams::default();
        let (workloads, pod_groups) = tokio::join!(self.list(&everything), self.list(&everything));
        match (workloads, pod_groups) {
            (Ok(workloads), Ok(pod_groups)) => RecordedScheduling::Served(workloads, pod_groups),
            (Err(kube::Error::Api(status)), _) | (_, Err(kube::Error::Api(status))) if status.code == 404 => {
                RecordedScheduling::NotServed
            }
            (Err(error), _) | (_, Err(error)) => {
                gaps.push(gap("workloads and podgroups", &error));
                RecordedScheduling::Unknown
            }
        }
    }

    /// The Workloads of Kueue that the JobSet owns.
    async fn kueue_workloads(&self, jobset: &JobSet, gaps: &mut Vec<String>) -> Vec<DynamicObject> {
        if !crate::explain::is_queued(jobset) {
            return Vec::new();
        }
        let gvk = GroupVersionKind::gvk("kueue.x-k8s.io", "v1beta1", "Workload");
        let resource = ApiResource::from_gvk_with_plural(&gvk, "workloads");
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        let workloads = api.list(&ListParams::default()).await.map(|list| list.items);
        let mut workloads = or_gap(workloads, "workloads of Kueue", gaps);
        let uid = jobset.metadata.uid.as_deref();
        workloads.retain(|workload| {
            workload.metadata.owner_references.iter().flatten().any(|owner| Some(owner.uid.as_str()) == uid)
        });
        workloads
    }

    /// The feature gates of the controller.
    async fn gates(&self, gaps: &mut Vec<String>) -> Gates {
        for namespace in CONFIGURATIONS {
            let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
            let Ok(Some(found)) = api.get_opt(CONFIGURATION).await else { continue };
            let texts = found.data.unwrap_or_default();
            let configuration =
                texts.values().find_map(|text| serde_yaml::from_str::<Configuration>(text).ok());
            let gates = configuration.and_then(|it| Gates::configured(&it.feature_gates).ok());
            if let Some(gates) = gates {
                return gates;
            }
        }
        gaps.push(
            "the controller's feature gates: the explanation assumes the defaults. You need the right to get configmap \
             jobset-manager-config in the controller's namespace"
                .to_owned(),
        );
        Gates::default()
    }

    /// The last lines of the log of a failed container. Empty if the log is gone or the user may not read it.
    pub(crate) async fn end_of_log(&self, failure: &Failure) -> Vec<String> {
        let log = self.log(failure, Some(LOG_LINES), Some(LOG_BYTES)).await.unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    /// The log of a failed container.
    pub(crate) async fn log(
        &self,
        failure: &Failure,
        tail: Option<i64>,
        bytes: Option<i64>,
    ) -> anyhow::Result<String> {
        let (Some(pod), Some(container)) = (&failure.pod, &failure.container) else {
            bail!("no log: no container is left that failed");
        };
        let params = LogParams {
            container: Some(container.clone()),
            previous: failure.restarted,
            tail_lines: tail,
            limit_bytes: bytes,
            ..LogParams::default()
        };
        let log = self.pods().logs(pod, &params).await;
        log.map_err(|error| anyhow!("cannot read the log of pod {pod}: {}", api_message(&error)))
    }
}

/// The objects, or none and a gap.
fn or_gap<T>(found: kube::Result<Vec<T>>, what: &str, gaps: &mut Vec<String>) -> Vec<T> {
    found.unwrap_or_else(|error| {
        gaps.push(gap(what, &error));
        Vec::new()
    })
}

fn gap(what: &str, error: &kube::Error) -> String {
    format!("{what}: {}", api_message(error))
}

/// The error of a request without which a command cannot go on.
fn refused(what: &str, error: &kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) if status.code == 404 => {
            anyhow!("the cluster does not serve the API {}: JobSet is not installed", jobset::API_VERSION)
        }
        _ => anyhow!("cannot read {what}: {}", api_message(error)),
    }
}

/// The names that are most similar to a name.
fn near<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let scored = names.map(|other| (strsim::jaro_winkler(name, other), other));
    let mut near: Vec<_> = scored.filter(|(score, _)| *score > 0.8).collect();
    near.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(other.1)));
    near.into_iter().take(NEAR_NAMES).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::near;

    #[test]
    fn near_names_are_similar() {
        let names = ["train-bert", "train-bart", "serve", "eval"];
        assert_eq!(near("train-brt", names.into_iter()), ["train-bart", "train-bert"]);
        assert!(near("zzz", names.into_iter()).is_empty());
    }
}
