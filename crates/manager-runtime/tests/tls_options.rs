//! TLS versions, cipher suites and protocols that a server negotiates with clients.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use axum::Router;
use manager_runtime::{
    install_crypto_provider,
    server::Server,
    tls::{Certificate, TlsOptions},
};
use rustls::{
    CipherSuite, ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};
use std::{net::SocketAddr, sync::Arc};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::sync::{CancellationToken, DropGuard};

const NAME: &str = "metrics.test";
const SUITE: &str = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384";

struct Served {
    address: SocketAddr,
    certificate: String,
    _stop: DropGuard,
}

async fn serve(min_version: &str, suites: &[&str]) -> Served {
    install_crypto_provider();
    let generated = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let (certificate, key) = (generated.cert.pem(), generated.signing_key.serialize_pem());
    let suites: Vec<String> = suites.iter().map(|&suite| suite.to_owned()).collect();
    let options = TlsOptions::parse(min_version, &suites).unwrap();
    let server = Server::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let (address, stop) = (server.address(), CancellationToken::new());
    let (stopped, pair) =
        (stop.clone(), Certificate::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap());
    tokio::spawn(async move { server.serve_tls(&options, pair, Router::new(), stopped).await });
    Served { address, certificate, _stop: stop.drop_guard() }
}

/// Connects, and returns the negotiated version, suite and protocol.
async fn negotiate(
    server: &Served,
    version: &'static SupportedProtocolVersion,
) -> std::io::Result<(ProtocolVersion, CipherSuite, Option<Vec<u8>>)> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(server.certificate.as_bytes()).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_protocol_versions(&[version])
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = TcpStream::connect(server.address).await?;
    let stream =
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(NAME).unwrap(), stream).await?;
    let (_, negotiated) = stream.get_ref();
    Ok((
        negotiated.protocol_version().unwrap(),
        negotiated.negotiated_cipher_suite().unwrap().suite(),
        negotiated.alpn_protocol().map(<[u8]>::to_vec),
    ))
}

#[tokio::test]
async fn the_default_is_tls12_or_later_over_http1() {
    let server = serve("", &[]).await;
    for (offered, version) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        let (negotiated, _, protocol) = negotiate(&server, offered).await.unwrap();
        assert_eq!((negotiated, protocol), (version, Some(b"http/1.1".to_vec())));
    }
}

/// With feature `fips`, the validated module provides all cryptography.
#[tokio::test]
async fn the_feature_selects_the_cryptography_module() {
    let server = serve("", &[]).await;
    assert!(negotiate(&server, &TLS13).await.is_ok());
    let config = TlsOptions::default().server_config(Certificate::self_signed(&[NAME]).unwrap()).unwrap();
    assert_eq!(config.fips(), cfg!(feature = "fips"));
}

#[tokio::test]
async fn a_client_below_the_minimum_version_is_refused() {
    let server = serve("VersionTLS13", &[]).await;
    let refused = negotiate(&server, &TLS12).await.unwrap_err();
    assert!(refused.to_string().contains("ProtocolVersion"), "{refused}");
    assert_eq!(negotiate(&server, &TLS13).await.unwrap().0, ProtocolVersion::TLSv1_3);
}

#[tokio::test]
async fn only_the_configured_suite_of_tls12_is_negotiated() {
    let server = serve("VersionTLS12", &[SUITE]).await;
    let (_, suite, _) = negotiate(&server, &TLS12).await.unwrap();
    assert_eq!(suite, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384);
    assert!(negotiate(&server, &TLS13).await.is_ok());
    // The certificate is an ECDSA certificate, so a suite for RSA is unusable.
    let other = serve("VersionTLS12", &["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"]).await;
    assert!(negotiate(&other, &TLS12).await.is_err());
    assert!(negotiate(&other, &TLS13).await.is_ok());
}
