//! Certificates that the controllers issue, with a real API server that calls their webhooks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, Result, ensure};
use jobset_tests::objects;
use jobset_tests::replicas::{NAMESPACE, Replica, ReplicaOptions, SECRET, WEBHOOKS};
use jobset_tests::wait::{TIMEOUT, holds_for, wait_for};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use manager_runtime::certificates::{Pair, decide::certificates, issue};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::Failover;

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Two controllers start at the same time without a Secret. They create one Secret with one CA, write the CA into every
/// webhook, and the API server accepts it. Liveness probes succeed before that.
pub(crate) async fn two_replicas_create_one_ca(suite: Arc<Failover>) -> Result<()> {
    remove_certificates(&suite).await?;
    let started = Instant::now();
    let since = Timestamp::now();
    let options = ReplicaOptions::default();
    let (one, other) = tokio::join!(suite.installation.start(&options), suite.installation.start(&options));
    let (mut one, mut other) = (one?, other?);
    wait_for("a liveness probe to succeed", TIMEOUT, || async { Ok(one.is_live().await) }, |live| *live)
        .await?;
    let live_after = started.elapsed();
    one.wait_until_ready().await?;
    other.wait_until_ready().await?;
    println!("live after {live_after:?}, both ready after {:?}", started.elapsed());

    let bundle = bundle(&secret(&suite).await?);
    ensure!(certificates(&bundle).len() == 1);
    ensure!(bundles(&suite).await? == vec![bundle; 4], "not every webhook has the CA");
    each_responds(&suite, &[&one, &other]).await?;
    let user = suite.installation.user();
    let audit = suite.cluster.cluster().audit();
    let created = || audit.query().user(&user).verb("create").resource("secrets").since(since);
    ensure!(created().code(201).count()? == 1, "{:#?}", created().entries()?);
    // The controllers own only the bundle; the installer keeps every other field of the webhooks.
    for (kind, name) in WEBHOOKS {
        let configuration = configuration(&suite, kind, name).await?;
        let fields = configuration
            .managed_fields()
            .iter()
            .find(|fields| fields.manager.as_deref() == Some("jobset-webhook-ca"));
        let fields = serde_json::to_string(
            &fields.context("the controllers use no field manager of their own")?.fields_v1,
        )?;
        ensure!(
            fields.contains("f:caBundle") && !fields.contains("f:rules") && !fields.contains("f:service"),
            "{fields}"
        );
    }
    suite.installation.apply_webhooks().await?;
    ensure!(bundles(&suite).await?.iter().all(|bundle| !bundle.is_empty()), "an upgrade removed a bundle");
    webhook_can_be_added_and_removed(&suite).await
}

/// A webhook that an upgrade adds gets the bundle. The controllers do not restore a webhook that is removed.
async fn webhook_can_be_added_and_removed(suite: &Failover) -> Result<()> {
    let (kind, name) = WEBHOOKS[0];
    let mut with_more =
        suite.installation.webhooks(kind).context("manifests/ contains no such webhook configuration")?;
    let mut more = with_more.data["webhooks"][0].clone();
    more["name"] = json!("more.kb.io");
    with_more.data["webhooks"].as_array_mut().unwrap().push(more);
    objects::apply(&suite.client, &with_more, "kubectl").await?;
    let all = wait_for(
        "the added webhook to get its bundle",
        TIMEOUT,
        || bundles(suite),
        |all| all.iter().all(|bundle| !bundle.is_empty()),
    )
    .await?;
    ensure!(all.len() == 5);
    let api = objects::api_of(&suite.client, &with_more).await?;
    let remove = json!([{ "op": "remove", "path": "/webhooks/2" }]);
    api.patch(name, &PatchParams::default(), &Patch::<()>::Json(serde_json::from_value(remove)?)).await?;
    let left = configuration(suite, kind, name).await?.data["webhooks"].as_array().map(Vec::len);
    ensure!(left == Some(2), "{left:?} webhooks remain");
    Ok(())
}

