//! Output of kubectl: explanations of fields, applied examples, warnings and errors.

use std::process::{Output, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use jobset_tests::objects;
use jobset_tests::wait::{TIMEOUT, wait_for};

use crate::Api;

/// Runs kubectl with this input and returns its output, also if kubectl fails. The editor of `kubectl edit` changes
/// nothing.
pub(crate) async fn kubectl(api: &Api, args: &[&str], input: &str) -> Result<Output> {
    use tokio::io::AsyncWriteExt as _;
    let mut command = tokio::process::Command::from(api.cluster.kubectl()?.command());
    command.env("KUBE_EDITOR", "true");
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    stdin.write_all(input.as_bytes()).await?;
    drop(stdin);
    Ok(child.wait_with_output().await?)
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) async fn fields_are_explained(api: Arc<Api>) -> Result<()> {
    let kubectl = api.cluster.kubectl()?;
    for (path, expected) in [
        ("jobset", &["KIND:       JobSet", "VERSION:    v1alpha2", "spec\t<Object>", "status\t<Object>"][..]),
        (
            "jobset.spec",
            &["replicatedJobs\t<[]Object>", "ttlSecondsAfterFinished\t<integer>", "coordinator\t<Object>"],
        ),
        ("jobset.spec.successPolicy", &["operator\t<string> -required-", "enum: All, Any"]),
        (
            "jobset.spec.failurePolicy.rules",
            &["action\t<string> -required-", "onJobFailureMessagePatterns\t<[]string>"],
        ),
        (
            "jobset.spec.replicatedJobs.template.spec.template.spec",
            &[
                "containers\t<[]Object> -required-",
                "nodeSelector\t<map[string]string>",
                "restartPolicy\t<string>",
                "tolerations\t<[]Object>",
            ],
        ),
        (
            "jobset.spec.replicatedJobs.template.spec.template.spec.containers.resources",
            &["limits\t<map[string]", "requests\t<map[string]"],
        ),
        (
            "jobset.spec.volumeClaimPolicies.templates.spec",
            &["storageClassName\t<string>", "accessModes\t<[]string>"],
        ),
        (
            "jobset.status.replicatedJobsStatus",
            &["succeeded\t<integer> -required-", "suspended\t<integer> -required-"],
        ),
    ] {
        // The API server publishes the schema of a new CRD shortly after it starts to serve the CRD.
        let explain =
            || async { Ok(kubectl.run(&["explain", path]).unwrap_or_else(|error| format!("{error:#}"))) };
        let output = wait_for("kubectl to explain a field", TIMEOUT, explain, |output: &String| {
            output.contains("DESCRIPTION:")
        })
        .await?;
        for part in expected {
            assert!(
                output
                    .replace("  ", "\t")
                    .replace("\t\t", "\t")
                    .contains(&part.replace("  ", "\t").replace("\t\t", "\t")),
                "{path}: no {part:?} in\n{output}"
            );
        }
        assert!(
            !output.contains("<no description>") && !output.contains("<empty>"),
            "{path} has no description:\n{output}"
        );
    }
    Ok(())
}

pub(crate) async fn examples_can_be_applied(api: Arc<Api>) -> Result<()> {
    let namespace = api.cluster.namespace(&api.client).await?;
    let examples = objects::example_files()?;
    assert!(examples.len() >= 2, "{examples:?}");
    for path in examples {
        let file = path.display().to_string();
        let name = objects::read(&path)?.first().and_then(|it| it.metadata.name.clone()).unwrap_or_default();
        for (args, end) in [
            (vec!["apply", "--dry-run=server", "-f", &file], "created (server dry run)"),
            (vec!["apply", "--server-side", "-f", &file], "serverside-applied"),
            (vec!["apply", "--server-side", "-f", &file], "serverside-applied"),
            (vec!["delete", "-f", &file], "deleted"),
            (vec!["create", "-f", &file], "created"),
            (vec!["delete", "-f", &file], "deleted"),
            (vec!["apply", "-f", &file], "created"),
            // kubectl prints "unchanged", or "configured" if the controller writes the status at the same time.
            (vec!["apply", "-f", &file], ""),
            (vec!["replace", "-f", &file], "replaced"),
            (vec!["delete", "-f", &file], "deleted"),
        ] {
            let output = kubectl(&api, &[&args[..], &["--namespace", &namespace]].concat(), "").await?;
            let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
            assert!(output.status.success(), "{args:?}: {stderr}");
            assert!(stdout.contains(&name), "{stdout}");
            let result = stdout.trim_end().trim_end_matches(&format!(" from {namespace} namespace"));
            assert!(result.ends_with(end), "{args:?}: {result}");
            assert_eq!(stderr, "", "{args:?}");
        }
    }
    Ok(())
}

pub(crate) async fn warnings_are_shown(api: Arc<Api>) -> Result<()> {
    let worker = |more: &str| {
        format!(
            "{{name: worker, {more} template: {{spec: {{template: {{spec: {{containers: [{{name: c, image: i}}]}}}}}}}}}}"
        )
    };
    let nine: Vec<_> = (0..9).map(|i| worker("").replace("name: worker", &format!("name: w{i}"))).collect();
    let unschedulable = worker("").replace("{spec: {template", "{metadata: {annotations: {alpha.jobset.sigs.k8s.io/exclusive-topology: rack}}, spec: {completionMode: NonIndexed, template");
    for (metadata, spec, expected) in [
        (
            "name: cyclic",
            format!(
                "replicatedJobs: [{}, {}]",
                worker("").replace("worker", "driver"),
                worker("dependsOn: [{name: worker, status: Ready}],")
            ),
            "spec.replicatedJobs[1].dependsOn[0].name: \"worker\" waits for itself and will never start; name an earlier replicatedJob, or remove the entry",
        ),
        (
            "name: exclusive",
            format!("replicatedJobs: [{unschedulable}]"),
            "spec.replicatedJobs[0].template.spec.completionMode: \"NonIndexed\": with annotation alpha.jobset.sigs.k8s.io/exclusive-topology, no pod of this Job is ever created; set Indexed, or remove the annotation",
        ),
        (
            "name: queued, labels: {kueue.x-k8s.io/queue-name: q}",
            format!("replicatedJobs: [{}]", nine.join(", ")),
            "spec.replicatedJobs: Kueue admits at most 8 replicatedJobs and this JobSet has 9; merge some, or remove the label kueue.x-k8s.io/queue-name",
        ),
        (
            "name: matches",
            format!(
                "failurePolicy: {{rules: [{{action: FailJobSet, onJobFailureMessagePatterns: ['(']}}]}}, replicatedJobs: [{}]",
                worker("")
            ),
            "spec.failurePolicy.rules[0].onJobFailureMessagePatterns[0]: \"(\" is not a regular expression and will never match; correct it (RE2 syntax) or remove it",
        ),
        (
            "name: a-name-of-forty-five-characters-and-some-more",
            format!("replicatedJobs: [{}]", worker("")),
            "for growth; shorten metadata.name or spec.replicatedJobs[0].name to leave 10",
        ),
    ] {
        let manifest = format!(
            "{{apiVersion: jobset.x-k8s.io/v1alpha2, kind: JobSet, metadata: {{{metadata}}}, spec: {{suspend: true, {spec}}}}}"
        );
        let output = kubectl(&api, &["create", "--dry-run=server", "-f", "-"], &manifest).await?;
        let stderr = text(&output.stderr);
        assert!(output.status.success(), "{manifest}: {stderr}");
        assert!(stderr.starts_with("Warning: ") && stderr.lines().count() == 1, "{metadata}: {stderr:?}");
        assert!(
            stderr.trim_end().ends_with(expected),
            "{metadata}\n  expected: {expected}\n  actual: {stderr}"
        );
    }
    Ok(())
}

/// Admission denies no update that earlier versions accepted: an invalid coordinator in an update causes a warning.
pub(crate) async fn invalid_coordinator_causes_a_warning_on_update(api: Arc<Api>) -> Result<()> {
    let namespace = api.cluster.namespace(&api.client).await?;
    let manifest = "{apiVersion: jobset.x-k8s.io/v1alpha2, kind: JobSet, metadata: {name: led}, spec: {suspend: true,
        replicatedJobs: [{name: worker, template: {spec: {completions: 2, template: {spec: {containers: [{name: c, image: i}]}}}}}]}}";
    let created = kubectl(&api, &["create", "--namespace", &namespace, "-f", "-"], manifest).await?;
    assert!(created.status.success() && created.stderr.is_empty(), "{}", text(&created.stderr));
    let patch = r#"{"spec":{"coordinator":{"replicatedJob":"worker","podIndex":2}}}"#;
    let args = ["patch", "jobset", "led", "--namespace", &namespace, "--type=merge", "--patch", patch];
    let output = kubectl(&api, &args, "").await?;
    assert!(output.status.success());
    assert_eq!(
        text(&output.stderr),
        "Warning: spec.coordinator: name a pod that exists, or remove it: coordinator pod index 2 is invalid for \
         replicatedJob worker job index 0\n"
    );
    Ok(())
}

