//! What the status says.

use super::*;

fn at(second: i64) -> Time {
    Time(k8s_openapi::jiff::Timestamp::from_second(second).unwrap())
}

fn running() -> Observed {
    with_deployment(installed(json!({})), rolled_out())
}

fn tell(observed: &Observed, failures: &[Failure], second: i64) -> JobSetOperatorStatus {
    let operator = observed.operator.clone().unwrap();
    status(&settings(), observed, &decide(observed), failures, &operator, &at(second))
}

/// `type status reason`, one a line.
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
fn a_healthy_operand() {
    let told = tell(&running(), &[], 100);
    assert_eq!(
        short(&told),
        [
            "Available True AsExpected",
            "Progressing False AsExpected",
            "Degraded False AsExpected",
            "Upgradeable True AsExpected",
            "TargetConfigControllerDegraded False AsExpected",
            "JobSetOperatorStaticResourcesDegraded False AsExpected",
        ]
    );
    assert_eq!((told.ready_replicas, told.observed_generation), (1, Some(4)));
    assert_eq!(told.version.as_deref(), Some("9.8.7"));
    assert_eq!(told.generations.len(), 1);
    assert_eq!(told.generations[0].last_generation, 7);
    assert_eq!(told.generations[0].namespace, "ns-of-operand");
}

#[test]
fn an_unchanged_status_is_equal_and_a_flip_takes_the_new_time() {
    let mut observed = running();
    let first = tell(&observed, &[], 100);
    let mut operator = (**observed.operator.as_ref().unwrap()).clone();
    operator.status = Some(first.clone());
    observed.operator = Some(Arc::new(operator));
    assert_eq!(tell(&observed, &[], 200), first);

    let failure =
        Failure { key: ObjectKey::new("Service", names::WEBHOOK_SERVICE), message: "refused".into() };
    let second = tell(&observed, &[failure], 300);
    let time = |status: &JobSetOperatorStatus, kind: &str| {
        status.conditions.iter().find(|c| c.type_ == kind).unwrap().last_transition_time.clone()
    };
    assert_eq!(time(&second, "Degraded"), at(300));
    assert_eq!(time(&second, "Available"), at(100));
}

#[test]
fn all_failures_are_told_each_where_it_belongs() {
    let failure = |kind: &str, name: &str, message: &str| Failure {
        key: ObjectKey::new(kind, name),
        message: message.into(),
    };
    let failures = [
        failure("ClusterRole", "jobset-manager-role", "no right"),
        failure("ConfigMap", names::CONFIG_MAP, "too big"),
    ];
    let told = tell(&running(), &failures, 100);
    assert_eq!(
        message(&told, "Degraded"),
        "ClusterRole/jobset-manager-role: no right\nConfigMap/jobset-manager-config: too big"
    );
    assert_eq!(message(&told, "TargetConfigControllerDegraded"), "ConfigMap/jobset-manager-config: too big");
    assert_eq!(
        message(&told, "JobSetOperatorStaticResourcesDegraded"),
        "ClusterRole/jobset-manager-role: no right"
    );
    assert!(short(&told).contains(&"Available True AsExpected".to_owned()));
    assert!(short(&told).contains(&"Degraded True SyncError".to_owned()));
}

#[test]
fn what_could_not_be_looked_at_is_not_told_to_be_gone() {
    let mut operator = (**running().operator.as_ref().unwrap()).clone();
    operator.status = Some(tell(&running(), &[], 100));
    // Nothing is known but the JobSetOperator.
    let observed = Observed { operator: Some(Arc::new(operator.clone())), ..Observed::default() };
    let problem = Problem { reason: "WatchFailed", message: "cannot watch deployments.apps".into() };
    let told = status_of_the_unseen(&settings(), &observed, problem.clone(), &operator, &at(200));
    assert_eq!(
        short(&told)[..3],
        ["Available True AsExpected", "Progressing False AsExpected", "Degraded True WatchFailed"]
    );
    assert_eq!(told.conditions[0].last_transition_time, at(100));
    assert_eq!((told.ready_replicas, told.generations.len()), (1, 1));

    operator.status = None;
    let told = status_of_the_unseen(&settings(), &observed, problem, &operator, &at(200));
    assert_eq!(short(&told)[0], "Available False DeploymentUnavailable");
}

