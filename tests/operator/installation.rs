//! Installation of the operand, and the settings and status that an administrator uses.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use jobset_tests::objects;
use jobset_tests::operator::{NAMESPACE, OPERAND_IMAGE};
use jobset_tests::rbac;
use jobset_tests::wait::{TIMEOUT, holds_for, wait_for};
use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::{Value, json};

use crate::{CONFIGURATION, DEPLOYMENT, PROMPT, Suite};

pub(crate) async fn operator_writes_nothing_without_a_jobset_operator(suite: Arc<Suite>) -> Result<()> {
    let started = jiff::Timestamp::now();
    holds_for(
        "a running operator without writes",
        Duration::from_secs(3),
        || async { Ok((suite.operator.runs(), suite.writes_since(started)?)) },
        |(runs, writes)| *runs && writes.is_empty(),
    )
    .await
}

/// The operator needs neither cert-manager nor the Prometheus operator nor OpenShift.
pub(crate) async fn operand_becomes_available_without_other_operators(suite: Arc<Suite>) -> Result<()> {
    let started = Instant::now();
    suite.install(json!({"managementState": "Managed"})).await?;
    eprintln!(
        "figure: from JobSetOperator to Available and settled, simulated pods: {:?}",
        started.elapsed()
    );
    eprintln!("figure: resident memory of the operator: {} KiB", suite.operator.resident_memory()?);

    let operator = suite.operators().await?.get("cluster").await?;
    let status = &operator.data["status"];
    assert_eq!(status["readyReplicas"], 1);
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["generations"][0]["name"], "jobset-controller-manager");
    for (kind, expected) in [
        ("Upgradeable", "True"),
        ("TargetConfigControllerDegraded", "False"),
        ("JobSetOperatorStaticResourcesDegraded", "False"),
    ] {
        assert_eq!(suite.condition(kind).await?["status"], expected, "{kind}");
    }
    let deployment = suite.get(DEPLOYMENT.0, DEPLOYMENT.1, DEPLOYMENT.2).await?.unwrap();
    let pod = &deployment.data["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["image"], OPERAND_IMAGE);
    assert_eq!(pod["volumes"][1]["secret"]["secretName"], "jobset-builtin-webhook-server-cert");
    // No object blocks the deletion of the JobSetOperator, and only the CRD has no owner.
    for object in suite.managed()? {
        let owners = object.metadata.owner_references.clone().unwrap_or_default();
        let is_api = objects::kind(&object) == "CustomResourceDefinition";
        assert_eq!(owners.len(), usize::from(!is_api), "{}", objects::title(&object));
        assert!(
            owners.iter().all(|owner| owner.block_owner_deletion.is_none()),
            "{}",
            objects::title(&object)
        );
    }
    Ok(())
}

pub(crate) async fn kubectl_shows_status_and_events(suite: Arc<Suite>) -> Result<()> {
    let shown = suite.kubectl.run(&["get", "jobsetoperators"])?;
    let rows: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "AVAILABLE", "PROGRESSING", "DEGRADED", "VERSION", "AGE"], "{shown}");
    assert_eq!(rows[1][..5], ["cluster", "True", "False", "False", env!("CARGO_PKG_VERSION")], "{shown}");
    let described = suite.kubectl.run(&["describe", "jobsetoperator", "cluster"])?;
    assert!(described.contains("Created Deployment.apps/jobset-controller-manager"), "{described}");
    Ok(())
}

