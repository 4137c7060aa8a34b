//! TLS: which certificate, under which rules.
//!
//! | module | what it gives |
//! |---|---|
//! | here | a certificate that may change while it is served: from a folder, or from memory |
//! | [`options`] | TLS versions and cipher suites, by the names that Kubernetes uses |
//!
//! A mounted Secret changes by a symbolic link that swings to another folder, so files are compared by
//! content, not watched by name. Connections that stand go on with the certificate they began with.

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
    /// What should hold a certificate or a key does not.
    #[error("{0} holds no usable PEM data: {reason}", reason = pem_fault(.1))]
    Pem(String, pem::Error),
    /// There is PEM data, or none, and no certificate in it.
    #[error("{0} holds no certificate")]
    NoCertificate(String),
    /// The files belong to different certificates.
    #[error("{0} holds another key than that of the certificate beside it")]
    OtherKey(String),
    /// Certificate and key do not make a server.
    #[error("the certificate in {0} cannot be used: {1}")]
    Certificate(String, #[source] rustls::Error),
    /// A certificate cannot be made.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
}

/// A certificate and its key, which may be replaced while servers use it. Clones are the same certificate.
#[derive(Clone, Debug)]
pub struct Certificate(Arc<ArcSwap<CertifiedKey>>);

impl Certificate {
    /// From the content of a `tls.crt` and a `tls.key`.
    ///
    /// # Errors
    /// When they hold no PEM data, or do not belong together.
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let pair = KeyPair { certificate: certificate.to_owned(), key: key.to_owned() };
        Ok(Self(Arc::new(ArcSwap::new(pair.certified_key(None)?))))
    }

    /// From now on, serves this one. Connections that stand are not touched.
    ///
    /// # Errors
    /// As with [`Self::from_pem`]; then the old one goes on.
    pub fn replace(&self, certificate: &[u8], key: &[u8]) -> Result<(), TlsError> {
        let pair = KeyPair { certificate: certificate.to_owned(), key: key.to_owned() };
        self.0.store(pair.certified_key(None)?);
        Ok(())
    }

    /// One that nobody trusts who has not been told to, for these host names and addresses.
    ///
    /// # Errors
    /// When a name can stand in no certificate.
    pub fn self_signed(names: &[&str]) -> Result<Self, TlsError> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names)?;
        Self::from_pem(made.cert.pem().as_bytes(), made.signing_key.serialize_pem().as_bytes())
    }

    /// Waits until `folder` holds a usable certificate, then follows it until `shutdown`.
    /// None when `shutdown` came first.
    pub async fn follow(
        folder: &Path,
        metrics: &CertificateMetrics,
        shutdown: &CancellationToken,
    ) -> Option<Self> {
        let mut follower = Follower::new(folder, metrics);
        let mut ticks = ticks();
        loop {
            tokio::select! { () = shutdown.cancelled() => return None, _ = ticks.tick() => {} }
            match follower.look().await {
                Ok(Some(key)) => {
                    let certificate = Self(Arc::new(ArcSwap::new(key)));
                    tokio::spawn(certificate.clone().keep_following(follower, shutdown.clone()));
                    return Some(certificate);
                }
                Ok(None) => {}
                Err(error) => {
                    if follower.is_news(&error) {
                        info!(folder = %folder.display(), %error, "waiting for the certificate");
                    }
                }
            }
        }
    }

    /// Follows the certificate in `folder` until `shutdown`; while there is none, serves this one.
    #[must_use]
    pub fn follow_when_there(
        self,
        folder: &Path,
        metrics: &CertificateMetrics,
        shutdown: &CancellationToken,
    ) -> Self {
        let follower = Follower::new(folder, metrics);
        tokio::spawn(self.clone().keep_following(follower, shutdown.clone()));
        self
    }

    async fn keep_following(self, mut follower: Follower, shutdown: CancellationToken) {
        let mut ticks = ticks();
        loop {
            tokio::select! { () = shutdown.cancelled() => return, _ = ticks.tick() => {} }
            match follower.look().await {
                Ok(Some(key)) => {
                    self.0.store(key);
                    info!(folder = %follower.folder.display(), "certificate changed, serving the new one");
                }
                Ok(None) => {}
                Err(error) if follower.is_not_there_yet(&error) => {
                    if follower.is_news(&error) {
                        info!(%error, "serving a self-signed certificate until there is one");
                    }
                }
                // Perhaps half a change: the other file follows. What is served goes on being served.
                Err(error) => {
                    if follower.is_news(&error) {
                        warn!(%error, "no certificate to change to");
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

    /// Errors name the file in `folder`, or the field of a Secret.
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
            rustls::Error::InconsistentKeys(_) => TlsError::OtherKey(named("tls.key")),
            error => TlsError::Certificate(named("tls.crt"), error),
        })
    }
}

/// What is wrong with PEM data, without the bytes that the library shows.
fn pem_fault(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no end".to_owned(),
        pem::Error::IllegalSectionStart { .. } => "a section has no proper beginning".to_owned(),
        pem::Error::NoItemsFound => "there is none".to_owned(),
        error => error.to_string(),
    }
}

