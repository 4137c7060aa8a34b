//! The status of the JobSetOperator.

use super::*;

fn at(second: i64) -> Time {
    Time(k8s_openapi::jiff::Timestamp::from_second(second).unwrap())
}

fn running() -> Observed {
    with_deployment(installed(json!({})), rolled_out())
}

fn status_of(observed: &Observed, failures: &[Failure], second: i64) -> JobSetOperatorStatus {
    let operator = observed.operator.clone().unwrap();
    status(&settings(), observed, &decide(observed), failures, &operator, &at(second))
}

/// The conditions as `type status reason`.
fn short(status: &JobSetOperatorStatus) -> Vec<String> {
    let line = |c: &jobset_api::jobset_operator::OperatorCondition| {
        format!("{} {} {}", c.type_, c.status, c.reason.as_deref().unwrap_or_default())
    };
    status.conditions.iter().map(line).collect()
}

fn message(status: &JobSetOperatorStatus, kind: &str) -> String {
    let condition = status.conditions.iter().find(|condition| condition.type_ == kind).unwrap();
    condition.message.clone().unwrap()
}

#[test]
fn a_healthy_operand_is_available() {
    let new = status_of(&running(), &[], 100);
    assert_eq!(
        short(&new),
        [
            "Available True AsExpected",
            "Progressing False AsExpected",
            "Degraded False AsExpected",
            "Upgradeable True AsExpected",
            "TargetConfigControllerDegraded False AsExpected",
            "JobSetOperatorStaticResourcesDegraded False AsExpected",
        ]
    );
    assert_eq!((new.ready_replicas, new.observed_generation), (1, Some(4)));
    assert_eq!(new.version.as_deref(), Some("9.8.7"));
    assert_eq!(new.generations.len(), 1);
    assert_eq!(new.generations[0].last_generation, 7);
    assert_eq!(new.generations[0].namespace, "ns-of-operand");
}

#[test]
fn only_a_changed_condition_has_a_new_transition_time() {
    let mut observed = running();
    let first = status_of(&observed, &[], 100);
    let mut operator = (**observed.operator.as_ref().unwrap()).clone();
    operator.status = Some(first.clone());
    observed.operator = Some(Arc::new(operator));
    assert_eq!(status_of(&observed, &[], 200), first);

    let failure =
        Failure { key: ObjectKey::new("Service", names::WEBHOOK_SERVICE), message: "refused".into() };
    let second = status_of(&observed, &[failure], 300);
    let time = |status: &JobSetOperatorStatus, kind: &str| {
        status.conditions.iter().find(|c| c.type_ == kind).unwrap().last_transition_time.clone()
    };
    assert_eq!(time(&second, "Degraded"), at(300));
    assert_eq!(time(&second, "Available"), at(100));
}

#[test]
fn each_failure_is_in_its_condition() {
    let failure = |kind: &str, name: &str, message: &str| Failure {
        key: ObjectKey::new(kind, name),
        message: message.into(),
    };
    let failures = [
        failure("ClusterRole", "jobset-manager-role", "no right"),
        failure("ConfigMap", names::CONFIG_MAP, "too big"),
    ];
    let new = status_of(&running(), &failures, 100);
    assert_eq!(
        message(&new, "Degraded"),
        "ClusterRole/jobset-manager-role: no right\nConfigMap/jobset-manager-config: too big"
    );
    assert_eq!(message(&new, "TargetConfigControllerDegraded"), "ConfigMap/jobset-manager-config: too big");
    assert_eq!(
        message(&new, "JobSetOperatorStaticResourcesDegraded"),
        "ClusterRole/jobset-manager-role: no right"
    );
    assert!(short(&new).contains(&"Available True AsExpected".to_owned()));
    assert!(short(&new).contains(&"Degraded True SyncError".to_owned()));
}

#[test]
fn a_failed_watch_keeps_the_observed_status() {
    let mut operator = (**running().operator.as_ref().unwrap()).clone();
    operator.status = Some(status_of(&running(), &[], 100));
    // Only the JobSetOperator is known.
    let observed = Observed { operator: Some(Arc::new(operator.clone())), ..Observed::default() };
    let problem = Problem { reason: "WatchFailed", message: "cannot watch deployments.apps".into() };
    let new = unsynced_status(&settings(), &observed, problem.clone(), &operator, &at(200));
    assert_eq!(
        short(&new)[..3],
        ["Available True AsExpected", "Progressing False AsExpected", "Degraded True WatchFailed"]
    );
    assert_eq!(new.conditions[0].last_transition_time, at(100));
    assert_eq!((new.ready_replicas, new.generations.len()), (1, 1));

    operator.status = None;
    let new = unsynced_status(&settings(), &observed, problem, &operator, &at(200));
    assert_eq!(short(&new)[0], "Available False DeploymentUnavailable");
}

#[test]
fn a_missing_dependency_blocks_the_operand() {
    let mut observed = ready_to_install(json!({"certificates": {"provider": "CertManager"}}));
    observed.apis.clear();
    observed.secrets.clear();
    let new = status_of(&observed, &[], 100);
    assert_eq!(
        short(&new),
        [
            "Available False DeploymentUnavailable",
            "Progressing False Blocked",
            "Degraded True MissingDependency",
            "Upgradeable True AsExpected",
            "TargetConfigControllerDegraded True SyncError",
            "JobSetOperatorStaticResourcesDegraded False AsExpected",
        ]
    );
}

