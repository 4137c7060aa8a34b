//! must-gather in a pod, with the commands of `docs/must-gather.md`.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};

use crate::{E2e, IMAGE};

const NAMESPACE: &str = "must-gather";

/// The archive contains logs and metrics, which only a real cluster has.
pub(crate) async fn must_gather_collects_logs_and_metrics(e2e: Arc<E2e>) -> Result<()> {
    let collected = collect(&e2e);
    e2e.kubectl.run(&["delete", "clusterrolebinding,namespace", NAMESPACE, "--ignore-not-found"])?;
    let archive = collected?;
    let installation = &e2e.installation.namespace;
    for (file, line) in [
        (
            "cluster-scoped-resources/operator.openshift.io/jobsetoperators/cluster.yaml",
            "kind: JobSetOperator",
        ),
        ("cluster-version.yaml", "gitVersion: v1."),
        ("certificates.yaml", "notAfter: "),
        ("metrics/controller.txt", "# TYPE controller_runtime_reconcile_total counter"),
        ("jobset-operator/jobset-operator/logs/current.log", "starting"),
        ("manager/manager/logs/current.log", "serving metrics"),
    ] {
        let (_, rest) =
            archive.split_once(file).with_context(|| format!("no file {file} in {archive:.2000}"))?;
        let text: String = rest.chars().take(100_000).collect();
        ensure!(text.contains(line), "{file} does not contain {line:?}: {text:.2000}");
    }
    ensure!(archive.contains(&format!("must-gather/namespaces/{installation}/core/secrets.yaml")));
    // The CRD describes files with the word PRIVATE KEY.
    let begins = |kind: &str| archive.contains(&format!("-----BEGIN {kind}PRIVATE KEY-----"));
    ensure!(!["", "RSA ", "EC "].into_iter().any(begins), "the archive contains a private key");
    Ok(())
}

fn collect(e2e: &E2e) -> Result<String> {
    let kubectl = |args: &str| e2e.kubectl.run(&args.split(' ').collect::<Vec<_>>());
    kubectl("create namespace must-gather")?;
    kubectl(
        "create clusterrolebinding must-gather --clusterrole=cluster-admin --serviceaccount=must-gather:default",
    )?;
    kubectl(&format!(
        "run must-gather --namespace=must-gather --image={IMAGE} --command -- /usr/bin/gather --wait"
    ))?;
    kubectl("wait pod/must-gather --namespace=must-gather --for=condition=Ready --timeout=2m")?;
    kubectl("exec must-gather --namespace=must-gather -- /usr/bin/gather --tar")
}
