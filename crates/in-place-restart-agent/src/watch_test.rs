//! Watch and patch against a TLS server that answers with scripted bytes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use crate::annotate::annotate;
use crate::api::{Api, Timeouts};
use crate::jobset::JobSet;
use crate::service_account::ServiceAccount;
use crate::watch::observe;

/// How the server answers one request.
enum Reply {
    /// A complete response.
    Response(u16, &'static str, String),
    /// These events, and then the end of the watch.
    Watch(Vec<String>),
    /// These events, and then nothing more on an open connection.
    Hang(Vec<String>),
    /// Half of a chunk, and then the end of the connection.
    Cut(Vec<String>),
    /// The end of the connection without a response.
    Close,
}
use Reply::{Close, Cut, Hang, Response, Watch};

struct Server {
    folder: TempDir,
    api: Arc<Api>,
    requests: mpsc::UnboundedReceiver<String>,
    certificate: Arc<Mutex<ServerConfig>>,
}

fn write_certificate(folder: &TempDir) -> ServerConfig {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
    std::fs::write(folder.path().join("ca.crt"), cert.pem()).unwrap();
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    config.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap()
}

impl Server {
    /// A server that answers requests in this order, over any number of connections. Then it answers nothing.
    async fn start(replies: Vec<Reply>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("namespace"), "team").unwrap();
        let token = folder.path().join("token");
        std::fs::write(&token, "token-0").unwrap();
        let certificate = Arc::new(Mutex::new(write_certificate(&folder)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let account = ServiceAccount::read(|name| match name {
            "KUBERNETES_SERVICE_HOST" => Some("127.0.0.1".into()),
            "KUBERNETES_SERVICE_PORT" => Some((&port).into()),
            _ => Some(folder.path().into()),
        });
        let timeouts = Timeouts {
            response: Duration::from_secs(2),
            idle: Duration::from_secs(2),
            watch: Duration::from_mins(5),
        };
        let api = Arc::new(Api::new(account.unwrap(), timeouts));
        let (sender, requests) = mpsc::unbounded_channel();
        let replies = Arc::new(Mutex::new(VecDeque::from(replies)));
        let server = Self { folder, api, requests, certificate: Arc::clone(&certificate) };
        let number = Arc::new(AtomicUsize::new(1));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let acceptor = TlsAcceptor::from(Arc::new(certificate.lock().unwrap().clone()));
                let (sender, replies) = (sender.clone(), Arc::clone(&replies));
                let (token, number) = (token.clone(), Arc::clone(&number));
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    while let Some(request) = read_request(&mut stream).await {
                        // kubelet replaces the token.
                        let next = format!("token-{}\n", number.fetch_add(1, Ordering::Relaxed));
                        std::fs::write(&token, next).unwrap();
                        drop(sender.send(request));
                        let reply = replies.lock().unwrap().pop_front();
                        let bytes = match &reply {
                            Some(Response(code, header, body)) => {
                                format!(
                                    "HTTP/1.1 {code} X\r\n{header}content-length: {}\r\n\r\n{body}",
                                    body.len()
                                )
                            }
                            Some(Watch(events)) => chunked(events) + "0\r\n\r\n",
                            Some(Hang(events)) => chunked(events),
                            Some(Cut(events)) => chunked(events) + "ff\r\n{\"type\":",
                            Some(Close) | None => String::new(),
                        };
                        if stream.write_all(bytes.as_bytes()).await.is_err() || stream.flush().await.is_err()
                        {
                            return;
                        }
                        match reply {
                            Some(Response(..) | Watch(_)) => {}
                            Some(Cut(_) | Close) => return,
                            Some(Hang(_)) | None => std::future::pending().await,
                        }
                    }
                });
            }
        });
        server
    }

    fn observe(&self) -> mpsc::Receiver<JobSet> {
        let (sender, versions) = mpsc::channel(8);
        tokio::spawn(observe(Arc::clone(&self.api), "training".into(), sender));
        versions
    }

    async fn request(&mut self) -> String {
        let next = tokio::time::timeout(Duration::from_mins(1), self.requests.recv());
        next.await.expect("no request").unwrap()
    }

    /// Resource versions of the next watches; "list" for a list.
    async fn positions(&mut self, number: usize) -> Vec<String> {
        let mut positions = Vec::new();
        for _ in 0..number {
            let request = self.request().await;
            let path = request.split(' ').nth(1).unwrap();
            let base = "/apis/jobset.x-k8s.io/v1alpha2/namespaces/team/jobsets?fieldSelector=metadata.name%3Dtraining";
            let rest = path.strip_prefix(base).unwrap();
            positions.push(if rest.is_empty() {
                "list".into()
            } else {
                assert!(rest.starts_with("&watch=true&allowWatchBookmarks=true&timeoutSeconds="), "{rest}");
                rest.rsplit_once("resourceVersion=").unwrap().1.to_owned()
            });
        }
        positions
    }
}

