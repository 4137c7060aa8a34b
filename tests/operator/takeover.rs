//! The takeover of an installation of the Go operator, and the ownership of the JobSet API.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jobset_tests::operator::NAMESPACE;
use jobset_tests::wait::{TIMEOUT, holds_for, wait_for};
use jobset_tests::{go_operator, objects};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, DynamicObject, PropagationPolicy};
use serde_json::{Value, json};

use crate::{CONFIGURATION, DEPLOYMENT, JOBSET_API, MUTATING, PROMPT, Suite, VALIDATING};

const OPERATOR: (&str, &str, &str) = ("operator.openshift.io/v1", "JobSetOperator", "cluster");
const CLUSTER_ROLE: (&str, &str, &str) = ("rbac.authorization.k8s.io/v1", "ClusterRole", "jobset-operator");
/// Annotation of a JobSet CRD that the operator may delete.
const CREATED_BY: &str = "operator.openshift.io/created-by";

/// The CRD and the JobSet outlive the JobSetOperator in every management state and with every propagation policy.
pub(crate) async fn jobsets_survive_every_deletion_after_a_takeover(suite: Arc<Suite>) -> Result<()> {
    use PropagationPolicy::{Background, Foreground, Orphan};
    for state in ["Managed", "Force", "Unmanaged", "Removed"] {
        for policy in [Background, Orphan, Foreground] {
            survives(&suite, state, policy.clone())
                .await
                .with_context(|| format!("{state}, deletion with policy {policy:?}"))?;
        }
    }
    reset(&suite).await?;
    suite.operator.start()?;
    suite.install(json!({})).await
}

async fn survives(suite: &Suite, state: &str, policy: PropagationPolicy) -> Result<()> {
    take_over(suite, state).await?;
    wait_until_released(suite).await?;
    if state == "Managed" {
        suite.wait_for_conditions(&["Available=True", "Progressing=False"], TIMEOUT).await?;
    }
    suite.operator.stop()?;

    let is_orphaned = matches!(policy, PropagationPolicy::Orphan);
    let parameters = DeleteParams { propagation_policy: Some(policy), ..DeleteParams::default() };
    suite.operators().await?.delete("cluster", &parameters).await?;
    // The garbage collector deletes or orphans the ConfigMap in the same step as the CRD.
    let configuration = || suite.get(CONFIGURATION.0, CONFIGURATION.1, CONFIGURATION.2);
    let operator = || async { Ok(suite.operators().await?.get_opt("cluster").await?) };
    wait_for("the JobSetOperator to be deleted", TIMEOUT, operator, Option::is_none).await?;
    if is_orphaned {
        let has_no_owner =
            |it: &Option<DynamicObject>| it.as_ref().is_none_or(|it| it.owner_references().is_empty());
        wait_for("the ConfigMap to be orphaned", TIMEOUT, configuration, has_no_owner).await?;
    } else {
        wait_for("the operand to be deleted", TIMEOUT, configuration, Option::is_none).await?;
    }
    holds_for(
        "the JobSet to be kept",
        Duration::from_secs(2),
        || async { kept(suite) },
        |kept| kept == "jobset.jobset.x-k8s.io/kept",
    )
    .await?;
    let crd = suite.get(JOBSET_API.0, JOBSET_API.1, JOBSET_API.2).await?.context("no CRD")?;
    assert_eq!(crd.metadata.deletion_timestamp, None);
    Ok(())
}

pub(crate) async fn removed_deletes_what_the_go_operator_created(suite: Arc<Suite>) -> Result<()> {
    let fixture = take_over(&suite, "Removed").await?;
    suite.wait_for_conditions(&["Available=False", "Progressing=False", "Degraded=False"], TIMEOUT).await?;
    assert_eq!(suite.condition("Progressing").await?["reason"], "Removed");
    for object in &fixture {
        if let Ok(api) = objects::api_of(&suite.client, object).await {
            assert!(api.get_opt(&object.name_any()).await?.is_none(), "{}", objects::title(object));
        }
    }
    assert_eq!(kept(&suite)?, "jobset.jobset.x-k8s.io/kept");
    wait_for(
        "the event about the JobSetOperator",
        PROMPT,
        || async { suite.kubectl.run(&["describe", "jobsetoperator", "cluster"]) },
        |description| description.contains("JobSetAPIReleased"),
    )
    .await?;

    // The Go operator created the CRD for this installation.
    suite.kubectl.run(&["delete", "jobset", "kept", "--namespace", "default"])?;
    wait_for(
        "the CRD to be deleted after the last JobSet",
        TIMEOUT,
        || async { Ok(suite.get(JOBSET_API.0, JOBSET_API.1, JOBSET_API.2).await?.is_none()) },
        |deleted| *deleted,
    )
    .await?;
    suite.install(json!({})).await
}

