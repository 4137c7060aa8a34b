//! `spec.scheduling` in the API server: the rules of the schema, the default, and the rules of the webhook.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use jobset_tests::objects::{self, Refusal};
use kube::api::{Api as KubeApi, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::Api;
use crate::crds::{jobset, refused};
use crate::kubectl::{kubectl, text};

const TEMPLATE: &str = "template: {spec: {template: {spec: {containers: [{name: c, image: i}]}}}}";

/// A JobSet that no controller reconciles, with ReplicatedJobs `driver` and `worker`. `spec` is the rest of its spec.
fn with_spec(name: &str, spec: &str) -> Result<DynamicObject> {
    jobset(&format!(
        "{name}: {{managedBy: example.com/none, {spec}, replicatedJobs: [{{name: driver, {TEMPLATE}}}, \
         {{name: worker, replicas: 2, {TEMPLATE}}}]}}"
    ))
}

fn with_scheduling(name: &str, scheduling: &str) -> Result<DynamicObject> {
    with_spec(name, &format!("scheduling: {scheduling}"))
}

/// Entries for `driver` and `worker`, the latter with more fields.
fn of_worker(fields: &str) -> String {
    format!(
        "{{replicatedJobs: [{{targetReplicatedJobs: [driver]}}, {{targetReplicatedJobs: [worker], {fields}}}]}}"
    )
}

pub(crate) async fn invalid_scheduling_is_rejected_by_the_schema(api: Arc<Api>) -> Result<()> {
    let one_policy = "exactly one of basic or gang must be set";
    let entry = "spec.scheduling.replicatedJobs[1]";
    for (scheduling, field, message) in [
        (
            "{schedulingPolicy: {gang: {minGroupCount: 1}}}".to_owned(),
            "spec.scheduling.schedulingPolicy.gang".to_owned(),
            "minGroupCount is not supported",
        ),
        (
            of_worker("schedulingPolicy: {gang: {minGroupCount: 0}}"),
            format!("{entry}.schedulingPolicy.gang"),
            "minGroupCount is not supported",
        ),
        ("{schedulingPolicy: {}}".into(), "spec.scheduling.schedulingPolicy".into(), one_policy),
        (
            "{schedulingPolicy: {basic: {}, gang: {}}}".into(),
            "spec.scheduling.schedulingPolicy".into(),
            one_policy,
        ),
        (of_worker("schedulingPolicy: {}"), format!("{entry}.schedulingPolicy"), one_policy),
        (
            of_worker("schedulingPolicy: {basic: {}, gang: {}}"),
            format!("{entry}.schedulingPolicy"),
            one_policy,
        ),
        (of_worker("job: {schedulingPolicy: {}}"), format!("{entry}.job.schedulingPolicy"), one_policy),
        (
            of_worker("job: {schedulingPolicy: {basic: {}, gang: {}}}"),
            format!("{entry}.job.schedulingPolicy"),
            one_policy,
        ),
        (
            of_worker("job: {schedulingPolicy: {gang: {minCount: 0}}}"),
            format!("{entry}.job.schedulingPolicy.gang"),
            "minCount must be a positive integer",
        ),
        (
            of_worker("job: {schedulingPolicy: {gang: {minCount: -1}}}"),
            format!("{entry}.job.schedulingPolicy.gang"),
            "minCount must be a positive integer",
        ),
        (
            "{schedulingPolicy: {gang: {}}, replicatedJobs: [{targetReplicatedJobs: [driver, worker]}]}"
                .into(),
            "spec.scheduling".into(),
            "cannot be set together with replicatedJobs",
        ),
        (
            "{schedulingConstraints: {}, replicatedJobs: [{targetReplicatedJobs: [driver, worker]}]}".into(),
            "spec.scheduling".into(),
            "cannot be set together with replicatedJobs",
        ),
        (
            "{disruptionMode: {all: {}}, replicatedJobs: [{targetReplicatedJobs: [driver, worker]}]}".into(),
            "spec.scheduling".into(),
            "cannot be set together with replicatedJobs",
        ),
        (
            "{replicatedJobs: [{targetReplicatedJobs: [driver, worker], job: {}}]}".into(),
            "spec.scheduling.replicatedJobs[0]".into(),
            "when job is set",
        ),
        (of_worker("job: {}, schedulingPolicy: {gang: {}}"), entry.into(), "when job is set"),
        (of_worker("job: {}, schedulingConstraints: {}"), entry.into(), "when job is set"),
        (of_worker("job: {}, disruptionMode: {single: {}}"), entry.into(), "when job is set"),
        (
            "{disruptionMode: {}}".into(),
            "spec.scheduling.disruptionMode".into(),
            "exactly one of single or all must be set",
        ),
        (
            "{schedulingConstraints: {topology: [{key: rack}, {key: zone}]}}".into(),
            "spec.scheduling.schedulingConstraints.topology".into(),
            "must have at most 1 item",
        ),
        (
            "{schedulingConstraints: {topology: [{key: \"no label\"}]}}".into(),
            "spec.scheduling.schedulingConstraints.topology[0].key".into(),
            "should match",
        ),
        (
            "{replicatedJobs: [{targetReplicatedJobs: []}]}".into(),
            "spec.scheduling.replicatedJobs[0].targetReplicatedJobs".into(),
            "should have at least 1 items",
        ),
        (
            "{replicatedJobs: [{}]}".into(),
            "spec.scheduling.replicatedJobs[0].targetReplicatedJobs".into(),
            "Required value",
        ),
        (
            "{replicatedJobs: [{targetReplicatedJobs: [driver, worker, driver]}]}".into(),
            "spec.scheduling.replicatedJobs[0].targetReplicatedJobs[2]".into(),
            "Duplicate value: \"driver\"",
        ),
        (
            of_worker("job: {resourceClaims: [{name: gpu}]}"),
            format!("{entry}.job.resourceClaims[0]"),
            "exactly one of resourceClaimName or resourceClaimTemplateName must be set",
        ),
        (
            of_worker(
                "job: {resourceClaims: [{name: gpu, resourceClaimName: a, resourceClaimTemplateName: b}]}",
            ),
            format!("{entry}.job.resourceClaims[0]"),
            "exactly one of resourceClaimName or resourceClaimTemplateName must be set",
        ),
        (
            of_worker(
                "job: {resourceClaims: [{name: gpu, resourceClaimName: a}, {name: gpu, resourceClaimName: b}]}",
            ),
            format!("{entry}.job.resourceClaims"),
            "names of resourceClaims must be unique",
        ),
        (
            of_worker(&format!(
                "job: {{resourceClaims: [{}]}}",
                ["{name: a, resourceClaimName: a}"; 5].join(", ")
            )),
            format!("{entry}.job.resourceClaims"),
            "must have at most 4 items",
        ),
    ] {
        let refusal =
            refused(&api, &with_scheduling("wrong", &scheduling)?).await.context(scheduling.clone())?;
        let expected = format!("{field}: ");
        assert!(
            refusal.code == 422 && refusal.message.contains(&expected) && refusal.message.contains(message),
            "{scheduling}: expected {expected}{message}\n  actual: {refusal}"
        );
        assert!(!refusal.message.contains("admission webhook"), "{scheduling}: {refusal}");
    }
    Ok(())
}

pub(crate) async fn valid_scheduling_is_accepted_and_defaulted(api: Arc<Api>) -> Result<()> {
    let gang = json!({"gang": {}});
    for (scheduling, policy) in [
        ("{}".to_owned(), Some(&gang)),
        ("{schedulingPolicy: {gang: {}}}".into(), Some(&gang)),
        ("{schedulingPolicy: {basic: {}}}".into(), Some(&json!({"basic": {}}))),
        ("{disruptionMode: {all: {}}, schedulingConstraints: {topology: [{key: topology.kubernetes.io/rack}]}}".into(), Some(&gang)),
        ("{replicatedJobs: [{targetReplicatedJobs: [driver, worker]}]}".into(), None),
        (of_worker("schedulingPolicy: {basic: {}}, disruptionMode: {single: {}}"), None),
        (
            of_worker(
                "job: {schedulingPolicy: {gang: {minCount: 1}}, schedulingConstraints: {topology: [{key: rack}]},
                disruptionMode: {all: {}}, resourceClaims: [{name: a, resourceClaimName: x}, {name: b, resourceClaimTemplateName: y.z}]}",
            ),
            None,
        ),
    ] {
        let created = objects::create(&api.client, "default", &with_scheduling("right", &scheduling)?, true)
            .await
            .with_context(|| scheduling.clone())?;
        let stored = &created.data["spec"]["scheduling"];
        assert_eq!(stored.get("schedulingPolicy"), policy, "{scheduling}: {stored}");
        let sent: Value = serde_yaml::from_str(&scheduling)?;
        let mut expected = sent.clone();
        if let Some(policy) = policy {
            expected["schedulingPolicy"] = policy.clone();
        }
        assert_eq!(*stored, expected, "{scheduling}");
    }
    Ok(())
}

