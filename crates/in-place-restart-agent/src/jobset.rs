//! The fields of a JobSet that the agent reads, from the responses of the API server.

use std::collections::{HashMap, HashSet};

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

/// Annotation of a pod: its attempt.
pub(crate) const ATTEMPT: &str = "jobset.sigs.k8s.io/in-place-restart-attempt";
/// Annotation of a JobSet: agents run their workers at once.
const DISABLED: &str = "jobset.sigs.k8s.io/disable-in-place-restart";
const IN_PLACE_RESTART: &str = "InPlaceRestart";

/// A version of the JobSet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct JobSet {
    /// Whether an annotation disables in-place restart.
    pub(crate) disabled: bool,
    /// `spec.failurePolicy.restartStrategy`; `None` without a failure policy.
    pub(crate) strategy: Option<String>,
    /// `status.previousInPlaceRestartAttempt`: pods of this attempt or an earlier one must restart.
    pub(crate) previous: Option<i64>,
    /// `status.currentInPlaceRestartAttempt`: pods of this attempt run their workers.
    pub(crate) current: Option<i64>,
}

impl JobSet {
    /// The reason to run the worker without a barrier, if there is one.
    pub(crate) fn bypass(&self) -> Option<String> {
        if self.disabled {
            return Some(format!("the JobSet has annotation {DISABLED}"));
        }
        match self.strategy.as_deref() {
            None => Some("the JobSet has no spec.failurePolicy with restartStrategy InPlaceRestart".into()),
            Some(IN_PLACE_RESTART) => None,
            Some(other) => Some(format!("spec.failurePolicy.restartStrategy of the JobSet is {other}")),
        }
    }
}

/// The JobSets of a list, and the resource version to watch from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct List {
    /// The JobSet, if it exists.
    pub(crate) jobset: Option<JobSet>,
    /// Resource version of the list.
    pub(crate) version: String,
}

/// A line of a watch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// The JobSet was created or changed.
    Changed(JobSet, String),
    /// The JobSet was deleted, or nothing changed up to this resource version.
    Version(String),
    /// The watch cannot continue.
    Failed(Status),
}

/// An error of the API server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Status {
    /// HTTP status code.
    #[serde(default)]
    pub(crate) code: u16,
    /// The message for users.
    #[serde(default)]
    pub(crate) message: String,
}

#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
    spec: Option<Spec>,
    status: Option<JobSetStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    resource_version: String,
    #[serde(default, deserialize_with = "keys")]
    annotations: HashSet<String>,
}