/// From this operator to the Go operator, and back again.
pub(crate) async fn the_operator_takes_over_a_second_time(suite: Arc<Suite>) -> Result<()> {
    suite.install(json!({})).await?;
    suite.operator.stop()?;
    let operator = suite.operators().await?.get("cluster").await?;
    let crd = go_operator::jobset_crd(&operator, NAMESPACE)?;
    let image = "registry.example/jobset:go";
    let mut objects = go_operator::objects(&operator, NAMESPACE, image)?;
    objects.push(crd);
    go_operator::update(&suite.client, &objects).await?;
    let serves = |data: &Value| {
        let status = &data["status"];
        data["spec"]["template"]["spec"]["containers"][0]["image"] == image
            && status["updatedReplicas"] == 1
            && status["availableReplicas"] == 1
    };
    suite.wait_for_object("the pod of the Go operator", DEPLOYMENT, TIMEOUT, serves).await?;
    let before = suite.get(DEPLOYMENT.0, DEPLOYMENT.1, DEPLOYMENT.2).await?.context("no Deployment")?;

    let since = jiff::Timestamp::now();
    suite.operator.start()?;
    wait_until_released(&suite).await?;
    let is_replaced = |data: &Value| data["spec"]["template"]["spec"]["containers"][0]["image"] != image;
    suite.wait_for_object("the operator's image", DEPLOYMENT, TIMEOUT, is_replaced).await?;
    suite.install(json!({})).await?;
    let role = ("rbac.authorization.k8s.io/v1", "ClusterRole", "jobset-manager-role");
    let is_narrow = |data: &Value| !data["rules"].to_string().contains("mutatingwebhookconfigurations");
    suite.wait_for_object("the role of the operand", role, TIMEOUT, is_narrow).await?;
    let after = suite.get(DEPLOYMENT.0, DEPLOYMENT.1, DEPLOYMENT.2).await?.context("no Deployment")?;
    assert_eq!(after.uid(), before.uid());
    let writes = suite.writes_since(since)?;
    let first = |object: &str| writes.iter().position(|write| write.ends_with(object));
    let (deployment, role) =
        (first("deployments/jobset-controller-manager"), first("clusterroles/jobset-manager-role"));
    assert!(deployment.is_some() && deployment < role, "the pod of the Go operator lost rights: {writes:?}");
    let unused = ("rbac.authorization.k8s.io/v1", "RoleBinding", "jobset-manager-secrets-rolebinding");
    let last = || suite.get(unused.0, unused.1, unused.2);
    wait_for("the unused role to be deleted", TIMEOUT, last, Option::is_none).await?;
    suite.install(json!({})).await?;
    let since = jiff::Timestamp::now();
    let writes = || async { suite.writes_since(since) };
    holds_for("no write in a settled cluster", Duration::from_secs(3), writes, Vec::is_empty).await
}

/// `Removed` does not remove the operand of another owner, and reports it.
pub(crate) async fn an_operand_of_another_owner_is_reported(suite: Arc<Suite>) -> Result<()> {
    let fixture = take_over(&suite, "Unmanaged").await?;
    wait_until_released(&suite).await?;
    let orphan =
        DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..DeleteParams::default() };
    suite.operators().await?.delete("cluster", &orphan).await?;
    let operator = || async { Ok(suite.operators().await?.get_opt("cluster").await?) };
    wait_for("the JobSetOperator to be deleted", TIMEOUT, operator, Option::is_none).await?;
    suite.specify(json!({"managementState": "Removed"})).await?;
    suite.wait_for_conditions(&["Progressing=False", "Degraded=False"], TIMEOUT).await?;
    let progressing = suite.condition("Progressing").await?;
    assert_eq!(progressing["reason"], "NotRemoved");
    let message = progressing["message"].as_str().unwrap();
    assert!(message.contains("app.kubernetes.io/managed-by is kustomize"), "{message}");
    run_commands(&suite, message)?;
    suite.wait_for_conditions(&["Available=False", "Progressing=False"], TIMEOUT).await?;
    let reason = || async { suite.condition("Progressing").await };
    wait_for("the operand to be removed", PROMPT, reason, |it| it["reason"] == "Removed").await?;
    for object in fixture {
        objects::delete(&suite.client, &object).await?;
    }
    reset(&suite).await?;
    suite.operator.start()?;
    suite.install(json!({})).await
}

