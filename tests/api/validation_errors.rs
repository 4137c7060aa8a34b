//! Errors of the validating webhook, as the API server returns them to a client: texts, order, causes, and generated
//! names.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use jobset_tests::objects;
use kube::api::PostParams;
use serde_json::json;

use crate::Api;
use crate::crds::{jobset, refused};

const TEMPLATE: &str = "template: {spec: {template: {spec: {containers: [{name: c, image: i}]}}}}";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an \
    alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
    validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_1123: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or \
    '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/// Start of each message, which the API server and the JobSet API put before the errors.
fn head(name: &str) -> String {
    format!(
        "admission webhook \"vjobset.kb.io\" denied the request: JobSet.jobset.x-k8s.io \"{name}\" is invalid: "
    )
}

pub(crate) async fn single_error_is_the_whole_message(api: Arc<Api>) -> Result<()> {
    let worker = format!("{{name: worker, {TEMPLATE}}}");
    let plain = |text: &str| format!("<nil>: Internal error: {text}");
    let indexed = "{name: worker, template: {spec: {completions: 2, template: {spec: {containers: [{name: c, image: i}]}}}}}";
    for (spec, expected) in [
        (
            format!(
                "gate: {{failurePolicy: {{restartStrategy: InPlaceRestart}}, replicatedJobs: [{worker}]}}"
            ),
            plain(
                "InPlaceRestart restart strategy cannot be set when InPlaceRestart feature gate is disabled",
            ),
        ),
        (
            format!("empty: {{replicatedJobs: [{{name: worker, dependsOn: [], {TEMPLATE}}}]}}"),
            plain("DependsOn can't be set for the first ReplicatedJob"),
        ),
        (
            format!("dotted: {{network: {{subdomain: a.b}}, replicatedJobs: [{worker}]}}"),
            format!("spec.network.subdomain: Invalid value: \"a.b\": {LABEL_1035}"),
        ),
        (
            format!("long: {{network: {{subdomain: {}}}, replicatedJobs: [{worker}]}}", "a".repeat(64)),
            format!(
                "spec.network.subdomain: Invalid value: \"{}\": .spec.network.subdomain is too long, must be less than 63 characters",
                "a".repeat(64)
            ),
        ),
        (
            format!("managed: {{managedBy: \"\", replicatedJobs: [{worker}]}}"),
            "spec.managedBy: Required value".into(),
        ),
        (
            format!("far: {{managedBy: example.com/{}, replicatedJobs: [{worker}]}}", "p".repeat(52)),
            "spec.managedBy: Too long: may not be more than 63 bytes".into(),
        ),
        (
            format!("group: {{replicatedJobs: [{{name: worker, groupName: 9lives, {TEMPLATE}}}]}}"),
            format!("spec.replicatedJobs[0].groupName: Invalid value: \"9lives\": {LABEL_1035}"),
        ),
        (
            format!(
                "target: {{successPolicy: {{operator: All, targetReplicatedJobs: [ghost]}}, replicatedJobs: [{worker}]}}"
            ),
            plain("invalid replicatedJob name 'ghost' does not appear in .spec.ReplicatedJobs"),
        ),
        (
            format!(
                "restart: {{failurePolicy: {{rules: [{{name: 1st, action: RestartJob}}]}}, replicatedJobs: [{worker}]}}"
            ),
            plain(
                "RestartJob and RestartJobAndIgnoreMaxRestarts failure policy actions are not allowed when RestartJob feature gate is disabled",
            ),
        ),
        (
            format!(
                "rule: {{failurePolicy: {{rules: [{{name: {}, action: FailJobSet}}]}}, replicatedJobs: [{worker}]}}",
                "r".repeat(129)
            ),
            plain(
                "invalid failure policy rule name of length 129, the rule name must be at least 1 characters long and at most 128 characters long",
            ),
        ),
        (
            format!(
                "twins: {{failurePolicy: {{rules: [{{name: r, action: FailJobSet}}, {{name: s, action: FailJobSet}}, {{name: r, action: RestartJobSet}}]}}, replicatedJobs: [{worker}]}}"
            ),
            plain("rule names are not unique, rules with indices [0 2] all have the same name 'r'"),
        ),
        (
            format!(
                "index: {{coordinator: {{replicatedJob: worker, jobIndex: -1}}, replicatedJobs: [{indexed}]}}"
            ),
            plain("coordinator job index -1 is invalid for replicatedJob worker"),
        ),
        (
            format!("countless: {{coordinator: {{replicatedJob: worker}}, replicatedJobs: [{worker}]}}"),
            plain(
                "job for coordinator pod must be indexed completion mode, and completions number must be set",
            ),
        ),
    ] {
        let object = jobset(&spec)?;
        let name = object.metadata.name.clone().unwrap_or_default();
        let refusal = refused(&api, &object).await.with_context(|| spec.clone())?;
        assert_eq!((refusal.code, refusal.message), (422, head(&name) + &expected));
    }
    Ok(())
}