/// A server certificate that is valid for one more month is renewed at once, by the same CA.
pub(crate) async fn expiring_certificate_is_renewed_by_the_same_ca(suite: Arc<Failover>) -> Result<()> {
    let (one, other) = start_two(&suite).await?;
    let ca = authority(0, 3650)?;
    let old = write(&suite, &ca, &[&ca], 335, 30).await?;
    let renewed = wait_for(
        "a new server certificate",
        TIMEOUT,
        || secret(&suite),
        |secret| text(secret, "tls.crt") != old.certificate,
    )
    .await?;
    ensure!(certificates(&text(&renewed, "ca.crt"))[0] == certificates(&ca.certificate)[0]);
    let days = (issue::ends(&text(&renewed, "tls.crt")).unwrap() - Timestamp::now()).get_hours() / 24;
    ensure!(days >= 0, "{days}");
    all_serve(&suite, &[&one, &other], &text(&renewed, "tls.crt")).await?;
    each_responds(&suite, &[&one, &other]).await
}

/// Under 100 admission requests per second, the CA nears its expiry, and then the Secret is deleted. The certificates
/// change twice in every replica, and no request fails.
pub(crate) async fn rotation_under_load_fails_no_request(suite: Arc<Failover>) -> Result<()> {
    let (one, other) = start_two(&suite).await?;
    each_responds(&suite, &[&one, &other]).await?;
    let load = Load::start(&suite);

    let expiring = authority(3620, 30)?;
    let before = secret(&suite).await?;
    write(&suite, &expiring, &[&expiring], 0, 30).await?;
    let rotated = wait_for(
        "a new CA",
        TIMEOUT,
        || secret(&suite),
        |secret| {
            let bundle = text(secret, "ca.crt");
            bundle.ends_with(&text(&before, "ca.crt")) && !bundle.starts_with(&expiring.certificate)
        },
    )
    .await?;
    // The old CA, the expiring CA and the new CA.
    ensure!(certificates(&text(&rotated, "ca.crt")).len() == 3);
    all_serve(&suite, &[&one, &other], &text(&rotated, "tls.crt")).await?;

    api(&suite).delete(SECRET, &DeleteParams::default()).await?;
    let recreated = wait_for(
        "another CA",
        TIMEOUT,
        || async { Ok(api(&suite).get_opt(SECRET).await?) },
        |secret| secret.as_ref().is_some_and(|secret| text(secret, "tls.crt") != text(&rotated, "tls.crt")),
    )
    .await?;
    all_serve(&suite, &[&one, &other], &text(&recreated.context("the Secret is missing")?, "tls.crt"))
        .await?;
    // Requests with the last certificate.
    load.wait_for_more(300).await?;
    let (sent, failed) = load.stop().await?;
    println!("{sent} admission requests while the certificates changed twice, {} failed", failed.len());
    ensure!(failed.is_empty(), "{failed:#?}");
    Ok(())
}

/// A CA that no longer signs is removed from the Secret and the webhooks when the overlap is over.
pub(crate) async fn previous_ca_is_removed_after_the_overlap(suite: Arc<Failover>) -> Result<()> {
    let (one, other) = start_two(&suite).await?;
    let previous = authority(3000, 650)?;
    // Its certificate has been signing for one day.
    let current = authority(1, 3649)?;
    let pair = write(&suite, &current, &[&current, &previous], 0, 365).await?;
    let secret = wait_for(
        "the previous CA to be removed from the Secret",
        TIMEOUT,
        || secret(&suite),
        |secret| certificates(&bundle(secret)).len() == 1,
    )
    .await?;
    ensure!(text(&secret, "tls.crt") == pair.certificate, "the server certificate changed");
    wait_for(
        "the previous CA to be removed from the webhooks",
        TIMEOUT,
        || bundles(&suite),
        |all| all.iter().all(|it| *it == bundle(&secret)),
    )
    .await?;
    all_serve(&suite, &[&one, &other], &pair.certificate).await?;
    each_responds(&suite, &[&one, &other]).await
}

