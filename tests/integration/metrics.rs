//! `/metrics` of the controller: authorization, format, and values.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use devcluster::binaries::{self, Component};
use devcluster::progress::Progress;
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use jobset_tests::wait::{TIMEOUT, wait_for};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, RoleRef, Subject};
use kube::api::{Api, ObjectMeta, PostParams};
use kube::client::Body;
use kube::{Client, Config};

use crate::Integration;
use crate::jobset::LiveJobSet;

/// The API server authenticates and authorizes clients. The controller caches the result, so that it does not send
/// reviews for each scrape.
pub(crate) async fn only_authorized_users_read_metrics(suite: Arc<Integration>) -> Result<()> {
    let namespace = suite.cluster.namespace(&suite.client).await?;
    let metrics = Server::of(&suite)?;
    for token in [None, Some("no-token-of-this-cluster")] {
        let response = metrics.get("/metrics", token).await?;
        assert_eq!((response.code, response.body.as_str()), (401, "Unauthorized\n"), "{token:?}");
    }
    let stranger = scraper(&suite.client, &namespace, "stranger", None).await?;
    let response = metrics.get("/metrics", Some(&stranger)).await?;
    let denied = format!("Authorization denied for user system:serviceaccount:{namespace}:stranger\n");
    assert_eq!((response.code, response.body), (403, denied));

    let reader = scraper(&suite.client, &namespace, "reader", Some("jobset-metrics-reader")).await?;
    let token_reviews = || reviews(&suite, "tokenreviews");
    let response = metrics.get("/metrics", Some(&reader)).await?;
    assert_eq!(response.code, 200, "{}", response.body);
    assert_eq!(response.content_type, "text/plain; version=0.0.4; charset=utf-8");
    // The role allows only GET, and the server has no other path.
    let posted = metrics.request("POST", "/metrics", Some(&reader), "").await?;
    assert_eq!(posted.code, 403, "{}", posted.body);
    assert_eq!(metrics.get("/", Some(&reader)).await?.code, 404);
    // The API server writes the audit log with a short delay.
    wait_for("the reviews in the audit log", TIMEOUT, || async { token_reviews() }, |count| *count >= 3)
        .await?;
    let before = (token_reviews()?, reviews(&suite, "subjectaccessreviews")?);
    for _ in 0..20 {
        assert_eq!(metrics.get("/metrics", Some(&reader)).await?.code, 200);
        assert_eq!(metrics.get("/metrics", Some(&stranger)).await?.code, 403);
    }
    // The 40 scrapes cause no reviews. Tests that run at the same time can cause a few.
    let after = (token_reviews()?, reviews(&suite, "subjectaccessreviews")?);
    assert!(after.0 < before.0 + 10 && after.1 < before.1 + 10, "{before:?}, then {after:?}");
    Ok(())
}

/// A client that the API server authorizes can change the log level while the controller runs.
pub(crate) async fn log_level_can_be_changed_at_run_time(suite: Arc<Integration>) -> Result<()> {
    let namespace = suite.cluster.namespace(&suite.client).await?;
    let server = Server::of(&suite)?;
    let reader = scraper(&suite.client, &namespace, "reader", Some("jobset-metrics-reader")).await?;
    let response = server.put("/debug/flags/v", Some(&reader), "debug").await?;
    assert_eq!(response.code, 403, "{}", response.body);

    let rule = PolicyRule {
        non_resource_urls: Some(vec!["/debug/flags/v".to_owned()]),
        verbs: vec!["put".to_owned()],
        ..PolicyRule::default()
    };
    let may_put = ClusterRole {
        metadata: ObjectMeta { name: Some("log-level".to_owned()), ..ObjectMeta::default() },
        rules: Some(vec![rule]),
        ..ClusterRole::default()
    };
    Api::<ClusterRole>::all(suite.client.clone()).create(&PostParams::default(), &may_put).await?;
    let writer = scraper(&suite.client, &namespace, "writer", Some("log-level")).await?;
    let response = server.put("/debug/flags/v", Some(&writer), "loud").await?;
    assert_eq!(response.code, 400);
    assert!(response.body.contains("\"loud\" is not a log level"), "{}", response.body);
    for (level, body) in [("4", "log level is now Trace\n"), ("debug", "log level is now Debug\n")] {
        let response = server.put("/debug/flags/v", Some(&writer), level).await?;
        assert_eq!((response.code, response.body.as_str()), (200, body));
    }
    Ok(())
}