pub(crate) async fn errors_are_shown(api: Arc<Api>) -> Result<()> {
    let manifest = "{apiVersion: jobset.x-k8s.io/v1alpha2, kind: JobSet, metadata: {name: refused}, spec: {managedBy: kueue}}";
    let output = kubectl(&api, &["create", "-f", "-"], manifest).await?;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        "The JobSet \"refused\" is invalid: spec.managedBy: Invalid value: \"kueue\": must be a domain-prefixed path \
         (such as \"acme.io/foo\")\n"
    );
    Ok(())
}

pub(crate) async fn shared_subdomain_causes_a_warning(api: Arc<Api>) -> Result<()> {
    let namespace = api.cluster.namespace(&api.client).await?;
    let manifest = |name: &str| {
        format!(
            "{{apiVersion: jobset.x-k8s.io/v1alpha2, kind: JobSet, metadata: {{name: {name}}}, spec: {{suspend: true,
            managedBy: example.com/none, network: {{subdomain: net}}}}}}"
        )
    };
    let args = ["create", "--namespace", &namespace, "-f", "-"];
    let first = kubectl(&api, &args, &manifest("first")).await?;
    assert!(first.status.success() && first.stderr.is_empty(), "{}", text(&first.stderr));
    // The controller observes the first JobSet shortly after its creation.
    let dry = [&args[..], &["--dry-run=server"]].concat();
    let second = || async { Ok(text(&kubectl(&api, &dry, &manifest("second")).await?.stderr)) };
    let warning = wait_for("a warning", TIMEOUT, second, |stderr: &String| !stderr.is_empty()).await?;
    assert_eq!(
        warning,
        "Warning: spec.network.subdomain: JobSet \"first\" also uses subdomain \"net\", and its Service publishes host \
         names for the pods of one JobSet only; choose another spec.network.subdomain\n"
    );
    Ok(())
}
