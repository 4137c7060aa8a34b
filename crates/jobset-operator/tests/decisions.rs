//! What the operator decides, and what it says about it: no server needed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::needless_pass_by_value)]

use jobset_api::JobSetOperator;
use jobset_api::jobset_operator::JobSetOperatorStatus;
use jobset_operator::desired::plan::{Mode, Plan, Settings, plan};
use jobset_operator::desired::status::{Failure, status};
use jobset_operator::names;
use jobset_operator::observe::{CertificateSecret, Live, ObjectKey, Observed, kinds};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::DynamicObject;
use serde_json::{Value, json};
use std::sync::Arc;

fn settings() -> Settings {
    Settings {
        namespace: "ns-of-operand".into(),
        operand_image: Some("registry.example/operand:v2".into()),
        version: "9.8.7",
        kubernetes_minor: Some(36),
    }
}

fn operator(spec: Value) -> JobSetOperator {
    serde_json::from_value(json!({
        "apiVersion": "operator.openshift.io/v1", "kind": "JobSetOperator",
        "metadata": {"name": "cluster", "uid": "uid-of-cluster", "generation": 4, "resourceVersion": "1"},
        "spec": spec,
    }))
    .unwrap()
}

/// A cluster with cert-manager, whose certificates are issued, and with nothing of the operand.
fn ready_to_install(spec: Value) -> Observed {
    let mut observed = Observed { operator: Some(Arc::new(operator(spec))), ..Observed::default() };
    observed.apis.extend([kinds::ISSUER_CRD, kinds::CERTIFICATE_CRD].map(str::to_owned));
    for (secret, hash) in [(names::WEBHOOK_SECRET, "hash-1"), (names::METRICS_SECRET, "hash-2")] {
        observed.secrets.insert(secret.into(), CertificateSecret { hash: Some(hash.into()) });
    }
    observed
}

/// The same cluster with everything that its plan applies.
fn installed(spec: Value) -> Observed {
    let mut observed = ready_to_install(spec);
    for step in plan(&settings(), &observed).unwrap().apply {
        observed.objects.insert(step.key, applied(step.object));
    }
    observed
}

fn applied(mut object: DynamicObject) -> Live {
    object.metadata.managed_fields =
        Some(serde_json::from_value(json!([{"manager": "jobset-operator", "operation": "Apply"}])).unwrap());
    Live::new(object)
}

fn decide(observed: &Observed) -> Plan {
    plan(&settings(), observed).unwrap()
}

fn applies(plan: &Plan, kind: &str) -> bool {
    plan.apply.iter().any(|step| step.key.kind == kind)
}

fn reasons(plan: &Plan) -> Vec<&str> {
    plan.problems.iter().map(|problem| problem.reason).collect()
}

const CRD: &str = "CustomResourceDefinition";
const VALIDATING: &str = "ValidatingWebhookConfiguration";

mod plans {
    use super::*;

