//! The controller manager as a process on this machine: errors in its configuration file, and the paths that it serves.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jobset_tests::controller::{PROGRAM, beside_this_program, free_address, write_certificates};
use jobset_tests::wait::{TIMEOUT, wait_for};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::Api;

/// Writes a configuration file with these lines. Returns the command of a controller that reads it.
fn command(api: &Api, file: &str, lines: &str) -> Result<Command> {
    let path = folder(api)?.join(file);
    let head = "apiVersion: config.jobset.x-k8s.io/v1alpha1\nkind: Configuration\n";
    std::fs::write(&path, format!("{head}{lines}"))?;
    let mut command = Command::new(beside_this_program(PROGRAM)?);
    command.arg("--config").arg(&path).arg("--kubeconfig").arg(api.cluster.layout().kubeconfig());
    command.env("RUST_BACKTRACE", "1").stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    Ok(command)
}

fn folder(api: &Api) -> Result<PathBuf> {
    let folder = api.cluster.layout().root().join("process");
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

pub(crate) async fn invalid_configuration_is_reported_in_one_line(api: Arc<Api>) -> Result<()> {
    let valid = "internalCertManagement: {enable: false}\nleaderElection: {leaderElect: false}\n";
    for (number, (lines, expected)) in [
        ("surprise: 1", "strict decoding error: unknown field \"surprise\""),
        ("webhook: {prot: 9443}", "strict decoding error: unknown field \"webhook.prot\""),
        ("webhook: {port: 70000}", "webhook.port: invalid value: integer `70000`"),
        ("webhook: {}\nwebhook: {}", "duplicate entry with key \"webhook\""),
        ("kind: Pod", "duplicate entry with key \"kind\""),
        ("featureGates: {Sideways: true}", "unrecognized feature gate: Sideways"),
        (
            "featureGates: {RestartJob: perhaps}",
            "featureGates.RestartJob: invalid type: string \"perhaps\", expected a boolean",
        ),
        ("health: {readinessEndpointName: ready}", "health.readinessEndpointName: \"ready\" is not a path"),
    ]
    .into_iter()
    .enumerate()
    {
        let file = format!("wrong-{number}.yaml");
        let mut command = command(&api, &file, &format!("{valid}{lines}\n"))?;
        let ended = tokio::time::timeout(Duration::from_secs(10), command.stderr(Stdio::piped()).output());
        let ended = ended.await.with_context(|| format!("the controller accepted {lines}"))??;
        let stderr = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(1), "{lines}: {stderr}");
        assert!(stderr.lines().count() == 1 && stderr.contains(expected), "{lines}: {stderr}");
    }
    Ok(())
}

/// With `webhook.port` and `webhook.certDir` alone, the controller serves admission.
pub(crate) async fn all_four_webhook_paths_are_served(api: Arc<Api>) -> Result<()> {
    let certificates = folder(&api)?.join("certificates");
    std::fs::create_dir_all(&certificates)?;
    let authority = certificates.join("ca.crt");
    std::fs::write(&authority, write_certificates(&certificates)?)?;
    let webhook = free_address()?;
    let lines = format!(
        "webhook: {{port: {}, certDir: {}}}\n\
         internalCertManagement: {{enable: false}}\nleaderElection: {{leaderElect: false}}\n\
         metrics: {{bindAddress: '0'}}\nhealth: {{healthProbeBindAddress: '0'}}\n",
        webhook.port(),
        certificates.display()
    );
    let log = folder(&api)?.join("serving.log");
    let mut process = command(&api, "serving.yaml", &lines)?.stderr(std::fs::File::create(&log)?).spawn()?;

    let mut config = Config::new(format!("https://{webhook}").parse()?);
    config.root_cert_file = Some(authority);
    let client = Client::try_from(config)?;
    let jobset = json!({"metadata": {"name": "js"}, "spec": {}});
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": []}});
    for (path, object) in [
        ("/mutate-jobset-x-k8s-io-v1alpha2-jobset", &jobset),
        ("/validate-jobset-x-k8s-io-v1alpha2-jobset", &jobset),
        ("/mutate--v1-pod", &pod),
        ("/validate--v1-pod", &pod),
    ] {
        let review = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {"uid": path, "operation": "CREATE", "namespace": "default", "object": object},
        });
        let attempt =
            || async { Ok(post(&client, path, &review).await.map_err(|error| format!("{error:#}"))) };
        let result = wait_for("the webhook to respond", TIMEOUT, attempt, Result::is_ok)
            .await
            .with_context(|| format!("see its log in {}", log.display()))?;
        let response = result.map_err(anyhow::Error::msg)?["response"].clone();
        assert_eq!((&response["uid"], &response["allowed"]), (&json!(path), &json!(true)), "{response}");
        assert_eq!(response.get("patch").is_some(), path.starts_with("/mutate-jobset"), "{response}");
    }
    process.kill().await?;
    Ok(())
}

/// Posts a review, as the API server does.
async fn post(client: &Client, path: &str, review: &Value) -> Result<Value> {
    let request = http::Request::post(path).header("Content-Type", "application/json");
    Ok(client.request(request.body(review.to_string().into_bytes())?).await?)
}