/// Another client overwrites the bundles. The controllers restore them within seconds, and then write no more.
pub(crate) async fn overwritten_bundle_is_repaired(suite: Arc<Failover>) -> Result<()> {
    let (one, other) = start_two(&suite).await?;
    let right = bundles(&suite).await?;
    let overwritten = Instant::now();
    for (kind, name) in WEBHOOKS {
        let configuration = configuration(&suite, kind, name).await?;
        let first = configuration.data["webhooks"][0]["name"].clone();
        let wrong = ByteString(authority(0, 10)?.certificate.into_bytes());
        let patch = json!({ "webhooks": [{ "name": first, "clientConfig": { "caBundle": wrong } }] });
        let params = PatchParams { field_manager: Some("another-client".into()), ..PatchParams::default() };
        let api = objects::api_of(&suite.client, &configuration).await?;
        api.patch(name, &params, &Patch::Strategic(patch)).await?;
    }
    wait_for("the bundles to be repaired", TIMEOUT, || bundles(&suite), |all| *all == right).await?;
    println!("overwritten bundles repaired after {:?}", overwritten.elapsed());
    ensure!(overwritten.elapsed() < Duration::from_secs(5));
    let user = suite.installation.user();
    let patches = || async {
        let audit = suite.cluster.cluster().audit();
        let of = |resource| audit.query().user(&user).writes().resource(resource).count();
        Ok((of("mutatingwebhookconfigurations")?, of("validatingwebhookconfigurations")?))
    };
    let settled = patches().await?;
    holds_for("no write", Duration::from_secs(3), patches, |now| *now == settled).await?;
    ensure!(one.is_ready().await && other.is_ready().await);
    each_responds(&suite, &[&one, &other]).await
}

/// The controller logs an invalid Secret of its own and replaces it. It logs a Secret of another client and does not
/// change it; the controller becomes ready after the administrator deletes that Secret.
pub(crate) async fn invalid_secret_is_replaced_and_foreign_secret_is_kept(
    suite: Arc<Failover>,
) -> Result<()> {
    let one = suite.installation.start_ready().await?;
    suite.installation.balance([&one]);
    let mut invalid = secret(&suite).await?;
    invalid.data.as_mut().unwrap().insert("tls.crt".into(), ByteString(b"garbage".to_vec()));
    api(&suite).replace(SECRET, &PostParams::default(), &invalid).await?;
    wait_for(
        "the Secret to be replaced",
        TIMEOUT,
        || secret(&suite),
        |secret| text(secret, "tls.crt") != "garbage",
    )
    .await?;
    one.wait_for_log("tls.crt contains no PEM data").await?;
    each_responds(&suite, &[&one]).await?;
    drop(one);

    remove_certificates(&suite).await?;
    let foreign: Secret = serde_json::from_value(json!({
        "metadata": { "name": SECRET },
        "stringData": { "tls.crt": "of another client", "tls.key": "secret", "password": "hunter2" },
    }))?;
    let foreign = api(&suite).create(&PostParams::default(), &foreign).await?;
    let mut other = suite.installation.start(&ReplicaOptions::default()).await?;
    other.wait_for_log("belongs to another client").await?;
    holds_for(
        "the controller not to be ready",
        Duration::from_secs(2),
        || async { Ok(other.is_ready().await) },
        |ready| !ready,
    )
    .await?;
    ensure!(secret(&suite).await?.resource_version() == foreign.resource_version());
    api(&suite).delete(SECRET, &DeleteParams::default()).await?;
    other.wait_until_ready().await?;
    each_responds(&suite, &[&other]).await
}

// --- the Secret -----------------------------------------------------------------------------------------------

