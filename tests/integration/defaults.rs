//! JobSets that are stored without the default values of admission.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use jobset_tests::objects;
use jobset_tests::wait::{TIMEOUT, wait_for};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::api::{Api, PostParams};
use serde_json::json;

use crate::Integration;
use crate::jobset::{LiveJobSet, counts};

/// A JobSet without default values, as a client can create it while the webhooks are not installed. Its pods still
/// have the stable names of an Indexed Job, and the controller does not change its spec.
pub(crate) async fn jobset_without_defaults_runs(suite: Arc<Integration>) -> Result<()> {
    let namespace = suite.cluster.namespace(&suite.client).await?;
    skip_defaulting(&suite, &namespace).await?;
    let probe = objects::one(
        "{apiVersion: jobset.x-k8s.io/v1alpha2, kind: JobSet, metadata: {name: probe}, spec: {replicatedJobs: []}}",
    )?;
    let dry_run = || async { Ok(objects::create(&suite.client, &namespace, &probe, true).await?) };
    let bare = |probe: &kube::api::DynamicObject| probe.data["spec"].get("network").is_none();
    wait_for("admission to skip the namespace", TIMEOUT, dry_run, bare).await?;

    let spec = "{replicatedJobs: [{name: w, template: {spec: {completions: 1, parallelism: 1}}}]}";
    let jobset = LiveJobSet::create_in(&suite, &namespace, "js", spec).await?;
    let job = jobset.jobs_become(&["w-0@0"]).await?.remove("w-0").context("the Job is missing")?;
    let spec = job.spec.context("a Job has a spec")?;
    assert_eq!(spec.completion_mode.as_deref(), Some("Indexed"));
    assert_eq!(spec.template.spec.and_then(|pod| pod.subdomain).as_deref(), Some("js"));
    jobset.counts_become(&[counts("w", [1, 0, 0, 1, 0])]).await?;
    let pods = jobset.running_pods("w-0").await?;
    assert!(pods[0].starts_with("js-w-0-0-"), "{pods:?}");
    let pod = jobset.pods.get(&pods[0]).await?;
    assert_eq!(pod.spec.and_then(|pod| pod.hostname).as_deref(), Some("js-w-0-0"));
    jobset.succeed("w-0").await?;
    jobset.status_when("completion", |status| status["terminalState"] == "Completed").await?;
    let stored = jobset.get().await?.context("the JobSet was deleted")?;
    assert_eq!(stored.metadata.generation, Some(1), "the controller changed the spec");
    assert_eq!(stored.data["spec"].get("network"), None);
    Ok(())
}

/// Excludes a namespace from the mutating webhook for JobSets.
async fn skip_defaulting(suite: &Integration, namespace: &str) -> Result<()> {
    let api: Api<MutatingWebhookConfiguration> = Api::all(suite.client.clone());
    let name = "jobset-mutating-webhook-configuration";
    let attempt = || async {
        let mut configuration = api.get(name).await?;
        let webhooks = configuration.webhooks.iter_mut().flatten();
        let of_jobsets =
            webhooks.filter(|webhook| json!(webhook.rules)[0]["resources"] == json!(["jobsets"]));
        for webhook in of_jobsets {
            let other = LabelSelectorRequirement {
                key: "kubernetes.io/metadata.name".to_owned(),
                operator: "NotIn".to_owned(),
                values: Some(vec![namespace.to_owned()]),
            };
            webhook.namespace_selector =
                Some(LabelSelector { match_expressions: Some(vec![other]), match_labels: None });
        }
        match api.replace(name, &PostParams::default(), &configuration).await {
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(false),
            other => Ok(other.map(|_| true)?),
        }
    };
    wait_for("an update of the webhook without conflict", TIMEOUT, attempt, |done| *done).await.map(drop)
}