#[test]
fn a_missing_dependency() {
    let mut observed = ready_to_install(json!({"certificates": {"provider": "CertManager"}}));
    observed.apis.clear();
    observed.secrets.clear();
    let told = tell(&observed, &[], 100);
    assert_eq!(
        short(&told),
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
    let told = tell(&with_deployment(installed(json!({})), pods), &[], 100);
    assert_eq!(short(&told)[..2], ["Available True AsExpected", "Progressing True RollingOut"]);
    assert!(message(&told, "Progressing").contains("1 of an older version still run"));
}

#[test]
fn a_rollout_that_was_not_seen_yet_is_progress() {
    let pods = json!({
        "observedGeneration": 6, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1
    });
    let told = tell(&with_deployment(installed(json!({})), pods), &[], 100);
    assert_eq!(short(&told)[1], "Progressing True RollingOut");
}

#[test]
fn a_rollout_that_makes_no_progress_is_told() {
    let pods = json!({
        "observedGeneration": 7, "replicas": 1, "updatedReplicas": 1,
        "conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
                        "message": "has timed out progressing"}],
    });
    let told = tell(&with_deployment(installed(json!({})), pods), &[], 100);
    assert_eq!(
        short(&told)[..3],
        ["Available False DeploymentUnavailable", "Progressing False Blocked", "Degraded True RolloutStuck"]
    );
    assert!(message(&told, "Degraded").contains("has timed out progressing"));
}

#[test]
fn pods_that_cannot_be_created_are_told_at_once() {
    let pods = |status: &str| {
        json!({
            "observedGeneration": 7, "unavailableReplicas": 1,
            "conditions": [{"type": "ReplicaFailure", "status": status, "reason": "FailedCreate",
                            "message": "no PriorityClass with name red was found"}],
        })
    };
    let told = tell(&with_deployment(installed(json!({})), pods("True")), &[], 100);
    assert_eq!(short(&told)[2], "Degraded True OperandPodRefused");
    assert!(message(&told, "Degraded").contains("no PriorityClass with name red was found"));
    let told = tell(&with_deployment(installed(json!({})), pods("False")), &[], 100);
    assert_eq!(short(&told)[2], "Degraded False AsExpected");
}

#[test]
fn removed_says_what_is_left_and_then_that_nothing_is() {
    let mut observed = running();
    observed.operator = Some(Arc::new(operator(json!({"managementState": "Removed"}))));
    let told = tell(&observed, &[], 100);
    assert_eq!(short(&told)[1], "Progressing True Removing");
    observed.objects.clear();
    let told = tell(&observed, &[], 100);
    assert_eq!(
        short(&told)[..3],
        ["Available False Removed", "Progressing False Removed", "Degraded False AsExpected"]
    );
    assert_eq!((told.ready_replicas, told.generations.len()), (0, 0));
}

#[test]
fn unmanaged_still_tells_how_the_operand_is() {
    let mut observed = running();
    observed.operator = Some(Arc::new(operator(json!({"managementState": "Unmanaged"}))));
    assert_eq!(
        short(&tell(&observed, &[], 100))[..3],
        ["Available True AsExpected", "Progressing False Unmanaged", "Degraded False Unmanaged"]
    );
}

#[test]
fn pods_that_do_not_run_are_quoted() {
    let status = json!({"observedGeneration": 7, "replicas": 1, "updatedReplicas": 1});
    let mut observed = with_deployment(installed(json!({})), status);
    let trouble = |message: &str, lasting| PodTrouble { message: message.into(), lasting };
    observed.pods.insert("pod-1".into(), trouble("Unschedulable: no node", false));
    let told = tell(&observed, &[], 100);
    assert_eq!(
        message(&told, "Progressing"),
        "1 of 1 pods are up to date, 0 available; pod pod-1: Unschedulable: no node"
    );
    assert_eq!(
        message(&told, "Available"),
        "Operand Deployment is not available: 0 of 1 pods are available; pod pod-1: Unschedulable: no node"
    );
    assert!(short(&told).contains(&"Degraded False AsExpected".to_owned()), "a node may come");

    observed.pods.insert("pod-2".into(), trouble("ImagePullBackOff: no such image", true));
    let told = tell(&observed, &[], 100);
    assert!(short(&told).contains(&"Degraded True OperandPodFailing".to_owned()));
    assert!(message(&told, "Degraded").ends_with("pod pod-2: ImagePullBackOff: no such image"));
}

#[test]
fn an_operand_whose_webhooks_nobody_reaches_is_not_available() {
    let mut observed = running();
    observed.ready_endpoints = Some(0);
    let told = tell(&observed, &[], 100);
    assert_eq!(short(&told)[0], "Available False WebhookUnavailable");
    assert!(message(&told, "Available").contains("jobset-webhook-service"));
    observed.ready_endpoints = Some(1);
    assert_eq!(short(&tell(&observed, &[], 100))[0], "Available True AsExpected");
    observed.objects.remove(&ObjectKey::new(VALIDATING, names::VALIDATING_WEBHOOKS));
    assert_eq!(
        message(&tell(&observed, &[], 100), "Available"),
        format!("{VALIDATING} {} does not exist", names::VALIDATING_WEBHOOKS)
    );
}

#[test]
fn one_pod_more_than_wanted_changes_nothing() {
    let pods = json!({
        "observedGeneration": 7, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2
    });
    let told = tell(&with_deployment(installed(json!({})), pods), &[], 100);
    assert_eq!(short(&told)[0], "Available True AsExpected");
}