    #[test]
    fn the_management_state_says_what_is_done() {
        for (spec, mode) in [
            (json!({}), Mode::Managed),
            (json!({"managementState": "Managed"}), Mode::Managed),
            (json!({"managementState": "Force"}), Mode::Managed),
            (json!({"managementState": "Unmanaged"}), Mode::Unmanaged),
            (json!({"managementState": "Removed"}), Mode::Removed),
            (json!({"managementState": "Sideways"}), Mode::Unmanaged),
        ] {
            assert_eq!(Mode::of(Some(&operator(spec.clone()))), mode, "{spec}");
        }
        assert_eq!(Mode::of(None), Mode::Absent);
        let mut deleted = operator(json!({"managementState": "Managed"}));
        deleted.metadata.deletion_timestamp = Some(Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH));
        assert_eq!(Mode::of(Some(&deleted)), Mode::Absent, "the garbage collector is at work");
    }

    #[test]
    fn unmanaged_does_nothing() {
        assert_eq!(decide(&installed(json!({"managementState": "Unmanaged"}))), Plan::new(Mode::Unmanaged));
    }

    #[test]
    fn without_cert_manager_everything_that_needs_none_is_applied() {
        let mut observed = ready_to_install(json!({}));
        observed.apis.clear();
        observed.secrets.clear();
        let plan = decide(&observed);
        assert_eq!(reasons(&plan), ["MissingDependency"]);
        assert_eq!(
            plan.problems[0].message,
            "please make sure that cert-manager is installed on your cluster"
        );
        assert_eq!(plan.waiting, Vec::<String>::new());
        assert!(applies(&plan, "ClusterRole") && applies(&plan, "Service") && applies(&plan, "ConfigMap"));
        for kind in ["Issuer", "Certificate", "Deployment", VALIDATING, CRD] {
            assert!(!applies(&plan, kind), "{kind}");
        }
    }

    #[test]
    fn a_running_operand_is_kept_when_cert_manager_goes() {
        let mut observed = installed(json!({}));
        observed.apis.clear();
        let plan = decide(&observed);
        assert_eq!(reasons(&plan), ["MissingDependency"]);
        assert!(applies(&plan, "Deployment") && applies(&plan, VALIDATING));
    }

    #[test]
    fn the_operand_waits_for_its_certificates_and_every_missing_one_is_told() {
        let mut observed = ready_to_install(json!({}));
        observed.secrets.clear();
        let not_ready = |name: &str, message: &str| {
            let object: DynamicObject = serde_json::from_value(json!({
                "apiVersion": "cert-manager.io/v1", "kind": "Certificate", "metadata": {"name": name},
                "status": {"conditions": [
                    {"type": "Issuing", "status": "True"},
                    {"type": "Ready", "status": "False", "reason": "DoesNotExist", "message": message},
                ]},
            }))
            .unwrap();
            (ObjectKey::of(&object), applied(object))
        };
        observed.objects.extend([
            not_ready(names::METRICS_CERTIFICATE, "no metrics secret"),
            not_ready(names::CA_CERTIFICATE, "no root secret"),
        ]);
        let plan = decide(&observed);
        assert!(applies(&plan, "Certificate") && !applies(&plan, "Deployment") && !applies(&plan, CRD));
        assert_eq!(
            plan.waiting,
            [
                "Secret webhook-server-cert is not complete; Certificate jobset-serving-cert: waits for Certificate \
                 jobset-root-ca: DoesNotExist: no root secret",
                "Secret metrics-server-cert is not complete; Certificate jobset-metrics-cert: DoesNotExist: no metrics \
                 secret; Certificate jobset-root-ca: DoesNotExist: no root secret",
            ]
        );
        observed
            .secrets
            .insert(names::WEBHOOK_SECRET.into(), CertificateSecret { hash: Some("hash-1".into()) });
        let plan = decide(&observed);
        assert_eq!(plan.waiting.len(), 1, "{:?}", plan.waiting);
        assert!(!applies(&plan, "Deployment"));
    }

    #[test]
    fn a_lost_certificate_leaves_the_deployment_as_it_is_and_repairs_the_rest() {
        let mut observed = installed(json!({}));
        observed.secrets.remove(names::WEBHOOK_SECRET);
        let plan = decide(&observed);
        assert!(!applies(&plan, "Deployment"), "its pods still serve with the certificate that they read");
        assert!(applies(&plan, VALIDATING) && applies(&plan, CRD) && applies(&plan, "Service"));
        observed.objects.remove(&ObjectKey::new(VALIDATING, names::VALIDATING_WEBHOOKS));
        assert!(!applies(&decide(&observed), VALIDATING), "nobody may be there to answer");
    }

    #[test]
    fn a_missing_operand_image_is_said_at_once() {
        let settings = Settings { operand_image: None, ..settings() };
        let plan = plan(&settings, &ready_to_install(json!({}))).unwrap();
        assert_eq!(reasons(&plan), ["MissingOperandImage"]);
        assert!(plan.problems[0].message.contains("OPERAND_IMAGE"));
        assert!(applies(&plan, "Certificate") && !applies(&plan, "Deployment") && !applies(&plan, CRD));
    }

    #[test]
    fn webhooks_need_the_deployment_and_the_deployment_needs_the_api() {
        let plan = decide(&ready_to_install(json!({})));
        let needs = |kind: &str| {
            let step = plan.apply.iter().find(|step| step.key.kind == kind).unwrap();
            step.needs.as_ref().map(ToString::to_string)
        };
        assert_eq!(needs(VALIDATING).unwrap(), "Deployment/jobset-controller-manager");
        assert_eq!(needs("Deployment").unwrap(), "CustomResourceDefinition/jobsets.jobset.x-k8s.io");
        assert_eq!(needs("ClusterRole"), None);
    }

    #[test]
    fn what_an_older_version_made_is_pruned_and_what_others_made_is_not() {
        let mut observed = installed(json!({}));
        let extra = |name: &str, label: &str, owner: &str| {
            let object: DynamicObject = serde_json::from_value(json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {
                    "name": name, "labels": {names::MANAGED_BY_LABEL: label},
                    "ownerReferences": [
                        {"apiVersion": "operator.openshift.io/v1", "kind": owner, "name": "cluster", "uid": "u"}
                    ],
                },
            }))
            .unwrap();
            (ObjectKey::of(&object), applied(object))
        };
        observed.objects.extend([
            extra("of-an-older-version", "jobset-operator", "JobSetOperator"),
            extra("with-a-copied-label", "jobset-operator", "SomethingElse"),
            extra("with-a-copied-owner", "somebody", "JobSetOperator"),
        ]);
        assert_eq!(decide(&observed).delete, [ObjectKey::new("ConfigMap", "of-an-older-version")]);
    }

    fn secret(name: &str, adopted: bool) -> (ObjectKey, Live) {
        let mut object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "uid": format!("uid-of-{name}")},
        }))
        .unwrap();
        if adopted {
            let owner = json!([
                {"apiVersion": "operator.openshift.io/v1", "kind": "JobSetOperator", "name": "cluster", "uid": "u"}
            ]);
            object.metadata.owner_references = Some(serde_json::from_value(owner).unwrap());
            object.metadata.labels = Some(
                [(names::MANAGED_BY_LABEL.to_owned(), "jobset-operator".to_owned())].into_iter().collect(),
            );
        }
        (ObjectKey::of(&object), Live::new(object))
    }

    #[test]
    fn secrets_are_adopted_once_they_are_there_and_never_pruned() {
        let mut observed = installed(json!({}));
        assert!(!applies(&decide(&observed), "Secret"));
        observed.objects.extend([secret(names::CA_SECRET, true), secret(names::WEBHOOK_SECRET, false)]);
        let plan = decide(&observed);
        let adopted: Vec<_> = plan.apply.iter().filter(|step| step.key.kind == "Secret").collect();
        assert_eq!(adopted.len(), 2);
        assert_eq!(adopted[1].object.metadata.uid.as_deref(), Some("uid-of-webhook-server-cert"));
        assert_eq!(adopted[1].object.metadata.owner_references.as_ref().unwrap()[0].uid, "uid-of-cluster");
        assert_eq!(adopted[1].object.data, Value::Null, "the content is cert-manager's");
        assert_eq!(plan.delete, []);
    }

    #[test]
    fn secrets_go_after_their_certificates() {
        let mut observed = installed(json!({}));
        observed.operator = Some(Arc::new(operator(json!({"managementState": "Removed"}))));
        observed.objects.extend([secret(names::CA_SECRET, true)]);
        let key = ObjectKey::new("Secret", names::CA_SECRET);
        assert!(!decide(&observed).delete.contains(&key));
        observed.objects.retain(|key, _| key.kind != "Certificate");
        assert!(decide(&observed).delete.contains(&key));
    }

    #[test]
    fn an_api_that_an_older_operator_owned_is_disowned() {
        let mut observed = installed(json!({}));
        assert!(!decide(&observed).disown_api);
        let key = ObjectKey::new(CRD, names::JOBSET_CRD);
        let mut object = (*observed.objects[&key].object).clone();
        object.metadata.owner_references = secret("any", true).1.object.metadata.owner_references.clone();
        observed.objects.insert(key, Live::new(object));
        assert!(decide(&observed).disown_api);
    }

    #[test]
    fn removed_takes_webhooks_first_and_the_api_not_at_all() {
        let mut observed = installed(json!({"managementState": "Managed"}));
        observed.operator = Some(Arc::new(operator(json!({"managementState": "Removed"}))));
        let plan = decide(&observed);
        let kinds: Vec<&str> = plan.delete.iter().map(|key| key.kind.as_str()).collect();
        assert_eq!(kinds[..3], ["MutatingWebhookConfiguration", VALIDATING, "Deployment"]);
        assert_eq!(kinds.len() + 1, observed.objects.len(), "all but the API");
        assert!(!kinds.contains(&CRD));
        assert!(!plan.delete_unused_api, "the operand still runs");
        assert!(plan.apply.is_empty());
    }
}

