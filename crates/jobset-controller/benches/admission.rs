//! The latency of admission: `cargo bench --package jobset-controller`.
//!
//! Median and 99th percentile suffice for a few hundred microseconds of work, so this is a plain program: it measures
//! every run of each case after the warm-up.

use axum::http::Request;
use jobset_controller::{
    Index, Placement,
    admission::{Admission, Webhook},
};
use jobset_plan::Gates;
use kube::{Client, Config};
use manager_runtime::{
    install_crypto_provider,
    metrics::Metrics,
    server,
    tls::{Certificate, TlsOptions},
};
use serde_json::{Value, json};
use std::{
    error::Error,
    net::Ipv4Addr,
    path::Path,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const WARM_UP: Duration = Duration::from_millis(500);
const MEASURED: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() -> Result<()> {
    install_crypto_provider();
    let folder = tempfile::tempdir()?;
    // No case has claims, so the client sends no request.
    let unused_client = Client::try_from(Config::new("http://127.0.0.1:9".parse()?))?;
    let admission =
        || Admission::new(unused_client.clone(), Index::default(), Placement::default(), &Gates::default());
    let server = Server::start(folder.path(), admission().router()).await?;

    println!("{:<52} {:>8} {:>11} {:>11} {:>8}", "", "request", "median", "p99", "runs");
    for (what, jobset) in
        [("demo-jobset", demo_jobset()?), ("100 replicatedJobs", hundred_replicated_jobs()?)]
    {
        for webhook in [Webhook::DefaultJobSet, Webhook::ValidateJobSet] {
            let body = review(&jobset).to_string();
            let pure = admission();
            let answer = async || Ok(pure.answer(webhook, body.as_bytes()).await);
            report(&format!("{what}, {webhook:?}, in memory"), body.len(), answer).await?;
            let over_https = async || server.post(webhook, &body).await;
            report(&format!("{what}, {webhook:?}, over HTTPS"), body.len(), over_https).await?;
        }
    }
    Ok(())
}

/// Measures `answer` repeatedly, and prints a row with the result.
async fn report(what: &str, size: usize, answer: impl AsyncFn() -> Result<String>) -> Result<()> {
    let allowed: Value = serde_json::from_str(&answer().await?)?;
    if allowed.pointer("/response/allowed") != Some(&json!(true)) {
        return Err(format!("{what}: not admitted: {allowed}").into());
    }
    let warm = Instant::now();
    while warm.elapsed() < WARM_UP {
        answer().await?;
    }
    let (mut times, start) = (Vec::new(), Instant::now());
    while start.elapsed() < MEASURED {
        let before = Instant::now();
        answer().await?;
        times.push(before.elapsed());
    }
    times.sort_unstable();
    let at = |hundredths: usize| times.get(times.len() * hundredths / 100).copied().unwrap_or_default();
    println!(
        "{what:<52} {:>6} B {:>8} µs {:>8} µs {:>8}",
        size,
        at(50).as_micros(),
        at(99).as_micros(),
        times.len()
    );
    Ok(())
}

/// A server as the controller manager runs it, and a client that reuses its connection as the API server does.
struct Server {
    client: Client,
    _stop: tokio_util::sync::DropGuard,
}

impl Server {
    async fn start(folder: &Path, router: axum::Router) -> Result<Self> {
        let certificate = rcgen::generate_simple_self_signed([Ipv4Addr::LOCALHOST.to_string()])?;
        std::fs::write(folder.join("tls.crt"), certificate.cert.pem())?;
        std::fs::write(folder.join("tls.key"), certificate.signing_key.serialize_pem())?;
        let stop = CancellationToken::new();
        let metrics = Metrics::new()?;
        let certificate_of_folder = Certificate::watch(folder, metrics.certificates(), &stop).await;
        let server = server::Server::bind((Ipv4Addr::LOCALHOST, 0).into()).await?;
        let address = server.address();
        let (certificate, stopped) = (certificate_of_folder.ok_or("no certificate")?, stop.clone());
        tokio::spawn(
            async move { server.serve_tls(&TlsOptions::default(), certificate, router, stopped).await },
        );
        let mut config = Config::new(format!("https://{address}").parse()?);
        config.root_cert_file = Some(folder.join("tls.crt"));
        let server = Self { client: Client::try_from(config)?, _stop: stop.drop_guard() };
        let deadline = Instant::now() + Duration::from_secs(10);
        while let Err(error) = server.post(Webhook::DefaultJobSet, "{}").await {
            if Instant::now() > deadline {
                return Err(error);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(server)
    }

    async fn post(&self, webhook: Webhook, body: &str) -> Result<String> {
        let request = Request::post(webhook.path()).header("Content-Type", "application/json");
        Ok(self.client.request_text(request.body(body.as_bytes().to_vec())?).await?)
    }
}

fn review(jobset: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "jobset.x-k8s.io", "version": "v1alpha2", "kind": "JobSet"},
            "resource": {"group": "jobset.x-k8s.io", "version": "v1alpha2", "resource": "jobsets"},
            "name": jobset.pointer("/metadata/name"),
            "namespace": "default",
            "operation": "CREATE",
            "userInfo": {"username": "kubernetes-admin", "groups": ["system:masters", "system:authenticated"]},
            "object": jobset,
            "oldObject": null,
            "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    })
}

/// The JobSet of docs/examples, with the defaults that the API server sets before it calls the webhook.
fn demo_jobset() -> Result<Value> {
    let mut jobset: Value = serde_yaml::from_str(include_str!("../../../docs/examples/demo-jobset.yaml"))?;
    let replicated_jobs = jobset.pointer_mut("/spec/replicatedJobs").and_then(Value::as_array_mut);
    for replicated_job in replicated_jobs.into_iter().flatten() {
        if let Some(fields) = replicated_job.as_object_mut() {
            fields.insert("groupName".into(), "default".into());
        }
    }
    Ok(jobset)
}

/// A JobSet with a hundred ReplicatedJobs like the demo's worker. Each depends on the previous one.
fn hundred_replicated_jobs() -> Result<Value> {
    let mut jobset = demo_jobset()?;
    let worker = jobset.pointer("/spec/replicatedJobs/1").cloned().ok_or("the demo has no worker")?;
    let replicated_jobs = (0..100).map(|index| {
        let mut replicated_job = worker.clone();
        if let Some(fields) = replicated_job.as_object_mut() {
            fields.insert("name".into(), format!("worker-{index}").into());
            if index > 0 {
                let before = json!([{"name": format!("worker-{}", index - 1), "status": "Ready"}]);
                fields.insert("dependsOn".into(), before);
            }
        }
        replicated_job
    });
    let all: Vec<_> = replicated_jobs.collect();
    if let Some(spec) = jobset.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert("replicatedJobs".into(), all.into());
    }
    Ok(jobset)
}
