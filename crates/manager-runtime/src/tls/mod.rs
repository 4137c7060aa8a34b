//! TLS of servers: certificates, versions and cipher suites.
//!
//! | module | contents |
//! |---|---|
//! | this module | a certificate that reloads while servers use it: from a folder, or from memory |
//! | [`options`] | TLS versions and cipher suites, by the names that Kubernetes uses |
//!
//! The kubelet updates a mounted Secret by moving a symbolic link to another folder, so this module compares the
//! contents of the files instead of watching their names. Open connections keep the certificate of their handshake.

pub mod options;

pub use options::TlsOptions;

use crate::metrics::CertificateMetrics;
use arc_swap::ArcSwap;
use rustls::{
    crypto::CryptoProvider,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::{
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

/// Why a certificate cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file is missing or cannot be read.
    #[error("cannot read {0}: {1}")]
    Read(PathBuf, #[source] std::io::Error),
    /// A certificate or key is not valid PEM data.
    #[error("{0} contains no usable PEM data: {reason}", reason = pem_fault(.1))]
    Pem(String, pem::Error),
    /// The file contains no certificate.
    #[error("{0} contains no certificate")]
    NoCertificate(String),
    /// The private key does not match the certificate.
    #[error("{0} does not match the certificate in the same place")]
    KeyMismatch(String),
    /// The TLS library refuses the certificate.
    #[error("the certificate in {0} cannot be used: {1}")]
    Certificate(String, #[source] rustls::Error),
    /// A self-signed certificate cannot be created.
    #[error("cannot create a self-signed certificate: {0}")]
    Create(#[from] rcgen::Error),
}

/// A certificate and its key, which can be replaced while servers use them. Clones share the certificate.
#[derive(Clone, Debug)]
pub struct Certificate(Arc<ArcSwap<CertifiedKey>>);

impl Certificate {
    /// Reads the contents of a `tls.crt` and a `tls.key`.
    ///
    /// # Errors
    /// When they are not PEM data, or do not match.
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let pair = KeyPair { certificate: certificate.to_owned(), key: key.to_owned() };
        Ok(Self(Arc::new(ArcSwap::new(pair.certified_key(None)?))))
    }

    /// Replaces the certificate for new connections. Open connections do not change.
    ///
    /// # Errors
    /// As [`Self::from_pem`]. The current certificate stays in use.
    pub fn replace(&self, certificate: &[u8], key: &[u8]) -> Result<(), TlsError> {
        let pair = KeyPair { certificate: certificate.to_owned(), key: key.to_owned() };
        self.0.store(pair.certified_key(None)?);
        Ok(())
    }

    /// Creates a self-signed certificate for these host names and addresses.
    ///
    /// # Errors
    /// When a name is not valid in a certificate.
    pub fn self_signed(names: &[&str]) -> Result<Self, TlsError> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let generated = rcgen::generate_simple_self_signed(names)?;
        Self::from_pem(generated.cert.pem().as_bytes(), generated.signing_key.serialize_pem().as_bytes())
    }

    /// Waits until `folder` contains a usable certificate, then reloads it until `shutdown`.
    /// None when `shutdown` comes first.
    pub async fn watch(
        folder: &Path,
        metrics: &CertificateMetrics,
        shutdown: &CancellationToken,
    ) -> Option<Self> {
        let mut reloader = Reloader::new(folder, metrics);
        let mut ticks = ticks();
        loop {
            tokio::select! { () = shutdown.cancelled() => return None, _ = ticks.tick() => {} }
            match reloader.read().await {
                Ok(Some(key)) => {
                    let certificate = Self(Arc::new(ArcSwap::new(key)));
                    tokio::spawn(certificate.clone().reload(reloader, shutdown.clone()));
                    return Some(certificate);
                }
                Ok(None) => {}
                Err(error) => {
                    if reloader.is_new_error(&error) {
                        info!(folder = %folder.display(), %error, "waiting for the certificate");
                    }
                }
            }
        }
    }

    /// Reloads the certificate in `folder` until `shutdown`. Serves this certificate until the folder contains one.
    #[must_use]
    pub fn replace_from(
        self,
        folder: &Path,
        metrics: &CertificateMetrics,
        shutdown: &CancellationToken,
    ) -> Self {
        let reloader = Reloader::new(folder, metrics);
        tokio::spawn(self.clone().reload(reloader, shutdown.clone()));
        self
    }

    async fn reload(self, mut reloader: Reloader, shutdown: CancellationToken) {
        let mut ticks = ticks();
        loop {
            tokio::select! { () = shutdown.cancelled() => return, _ = ticks.tick() => {} }
            match reloader.read().await {
                Ok(Some(key)) => {
                    self.0.store(key);
                    info!(folder = %reloader.folder.display(), "serving the new certificate");
                }
                Ok(None) => {}
                Err(error) if reloader.does_not_exist_yet(&error) => {
                    if reloader.is_new_error(&error) {
                        info!(%error, "serving a self-signed certificate until the files exist");
                    }
                }
                // Perhaps only one of the two files has changed so far. The current certificate stays in use.
                Err(error) => {
                    if reloader.is_new_error(&error) {
                        warn!(%error, "cannot reload the certificate, serving the current one");
                    }
                }
            }
        }
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

fn ticks() -> tokio::time::Interval {
    let mut ticks = interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
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

    /// Errors name the file in `folder`, or without a folder the key of the Secret.
    fn certified_key(&self, folder: Option<&Path>) -> Result<Arc<CertifiedKey>, TlsError> {
        let named =
            |name: &str| folder.map_or_else(|| name.to_owned(), |f| f.join(name).display().to_string());
        let chain = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| TlsError::Pem(named("tls.crt"), e))?;
        if chain.is_empty() {
            return Err(TlsError::NoCertificate(named("tls.crt")));
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|e| TlsError::Pem(named("tls.key"), e))?;
        let provider = CryptoProvider::get_default().cloned();
        let provider = provider.unwrap_or_else(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
        CertifiedKey::from_der(chain, key, &provider).map(Arc::new).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => TlsError::KeyMismatch(named("tls.key")),
            error => TlsError::Certificate(named("tls.crt"), error),
        })
    }
}

/// The fault in PEM data, without the bytes that the library's own text contains.
fn pem_fault(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no end marker".to_owned(),
        pem::Error::IllegalSectionStart { .. } => "a section has no valid begin marker".to_owned(),
        pem::Error::NoItemsFound => "no section found".to_owned(),
        error => error.to_string(),
    }
}

/// Reads a folder and detects changes.
struct Reloader {
    folder: PathBuf,
    metrics: CertificateMetrics,
    current: Option<KeyPair>,
    last_error: String,
}

impl Reloader {
    fn new(folder: &Path, metrics: &CertificateMetrics) -> Self {
        Self { folder: folder.to_owned(), metrics: metrics.clone(), current: None, last_error: String::new() }
    }

    /// Reads the folder. Returns the certificate if it differs from the last one.
    async fn read(&mut self) -> Result<Option<Arc<CertifiedKey>>, TlsError> {
        self.metrics.reads.inc();
        let found = async {
            let pair = KeyPair::read(&self.folder).await?;
            if self.current.as_ref() == Some(&pair) {
                return Ok(None);
            }
            Ok(Some((pair.certified_key(Some(&self.folder))?, pair)))
        };
        match found.await {
            Ok(None) => Ok(None),
            Ok(Some((key, pair))) => {
                self.current = Some(pair);
                self.last_error.clear();
                Ok(Some(key))
            }
            Err(error) => {
                if !self.does_not_exist_yet(&error) {
                    self.metrics.errors.inc();
                }
                Err(error)
            }
        }
    }

    /// Whether the files never existed. This is not a failure: they may be created later.
    fn does_not_exist_yet(&self, error: &TlsError) -> bool {
        let missing = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
        self.current.is_none() && matches!(error, TlsError::Read(_, error) if missing(error))
    }

    /// Whether this error differs from the last one.
    fn is_new_error(&mut self, error: &TlsError) -> bool {
        let text = error.to_string();
        let is_new = text != self.last_error;
        self.last_error = text;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    fn write_pair(folder: &Path, name: &str) {
        let generated = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        std::fs::write(folder.join("tls.crt"), generated.cert.pem()).unwrap();
        std::fs::write(folder.join("tls.key"), generated.signing_key.serialize_pem()).unwrap();
    }

    #[tokio::test]
    async fn errors_name_the_missing_or_invalid_file() {
        let metrics = Metrics::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut reloader = Reloader::new(folder.path(), metrics.certificates());
        let error = reloader.read().await.err().unwrap();
        assert!(error.to_string().contains("tls.crt"), "{error}");
        assert!(reloader.is_new_error(&error) && !reloader.is_new_error(&error));
        write_pair(folder.path(), "webhook.test");
        assert!(reloader.read().await.unwrap().is_some());
        assert!(reloader.read().await.unwrap().is_none(), "the files have not changed");
        std::fs::write(folder.path().join("tls.key"), "nonsense").unwrap();
        let error = reloader.read().await.err().unwrap();
        assert!(error.to_string().contains("tls.key"), "{error}");
        std::fs::write(folder.path().join("tls.crt"), "").unwrap();
        let error = reloader.read().await.err().unwrap();
        assert!(error.to_string().contains("tls.crt"), "{error}");
        let text = metrics.text().unwrap();
        assert!(text.contains("\ncertwatcher_read_certificate_total 5\n"), "{text}");
        assert!(text.contains("\ncertwatcher_read_certificate_errors_total 2\n"), "{text}");
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let make = || rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
        let (one, other) = (make(), make());
        let certificate = one.cert.pem();
        let of = |key: String| Certificate::from_pem(certificate.as_bytes(), key.as_bytes());
        let error = of(other.signing_key.serialize_pem()).unwrap_err();
        assert_eq!(error.to_string(), "tls.key does not match the certificate in the same place");
        let error = Certificate::from_pem(b"nonsense", b"").unwrap_err();
        assert_eq!(error.to_string(), "tls.crt contains no certificate");
        let cut = certificate.split("-----END").next().unwrap();
        let error = Certificate::from_pem(cut.as_bytes(), b"").unwrap_err();
        assert_eq!(error.to_string(), "tls.crt contains no usable PEM data: a section has no end marker");
        let served = of(one.signing_key.serialize_pem()).unwrap();
        assert!(served.replace(other.cert.pem().as_bytes(), b"nonsense").is_err());
        assert!(
            served.replace(other.cert.pem().as_bytes(), other.signing_key.serialize_pem().as_bytes()).is_ok()
        );
    }

    #[tokio::test]
    async fn a_self_signed_certificate_serves_until_the_files_exist() {
        let (metrics, folder, stop) =
            (Metrics::new().unwrap(), tempfile::tempdir().unwrap(), CancellationToken::new());
        let certificate = Certificate::self_signed(&["localhost", "127.0.0.1"]).unwrap();
        let self_signed = certificate.0.load_full();
        let certificate = certificate.replace_from(folder.path(), metrics.certificates(), &stop);
        assert!(Arc::ptr_eq(&self_signed, &certificate.0.load_full()));
        write_pair(folder.path(), "metrics.test");
        let changed = async {
            while Arc::ptr_eq(&self_signed, &certificate.0.load_full()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(4 * POLL, changed).await.expect("the new certificate is served");
        stop.cancel();
    }
}
