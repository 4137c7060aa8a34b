//! The parts of a Job that the controller reads: the fields that decisions need, and two labels and two annotations of the pod template.

use super::owner::{controlling_jobset, will_be_deleted};
use jiff::Timestamp;
use jobset_api::{labels, metadata::without_managed_fields};
use jobset_plan::{JobRecord, LabelValue, Outcome, Verdict};
use k8s_openapi::{api::batch::v1::Job, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::Resource;
use serde::Deserialize;

/// A Job without the parts that no decision needs. Decoding skips them.
#[derive(Clone, Debug, Default, Deserialize, Resource)]
#[resource(inherit = "Job")]
#[serde(default)]
pub(crate) struct ChildJob {
    #[serde(deserialize_with = "without_managed_fields")]
    pub(crate) metadata: ObjectMeta,
    spec: Spec,
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Spec {
    parallelism: Option<i32>,
    completions: Option<i32>,
    suspend: Option<bool>,
    template: Template,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Template {
    metadata: TemplateMetadata,
    spec: PodSpec,
}

/// The fields of the pods that decisions need.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodSpec {
    scheduling_group: SchedulingGroup,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SchedulingGroup {
    pod_group_name: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct TemplateMetadata {
    labels: TemplateLabels,
    annotations: TemplateAnnotations,
}

/// The annotations of the pod template that decisions need.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct TemplateAnnotations {
    #[serde(rename = "alpha.jobset.sigs.k8s.io/exclusive-topology")]
    topology: Option<String>,
    #[serde(rename = "alpha.jobset.sigs.k8s.io/node-selector")]
    prepared_nodes: Option<String>,
    #[serde(rename = "jobset.sigs.k8s.io/execution-attempt")]
    execution_attempt: Option<String>,
}

/// The labels of the pod template that decisions need.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct TemplateLabels {
    #[serde(rename = "jobset.sigs.k8s.io/restart-attempt")]
    restart_attempt: Option<String>,
    #[serde(rename = "jobset.sigs.k8s.io/job-restart-attempt")]
    job_restart_attempt: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    #[serde(rename = "startTime")]
    start_time: Option<Timestamp>,
    active: Option<i32>,
    ready: Option<i32>,
    succeeded: Option<i32>,
    #[serde(rename = "failedIndexes")]
    failed_indexes: Option<String>,
    terminating: Option<i32>,
    conditions: Vec<JobCondition>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct JobCondition {
    r#type: String,
    status: String,
    reason: String,
    message: String,
    last_transition_time: Option<Timestamp>,
}

impl ChildJob {
    /// UID of the JobSet that controls this Job.
    pub(crate) fn owner(&self) -> Option<&str> {
        controlling_jobset(&self.metadata).map(|owner| owner.uid.as_str())
    }

    /// See [`will_be_deleted`].
    pub(crate) fn will_be_deleted(&self, successor: &str) -> bool {
        will_be_deleted(&self.metadata, successor)
    }

    /// The record for decisions.
    pub(crate) fn record(&self) -> JobRecord {
        let label = |key: &str| self.metadata.labels.as_ref()?.get(key).map(String::as_str);
        let annotation = |key: &str| self.metadata.annotations.as_ref()?.get(key).map(String::as_str);
        let TemplateMetadata { labels: created, annotations } = &self.spec.template.metadata;
        let count = |count: Option<i32>| count.unwrap_or(0);
        JobRecord {
            name: self.metadata.name.clone().unwrap_or_default(),
            uid: self.metadata.uid.clone().unwrap_or_default(),
            replicated_job: label(labels::REPLICATED_JOB_NAME).map(str::to_owned),
            restart_attempt: LabelValue::read(label(labels::RESTART_ATTEMPT)),
            template_restart_attempt: LabelValue::read(created.restart_attempt.as_deref()),
            job_restart_attempt: LabelValue::read(label(labels::JOB_RESTART_ATTEMPT)),
            template_job_restart_attempt: LabelValue::read(created.job_restart_attempt.as_deref()),
            job_index: LabelValue::read(label(labels::JOB_INDEX)),
            parallelism: self.spec.parallelism.unwrap_or(1),
            completions: self.spec.completions,
            leader_first: annotation(labels::LEADER_FIRST).is_some(),
            exclusive: annotations.topology.is_some() && annotations.prepared_nodes.is_none(),
            group_template: annotation(labels::GROUP_TEMPLATE_NAME).map(str::to_owned),
            pod_group: self.spec.template.spec.scheduling_group.pod_group_name.clone(),
            execution_attempt: LabelValue::read(annotation(labels::EXECUTION_ATTEMPT)),
            template_execution_attempt: LabelValue::read(annotations.execution_attempt.as_deref()),
            suspended: self.spec.suspend.unwrap_or(false),
            started: self.status.start_time.is_some(),
            active: count(self.status.active),
            ready: count(self.status.ready),
            succeeded: count(self.status.succeeded),
            failed_indexes: self.status.failed_indexes.as_deref().map_or(0, count_indexes),
            terminating: count(self.status.terminating),
            verdict: self.verdict(),
            deleting: self.metadata.deletion_timestamp.is_some(),
        }
    }

    /// How the Job ended, or how it will end if that is certain.
    fn verdict(&self) -> Option<Verdict> {
        let first = |kinds: &[(&str, Outcome)]| {
            self.status.conditions.iter().filter(|condition| condition.status == "True").find_map(
                |condition| {
                    let (_, outcome) = kinds.iter().find(|(type_, _)| *type_ == condition.r#type)?;
                    Some(Verdict {
                        outcome: *outcome,
                        reason: condition.reason.clone(),
                        message: condition.message.clone(),
                        at: condition.last_transition_time.unwrap_or_default(),
                    })
                },
            )
        };
        // Kubernetes: the Job controller sets FailureTarget before it stops the pods, and Failed when they are gone.
        first(&[("Complete", Outcome::Complete), ("Failed", Outcome::Failed)])
            .or_else(|| first(&[("FailureTarget", Outcome::Failing)]))
    }
}

/// The number of indexes in an interval list, for example 5 in `1,3-5,7` (Kubernetes: batch/v1).
fn count_indexes(intervals: &str) -> i32 {
    let count = |interval: &str| {
        let (first, last) = interval.split_once('-').unwrap_or((interval, interval));
        let (first, last) = (first.parse::<i32>().ok()?, last.parse::<i32>().ok()?);
        Some(last.saturating_sub(first).saturating_add(1).max(0))
    };
    intervals.split(',').filter_map(count).fold(0, i32::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_job_is_recorded() {
        let job: ChildJob = serde_yaml::from_str(
            r#"
            metadata:
              name: train-worker-3
              annotations:
                jobset.sigs.k8s.io/leader-first: "true"
                jobset.sigs.k8s.io/execution-attempt: "6"
                scheduling.k8s.io/group-template-name: workers
              uid: job-uid
              labels:
                jobset.sigs.k8s.io/replicatedjob-name: worker
                jobset.sigs.k8s.io/restart-attempt: "2"
                jobset.sigs.k8s.io/job-index: "3"
              ownerReferences:
              - {apiVersion: v1, kind: Pod, name: other, uid: not-this, controller: false}
              - {apiVersion: jobset.x-k8s.io/v1alpha2, kind: JobSet, name: train, uid: set-uid, controller: true}
            spec:
              parallelism: 4
              completions: 8
              template:
                metadata:
                  labels: {jobset.sigs.k8s.io/restart-attempt: "1", jobset.sigs.k8s.io/job-restart-attempt: "7"}
                  annotations: {jobset.sigs.k8s.io/execution-attempt: "5"}
                spec: {containers: [{name: skipped}], schedulingGroup: {podGroupName: train-workers}}
            status:
              startTime: "2026-03-01T09:00:00Z"
              succeeded: 5
              terminating: 2
              failedIndexes: 1,3-5
              conditions:
              - {type: FailureTarget, status: "True", reason: Early}
              - {type: Failed, status: "True", reason: BackoffLimitExceeded, message: too many, lastTransitionTime: "2026-03-01T10:00:00Z"}
            "#,
        )
        .unwrap();
        assert_eq!(job.owner(), Some("set-uid"));
        assert_eq!(
            job.record(),
            JobRecord {
                name: "train-worker-3".into(),
                uid: "job-uid".into(),
                replicated_job: Some("worker".into()),
                restart_attempt: LabelValue::Number(2),
                template_restart_attempt: LabelValue::Number(1),
                job_restart_attempt: LabelValue::Missing,
                template_job_restart_attempt: LabelValue::Number(7),
                job_index: LabelValue::Number(3),
                parallelism: 4,
                completions: Some(8),
                leader_first: true,
                exclusive: false,
                group_template: Some("workers".into()),
                pod_group: Some("train-workers".into()),
                execution_attempt: LabelValue::Number(6),
                template_execution_attempt: LabelValue::Number(5),
                suspended: false,
                started: true,
                active: 0,
                ready: 0,
                succeeded: 5,
                failed_indexes: 4,
                terminating: 2,
                verdict: Some(Verdict {
                    outcome: Outcome::Failed,
                    reason: "BackoffLimitExceeded".into(),
                    message: "too many".into(),
                    at: "2026-03-01T10:00:00Z".parse().unwrap(),
                }),
                deleting: false,
            }
        );
    }

    #[test]
    fn indexes_of_a_list_are_counted() {
        for (list, count) in
            [("", 0), ("7", 1), ("1,3-5,7", 5), ("0-2147483647", i32::MAX), ("5-1", 0), ("x,2,-1", 1)]
        {
            assert_eq!(count_indexes(list), count, "{list}");
        }
    }

    #[test]
    fn the_pod_template_decides_about_exclusive_placement() {
        let topology = "alpha.jobset.sigs.k8s.io/exclusive-topology: rack";
        let prepared = format!("{topology}, alpha.jobset.sigs.k8s.io/node-selector: 'true'");
        for (annotations, expected) in [("", false), (topology, true), (&prepared, false)] {
            let yaml = format!("spec: {{template: {{metadata: {{annotations: {{{annotations}}}}}}}}}");
            let job: ChildJob = serde_yaml::from_str(&yaml).unwrap();
            assert_eq!(job.record().exclusive, expected, "{annotations}");
        }
    }

    #[test]
    fn terminal_conditions_decide_the_verdict() {
        let verdict = |conditions: &str| {
            let job: ChildJob =
                serde_yaml::from_str(&format!("status: {{conditions: [{conditions}]}}")).unwrap();
            job.record().verdict.map(|verdict| (verdict.outcome, verdict.reason))
        };
        let condition = |type_: &str| format!("{{type: {type_}, status: 'True', reason: Of{type_}}}");
        let [complete, failed, failure_target] = ["Complete", "Failed", "FailureTarget"].map(condition);
        let other = ["SuccessCriteriaMet", "Suspended"].map(condition).join(", ");
        for (conditions, expected) in [
            (String::new(), None),
            (other.clone(), None),
            (format!("{other}, {complete}"), Some((Outcome::Complete, "OfComplete"))),
            (failure_target.clone(), Some((Outcome::Failing, "OfFailureTarget"))),
            (format!("{failure_target}, {failed}"), Some((Outcome::Failed, "OfFailed"))),
            (format!("{failed}, {failure_target}"), Some((Outcome::Failed, "OfFailed"))),
            (failure_target.replace("True", "False"), None),
        ] {
            let expected = expected.map(|(outcome, reason)| (outcome, reason.to_owned()));
            assert_eq!(verdict(&conditions), expected, "{conditions}");
        }
    }

    #[test]
    fn an_empty_job_gets_the_defaults_of_kubernetes() {
        let job: ChildJob = serde_yaml::from_str("metadata: {name: bare}").unwrap();
        assert_eq!(job.owner(), None);
        let record = job.record();
        assert_eq!((record.parallelism, record.restart_attempt), (1, LabelValue::Missing));
    }
}