fn api(suite: &Failover) -> Api<Secret> {
    Api::namespaced(suite.client.clone(), NAMESPACE)
}

async fn secret(suite: &Failover) -> Result<Secret> {
    Ok(api(suite).get(SECRET).await?)
}

fn text(secret: &Secret, key: &str) -> String {
    String::from_utf8(secret.data.as_ref().unwrap()[key].0.clone()).unwrap()
}

fn bundle(secret: &Secret) -> String {
    text(secret, "ca.crt")
}

/// Resets Secret and webhooks to their state before the first controller starts.
async fn remove_certificates(suite: &Failover) -> Result<()> {
    if api(suite).get_opt(SECRET).await?.is_some() {
        api(suite).delete(SECRET, &DeleteParams::default()).await?;
    }
    for (kind, name) in WEBHOOKS {
        let configuration = configuration(suite, kind, name).await?;
        objects::delete(&suite.client, &configuration).await?;
    }
    suite.installation.apply_webhooks().await
}

/// A CA that was issued `age` days ago, and expires in `left` days.
fn authority(age: i32, left: i32) -> Result<Pair> {
    let issued_at = Timestamp::now() - DAY * age;
    Ok(issue::authority("jobset-ca", "jobset", issued_at, DAY * (age + left))?)
}

/// Writes a Secret with a server certificate that was issued `age` days ago, and expires in `left` days.
async fn write(suite: &Failover, ca: &Pair, bundle: &[&Pair], age: i32, left: i32) -> Result<Pair> {
    let names = [format!("jobset-webhook-service.{NAMESPACE}.svc")];
    let server = issue::server(ca, &names, Timestamp::now() - DAY * age, DAY * (age + left))?;
    let bundle: String = bundle.iter().map(|ca| ca.certificate.as_str()).collect();
    let data = [
        ("ca.crt", bundle),
        ("ca.key", ca.key.clone()),
        ("tls.crt", server.certificate.clone()),
        ("tls.key", server.key.clone()),
    ];
    let data: BTreeMap<_, _> =
        data.into_iter().map(|(key, text)| (key, ByteString(text.into_bytes()))).collect();
    api(suite).patch(SECRET, &PatchParams::default(), &Patch::Merge(json!({ "data": data }))).await?;
    Ok(server)
}

// --- the webhooks ---------------------------------------------------------------------------------------------

async fn configuration(suite: &Failover, kind: &str, name: &str) -> Result<DynamicObject> {
    let object = json!({ "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": { "name": name } });
    let object: DynamicObject = serde_json::from_value(object)?;
    Ok(objects::api_of(&suite.client, &object).await?.get(name).await?)
}

/// The bundles of all webhooks.
async fn bundles(suite: &Failover) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for (kind, name) in WEBHOOKS {
        for webhook in configuration(suite, kind, name).await?.data["webhooks"].as_array().unwrap() {
            let bundle: ByteString =
                serde_json::from_value(webhook["clientConfig"]["caBundle"].clone()).unwrap_or_default();
            all.push(String::from_utf8(bundle.0)?);
        }
    }
    Ok(all)
}

async fn start_two(suite: &Failover) -> Result<(Replica, Replica)> {
    let options = ReplicaOptions { without_election: true, ..ReplicaOptions::default() };
    let mut replicas = (suite.installation.start(&options).await?, suite.installation.start(&options).await?);
    replicas.0.wait_until_ready().await?;
    replicas.1.wait_until_ready().await?;
    suite.installation.balance([&replicas.0, &replicas.1]);
    Ok(replicas)
}

/// Creates a JobSet as a dry run, so that the API server calls webhooks of both kinds.
async fn admit(suite: &Failover) -> Result<()> {
    let jobset = json!({
        "apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "metadata": { "name": "admitted" }, "spec": {},
    });
    let created = objects::create(&suite.client, "default", &serde_json::from_value(jobset)?, true).await?;
    ensure!(
        created.data.pointer("/spec/successPolicy") != Some(&Value::Null),
        "not defaulted: {:?}",
        created.data
    );
    Ok(())
}