/// Users with role `edit` or `view` in a namespace have access to its JobSets.
pub(crate) async fn edit_and_view_roles_include_jobsets(suite: Arc<Suite>) -> Result<()> {
    let namespace = suite.cluster.namespace(&suite.client).await?;
    for (user, role) in [("ed", "edit"), ("vic", "view")] {
        suite
            .apply(&format!(
                "
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: {user}, namespace: {namespace}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {role}}}
subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: {user}}}]
"
            ))
            .await?;
    }
    let may = |user: &str, verb: &str| {
        let output = suite.kubectl.run(&[
            "auth",
            "can-i",
            verb,
            "jobsets.jobset.x-k8s.io",
            "--namespace",
            &namespace,
            "--as",
            user,
        ]);
        // For "no", kubectl also fails.
        output.is_ok_and(|output| output.trim() == "yes")
    };
    // A controller of Kubernetes aggregates the roles.
    wait_for("ed to be allowed", TIMEOUT, || async { Ok(may("ed", "create")) }, |allowed| *allowed).await?;
    wait_for("vic to be allowed", TIMEOUT, || async { Ok(may("vic", "list")) }, |allowed| *allowed).await?;
    assert!(may("ed", "delete") && !may("vic", "create") && !may("guest", "get"));
    Ok(())
}

pub(crate) async fn settings_reach_the_operand(suite: Arc<Suite>) -> Result<()> {
    suite
        .install(json!({
            "managementState": "Managed",
            "controller": {
                "replicas": 2,
                "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
                "tolerations": [{"key": "taint", "operator": "Exists"}],
                "featureGates": {"RestartJob": true, "JobSetWorkloadAwareSchedulingAPI": true},
                "clientConnection": {"qps": 50, "burst": 100},
            },
            "unsupportedConfigOverrides": {"featureGates": {"RestartJob": false}, "webhook": {"port": 9443}},
        }))
        .await?;
    let deployment = suite.get(DEPLOYMENT.0, DEPLOYMENT.1, DEPLOYMENT.2).await?.unwrap();
    let spec = &deployment.data["spec"];
    assert_eq!(spec["replicas"], 2);
    assert_eq!(spec["template"]["spec"]["tolerations"][0]["key"], "taint");
    assert_eq!(spec["template"]["spec"]["containers"][0]["resources"]["requests"]["memory"], "64Mi");
    let budget = suite.get("policy/v1", "PodDisruptionBudget", "jobset-controller-manager").await?;
    assert!(budget.is_some());
    let configuration = configuration(&suite).await?;
    assert_eq!(configuration["clientConnection"], json!({"qps": 50.0, "burst": 100}));
    assert_eq!(
        configuration["featureGates"],
        json!({"RestartJob": false, "JobSetWorkloadAwareSchedulingAPI": true}),
        "overrides have precedence"
    );
    assert!(may_create_workloads(&suite).await?, "the role follows the gate");
    let upgradeable = suite.condition("Upgradeable").await?;
    assert_eq!(
        (&upgradeable["status"], &upgradeable["reason"]),
        (&json!("False"), &json!("UnsupportedConfigOverrides"))
    );

    let since = jiff::Timestamp::now();
    suite.install(json!({"managementState": "Managed"})).await?;
    let writes = suite.writes_since(since)?;
    let position = |write: &str| writes.iter().position(|found| found == write);
    let (applied, deleted) = (
        position("patch deployments/jobset-controller-manager"),
        position("delete poddisruptionbudgets/jobset-controller-manager"),
    );
    assert!(applied.is_some() && applied < deleted, "the operator deletes last: {writes:?}");
    assert_eq!(suite.condition("Upgradeable").await?["status"], "True");
    let budget = suite.get("policy/v1", "PodDisruptionBudget", "jobset-controller-manager").await?;
    assert!(budget.is_none(), "a single pod needs no PodDisruptionBudget");
    let deployment = suite.get(DEPLOYMENT.0, DEPLOYMENT.1, DEPLOYMENT.2).await?.unwrap();
    assert_eq!(deployment.data["spec"]["template"]["spec"].get("tolerations"), None);
    assert!(!may_create_workloads(&suite).await?, "the role follows the gate");
    Ok(())
}