/// The operator may not read another kind, so it decides nothing else.
pub(crate) async fn the_api_is_released_while_another_watch_fails(suite: Arc<Suite>) -> Result<()> {
    reset(&suite).await?;
    let role = suite.get(CLUSTER_ROLE.0, CLUSTER_ROLE.1, CLUSTER_ROLE.2).await?.context("no ClusterRole")?;
    let mut reduced = role.clone();
    let rules = reduced.data["rules"].as_array_mut().context("no rules")?;
    let is_of_bindings = |rule: &serde_json::Value| {
        rule["resources"].as_array().is_some_and(|kinds| kinds.contains(&json!("clusterrolebindings")))
    };
    rules.retain(|rule| !is_of_bindings(rule));
    assert_ne!(reduced, role);
    suite.patch(CLUSTER_ROLE, json!({"rules": reduced.data["rules"]})).await?;
    create_go_operator(&suite, "Managed").await?;
    suite.operator.start()?;
    let released = wait_until_released(&suite).await;
    let reported = suite.wait_for_conditions(&["TargetConfigControllerDegraded=True"], TIMEOUT).await;
    let message = suite.condition("TargetConfigControllerDegraded").await?["message"].to_string();
    suite.patch(CLUSTER_ROLE, json!({"rules": role.data["rules"]})).await?;
    released?;
    reported?;
    assert!(message.contains("cannot watch clusterrolebindings"), "{message}");
    suite.kubectl.run(&["delete", "jobset", "kept", "--namespace", "default"])?;
    reset(&suite).await?;
    suite.operator.start()?;
    suite.install(json!({})).await
}

/// After `kubectl delete --cascade=orphan`, operand and webhooks run without a JobSetOperator.
pub(crate) async fn the_api_stays_while_an_orphaned_operand_serves_it(suite: Arc<Suite>) -> Result<()> {
    suite.install(json!({})).await?;
    suite.kubectl.run(&["delete", "jobsetoperator", "cluster", "--cascade=orphan"])?;
    wait_for(
        "an event with the reason",
        TIMEOUT,
        || async {
            let field = "reason=JobSetAPIKept";
            suite.kubectl.run(&["get", "events", "--namespace", "default", "--field-selector", field])
        },
        |events| events.contains("still serves it"),
    )
    .await?;
    for (api_version, kind, name) in [JOBSET_API, DEPLOYMENT, MUTATING, VALIDATING] {
        let object = suite.get(api_version, kind, name).await?.with_context(|| format!("no {kind}"))?;
        assert_eq!(object.metadata.deletion_timestamp, None, "{kind}");
        assert_eq!(object.owner_references(), [], "{kind}");
    }
    // A new JobSetOperator adopts the operand.
    suite.install(json!({})).await?;
    let deployment = suite.get(DEPLOYMENT.0, DEPLOYMENT.1, DEPLOYMENT.2).await?.context("no Deployment")?;
    assert_eq!(deployment.owner_references()[0].kind, "JobSetOperator");
    Ok(())
}

