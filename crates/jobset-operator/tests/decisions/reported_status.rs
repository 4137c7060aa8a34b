//! The status of the JobSetOperator.

use super::*;

fn at(second: i64) -> Time {
    Time(k8s_openapi::jiff::Timestamp::from_second(second).unwrap())
}

fn running() -> Observed {
    with_deployment(installed(json!({})), rolled_out())
}

fn status_of(observed: &Observed, failures: &[Failure], second: i64) -> JobSetOperatorStatus {
    report_of(observed, failures, second).status
}

fn report_of(observed: &Observed, failures: &[Failure], second: i64) -> Report {
    let operator = observed.operator.clone().unwrap();
    status(&settings(), observed, &decide(observed), failures, &operator, &at(second))
}

/// The same cluster with this status stored.
fn with_stored(mut observed: Observed, stored: JobSetOperatorStatus) -> Observed {
    let mut operator = (**observed.operator.as_ref().unwrap()).clone();
    operator.status = Some(stored);
    observed.operator = Some(Arc::new(operator));
    observed
}

fn failure(kind: &str, name: &str, message: &str, lasting: bool) -> Failure {
    Failure { key: ObjectKey::new(kind, name), message: message.into(), lasting }
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
    let first = status_of(&running(), &[], 100);
    let observed = with_stored(running(), first.clone());
    assert_eq!(status_of(&observed, &[], 200), first);

    let second = status_of(&observed, &[failure("Service", names::WEBHOOK_SERVICE, "refused", true)], 300);
    let time = |status: &JobSetOperatorStatus, kind: &str| {
        status.conditions.iter().find(|c| c.type_ == kind).unwrap().last_transition_time.clone()
    };
    assert_eq!(time(&second, "Degraded"), at(300));
    assert_eq!(time(&second, "Available"), at(100));
}