/// Whether the role of the operand allows it to create Workloads.
async fn may_create_workloads(suite: &Suite) -> Result<bool> {
    let role = suite.get("rbac.authorization.k8s.io/v1", "ClusterRole", "jobset-manager-role").await?;
    let rules = role.map(|role| role.data["rules"].clone()).unwrap_or_default();
    let grants = rbac::grants(serde_json::from_value::<Vec<PolicyRule>>(rules)?);
    Ok(grants.contains(&("create".to_owned(), "scheduling.k8s.io/workloads".to_owned())))
}

/// The operator reverts a setting even if nothing else in the Deployment changes.
pub(crate) async fn a_removed_setting_is_reverted(suite: Arc<Suite>) -> Result<()> {
    for (field, value, default) in [
        ("tolerations", json!([{"key": "taint", "operator": "Exists"}]), None),
        ("nodeSelector", json!({"kubernetes.io/os": "linux"}), None),
        ("priorityClassName", json!("system-node-critical"), Some(json!("system-cluster-critical"))),
    ] {
        suite.install(json!({"controller": {field: value}})).await?;
        let pointer = format!("/spec/template/spec/{field}");
        suite
            .wait_for_object(&format!("{field} to be set"), DEPLOYMENT, PROMPT, |data| {
                data.pointer(&pointer) == Some(&value)
            })
            .await?;
        suite.specify(json!({})).await?;
        let is_reverted = |data: &Value| data.pointer(&pointer) == default.as_ref();
        suite.wait_for_object(&format!("{field} to be reverted"), DEPLOYMENT, PROMPT, is_reverted).await?;
    }
    suite.install(json!({})).await
}

/// If the API server rejects the operand's pods, the condition contains the reason.
pub(crate) async fn condition_reports_rejected_pods(suite: Arc<Suite>) -> Result<()> {
    suite.install(json!({})).await?;
    suite.specify(json!({"controller": {"priorityClassName": "no-such-class"}})).await?;
    suite.wait_for_conditions(&["Degraded=True", "Available=True"], PROMPT).await?;
    let degraded = suite.condition("Degraded").await?;
    assert_eq!(degraded["reason"], "OperandPodRefused");
    assert!(
        degraded["message"].as_str().is_some_and(|message| message.contains("no-such-class")),
        "{degraded}"
    );
    suite.install(json!({})).await
}

/// The operand's log level needs a rollout, the operator's does not.
pub(crate) async fn log_levels_take_effect(suite: Arc<Suite>) -> Result<()> {
    suite.install(json!({"logLevel": "Debug", "operatorLogLevel": "Debug"})).await?;
    let deployment = suite.get(DEPLOYMENT.0, DEPLOYMENT.1, DEPLOYMENT.2).await?.unwrap();
    let arguments = &deployment.data["spec"]["template"]["spec"]["containers"][0]["args"];
    assert_eq!(arguments[1], "--zap-log-level=debug");
    let wait_for_event = |level: &'static str| {
        let suite = Arc::clone(&suite);
        async move {
            wait_for(
                "an event about the change",
                PROMPT,
                || async {
                    suite.kubectl.run(&[
                        "events",
                        "--for",
                        "jobsetoperator/cluster",
                        "--namespace",
                        "default",
                    ])
                },
                |events| events.contains(&format!("to \"{level}\"")),
            )
            .await
        }
    };
    wait_for_event("Debug").await?;
    let log = std::fs::read_to_string(suite.operator.log())?;
    assert!(log.contains("\"level\":\"DEBUG\""), "the log contains no debug lines");
    suite.install(json!({})).await?;
    wait_for_event("Normal").await?;
    Ok(())
}

/// Reads the operand's configuration.
pub(crate) async fn configuration(suite: &Suite) -> Result<Value> {
    let config_map = suite.get(CONFIGURATION.0, CONFIGURATION.1, CONFIGURATION.2).await?.unwrap();
    assert_eq!(config_map.metadata.namespace.as_deref(), Some(NAMESPACE));
    let text = config_map.data["data"]["controller_manager_config.yaml"].as_str().unwrap().to_owned();
    Ok(serde_yaml::from_str(&text)?)
}
