//! `jobset-operator must-gather` with a real API server.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use jobset_tests::controller::{beside_this_program, write_certificates};
use jobset_tests::wait::{TIMEOUT, wait_for};
use serde_json::{Value, json};

use crate::Api;
use crate::kubectl::{kubectl, text};

/// No file may contain this word. Every object of the test does.
const NEEDLE: &str = "hunter2";
const INSTALLATION: &str = "openshift-jobset-operator";

/// A user's JobSet and a pod of it.
const OF_A_USER: &str = "
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata: {name: secretive, annotations: {example.com/login: hunter2}}
spec:
  replicatedJobs:
  - name: w
    template: {spec: {template: {spec: {containers: [{name: c, image: i, args: [--token, hunter2],
      env: [{name: MODEL, value: hunter2}, {name: KEY, valueFrom: {secretKeyRef: {name: kept, key: k}}}]}]}}}}
---
apiVersion: v1
kind: Pod
metadata: {name: secretive-pod, labels: {jobset.sigs.k8s.io/jobset-name: secretive}}
spec: {containers: [{name: c, image: i, command: [login, hunter2]}]}
---
apiVersion: v1
kind: Event
metadata: {name: about-the-pod}
involvedObject: {kind: Pod, name: secretive-pod, namespace: NAMESPACE}
reason: Failed
message: 'pulling from https://me:hunter2@registry.example'
---
apiVersion: v1
kind: Secret
metadata: {name: jobset-of-a-user}
stringData: {password: hunter2}
";

/// Objects in the namespace of an installation.
const OF_THE_INSTALLATION: &str = "
apiVersion: v1
kind: Secret
metadata: {name: database, namespace: openshift-jobset-operator}
stringData: {password: hunter2}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: jobset-operator, namespace: openshift-jobset-operator, labels: {name: jobset-operator}}
spec:
  selector: {matchLabels: {name: jobset-operator}}
  template:
    metadata: {labels: {name: jobset-operator}}
    spec: {containers: [{name: c, image: i, env: [{name: HTTPS_PROXY, value: 'http://me:hunter2@proxy.example'}]}]}
";

/// The collected files. The program succeeds.
fn gather(kubeconfig: &Path, folder: &Path) -> Result<Vec<(String, String)>> {
    let output = Command::new(beside_this_program("jobset-operator")?)
        .args(["must-gather", "--dest-dir"])
        .arg(folder)
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .output()?;
    ensure!(output.status.success(), "{}", text(&output.stderr));
    let mut files = Vec::new();
    read(folder, folder, &mut files)?;
    Ok(files)
}

fn read(top: &Path, folder: &Path, files: &mut Vec<(String, String)>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            read(top, &path, files)?;
        } else {
            files.push((path.strip_prefix(top)?.display().to_string(), std::fs::read_to_string(&path)?));
        }
    }
    Ok(())
}

fn file(files: &[(String, String)], path: &str) -> Result<Value> {
    let paths = || files.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>().join(" ");
    let found = files.iter().find(|(found, _)| found == path);
    let (_, text) = found.with_context(|| format!("no file {path}, but {}", paths()))?;
    Ok(serde_yaml::from_str(text)?)
}

