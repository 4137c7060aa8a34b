//! At a hundred requests a second, certificates rotate the way the kubelet updates a mounted Secret. No request fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use axum::{Router, routing::get};
use manager_runtime::{
    install_crypto_provider,
    metrics::Metrics,
    server::Server,
    tls::{Certificate, TlsOptions},
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use std::{
    net::SocketAddr,
    os::unix::fs::symlink,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, interval, sleep},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;

const NAME: &str = "webhook.test";
const CLIENTS: usize = 10;
const EVERY: Duration = Duration::from_millis(100);

struct Pair {
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    key_pem: String,
}

fn pair() -> Pair {
    let generated = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    Pair {
        certificate: generated.cert.der().clone(),
        certificate_pem: generated.cert.pem(),
        key_pem: generated.signing_key.serialize_pem(),
    }
}

/// `tls.crt` is a link to `..data/tls.crt`, and `..data` is a link to a folder with a timestamp as its name. The
/// kubelet writes a new folder and replaces `..data`.
fn mount(folder: &Path, version: &str, pair: &Pair) {
    let new = folder.join(version);
    std::fs::create_dir(&new).unwrap();
    std::fs::write(new.join("tls.crt"), &pair.certificate_pem).unwrap();
    std::fs::write(new.join("tls.key"), &pair.key_pem).unwrap();
    symlink(version, folder.join("..data_tmp")).unwrap();
    std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    for file in ["tls.crt", "tls.key"] {
        if !folder.join(file).exists() {
            symlink(Path::new("..data").join(file), folder.join(file)).unwrap();
        }
    }
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir() && entry.file_name() != *version)
        .for_each(|entry| std::fs::remove_dir_all(entry.path()).unwrap());
}

#[derive(Clone)]
struct Client {
    connector: TlsConnector,
    address: SocketAddr,
}

impl Client {
    async fn connect(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        self.connector.connect(ServerName::try_from(NAME).unwrap(), stream).await
    }
}

async fn ask(stream: &mut TlsStream<TcpStream>) -> std::io::Result<()> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: webhook.test\r\n\r\n").await?;
    let mut response = [0; 512];
    let length = stream.read(&mut response).await?;
    let text = String::from_utf8_lossy(response.get(..length).unwrap_or_default()).into_owned();
    if text.ends_with("hello") { Ok(()) } else { Err(std::io::Error::other(text)) }
}

fn served(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap().first().unwrap().clone().into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_certificates_change() {
    install_crypto_provider();
    let folder = tempfile::tempdir().unwrap();
    let pairs = [pair(), pair(), pair()];
    mount(folder.path(), "..2026_01_01", &pairs[0]);
    let (metrics, stop) = (Metrics::new().unwrap(), CancellationToken::new());
    let certificate = Certificate::watch(folder.path(), metrics.certificates(), &stop).await.unwrap();
    let server = Server::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = server.address();
    let router = Router::new().route("/", get(|| async { "hello" }));
    let stopped = stop.clone();
    let serving =
        tokio::spawn(
            async move { server.serve_tls(&TlsOptions::default(), certificate, router, stopped).await },
        );

    let mut roots = RootCertStore::empty();
    for pair in &pairs {
        roots.add(pair.certificate.clone()).unwrap();
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let client = Client { connector: Arc::new(config).into(), address };
    let mut open = client.connect().await.unwrap();

    let requests = Arc::new(AtomicUsize::new(0));
    let failures: Arc<Mutex<Vec<String>>> = Arc::default();
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (client, requests, failures) = (client.clone(), requests.clone(), failures.clone());
        clients.spawn(async move {
            let mut ticks = interval(EVERY);
            loop {
                ticks.tick().await;
                let result = async { ask(&mut client.connect().await?).await };
                if let Err(error) = result.await {
                    failures.lock().unwrap().push(error.to_string());
                }
                requests.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    let started = Instant::now();
    for (version, pair) in [("..2026_01_02", &pairs[1]), ("..2026_01_03", &pairs[2])] {
        mount(folder.path(), version, pair);
        let deadline = Instant::now() + Duration::from_secs(20);
        while served(&client.connect().await.unwrap()) != pair.certificate {
            assert!(Instant::now() < deadline, "the certificate of {version} is not served");
            sleep(Duration::from_millis(20)).await;
        }
        ask(&mut open).await.expect("the open connection still works");
    }
    let rate =
        f64::from(u32::try_from(requests.load(Ordering::Relaxed)).unwrap()) / started.elapsed().as_secs_f64();
    clients.shutdown().await;
    assert_eq!(*failures.lock().unwrap(), Vec::<String>::new());
    assert!(rate > 50.0, "only {rate:.0} requests a second");
    assert_eq!(served(&open), pairs[0].certificate, "the open connection keeps its certificate");
    drop(open);
    stop.cancel();
    serving.await.unwrap().unwrap();
}