#[test]
fn a_rollout_keeps_the_operand_available() {
    let pods = json!({
        "observedGeneration": 7, "replicas": 2, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1
    });
    let new = status_of(&with_deployment(installed(json!({})), pods), &[], 100);
    assert_eq!(short(&new)[..2], ["Available True AsExpected", "Progressing True RollingOut"]);
    assert!(message(&new, "Progressing").contains("1 outdated"));
}

#[test]
fn a_rollout_that_is_not_observed_yet_is_progress() {
    let pods = json!({
        "observedGeneration": 6, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1
    });
    let new = status_of(&with_deployment(installed(json!({})), pods), &[], 100);
    assert_eq!(short(&new)[1], "Progressing True RollingOut");
}

#[test]
fn a_rollout_without_progress_is_reported() {
    let pods = json!({
        "observedGeneration": 7, "replicas": 1, "updatedReplicas": 1,
        "conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
                        "message": "has timed out progressing"}],
    });
    let new = status_of(&with_deployment(installed(json!({})), pods), &[], 100);
    assert_eq!(
        short(&new)[..3],
        ["Available False DeploymentUnavailable", "Progressing False Blocked", "Degraded True RolloutStuck"]
    );
    assert!(message(&new, "Degraded").contains("has timed out progressing"));
}

#[test]
fn pods_that_cannot_be_created_are_reported_at_once() {
    let pods = |status: &str| {
        json!({
            "observedGeneration": 7, "unavailableReplicas": 1,
            "conditions": [{"type": "ReplicaFailure", "status": status, "reason": "FailedCreate",
                            "message": "no PriorityClass with name red was found"}],
        })
    };
    let new = status_of(&with_deployment(installed(json!({})), pods("True")), &[], 100);
    assert_eq!(short(&new)[2], "Degraded True OperandPodRefused");
    assert!(message(&new, "Degraded").contains("no PriorityClass with name red was found"));
    let new = status_of(&with_deployment(installed(json!({})), pods("False")), &[], 100);
    assert_eq!(short(&new)[2], "Degraded False AsExpected");
}

#[test]
fn removed_is_progressing_until_all_objects_are_deleted() {
    let mut observed = running();
    observed.operator = Some(Arc::new(operator(json!({"managementState": "Removed"}))));
    let new = status_of(&observed, &[], 100);
    assert_eq!(short(&new)[1], "Progressing True Removing");
    observed.objects.clear();
    let new = status_of(&observed, &[], 100);
    assert_eq!(
        short(&new)[..3],
        ["Available False Removed", "Progressing False Removed", "Degraded False AsExpected"]
    );
    assert_eq!((new.ready_replicas, new.generations.len()), (0, 0));
}

#[test]
fn unmanaged_reports_the_availability_of_the_operand() {
    let mut observed = running();
    observed.operator = Some(Arc::new(operator(json!({"managementState": "Unmanaged"}))));
    assert_eq!(
        short(&status_of(&observed, &[], 100))[..3],
        ["Available True AsExpected", "Progressing False Unmanaged", "Degraded False Unmanaged"]
    );
}

#[test]
fn messages_of_pods_that_do_not_run_are_reported() {
    let status = json!({"observedGeneration": 7, "replicas": 1, "updatedReplicas": 1});
    let mut observed = with_deployment(installed(json!({})), status);
    let trouble = |message: &str, lasting| PodTrouble { message: message.into(), lasting };
    observed.pods.insert("pod-1".into(), trouble("Unschedulable: no node", false));
    let new = status_of(&observed, &[], 100);
    assert_eq!(
        message(&new, "Progressing"),
        "1 of 1 pods are up to date, 0 available; pod pod-1: Unschedulable: no node"
    );
    assert_eq!(
        message(&new, "Available"),
        "Operand Deployment is not available: 0 of 1 pods are available; pod pod-1: Unschedulable: no node"
    );
    assert!(short(&new).contains(&"Degraded False AsExpected".to_owned()), "a node may become available");

    observed.pods.insert("pod-2".into(), trouble("ImagePullBackOff: no such image", true));
    let new = status_of(&observed, &[], 100);
    assert!(short(&new).contains(&"Degraded True OperandPodFailing".to_owned()));
    assert!(message(&new, "Degraded").ends_with("pod pod-2: ImagePullBackOff: no such image"));
}

#[test]
fn an_operand_without_ready_webhook_endpoints_is_not_available() {
    let mut observed = running();
    observed.ready_endpoints = Some(0);
    let new = status_of(&observed, &[], 100);
    assert_eq!(short(&new)[0], "Available False WebhookUnavailable");
    assert!(message(&new, "Available").contains("jobset-webhook-service"));
    observed.ready_endpoints = Some(1);
    assert_eq!(short(&status_of(&observed, &[], 100))[0], "Available True AsExpected");
    observed.objects.remove(&ObjectKey::new(VALIDATING, names::VALIDATING_WEBHOOKS));
    assert_eq!(
        message(&status_of(&observed, &[], 100), "Available"),
        format!("{VALIDATING} {} does not exist", names::VALIDATING_WEBHOOKS)
    );
}

#[test]
fn a_surplus_pod_does_not_change_the_conditions() {
    let pods = json!({
        "observedGeneration": 7, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2
    });
    let new = status_of(&with_deployment(installed(json!({})), pods), &[], 100);
    assert_eq!(short(&new)[0], "Available True AsExpected");
}