mod api_deletion {
    use super::*;

    /// Only the JobSet API is left.
    fn leftover(spec: Option<Value>) -> Observed {
        let mut observed = installed(json!({}));
        observed.objects.retain(|key, _| key.kind == CRD);
        observed.operator = spec.map(|spec| Arc::new(operator(spec)));
        observed
    }

    #[test]
    fn it_goes_when_nobody_wants_it() {
        assert!(decide(&leftover(None)).delete_unused_api);
        assert!(decide(&leftover(Some(json!({"managementState": "Removed"})))).delete_unused_api);
    }

    #[test]
    fn it_stays_while_somebody_wants_it() {
        for spec in [json!({}), json!({"managementState": "Force"}), json!({"managementState": "Unmanaged"})]
        {
            assert!(!decide(&leftover(Some(spec.clone()))).delete_unused_api, "{spec}");
        }
    }

    #[test]
    fn it_stays_until_the_garbage_collector_has_taken_the_operand() {
        let mut observed = installed(json!({}));
        observed.operator = None;
        assert!(!decide(&observed).delete_unused_api);
    }

    #[test]
    fn it_stays_when_somebody_else_made_it_or_it_is_going_already() {
        let key = ObjectKey::new(CRD, names::JOBSET_CRD);
        let changed = |change: fn(&mut DynamicObject, &mut bool)| {
            let mut observed = leftover(None);
            let live = observed.objects.get_mut(&key).unwrap();
            let mut object = (*live.object).clone();
            change(&mut object, &mut live.applied_by_us);
            live.object = Arc::new(object);
            decide(&observed).delete_unused_api
        };
        assert!(!changed(|_, applied_by_us| *applied_by_us = false));
        assert!(!changed(|object, _| object.metadata.labels = None));
        assert!(!changed(|object, _| {
            object.metadata.deletion_timestamp = Some(Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH));
        }));
        assert!(changed(|_, _| {}));
    }
}