pub(crate) async fn must_gather_collects_no_secrets(api: Arc<Api>) -> Result<()> {
    let namespace = api.cluster.namespace(&api.client).await?;
    let folder = tempfile::tempdir()?;
    let authority = write_certificates(folder.path())?;
    let certificate = std::fs::read_to_string(folder.path().join("tls.crt"))?;
    let key = std::fs::read_to_string(folder.path().join("tls.key"))?;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "webhook-server-cert", "namespace": INSTALLATION},
        "stringData": {"tls.crt": certificate, "tls.key": key, "ca.crt": authority, "password": NEEDLE},
    });
    kubectl(&api, &["create", "namespace", INSTALLATION], "").await?;
    for (at, input) in [
        (namespace.as_str(), OF_A_USER.replace("NAMESPACE", &namespace).as_str()),
        (INSTALLATION, OF_THE_INSTALLATION),
        (INSTALLATION, secret.to_string().as_str()),
    ] {
        // A client-side apply stores the whole object in an annotation.
        let output = kubectl(&api, &["apply", "--namespace", at, "-f", "-"], input).await?;
        ensure!(output.status.success(), "{}", text(&output.stderr));
    }
    let jobs = ["get", "jobs", "--namespace", &namespace, "--output", "name"];
    let created = || async { Ok(text(&kubectl(&api, &jobs, "").await?.stdout)) };
    wait_for("the Job of the JobSet", TIMEOUT, created, |jobs| jobs.contains("secretive-w-0")).await?;

    let files = gather(&api.cluster.layout().kubeconfig(), &folder.path().join("all"))?;
    for (path, text) in &files {
        ensure!(!text.contains(NEEDLE), "{path} contains a secret: {text}");
        ensure!(!text.contains(key.lines().nth(1).unwrap_or(NEEDLE)), "{path} contains a key");
    }
    let of_user = format!("namespaces/{namespace}");
    let template = "/items/0/spec/replicatedJobs/0/template/spec/template/spec/containers/0";
    let jobsets = file(&files, &format!("{of_user}/jobset.x-k8s.io/jobsets.yaml"))?;
    let container = jobsets.pointer(template).context("the JobSet has no container")?;
    assert_eq!(container["args"], json!(["REDACTED", "REDACTED"]));
    assert_eq!(container["env"][1]["valueFrom"]["secretKeyRef"]["name"], "kept");
    for (path, name) in [
        ("batch/jobs", "secretive-w-0"),
        ("core/jobsets-pods", "secretive-pod"),
        ("core/events", "about-the-pod"),
    ] {
        let list = file(&files, &format!("{of_user}/{path}.yaml"))?;
        let names: Vec<_> =
            list["items"].as_array().context("no list")?.iter().map(|it| &it["metadata"]["name"]).collect();
        assert!(names.contains(&&json!(name)), "{path}: {names:?}");
    }
    file(
        &files,
        "cluster-scoped-resources/apiextensions.k8s.io/customresourcedefinitions/jobsets.jobset.x-k8s.io.yaml",
    )?;
    let secrets = file(&files, &format!("namespaces/{INSTALLATION}/core/secrets.yaml"))?;
    let [secret] = secrets["items"].as_array().context("no list")?.as_slice() else { bail!("{secrets}") };
    assert_eq!(secret["keys"], json!(["ca.crt", "password", "tls.crt", "tls.key"]));
    let certificates = file(&files, "certificates.yaml")?;
    let served = |it: &&Value| {
        it["object"] == "Secret openshift-jobset-operator/webhook-server-cert" && it["in"] == "tls.crt"
    };
    let certificate =
        certificates.as_array().and_then(|all| all.iter().find(served)).context("no certificate")?;
    assert!(certificate["notAfter"].as_str().is_some_and(|time| time.ends_with('Z')), "{certificate}");
    let index = file(&files, "index.yaml")?;
    assert_eq!(
        index["files"].as_array().map(|all| all.len() + 1),
        Some(files.len()),
        "the index lists all files"
    );
    let reason = missing(&index, "certificates in namespace openshift-jobset-operator");
    assert_eq!(reason, "the API server does not serve cert-manager.io/v1 Certificate");
    Ok(())
}

/// Without rights, the program writes down what it may not read.
pub(crate) async fn must_gather_names_what_it_may_not_read(api: Arc<Api>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let administrator = std::fs::read_to_string(api.cluster.layout().kubeconfig())?;
    let mut kubeconfig: Value = serde_yaml::from_str(&administrator)?;
    kubeconfig["users"][0]["user"]["as"] = json!("nobody");
    let path = folder.path().join("kubeconfig");
    std::fs::write(&path, serde_yaml::to_string(&kubeconfig)?)?;
    let files = gather(&path, &folder.path().join("nothing"))?;
    let index = file(&files, "index.yaml")?;
    for what in ["jobsets", "events in namespace openshift-jobset-operator", "customresourcedefinitions"] {
        let reason = missing(&index, what);
        assert!(reason.contains("User \"nobody\" cannot list resource"), "{what}: {reason}");
    }
    assert!(files.iter().all(|(path, _)| !path.starts_with("namespaces/")), "{index}");
    Ok(())
}

/// The reason why something is missing.
fn missing(index: &Value, what: &str) -> String {
    let all = index["missing"].as_array().into_iter().flatten();
    let found = all.into_iter().find(|missing| missing["what"] == what);
    found.and_then(|missing| missing["reason"].as_str()).unwrap_or_default().to_owned()
}