/// Checks that each of these replicas responds to the API server.
///
/// The API server reuses connections. Repeated requests reach the replica when the earlier connections are closed.
async fn each_responds(suite: &Arc<Failover>, replicas: &[&Replica]) -> Result<()> {
    for replica in replicas {
        suite.installation.balance([*replica]);
        wait_for("a response of each replica", TIMEOUT, || async { Ok(admit(suite).await) }, Result::is_ok)
            .await?
            .unwrap();
    }
    suite.installation.balance(replicas.iter().copied());
    Ok(())
}

/// Waits until every replica serves this certificate.
async fn all_serve(suite: &Failover, replicas: &[&Replica], certificate: &str) -> Result<()> {
    let expected = CertificateDer::from_pem_slice(certificate.as_bytes())?;
    let bundle = bundle(&secret(suite).await?);
    for replica in replicas {
        let what = format!("{} to serve the new certificate", replica.name);
        let observe = || async { Ok(served_by(replica, &bundle).await.map_err(|error| error.to_string())) };
        wait_for(&what, TIMEOUT, observe, |served| served.as_ref() == Ok(&expected))
            .await?
            .map_err(Error::msg)?;
    }
    Ok(())
}

/// The certificate that a replica serves to a client that trusts this bundle.
async fn served_by(replica: &Replica, bundle: &str) -> Result<CertificateDer<'static>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(bundle.as_bytes()).filter_map(Result::ok));
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let server = ServerName::try_from(format!("jobset-webhook-service.{NAMESPACE}.svc"))?;
    let stream = TcpStream::connect(replica.webhook).await?;
    let stream = TlsConnector::from(Arc::new(config)).connect(server, stream).await?;
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    Ok(certificate.context("no certificate")?.clone().into_owned())
}

// --- load -----------------------------------------------------------------------------------------------------

/// The most requests at the same time. Without a limit, a slow machine falls behind until TLS handshakes time out.
const MOST_AT_ONCE: usize = 50;

/// Sends at most 100 admission requests per second until [`Load::stop`].
struct Load {
    sent: Arc<AtomicU32>,
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Vec<String>>,
}

impl Load {
    fn start(suite: &Arc<Failover>) -> Self {
        let (sent, stop) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
        let (suite, counted, stopped) = (Arc::clone(suite), Arc::clone(&sent), Arc::clone(&stop));
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(10));
            let (mut requests, mut failed) = (JoinSet::new(), Vec::new());
            while !stopped.load(Ordering::Relaxed) {
                ticks.tick().await;
                if requests.len() < MOST_AT_ONCE {
                    let (suite, counted) = (Arc::clone(&suite), Arc::clone(&counted));
                    requests.spawn(async move {
                        let result = admit(&suite).await;
                        counted.fetch_add(1, Ordering::Relaxed);
                        result
                    });
                }
                while let Some(done) = requests.try_join_next() {
                    failed.extend(done.unwrap().err().map(|error| format!("{error:#}")));
                }
            }
            let rest = requests.join_all().await;
            failed.extend(rest.into_iter().filter_map(|done| done.err().map(|error| format!("{error:#}"))));
            failed
        });
        Self { sent, stop, task }
    }

    async fn wait_for_more(&self, count: u32) -> Result<()> {
        let now = self.sent.load(Ordering::Relaxed);
        let observe = || async { Ok(self.sent.load(Ordering::Relaxed) - now) };
        wait_for("more requests", TIMEOUT, observe, |more| *more >= count).await.map(drop)
    }

    async fn stop(self) -> Result<(u32, Vec<String>)> {
        self.stop.store(true, Ordering::Relaxed);
        let failed = self.task.await?;
        Ok((self.sent.load(Ordering::Relaxed), failed))
    }
}