pub(crate) async fn only_a_created_api_is_deleted(suite: Arc<Suite>) -> Result<()> {
    reset(&suite).await?;
    let operator = suite.operators().await?;
    let mut crd = go_operator::jobset_crd(&crate::job_set_operator(json!({}))?, NAMESPACE)?;
    crd.metadata.owner_references = None;
    objects::apply(&suite.client, &crd, "kubectl").await?;
    suite.operator.start()?;
    for created in [false, true] {
        suite.install(json!({})).await?;
        let is_marked = || async {
            let crd = suite.get(JOBSET_API.0, JOBSET_API.1, JOBSET_API.2).await?.context("no CRD")?;
            Ok(crd.annotations().contains_key(CREATED_BY))
        };
        wait_for("the right mark", PROMPT, is_marked, |marked| *marked == created).await?;
        operator.delete("cluster", &DeleteParams::background()).await?;
        let configuration =
            || async { Ok(suite.get(CONFIGURATION.0, CONFIGURATION.1, CONFIGURATION.2).await?.is_none()) };
        wait_for("the operand to be deleted", TIMEOUT, configuration, |deleted| *deleted).await?;
        let exists = || async { Ok(suite.get(JOBSET_API.0, JOBSET_API.1, JOBSET_API.2).await?.is_some()) };
        if created {
            wait_for("the CRD to be deleted", TIMEOUT, exists, |exists| !*exists).await?;
        } else {
            holds_for("the CRD to be kept", Duration::from_secs(3), exists, |exists| *exists).await?;
            suite.delete(JOBSET_API).await?;
            wait_for("the CRD to be deleted", TIMEOUT, exists, |exists| !*exists).await?;
        }
    }
    suite.install(json!({})).await
}

/// Runs the commands between backticks in a message.
pub(crate) fn run_commands(suite: &Suite, message: &str) -> Result<()> {
    let commands = message.split('`').nth(1).context("no command in the message")?;
    for command in commands.split(" && ") {
        let arguments = command.strip_prefix("kubectl ").context("not a command of kubectl")?;
        suite.kubectl.run(&arguments.split(' ').collect::<Vec<_>>())?;
    }
    Ok(())
}

/// Replaces the installation with one of the Go operator in this management state, with a JobSet, and starts the
/// operator. Returns the objects of the Go operator.
async fn take_over(suite: &Suite, state: &str) -> Result<Vec<DynamicObject>> {
    reset(suite).await?;
    let objects = create_go_operator(suite, state).await?;
    suite.operator.start()?;
    Ok(objects)
}

async fn create_go_operator(suite: &Suite, state: &str) -> Result<Vec<DynamicObject>> {
    suite.specify(json!({"managementState": state})).await?;
    let operator = suite.operators().await?.get("cluster").await?;
    let crd = go_operator::jobset_crd(&operator, NAMESPACE)?;
    go_operator::create(&suite.client, &[crd]).await?;
    // The JobSet comes before the webhooks, which no process serves.
    let jobset = objects::suspended_jobset("kept")?;
    let created = || async { Ok(objects::create(&suite.client, "default", &jobset, false).await.err()) };
    wait_for("the JobSet to be created", TIMEOUT, created, Option::is_none).await?;
    let objects = go_operator::objects(&operator, NAMESPACE, "registry.example/jobset:go")?;
    go_operator::create(&suite.client, &objects).await?;
    Ok(objects)
}

/// Stops the operator, and deletes everything that it, the Go operator or a test created.
async fn reset(suite: &Suite) -> Result<()> {
    suite.operator.stop()?;
    suite.delete(OPERATOR).await?;
    // Webhooks first: no process serves them.
    let named = [VALIDATING, MUTATING, JOBSET_API];
    for address in named {
        suite.delete(address).await?;
    }
    let operator = crate::job_set_operator(json!({}))?;
    for object in suite.managed()?.iter().chain(&go_operator::objects(&operator, NAMESPACE, "any")?) {
        objects::delete(&suite.client, object).await?;
    }
    wait_for(
        "the previous installation to be deleted",
        TIMEOUT,
        || async {
            let mut left = Vec::new();
            for (api_version, kind, name) in named.into_iter().chain([OPERATOR, DEPLOYMENT, CONFIGURATION]) {
                left.extend(suite.get(api_version, kind, name).await?.map(|it| objects::title(&it)));
            }
            Ok(left)
        },
        Vec::is_empty,
    )
    .await?;
    Ok(())
}

async fn wait_until_released(suite: &Suite) -> Result<()> {
    wait_for(
        "the CRD to be released",
        TIMEOUT,
        || suite.get(JOBSET_API.0, JOBSET_API.1, JOBSET_API.2),
        |crd| crd.as_ref().is_some_and(|crd| crd.owner_references().is_empty()),
    )
    .await?;
    Ok(())
}

/// The JobSet of the Go operator's time.
fn kept(suite: &Suite) -> Result<String> {
    let name = suite.kubectl.run(&["get", "jobset", "kept", "--namespace", "default", "--output", "name"])?;
    Ok(name.trim().to_owned())
}