/// Looks at a folder again and again, and tells what is new.
struct Follower {
    folder: PathBuf,
    metrics: CertificateMetrics,
    current: Option<KeyPair>,
    told: String,
}

impl Follower {
    fn new(folder: &Path, metrics: &CertificateMetrics) -> Self {
        Self { folder: folder.to_owned(), metrics: metrics.clone(), current: None, told: String::new() }
    }

    /// A certificate that differs from the last one, if there is one.
    async fn look(&mut self) -> Result<Option<Arc<CertifiedKey>>, TlsError> {
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
                self.told.clear();
                Ok(Some(key))
            }
            Err(error) => {
                if !self.is_not_there_yet(&error) {
                    self.metrics.errors.inc();
                }
                Err(error)
            }
        }
    }

    /// Whether nothing was ever there, which is no fault: it may come.
    fn is_not_there_yet(&self, error: &TlsError) -> bool {
        let missing = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
        self.current.is_none() && matches!(error, TlsError::Read(_, error) if missing(error))
    }

    /// Whether this has not just been told.
    fn is_news(&mut self, error: &TlsError) -> bool {
        let text = error.to_string();
        let news = text != self.told;
        self.told = text;
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    fn write_pair(folder: &Path, name: &str) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        std::fs::write(folder.join("tls.crt"), made.cert.pem()).unwrap();
        std::fs::write(folder.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
    }

    #[tokio::test]
    async fn a_missing_or_broken_file_is_named() {
        let metrics = Metrics::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut follower = Follower::new(folder.path(), metrics.certificates());
        let error = follower.look().await.err().unwrap();
        assert!(error.to_string().contains("tls.crt"), "{error}");
        assert!(follower.is_news(&error) && !follower.is_news(&error));
        write_pair(folder.path(), "webhook.test");
        assert!(follower.look().await.unwrap().is_some());
        assert!(follower.look().await.unwrap().is_none(), "nothing new");
        std::fs::write(folder.path().join("tls.key"), "nonsense").unwrap();
        let error = follower.look().await.err().unwrap();
        assert!(error.to_string().contains("tls.key"), "{error}");
        std::fs::write(folder.path().join("tls.crt"), "").unwrap();
        let error = follower.look().await.err().unwrap();
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
        assert_eq!(error.to_string(), "tls.key holds another key than that of the certificate beside it");
        let error = Certificate::from_pem(b"nonsense", b"").unwrap_err();
        assert_eq!(error.to_string(), "tls.crt holds no certificate");
        let cut = certificate.split("-----END").next().unwrap();
        let error = Certificate::from_pem(cut.as_bytes(), b"").unwrap_err();
        assert_eq!(error.to_string(), "tls.crt holds no usable PEM data: a section has no end");
        let served = of(one.signing_key.serialize_pem()).unwrap();
        assert!(served.replace(other.cert.pem().as_bytes(), b"nonsense").is_err());
        assert!(
            served.replace(other.cert.pem().as_bytes(), other.signing_key.serialize_pem().as_bytes()).is_ok()
        );
    }

    #[tokio::test]
    async fn a_certificate_of_its_own_serves_until_there_is_one() {
        let (metrics, folder, stop) =
            (Metrics::new().unwrap(), tempfile::tempdir().unwrap(), CancellationToken::new());
        let certificate = Certificate::self_signed(&["localhost", "127.0.0.1"]).unwrap();
        let own = certificate.0.load_full();
        let certificate = certificate.follow_when_there(folder.path(), metrics.certificates(), &stop);
        assert!(Arc::ptr_eq(&own, &certificate.0.load_full()));
        write_pair(folder.path(), "metrics.test");
        let changed = async {
            while Arc::ptr_eq(&own, &certificate.0.load_full()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(4 * POLL, changed).await.expect("the new one is served");
        stop.cancel();
    }
}