/// The API server's response to a merge patch that it does not store.
async fn try_patch(jobsets: &KubeApi<DynamicObject>, name: &str, spec: Value) -> Result<Value, Refusal> {
    let params = PatchParams { dry_run: true, ..PatchParams::default() };
    let response = jobsets.patch(name, &params, &Patch::Merge(json!({"spec": spec}))).await;
    response.map(|changed| changed.data["spec"].clone()).map_err(Refusal::from)
}

/// Creates a suspended JobSet. `stopped` is the status of its condition Suspended.
async fn suspended(
    api: &Api,
    mut jobset: DynamicObject,
    stopped: &str,
) -> Result<(KubeApi<DynamicObject>, DynamicObject)> {
    jobset.data["spec"]["suspend"] = json!(true);
    let namespace = api.cluster.namespace(&api.client).await?;
    let created = objects::create(&api.client, &namespace, &jobset, false).await?;
    let jobsets = objects::api_of(&api.client, &created).await?;
    let name = created.metadata.name.as_deref().unwrap_or_default();
    let status = json!({"restarts": 0, "conditions": [{"type": "Suspended", "status": stopped, "reason": "R",
        "message": "", "lastTransitionTime": "2026-01-28T11:13:43Z"}]});
    let patch = Patch::Merge(json!({"status": status}));
    jobsets.patch_status(name, &PatchParams::default(), &patch).await?;
    Ok((jobsets, created))
}

