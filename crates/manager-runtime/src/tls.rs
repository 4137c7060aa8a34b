//! HTTPS with `tls.crt` and `tls.key` from a folder, followed when they change.
//!
//! A mounted Secret changes by a symbolic link that swings to another folder, so files are compared by
//! content, not watched by name. Connections that stand go on with the certificate they began with.

use axum::Router;
use axum_server::{Handle, tls_rustls::RustlsConfig};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use thiserror::Error;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How often the files are compared.
const POLL: Duration = Duration::from_secs(2);
/// How long open connections may take to finish at the end.
const GRACE: Duration = Duration::from_secs(10);

/// Why a certificate cannot be used or a server cannot be started.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file is missing or cannot be read.
    #[error("cannot read {0}: {1}")]
    Read(PathBuf, #[source] std::io::Error),
    /// A file does not hold what it should.
    #[error("{0} holds no usable PEM data: {1}")]
    Pem(PathBuf, #[source] rustls::pki_types::pem::Error),
    /// Certificate and key do not make a server.
    #[error("the certificate in {0} cannot be used: {1}")]
    Certificate(PathBuf, #[source] rustls::Error),
    /// The address cannot be listened on.
    #[error("cannot serve on {0}: {1}")]
    Serve(SocketAddr, #[source] std::io::Error),
}

/// The content of `tls.crt` and `tls.key`.
#[derive(Clone, PartialEq)]
struct KeyPair {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl KeyPair {
    async fn read(folder: &Path) -> Result<Self, TlsError> {
        let read = async |name: &str| {
            let path = folder.join(name);
            tokio::fs::read(&path).await.map_err(|e| TlsError::Read(path, e))
        };
        Ok(Self { certificate: read("tls.crt").await?, key: read("tls.key").await? })
    }

    fn server_config(&self, folder: &Path) -> Result<Arc<ServerConfig>, TlsError> {
        let path = folder.join("tls.crt");
        let chain = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| TlsError::Pem(path.clone(), e))?;
        let key =
            PrivateKeyDer::from_pem_slice(&self.key).map_err(|e| TlsError::Pem(folder.join("tls.key"), e))?;
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|e| TlsError::Certificate(path, e))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// A certificate that follows the files of a folder.
#[derive(Clone)]
pub struct Certificate {
    config: RustlsConfig,
}

impl Certificate {
    /// Waits until `folder` holds a usable certificate, then follows it until `shutdown`.
    /// None when `shutdown` came first.
    pub async fn follow(folder: &Path, shutdown: &CancellationToken) -> Option<Self> {
        let mut ticks = interval(POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = String::new();
        let (pair, config) = loop {
            tokio::select! { () = shutdown.cancelled() => return None, _ = ticks.tick() => {} }
            match Self::load(folder).await {
                Ok(loaded) => break loaded,
                Err(error) if error.to_string() != told => {
                    told = error.to_string();
                    info!(folder = %folder.display(), %error, "waiting for the certificate");
                }
                Err(_) => {}
            }
        };
        let certificate = Self { config: RustlsConfig::from_config(config) };
        tokio::spawn(certificate.clone().poll(folder.to_owned(), pair, shutdown.clone()));
        Some(certificate)
    }

    async fn load(folder: &Path) -> Result<(KeyPair, Arc<ServerConfig>), TlsError> {
        let pair = KeyPair::read(folder).await?;
        let config = pair.server_config(folder)?;
        Ok((pair, config))
    }

    async fn poll(self, folder: PathBuf, mut current: KeyPair, shutdown: CancellationToken) {
        let mut ticks = interval(POLL);
        loop {
            tokio::select! { () = shutdown.cancelled() => return, _ = ticks.tick() => {} }
            match KeyPair::read(&folder).await {
                Ok(found) if found != current => match found.server_config(&folder) {
                    Ok(config) => {
                        self.config.reload_from_config(config);
                        current = found;
                        info!(folder = %folder.display(), "certificate changed, serving the new one");
                    }
                    // Half a change: the other file follows. The old certificate goes on serving.
                    Err(error) => warn!(%error, "the changed certificate cannot be used yet"),
                },
                Ok(_) => {}
                Err(error) => warn!(%error, "cannot look after the certificate"),
            }
        }
    }
}

/// Serves `router` over HTTPS until `shutdown`, then lets open requests finish.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(
    address: SocketAddr,
    certificate: Certificate,
    router: Router,
    shutdown: CancellationToken,
) -> Result<(), TlsError> {
    let handle = Handle::new();
    let stop = handle.clone();
    tokio::spawn(async move {
        shutdown.cancelled().await;
        stop.graceful_shutdown(Some(GRACE));
    });
    axum_server::bind_rustls(address, certificate.config)
        .handle(handle)
        .serve(router.into_make_service())
        .await
        .map_err(|e| TlsError::Serve(address, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_pair(folder: &Path, name: &str) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        std::fs::write(folder.join("tls.crt"), made.cert.pem()).unwrap();
        std::fs::write(folder.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
    }

    #[tokio::test]
    async fn a_missing_or_broken_file_is_named() {
        crate::install_crypto_provider();
        let folder = tempfile::tempdir().unwrap();
        let error = Certificate::load(folder.path()).await.err().unwrap();
        assert!(error.to_string().contains("tls.crt"), "{error}");
        write_pair(folder.path(), "webhook.test");
        assert!(Certificate::load(folder.path()).await.is_ok());
        std::fs::write(folder.path().join("tls.key"), "nonsense").unwrap();
        let error = Certificate::load(folder.path()).await.err().unwrap();
        assert!(error.to_string().contains("tls.key"), "{error}");
    }
}