/// The keys of a map, which may be null.
#[expect(clippy::zero_sized_map_values, reason = "serde skips the values: annotations can be long")]
fn keys<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HashSet<String>, D::Error> {
    let map = Option::<HashMap<String, IgnoredAny>>::deserialize(deserializer)?;
    Ok(map.into_iter().flatten().map(|(key, _)| key).collect())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    failure_policy: Option<FailurePolicy>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FailurePolicy {
    /// The API server's default is Recreate.
    restart_strategy: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JobSetStatus {
    previous_in_place_restart_attempt: Option<i64>,
    current_in_place_restart_attempt: Option<i64>,
}

impl Object {
    fn into_jobset(self) -> (JobSet, String) {
        let policy = self.spec.and_then(|spec| spec.failure_policy);
        let jobset = JobSet {
            disabled: self.metadata.annotations.contains(DISABLED),
            strategy: policy.map(|it| it.restart_strategy.unwrap_or_else(|| "Recreate".into())),
            previous: self.status.as_ref().and_then(|it| it.previous_in_place_restart_attempt),
            current: self.status.as_ref().and_then(|it| it.current_in_place_restart_attempt),
        };
        (jobset, self.metadata.resource_version)
    }
}

/// Parses the response of a list.
pub(crate) fn parse_list(json: &[u8]) -> serde_json::Result<List> {
    #[derive(Deserialize)]
    struct Json {
        metadata: Metadata,
        items: Vec<Object>,
    }
    let mut list: Json = serde_json::from_slice(json)?;
    // The request selects a name, so there is at most one.
    let jobset = list.items.pop().map(|object| object.into_jobset().0);
    Ok(List { jobset, version: list.metadata.resource_version })
}

/// Parses a line of a watch.
pub(crate) fn parse_line(json: &[u8]) -> serde_json::Result<Line> {
    #[derive(Deserialize)]
    struct Kind {
        r#type: String,
    }
    #[derive(Deserialize)]
    struct Of<T> {
        object: T,
    }
    // The type of the object depends on the type of the event, which may follow it.
    let Kind { r#type } = serde_json::from_slice(json)?;
    if r#type == "ERROR" {
        return Ok(Line::Failed(serde_json::from_slice::<Of<Status>>(json)?.object));
    }
    let (jobset, version) = serde_json::from_slice::<Of<Object>>(json)?.object.into_jobset();
    Ok(match r#type.as_str() {
        "ADDED" | "MODIFIED" => Line::Changed(jobset, version),
        _ => Line::Version(version),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use jobset_api::jobset::JobSet as ApiJobSet;
    use jobset_api::labels;

    const JOBSET: &str = r#"
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: training
  resourceVersion: "12"
  annotations: {jobset.sigs.k8s.io/disable-in-place-restart: ""}
spec:
  failurePolicy: {maxRestarts: 3, restartStrategy: InPlaceRestart}
  replicatedJobs: []
status: {restarts: 0, previousInPlaceRestartAttempt: 4, currentInPlaceRestartAttempt: 5}
"#;

    #[test]
    fn names_are_those_of_the_api() {
        assert_eq!((ATTEMPT, DISABLED), (labels::IN_PLACE_RESTART_ATTEMPT, labels::DISABLE_IN_PLACE_RESTART));
        let jobset: ApiJobSet = serde_yaml::from_str(JOBSET).unwrap();
        let line = serde_json::json!({"type": "MODIFIED", "object": jobset}).to_string();
        let expected = JobSet {
            disabled: true,
            strategy: Some(IN_PLACE_RESTART.into()),
            previous: Some(4),
            current: Some(5),
        };
        assert_eq!(parse_line(line.as_bytes()).unwrap(), Line::Changed(expected, "12".into()));
    }

    #[test]
    fn omitted_fields_have_their_defaults() {
        for (object, strategy) in [
            (r#"{"metadata":{}}"#, None),
            (r#"{"metadata":{"annotations":null},"spec":{"failurePolicy":null},"status":{}}"#, None),
            (
                r#"{"metadata":{"annotations":{"a":"b"}},"spec":{"failurePolicy":{}},"status":null}"#,
                Some("Recreate"),
            ),
        ] {
            let list = format!(r#"{{"metadata":{{"resourceVersion":"7"}},"items":[{object}]}}"#);
            let expected = JobSet { strategy: strategy.map(str::to_owned), ..JobSet::default() };
            let list = parse_list(list.as_bytes()).unwrap();
            assert_eq!(list, List { jobset: Some(expected), version: "7".into() }, "{object}");
        }
    }

    #[test]
    fn a_list_can_be_empty() {
        let list = parse_list(br#"{"metadata":{"resourceVersion":"7"},"items":[]}"#).unwrap();
        assert_eq!(list, List { jobset: None, version: "7".into() });
    }

    #[test]
    fn lines_without_a_new_version_of_the_jobset_have_a_resource_version() {
        for kind in ["DELETED", "BOOKMARK", "UNKNOWN"] {
            let line = format!(r#"{{"object":{{"metadata":{{"resourceVersion":"9"}}}},"type":"{kind}"}}"#);
            assert_eq!(parse_line(line.as_bytes()).unwrap(), Line::Version("9".into()));
        }
    }

    #[test]
    fn an_error_has_code_and_message() {
        let line = br#"{"type":"ERROR","object":{"kind":"Status","status":"Failure","message":"too old","code":410}}"#;
        assert_eq!(parse_line(line).unwrap(), Line::Failed(Status { code: 410, message: "too old".into() }));
    }

    #[test]
    fn invalid_lines_are_errors() {
        for line in ["", "{", "[]", "{}", r#"{"type":"ADDED"}"#, r#"{"type":"ADDED","object":{}}"#, "<html>"]
        {
            assert!(parse_line(line.as_bytes()).is_err(), "{line}");
        }
    }
}