/// Prometheus' parser accepts every line, and promtool's linter reports no problem.
pub(crate) async fn prometheus_parses_every_line(suite: Arc<Integration>) -> Result<()> {
    let text = scrape(&suite).await?;
    let promlint = binaries::ensure(&[Component::Promlint], &Progress::quiet())?.join("promlint");
    let mut child = Command::new(promlint).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    child.stdin.take().context("promlint has an input")?.write_all(text.as_bytes())?;
    let output = child.wait_with_output()?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}");
    assert!(stdout.contains("well-formed"), "{stdout}");
    Ok(())
}

/// Each outcome of a JobSet is counted once, in the metrics that dashboards use.
pub(crate) async fn outcomes_of_jobsets_are_counted(suite: Arc<Integration>) -> Result<()> {
    let spec = "{failurePolicy: {maxRestarts: 1}, replicatedJobs: [{name: w, replicas: 2}]}";
    let completed = LiveJobSet::create(&suite, "counted-good", spec).await?;
    let failed = LiveJobSet::create(&suite, "counted-bad", spec).await?;
    for jobset in [&completed, &failed] {
        jobset.jobs_become(&["w-0@0", "w-1@0"]).await?;
    }
    for job in ["w-0", "w-1"] {
        completed.succeed(job).await?;
    }
    failed.fail("w-0").await?;
    failed.jobs_become(&["w-0@1", "w-1@1"]).await?;
    failed.fail("w-1").await?;
    for jobset in [&completed, &failed] {
        jobset.status_when("a terminal state", |status| !status["terminalState"].is_null()).await?;
    }
    let own = |jobset: &LiveJobSet| {
        format!("{{jobset_name=\"{}\",namespace=\"{}\"}}", jobset.name, jobset.namespace)
    };
    let (good, bad) = (own(&completed), own(&failed));
    let values = wait_for(
        "both JobSets to be counted",
        TIMEOUT,
        || values(&suite),
        |values| {
            values.contains_key(&format!("jobset_completed_total{good}"))
                && values.contains_key(&format!("jobset_failed_total{bad}"))
        },
    )
    .await?;
    let value = |name: &str| values.get(name).copied();
    assert_eq!(value(&format!("jobset_completed_total{good}")), Some(1.0));
    assert_eq!(value(&format!("jobset_failed_total{bad}")), Some(1.0));
    assert_eq!(value(&format!("jobset_failed_total{good}")), None);
    for name in [
        "jobset_restarts_total{action=\"RestartJobSet\",cause=\"BackoffLimitExceeded\"}",
        "jobset_finished_total{terminal_state=\"Completed\"}",
        "jobset_attempt_duration_seconds_count{outcome=\"completed\"}",
        "jobset_attempt_duration_seconds_count{outcome=\"restarted\"}",
        "jobset_reconcile_to_write_seconds_count",
        "jobset_index_objects{kind=\"JobSet\"}",
        "controller_runtime_reconcile_total{controller=\"jobset\",result=\"success\"}",
        "controller_runtime_reconcile_time_seconds_count{controller=\"jobset\"}",
        "controller_runtime_max_concurrent_reconciles{controller=\"jobset\"}",
        "controller_runtime_webhook_requests_total{code=\"200\",webhook=\"/validate-jobset-x-k8s-io-v1alpha2-jobset\"}",
        "workqueue_adds_total{controller=\"jobset\",name=\"jobset\"}",
        "workqueue_queue_duration_seconds_count{controller=\"jobset\",name=\"jobset\"}",
        "event_recorder_events_total{result=\"sent\"}",
        "certwatcher_read_certificate_total",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
    ] {
        assert!(value(name).is_some_and(|value| value > 0.0), "{name}: {:?}", value(name));
    }
    for name in [
        "controller_runtime_reconcile_panics_total{controller=\"jobset\"}",
        "controller_runtime_webhook_panics_total",
        "event_recorder_events_total{result=\"dropped\"}",
    ] {
        assert_eq!(value(name), Some(0.0), "{name}");
    }
    let created = values.iter().find(|(name, _)| {
        name.starts_with("rest_client_requests_total{code=\"201\"") && name.ends_with("method=\"POST\"}")
    });
    assert!(created.is_some_and(|(_, count)| *count >= 4.0), "{created:?}");
    Ok(())
}