pub(crate) async fn scheduling_without_groups_allows_no_startup_order(api: Arc<Api>) -> Result<()> {
    let (in_order, any_order) =
        ("startupPolicy: {startupPolicyOrder: InOrder}", "startupPolicy: {startupPolicyOrder: AnyOrder}");
    let message = "cannot be set with DependsOn or InOrder startup";
    let depends_on = |list: Value, scheduling: &str| -> Result<DynamicObject> {
        let mut object = with_scheduling("ordered", scheduling)?;
        object.data["spec"]["replicatedJobs"][1]["dependsOn"] = list;
        Ok(object)
    };
    let on_driver = || json!([{"name": "driver", "status": "Ready"}]);
    let separate = of_worker("schedulingPolicy: {gang: {}}");
    for scheduling in
        ["{}", "{schedulingPolicy: {gang: {}}}", "{schedulingPolicy: {basic: {}}}", "{replicatedJobs: []}"]
    {
        for invalid in [
            with_spec("ordered", &format!("{in_order}, scheduling: {scheduling}"))?,
            depends_on(on_driver(), scheduling)?,
        ] {
            let refusal = refused(&api, &invalid).await.context(scheduling)?;
            assert!(
                refusal.message.contains("spec.scheduling: Invalid value: ")
                    && refusal.message.contains(message),
                "{scheduling}: {refusal}"
            );
        }
        for valid in [
            with_spec("ordered", &format!("{any_order}, scheduling: {scheduling}"))?,
            depends_on(json!([]), scheduling)?,
        ] {
            objects::create(&api.client, "default", &valid, true).await.context(scheduling)?;
        }
    }
    for valid in [
        with_spec("ordered", &format!("{in_order}, scheduling: {separate}"))?,
        depends_on(on_driver(), &separate)?,
    ] {
        objects::create(&api.client, "default", &valid, true).await.context("separate groups")?;
    }

    let (jobsets, _) = suspended(&api, depends_on(on_driver(), &separate)?, "True").await?;
    let change = json!({"scheduling": {"replicatedJobs": null, "schedulingPolicy": {"gang": {}}}});
    let refusal = try_patch(&jobsets, "ordered", change).await.err().context("the API server accepted it")?;
    assert!(refusal.message.contains("spec.scheduling: ") && refusal.message.contains(message), "{refusal}");
    Ok(())
}