#[test]
fn each_failure_is_in_its_condition() {
    let failures = [
        failure("ClusterRole", "jobset-manager-role", "no right", true),
        failure("ConfigMap", names::CONFIG_MAP, "too big", true),
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

/// Only the JobSetOperator is known.
fn unsynced(
    stored: Option<JobSetOperatorStatus>,
    problems: &[&str],
    passing: &[&str],
    second: i64,
) -> Report {
    let operator = JobSetOperator { status: stored, ..operator(json!({})) };
    let observed = Observed { operator: Some(Arc::new(operator.clone())), ..Observed::default() };
    let watch_failed = |messages: &[&str]| {
        let problem = |message: &&str| Problem { reason: "WatchFailed", message: (*message).into() };
        messages.iter().map(problem).collect::<Vec<_>>()
    };
    let (problems, passing) = (watch_failed(problems), watch_failed(passing));
    unsynced_status(&settings(), &observed, problems, passing, &operator, &at(second))
}

#[test]
fn a_failed_watch_keeps_the_observed_status() {
    let stored = status_of(&running(), &[], 100);
    let new = unsynced(Some(stored), &["forbidden: deployments.apps"], &[], 200).status;
    assert_eq!(
        short(&new)[..3],
        ["Available True AsExpected", "Progressing False AsExpected", "Degraded True WatchFailed"]
    );
    assert_eq!(new.conditions[0].last_transition_time, at(100));
    assert_eq!((new.ready_replicas, new.generations.len()), (1, 1));
    assert_eq!(new.version.as_deref(), Some("9.8.7"));

    // A spec that changed while a watch starts is not acted on yet.
    let older = JobSetOperatorStatus { observed_generation: Some(1), ..status_of(&running(), &[], 100) };
    assert_ne!(operator(json!({})).metadata.generation, Some(1));
    assert_eq!(unsynced(Some(older), &[], &[], 200).status.observed_generation, Some(1));

    let new = unsynced(None, &["forbidden: deployments.apps"], &[], 200).status;
    assert_eq!(short(&new)[0], "Available False DeploymentUnavailable");
    assert_eq!(new.version, None);
}

#[test]
fn a_failed_watch_degrades_after_two_minutes_also_if_the_operator_restarts() {
    let mut stored = status_of(&running(), &[], 100);
    for (second, degraded, next) in
        [(200, false, Some(320)), (319, false, Some(320)), (320, true, None), (400, true, None)]
    {
        let new = unsynced(Some(stored), &[], &["cannot watch pods: timeout"], second);
        assert_eq!(
            short(&new.status)[2],
            if degraded { "Degraded True WatchFailed" } else { "Degraded False AsExpected" },
            "{second}"
        );
        assert_eq!(message(&new.status, "TargetConfigControllerDegraded"), "cannot watch pods: timeout");
        assert_eq!(new.reconcile_at, next.map(|next| at(next).0), "{second}");
        stored = new.status;
    }
    // Before the watches have synced, another problem may still exist.
    let mut problem = status_of(&running(), &[failure("ConfigMap", "red", "too big", true)], 100);
    problem.conditions[4].status = "False".into();
    let new = unsynced(Some(problem), &[], &["cannot watch pods: timeout"], 200).status;
    assert_eq!(short(&new)[2], "Degraded True SyncError");
}

#[test]
fn a_failed_write_degrades_after_two_minutes_and_a_refused_one_at_once() {
    let write = |lasting| [failure("ConfigMap", names::CONFIG_MAP, "it is red", lasting)];
    let first = report_of(&running(), &write(true), 100);
    assert_eq!(short(&first.status)[2], "Degraded True SyncError");
    let mut stored = status_of(&running(), &[], 100);
    for (second, degraded, next) in [(200, false, Some(320)), (320, true, None)] {
        let new = report_of(&with_stored(running(), stored), &write(false), second);
        assert_eq!(short(&new.status)[2].contains("True"), degraded, "{second}");
        assert_eq!(short(&new.status)[4], "TargetConfigControllerDegraded True SyncError");
        assert_eq!(short(&new.status)[5], "JobSetOperatorStaticResourcesDegraded False AsExpected");
        assert_eq!(new.reconcile_at, next.map(|next| at(next).0), "{second}");
        stored = new.status;
    }
    let recovered = status_of(&with_stored(running(), stored), &[], 321);
    assert_eq!(short(&recovered)[2], "Degraded False AsExpected");
}

#[test]
fn a_failed_write_is_reported_while_the_deployment_is_created() {
    let mut observed = running();
    observed.objects.remove(&ObjectKey::new("Deployment", names::OPERAND));
    let new = status_of(&observed, &[failure("Deployment", names::OPERAND, "timeout", false)], 100);
    assert_eq!(short(&new)[1], "Progressing True Deploying");
    assert!(message(&new, "Progressing").ends_with("timeout"), "{}", message(&new, "Progressing"));
}

#[test]
fn the_version_changes_when_the_rollout_reaches_it() {
    let of_deployment = |status: Value| with_deployment(installed(json!({})), status);
    let old = JobSetOperatorStatus { version: Some("9.8.6".into()), ..JobSetOperatorStatus::default() };
    let version = |observed: Observed, failures: &[Failure]| {
        status_of(&with_stored(observed, old.clone()), failures, 100).version.unwrap()
    };
    let outdated = json!({
        "observedGeneration": 7, "replicas": 2, "updatedReplicas": 1, "readyReplicas": 2, "availableReplicas": 2
    });
    let refused = [failure("Deployment", names::OPERAND, "refused", true)];
    let mut previous_image = running();
    let live = previous_image.objects.get_mut(&ObjectKey::new("Deployment", names::OPERAND)).unwrap();
    let mut object = (*live.object).clone();
    object.data["spec"]["template"]["spec"]["containers"][0]["image"] = json!("registry.example/operand:v1");
    live.object = Arc::new(object);
    for (observed, failures, expected) in [
        (running(), &[][..], "9.8.7"),
        (running(), &refused, "9.8.6"),
        (of_deployment(outdated), &[], "9.8.6"),
        (of_deployment(json!({"observedGeneration": 6})), &[], "9.8.6"),
        (previous_image, &[], "9.8.6"),
    ] {
        assert_eq!(version(observed, failures), expected, "{failures:?}");
    }
    let removed = Observed {
        operator: Some(Arc::new(operator(json!({"managementState": "Removed"})))),
        ..Observed::default()
    };
    assert_eq!(version(removed, &[]), "9.8.7");
}

#[test]
fn the_operand_is_available_while_a_pod_serves() {
    let mut deleted = running();
    deleted.objects.remove(&ObjectKey::new("Deployment", names::OPERAND));
    let restarting = json!({"observedGeneration": 7, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 1,
                            "availableReplicas": 1});
    let unobserved = json!({"observedGeneration": 0});
    for (observed, endpoints, expected) in [
        (with_deployment(running(), restarting.clone()), 1, "Available True AsExpected"),
        // A new Deployment adopts the pods that serve.
        (with_deployment(running(), unobserved.clone()), 1, "Available True AsExpected"),
        (deleted.clone(), 1, "Available True AsExpected"),
        (with_deployment(running(), restarting), 0, "Available False WebhookUnavailable"),
        (with_deployment(running(), unobserved), 0, "Available False DeploymentUnavailable"),
        (deleted, 0, "Available False DeploymentUnavailable"),
    ] {
        let observed = Observed { ready_endpoints: Some(endpoints), ..observed };
        assert_eq!(short(&status_of(&observed, &[], 100))[0], expected, "{endpoints}");
    }
}

/// The operand serves with a certificate of a CA: both must be valid.
#[test]
fn an_operand_with_an_invalid_certificate_is_not_available() {
    let hours = SignedDuration::from_hours;
    for (authority, server, offset, expected, next) in [
        (9, 4, hours(0), "Available True AsExpected", Some(hours(4))),
        (9, 4, hours(4), "Available False CertificateExpired", None),
        (4, 9, hours(4), "Available False CertificateExpired", None),
        // A certificate is valid from an hour before its creation.
        (9, 4, -hours(2), "Available False CertificateExpired", Some(-hours(1))),
    ] {
        let authority = issue::authority("ca", "test", now(), hours(authority)).unwrap();
        let server = issue::server(&authority, &["a.svc".into()], now(), hours(server)).unwrap();
        let mut observed = running();
        let secret = observed.secrets.get_mut(names::WEBHOOK_SECRET).unwrap();
        secret.certificate = server.certificate;
        secret.ca = authority.certificate;
        let operator = observed.operator.clone().unwrap();
        let time = Time(now() + offset);
        let report = status(&settings(), &observed, &Plan::new(Mode::Managed), &[], &operator, &time);
        assert_eq!(short(&report.status)[0], expected, "{offset:?}");
        assert_eq!(report.reconcile_at, next.map(|next| now() + next), "{offset:?}");
        if expected.contains("False") {
            assert!(message(&report.status, "Available").contains(names::WEBHOOK_SECRET));
        }
    }
}

#[test]
fn a_failed_renewal_is_reported() {
    let mut observed = running();
    let object = serde_json::from_value(json!({
        "apiVersion": "cert-manager.io/v1", "kind": "Certificate",
        "metadata": {"name": names::METRICS_CERTIFICATE},
        "status": {"lastFailureTime": "2029-12-31T00:00:00Z", "failedIssuanceAttempts": 2},
    }))
    .unwrap();
    observed.objects.insert(ObjectKey::new("Certificate", names::METRICS_CERTIFICATE), Live::new(object));
    let new = status_of(&observed, &[], 100);
    assert_eq!(short(&new)[0], "Available True AsExpected", "the previous certificate is valid");
    assert_eq!(short(&new)[2], "Degraded True CertificateRenewalFailed");
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
    let since = Some(at(100).0);
    let trouble = |message: &str, lasting| PodTrouble { message: message.into(), lasting, since };
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
    for (second, degraded, next) in [(100, false, Some(220)), (219, false, Some(220)), (220, true, None)] {
        let new = report_of(&observed, &[], second);
        let pod_fails = short(&new.status).contains(&"Degraded True OperandPodFailing".to_owned());
        assert_eq!(pod_fails, degraded, "{second}");
        assert_eq!(
            short(&new.status)[4].contains("True"),
            degraded,
            "a restart of a pod is not an error yet"
        );
        assert!(message(&new.status, "Progressing").ends_with("pod pod-2: ImagePullBackOff: no such image"));
        assert_eq!(new.reconcile_at, next.map(|next| at(next).0), "{second}");
    }
    let new = status_of(&observed, &[], 220);
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
