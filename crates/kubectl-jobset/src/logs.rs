//! `logs`: which containers, and the prefixes of their lines.

use crate::explain::containers;
use anstyle::{AnsiColor, Style};
use jobset_api::labels;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use std::collections::BTreeSet;

/// Colours of the prefixes, in turn.
const COLORS: [AnsiColor; 6] = [
    AnsiColor::Cyan,
    AnsiColor::Green,
    AnsiColor::Yellow,
    AnsiColor::Magenta,
    AnsiColor::Blue,
    AnsiColor::Red,
];

/// Which pods.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    /// The ReplicatedJob.
    pub(crate) role: Option<String>,
    /// The index of the Job.
    pub(crate) job: Option<u32>,
    /// The index of the pod.
    pub(crate) pod: Option<u32>,
    /// The container.
    pub(crate) container: Option<String>,
}

/// A run of a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Source {
    pub(crate) pod: String,
    pub(crate) uid: String,
    pub(crate) container: String,
    /// The number of runs before this one.
    pub(crate) restarts: i32,
    /// The start of each line.
    pub(crate) prefix: String,
}

impl Selection {
    /// The label selector of the pods of a JobSet.
    pub(crate) fn labels(&self, jobset: &str) -> String {
        let mut selector = format!("{}={jobset}", labels::JOBSET_NAME);
        for (label, value) in [
            (labels::REPLICATED_JOB_NAME, self.role.clone()),
            (labels::JOB_INDEX, self.job.map(|index| index.to_string())),
            (labels::JOB_COMPLETION_INDEX, self.pod.map(|index| index.to_string())),
        ] {
            if let Some(value) = value {
                selector = format!("{selector},{label}={value}");
            }
        }
        selector
    }

    /// The containers of a pod that have a log.
    pub(crate) fn sources(&self, jobset: &str, pod: &Pod) -> Vec<Source> {
        let statuses: Vec<&ContainerStatus> = containers(pod).collect();
        let is_wanted = |status: &&&ContainerStatus| {
            self.container.as_ref().is_none_or(|container| status.name == *container)
        };
        let name = pod.metadata.name.clone().unwrap_or_default();
        let has_started = |status: &&&ContainerStatus| {
            status.state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some())
        };
        let short = short_name(&name, jobset);
        let with_container = statuses.len() > 1;
        let source = |status: &&ContainerStatus| Source {
            pod: name.clone(),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            container: status.name.clone(),
            restarts: status.restart_count,
            prefix: if with_container { format!("[{short} {}]", status.name) } else { format!("[{short}]") },
        };
        statuses.iter().filter(is_wanted).filter(has_started).map(source).collect()
    }
}

/// The name of a pod without its JobSet and without the random suffix.
fn short_name<'a>(pod: &'a str, jobset: &str) -> &'a str {
    let name = pod.strip_prefix(jobset).and_then(|rest| rest.strip_prefix('-')).unwrap_or(pod);
    name.rsplit_once('-').map_or(name, |(name, _)| name)
}

/// The sources that have not been read yet. Remembers them.
pub(crate) fn new_sources(seen: &mut BTreeSet<(String, String, i32)>, sources: Vec<Source>) -> Vec<Source> {
    let is_new =
        |source: &Source| seen.insert((source.uid.clone(), source.container.clone(), source.restarts));
    sources.into_iter().filter(is_new).collect()
}

/// The colour of a prefix: always the same for one pod.
pub(crate) fn style(source: &Source) -> Style {
    let sum = source.prefix.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let color = COLORS.get(sum % COLORS.len()).copied().unwrap_or(AnsiColor::White);
    color.on_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(statuses: &serde_json::Value) -> Pod {
        let pod = json!({"metadata": {"name": "train-workers-0-1-abcde", "uid": "u"}, "status": statuses});
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn a_selection_is_a_label_selector() {
        let selection =
            Selection { role: Some("workers".into()), job: Some(2), pod: Some(0), container: None };
        assert_eq!(
            selection.labels("train"),
            "jobset.sigs.k8s.io/jobset-name=train,jobset.sigs.k8s.io/replicatedjob-name=workers,\
             jobset.sigs.k8s.io/job-index=2,batch.kubernetes.io/job-completion-index=0"
        );
        assert_eq!(Selection::default().labels("a"), "jobset.sigs.k8s.io/jobset-name=a");
    }

    #[test]
    fn containers_that_have_started_have_a_log() {
        let status = |name: &str, state: serde_json::Value, restarts: i32| json!({"name": name, "state": state, "restartCount": restarts, "image": "i", "imageID": "", "ready": false});
        let running = || json!({"running": {}});
        let one = pod(&json!({"containerStatuses": [status("main", running(), 1)]}));
        let sources = Selection::default().sources("train", &one);
        assert_eq!((sources[0].prefix.as_str(), sources[0].restarts), ("[workers-0-1]", 1));

        let two = pod(&json!({
            "initContainerStatuses": [status("setup", json!({"terminated": {"exitCode": 0}}), 0)],
            "containerStatuses": [status("main", json!({"waiting": {"reason": "PodInitializing"}}), 0)],
        }));
        let prefixes: Vec<_> =
            Selection::default().sources("train", &two).into_iter().map(|it| it.prefix).collect();
        assert_eq!(prefixes, ["[workers-0-1 setup]"]);
        let of_main = Selection { container: Some("main".into()), ..Selection::default() };
        assert!(of_main.sources("train", &two).is_empty());
    }

    #[test]
    fn a_run_of_a_container_is_read_once() {
        let source = |restarts: i32| Source {
            pod: "p".into(),
            uid: "u".into(),
            container: "c".into(),
            restarts,
            prefix: String::new(),
        };
        let mut seen = BTreeSet::new();
        assert_eq!(new_sources(&mut seen, vec![source(0)]).len(), 1);
        assert_eq!(new_sources(&mut seen, vec![source(0), source(1)]), [source(1)]);
    }
}