/// The texts of errors, as the JobSet API writes them. The unit tests have every rule.
pub(crate) async fn invalid_scheduling_is_denied(api: Arc<Api>) -> Result<()> {
    let mut invalid =
        with_scheduling("denied", &of_worker("job: {schedulingPolicy: {gang: {minCount: 2}}}"))?;
    let jobs = &mut invalid.data["spec"]["replicatedJobs"];
    jobs[1]["replicas"] = json!(8);
    jobs[1]["template"]["spec"]["scheduling"] = json!({"schedulingPolicy": {"gang": {}}});
    jobs[1]["template"]["spec"]["template"]["spec"]["schedulingGroup"] = json!({"podGroupName": "mine"});
    let pod = "spec.replicatedJobs[1].template.spec.template.spec";
    let refusal = refused(&api, &invalid).await?;
    let expected = [
        "spec.replicatedJobs[1].template.spec.scheduling: Forbidden: cannot be set when spec.scheduling is configured; use \
         spec.scheduling instead"
            .to_owned(),
        format!(
            "{pod}.schedulingGroup: Forbidden: cannot be set directly when spec.scheduling is configured; the JobSet \
             controller manages this field"
        ),
        "spec.scheduling.replicatedJobs[1].job.schedulingPolicy.gang.minCount: Invalid value: 2: cannot exceed the \
         per-Job pod count (parallelism) of replicatedJob \"worker\" (1)"
            .to_owned(),
        "spec.scheduling: Too many: 9: must have at most 8 items".to_owned(),
    ];
    assert_eq!(
        refusal.message,
        format!(
            "admission webhook \"vjobset.kb.io\" denied the request: JobSet.jobset.x-k8s.io \"denied\" is invalid: [{}]",
            expected.join(", ")
        )
    );
    Ok(())
}

pub(crate) async fn scheduling_can_change_while_stopped(api: Arc<Api>) -> Result<()> {
    let basic = || json!({"scheduling": {"schedulingPolicy": {"gang": null, "basic": {}}}});
    let head = |name: &str| {
        format!(
            "admission webhook \"vjobset.kb.io\" denied the request: JobSet.jobset.x-k8s.io \"{name}\" is invalid: \
             spec.scheduling: "
        )
    };
    let immutable = |name: &str| head(name) + "Invalid value: \"\": field is immutable";
    let removed = |name: &str| head(name) + "Forbidden: cannot be removed once set";
    for (name, status, change, expected) in [
        ("stopped", "True", basic(), None),
        ("stopping", "False", basic(), Some(immutable("stopping"))),
        ("removed", "True", json!({"scheduling": null}), Some(removed("removed"))),
        (
            "resumed",
            "True",
            json!({"suspend": false, "scheduling": {"schedulingPolicy": {"gang": null, "basic": {}}}}),
            Some(immutable("resumed")),
        ),
    ] {
        let (jobsets, _) = suspended(&api, with_scheduling(name, "{}")?, status).await?;
        let refusal = try_patch(&jobsets, name, change).await.err();
        assert_eq!(refusal.map(|refusal| refusal.message), expected, "{name}");
    }

    let (jobsets, _) = suspended(&api, with_spec("added", "ttlSecondsAfterFinished: 5")?, "True").await?;
    let spec = try_patch(&jobsets, "added", json!({"scheduling": {}})).await?;
    assert_eq!(spec["scheduling"], json!({"schedulingPolicy": {"gang": {}}}), "added to a stopped JobSet");
    Ok(())
}

/// `kubectl replace` and server-side apply send the file, without the default.
pub(crate) async fn empty_scheduling_can_be_sent_again(api: Arc<Api>) -> Result<()> {
    let namespace = api.cluster.namespace(&api.client).await?;
    for first in [&["create"][..], &["apply"], &["apply", "--server-side"]] {
        let name = first.join("").replace("--", "-");
        let mut manifest = with_scheduling(&name, "{}")?;
        manifest.metadata.namespace = Some(namespace.clone());
        let input = serde_json::to_string(&manifest)?;
        let jobsets = objects::api_of(&api.client, &manifest).await?;
        let verb = if first == ["create"] { &["replace"] } else { first };
        for (time, verb) in [first, verb, verb].into_iter().enumerate() {
            let output = kubectl(&api, &[verb, &["-f", "-"]].concat(), &input).await?;
            ensure!(output.status.success(), "{verb:?}: {}", text(&output.stderr));
            let live = jobsets.get(&name).await?;
            assert_eq!(
                live.data["spec"]["scheduling"],
                json!({"schedulingPolicy": {"gang": {}}}),
                "{verb:?}"
            );
            assert_eq!(live.metadata.generation, Some(1), "{verb:?}, time {time}");
        }
    }
    Ok(())
}