mod statuses {
    use super::*;

    fn at(second: i64) -> Time {
        Time(k8s_openapi::jiff::Timestamp::from_second(second).unwrap())
    }

    fn with_deployment(mut observed: Observed, status: Value) -> Observed {
        let live = observed.objects.get_mut(&ObjectKey::new("Deployment", names::OPERAND)).unwrap();
        let mut object = (*live.object).clone();
        object.metadata.generation = Some(7);
        object.data["status"] = status;
        live.object = Arc::new(object);
        observed
    }

    fn running() -> Observed {
        let pods = json!({
            "observedGeneration": 7, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1
        });
        with_deployment(installed(json!({})), pods)
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
        assert_eq!(
            message(&told, "TargetConfigControllerDegraded"),
            "ConfigMap/jobset-manager-config: too big"
        );
        assert_eq!(
            message(&told, "JobSetOperatorStaticResourcesDegraded"),
            "ClusterRole/jobset-manager-role: no right"
        );
        assert!(short(&told).contains(&"Available True AsExpected".to_owned()));
        assert!(short(&told).contains(&"Degraded True SyncError".to_owned()));
    }

    #[test]
    fn a_missing_dependency() {
        let mut observed = ready_to_install(json!({}));
        observed.apis.clear();
        observed.secrets.clear();
        let told = tell(&observed, &[], 100);
        assert_eq!(
            short(&told),
            [
                "Available False DeploymentUnavailable",
                "Progressing False Blocked",
                "Degraded True MissingDependency",
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
            [
                "Available False DeploymentUnavailable",
                "Progressing False Blocked",
                "Degraded True RolloutStuck"
            ]
        );
        assert!(message(&told, "Degraded").contains("has timed out progressing"));
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
}