pub(crate) async fn all_errors_are_reported_in_order(api: Arc<Api>) -> Result<()> {
    let mut object = jobset(&format!(
        "wrong: {{
          failurePolicy: {{restartStrategy: InPlaceRestart, rules: [{{name: 1st, action: FailJobSet, onJobFailureReasons: [Boredom]}}]}},
          network: {{subdomain: Up_per}}, managedBy: kueue,
          replicatedJobs: [{{name: driver, groupName: '', dependsOn: [{{name: driver, status: Ready}}], {TEMPLATE}}}, {{name: worker, dependsOn: [{{name: ghost, status: Ready}}], {TEMPLATE}}}],
          successPolicy: {{operator: All, targetReplicatedJobs: [ghost]}},
          coordinator: {{replicatedJob: ghost}}}}"
    ))?;
    object.metadata.namespace = Some("default".into());
    let expected = [
        ("<nil>", "Internal error: InPlaceRestart restart strategy cannot be set when InPlaceRestart feature gate is disabled".to_owned()),
        ("<nil>", "Internal error: DependsOn can't be set for the first ReplicatedJob".into()),
        ("spec.network.subdomain", format!("Invalid value: \"Up_per\": {SUBDOMAIN_1123}")),
        ("spec.network.subdomain", format!("Invalid value: \"Up_per\": {LABEL_1035}")),
        ("spec.managedBy", "Invalid value: \"kueue\": must be a domain-prefixed path (such as \"acme.io/foo\")".into()),
        ("spec.replicatedJobs[0].groupName", format!("Invalid value: \"\": {LABEL_1035}")),
        ("<nil>", "Internal error: replicatedJob: worker cannot depend on replicatedJob: ghost".into()),
        ("<nil>", "Internal error: invalid replicatedJob name 'ghost' does not appear in .spec.ReplicatedJobs".into()),
        ("<nil>", "Internal error: invalid failure policy rule name '1st', a failure policy rule name must start with an \
            alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an \
            alphanumeric character or '_'".into()),
        ("<nil>", "Internal error: invalid job failure reason 'Boredom' in failure policy is not a recognized job failure reason".into()),
        ("<nil>", "Internal error: coordinator replicatedJob ghost does not exist".into()),
    ];
    let jobsets = objects::api_of(&api.client, &object).await?;
    let Err(kube::Error::Api(status)) =
        jobsets.create(&PostParams { dry_run: true, ..PostParams::default() }, &object).await
    else {
        bail!("the API server accepted the JobSet")
    };
    assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"));
    let texts: Vec<_> = expected.iter().map(|(field, text)| format!("{field}: {text}")).collect();
    assert_eq!(status.message, format!("{}[{}]", head("wrong"), texts.join(", ")));

    // Clients such as kubectl print each cause.
    let details = status.details.clone().context("the status has no details")?;
    assert_eq!(
        (details.group.as_str(), details.kind.as_str(), details.name.as_str()),
        ("jobset.x-k8s.io", "JobSet", "wrong")
    );
    let causes: Vec<_> =
        details.causes.iter().map(|cause| (cause.field.as_str(), cause.message.clone())).collect();
    assert_eq!(causes, expected);
    Ok(())
}

pub(crate) async fn existing_claims_are_validated(api: Arc<Api>) -> Result<()> {
    let namespace = api.cluster.namespace(&api.client).await?;
    let claim = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data-claimant"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "volumeMode": "Filesystem"},
    }))?;
    objects::create(&api.client, &namespace, &claim, false).await?;
    let with = |policy: &str| {
        jobset(&format!(
            "claimant: {{suspend: true, volumeClaimPolicies: [{policy}], replicatedJobs: [{{name: worker, {}}}]}}",
            TEMPLATE.replace("image: i", "image: i, volumeMounts: [{name: data, mountPath: /data}]")
        ))
    };
    let spec =
        "accessModes: [ReadWriteOnce], resources: {requests: {storage: 1024Mi}}, volumeMode: Filesystem";
    let accepted = with(&format!(
        "{{retentionPolicy: {{whenDeleted: Retain}}, templates: [{{metadata: {{name: data}}, spec: {{{spec}}}}}]}}"
    ))?;
    objects::create(&api.client, &namespace, &accepted, true).await?;

    let deleting = with(&format!("{{templates: [{{metadata: {{name: data}}, spec: {{{spec}}}}}]}}"))?;
    let refusal = objects::create(&api.client, &namespace, &deleting, true)
        .await
        .err()
        .context("the API server accepted the JobSet")?;
    let retain = "spec.volumeClaimPolicies[0].retentionPolicy.whenDeleted: Invalid value: \"Delete\": retentionPolicy must be retain when PVC exists";
    assert_eq!(refusal.message, head("claimant") + retain);

    let other = with("{templates: [{metadata: {name: data}, spec: {accessModes: [ReadWriteMany]}}]}")?;
    let refusal = objects::create(&api.client, &namespace, &other, true)
        .await
        .err()
        .context("the API server accepted the JobSet")?;
    let text = format!("spec does not match existing PVC data-claimant in namespace {namespace}, {retain}]");
    assert!(
        refusal.message.starts_with(&format!(
            "{}[spec.volumeClaimPolicies[0].template[0].spec: Invalid value: {{",
            head("claimant")
        )),
        "{refusal}"
    );
    assert!(refusal.message.ends_with(&text), "{refusal}");
    Ok(())
}

pub(crate) async fn generated_suffix_counts_toward_the_name_limit(api: Arc<Api>) -> Result<()> {
    let generated = |base: &str| {
        let mut object =
            jobset(&format!("n: {{suspend: true, replicatedJobs: [{{name: worker, {TEMPLATE}}}]}}"))?;
        object.metadata.name = None;
        object.metadata.generate_name = Some(base.to_owned());
        anyhow::Ok(object)
    };
    let created = objects::create(&api.client, "default", &generated("train-")?, true).await?;
    let name = created.metadata.name.unwrap_or_default();
    assert!(name.starts_with("train-") && name.len() == "train-".len() + 5, "{name}");

    // 49 characters, 5 random characters and "-worker-0" are 63 characters, the maximum.
    objects::create(&api.client, "default", &generated(&"a".repeat(49))?, true).await?;
    let refusal = refused(&api, &generated(&"a".repeat(50))?).await?;
    assert_eq!(refusal.code, 422);
    assert!(
        refusal.message.ends_with(
            "-worker-0\": JobSet name is too long, job names generated for this JobSet will exceed 63 characters"
        ),
        "{refusal}"
    );
    Ok(())
}