async fn read_request(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Option<String> {
    let mut text = String::new();
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return Some(text);
            }
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => text.push_str(std::str::from_utf8(&buffer[..read]).unwrap()),
        }
    }
}

fn chunked(events: &[String]) -> String {
    let chunks = events.iter().map(|event| format!("{:x}\r\n{event}\n\r\n", event.len() + 1));
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned() + &chunks.collect::<String>()
}

fn object(version: u32, current: i64) -> String {
    format!(
        r#"{{"metadata":{{"resourceVersion":"{version}"}},"spec":{{"failurePolicy":{{"restartStrategy":"InPlaceRestart"}}}},"status":{{"currentInPlaceRestartAttempt":{current}}}}}"#
    )
}

fn event(kind: &str, version: u32, current: i64) -> String {
    format!(r#"{{"type":"{kind}","object":{}}}"#, object(version, current))
}

fn list(version: u32, objects: &[String]) -> Reply {
    let items = objects.join(",");
    Response(200, "", format!(r#"{{"metadata":{{"resourceVersion":"{version}"}},"items":[{items}]}}"#))
}

fn status(code: u16, message: &str) -> String {
    format!(r#"{{"kind":"Status","status":"Failure","message":"{message}","code":{code}}}"#)
}

async fn next(versions: &mut mpsc::Receiver<JobSet>) -> Option<i64> {
    let next = tokio::time::timeout(Duration::from_mins(1), versions.recv());
    next.await.expect("no version of the JobSet").unwrap().current
}

#[tokio::test]
async fn one_list_and_one_watch_return_every_version() {
    let events = vec![event("MODIFIED", 8, 2), event("BOOKMARK", 9, 99), event("MODIFIED", 10, 3)];
    let mut server = Server::start(vec![list(7, &[object(6, 1)]), Hang(events)]).await;
    let mut versions = server.observe();
    for current in [1, 2, 3] {
        assert_eq!(next(&mut versions).await, Some(current));
    }
    assert_eq!(server.positions(2).await, ["list", "7"]);
}

#[tokio::test]
async fn a_watch_continues_where_the_previous_one_ended() {
    // The end by the API server, a connection that a proxy cuts, one that is silent, and one without a response.
    let mut server = Server::start(vec![
        list(7, &[]),
        Watch(vec![event("ADDED", 8, 1)]),
        Cut(vec![event("BOOKMARK", 9, 99)]),
        Hang(vec![event("BOOKMARK", 10, 99)]),
        Close,
        Hang(vec![event("MODIFIED", 11, 2)]),
    ])
    .await;
    let mut versions = server.observe();
    assert_eq!(next(&mut versions).await, Some(1));
    assert_eq!(next(&mut versions).await, Some(2));
    assert_eq!(server.positions(6).await, ["list", "7", "8", "9", "10", "10"]);
}

#[tokio::test]
async fn a_version_that_is_too_old_causes_a_list() {
    let gone = format!(r#"{{"type":"ERROR","object":{}}}"#, status(410, "too old resource version"));
    let mut server = Server::start(vec![
        list(7, &[object(6, 1)]),
        Watch(vec![gone]),
        list(20, &[object(19, 2)]),
        Response(410, "", status(410, "expired")),
        list(30, &[object(29, 3)]),
        Hang(vec![]),
    ])
    .await;
    let mut versions = server.observe();
    for current in [1, 2, 3] {
        assert_eq!(next(&mut versions).await, Some(current));
    }
    assert_eq!(server.positions(6).await, ["list", "7", "list", "20", "list", "30"]);
}

#[tokio::test]
async fn errors_are_retried() {
    for reply in [
        Response(401, "", status(401, "Unauthorized")),
        Response(403, "", status(403, "cannot list")),
        Response(404, "", "404 page not found".into()),
        Response(429, "retry-after: 1\r\n", "Too many requests".into()),
        Response(503, "", "<html>a proxy</html>".into()),
        Response(200, "", "<html>a proxy</html>".into()),
        Response(200, "", r#"{"metadata":{}"#.into()),
    ] {
        let mut server = Server::start(vec![reply, list(7, &[object(6, 1)]), Hang(vec![])]).await;
        let mut versions = server.observe();
        assert_eq!(next(&mut versions).await, Some(1));
        assert_eq!(server.positions(3).await, ["list", "list", "7"]);
    }
}

#[tokio::test]
async fn every_request_has_the_current_token() {
    let rejected = Response(401, "", status(401, "Unauthorized"));
    let replies = vec![list(7, &[]), Watch(vec![]), rejected, Hang(vec![event("ADDED", 8, 1)])];
    let mut server = Server::start(replies).await;
    let mut versions = server.observe();
    assert_eq!(next(&mut versions).await, Some(1));
    for number in 0..4 {
        let request = server.request().await;
        assert!(request.contains(&format!("authorization: Bearer token-{number}\r\n")), "{request}");
    }
}

#[tokio::test]
async fn a_new_ca_is_read_for_the_next_connection() {
    let mut server = Server::start(vec![list(7, &[]), Hang(vec![]), Hang(vec![event("ADDED", 8, 1)])]).await;
    let mut versions = server.observe();
    assert_eq!(server.positions(2).await, ["list", "7"]);
    let replacement = write_certificate(&server.folder);
    *server.certificate.lock().unwrap() = replacement;
    assert_eq!(next(&mut versions).await, Some(1));
}

#[tokio::test]
async fn a_server_of_another_ca_is_an_error() {
    let server = Server::start(vec![]).await;
    write_certificate(&server.folder);
    let error = server.api.connect().await.unwrap_err().to_string();
    assert!(error.contains("cannot connect to the API server at 127.0.0.1:"), "{error}");
    assert!(error.contains("certificate"), "{error}");
    std::fs::write(server.folder.path().join("ca.crt"), "no PEM").unwrap();
    let error = server.api.connect().await.unwrap_err().to_string();
    assert!(error.contains("/ca.crt contains no valid certificate"), "{error}");
}

#[tokio::test]
async fn the_longest_jobset_is_read_and_a_longer_one_is_an_error() {
    let with_padding = |version, length| {
        let text = event("MODIFIED", version, 5);
        text.replacen('{', &format!(r#"{{"padding":"{}","#, "x".repeat(length)), 1)
    };
    let mut server = Server::start(vec![
        list(7, &[]),
        Watch(vec![with_padding(8, 3 << 20)]),
        Watch(vec![with_padding(9, 5 << 20)]),
        Hang(vec![event("MODIFIED", 10, 6)]),
    ])
    .await;
    let mut versions = server.observe();
    assert_eq!(next(&mut versions).await, Some(5));
    assert_eq!(next(&mut versions).await, Some(6));
    assert_eq!(server.positions(4).await, ["list", "7", "8", "8"]);
}

#[tokio::test]
async fn the_annotation_is_applied_until_it_succeeds() {
    let mut server = Server::start(vec![
        Response(409, "", status(409, "the object has been modified")),
        Close,
        Response(200, "", "{}".into()),
    ])
    .await;
    annotate(Arc::clone(&server.api), "training-w-0-0-abcde".into(), 3).await;
    for _ in 0..3 {
        let request = server.request().await;
        let line = "PATCH /api/v1/namespaces/team/pods/training-w-0-0-abcde?fieldManager=in-place-restart-agent&force=true HTTP/1.1\r\n";
        assert!(request.starts_with(line), "{request}");
        assert!(request.contains("content-type: application/apply-patch+yaml\r\n"), "{request}");
        let body: serde_json::Value =
            serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap();
        let annotations = serde_json::json!({"jobset.sigs.k8s.io/in-place-restart-attempt": "3"});
        let metadata = serde_json::json!({"name": "training-w-0-0-abcde", "namespace": "team", "annotations": annotations});
        assert_eq!(body, serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata}));
    }
}