/// Number of reviews of this resource that the controller sent to the API server.
fn reviews(suite: &Integration, resource: &str) -> Result<usize> {
    let audit = suite.cluster.cluster().audit();
    audit.query().user(suite.controller.user()).verb("create").resource(resource).count()
}

async fn scrape(suite: &Integration) -> Result<String> {
    let namespace = suite.cluster.namespace(&suite.client).await?;
    let reader = scraper(&suite.client, &namespace, "reader", Some("jobset-metrics-reader")).await?;
    let response = Server::of(suite)?.get("/metrics", Some(&reader)).await?;
    ensure!(response.code == 200, "{} {}", response.code, response.body);
    Ok(response.body)
}

/// Every value, by name and labels.
async fn values(suite: &Integration) -> Result<BTreeMap<String, f64>> {
    let text = scrape(suite).await?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').with_context(|| line.to_owned())?;
            Ok((name.to_owned(), value.parse().with_context(|| line.to_owned())?))
        })
        .collect()
}

/// Creates a service account with this cluster role. Returns its token.
async fn scraper(client: &Client, namespace: &str, name: &str, role: Option<&str>) -> Result<String> {
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), namespace);
    accounts
        .create(&PostParams::default(), &ServiceAccount { metadata, ..ServiceAccount::default() })
        .await?;
    if let Some(role) = role {
        let binding = ClusterRoleBinding {
            metadata: ObjectMeta { name: Some(format!("{namespace}-{name}")), ..ObjectMeta::default() },
            role_ref: RoleRef {
                api_group: Some("rbac.authorization.k8s.io".into()),
                kind: "ClusterRole".into(),
                name: role.into(),
            },
            subjects: Some(vec![Subject {
                kind: "ServiceAccount".into(),
                name: name.into(),
                namespace: Some(namespace.into()),
                ..Subject::default()
            }]),
        };
        Api::all(client.clone()).create(&PostParams::default(), &binding).await?;
    }
    let response =
        accounts.create_token_request(name, &PostParams::default(), &TokenRequest::default()).await?;
    response.status.and_then(|status| status.token).context("the API server returned no token")
}

/// A client of the metrics server that does not verify the self-signed certificate.
struct Server(Client);

struct Response {
    code: u16,
    content_type: String,
    body: String,
}

impl Server {
    fn of(suite: &Integration) -> Result<Self> {
        let mut config = Config::new(format!("https://{}", suite.controller.metrics()).parse()?);
        config.accept_invalid_certs = true;
        Ok(Self(Client::try_from(config)?))
    }

    async fn get(&self, path: &str, token: Option<&str>) -> Result<Response> {
        self.request("GET", path, token, "").await
    }

    async fn put(&self, path: &str, token: Option<&str>, body: &str) -> Result<Response> {
        self.request("PUT", path, token, body).await
    }

    async fn request(&self, method: &str, path: &str, token: Option<&str>, body: &str) -> Result<Response> {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let response = self.0.send(request.body(Body::from(body.as_bytes().to_vec()))?).await?;
        let content_type = response.headers().get(CONTENT_TYPE).map(|value| value.to_str()).transpose()?;
        Ok(Response {
            code: response.status().as_u16(),
            content_type: content_type.unwrap_or_default().to_owned(),
            body: String::from_utf8(response.into_body().collect_bytes().await?.to_vec())?,
        })
    }
}
