//! Decides what a certificate Secret needs, and returns the Secret after that change. Pure functions.

use super::issue::{self, BACKDATED, IssueError, Pair};
use k8s_openapi::{
    ByteString,
    api::core::v1::Secret,
    jiff::{SignedDuration, Timestamp},
};
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    sign::CertifiedKey,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Key of the CA certificate, followed by previous CAs that clients still trust.
pub const BUNDLE: &str = "ca.crt";
/// Key of the CA's private key.
pub const AUTHORITY_KEY: &str = "ca.key";
/// Key of the server's certificate.
pub const CERTIFICATE: &str = "tls.crt";
/// Key of the server's private key.
pub const KEY: &str = "tls.key";

/// The maximum number of previous CAs in a bundle.
const MAX_PREVIOUS: usize = 4;

/// The desired Secret.
#[derive(Clone, Debug)]
pub struct DesiredSecret {
    /// Namespace of the Secret.
    pub namespace: String,
    /// Name of the Secret.
    pub secret: String,
    /// Labels of a new Secret.
    pub labels: BTreeMap<String, String>,
    /// DNS names of the server. The first is the certificate's common name.
    pub dns_names: Vec<String>,
    /// Common name of the CA.
    pub authority: String,
    /// Organization of the CA.
    pub organization: String,
    /// Validity and renewal periods.
    pub lifetimes: Lifetimes,
}

/// Validity and renewal periods.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// Validity of a CA.
    pub authority: SignedDuration,
    /// Validity of a server certificate.
    pub server: SignedDuration,
    /// A certificate or CA is renewed this long before it expires.
    pub renew_before: SignedDuration,
    /// How long a replaced CA stays in the bundle. Long enough for every replica to load the new one, and short,
    /// because an administrator may replace a CA that is compromised.
    pub overlap: SignedDuration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            authority: SignedDuration::from_hours(24 * 3650),
            server: SignedDuration::from_hours(24 * 365),
            renew_before: SignedDuration::from_hours(24 * 90),
            overlap: SignedDuration::from_hours(1),
        }
    }
}

/// The change that a Secret needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// No change before this time.
    Keep {
        /// When to decide again.
        until: Timestamp,
    },
    /// A new server certificate from the same CA.
    NewServer {
        /// The reason.
        reason: String,
    },
    /// A new CA and a new server certificate. The previous CA stays in the bundle.
    NewAuthority {
        /// The reason.
        reason: String,
    },
    /// Remove the previous CAs from the bundle: their overlap is over.
    DropPrevious,
    /// Another client owns the Secret. It must not be written.
    Refuse {
        /// The reason, and the remedy.
        reason: String,
    },
}

/// Decides what change `found`, the Secret in the cluster, needs at `now`.
pub fn decide(found: Option<&Secret>, desired: &DesiredSecret, now: Timestamp) -> Decision {
    let Some(secret) = found else {
        return Decision::NewAuthority { reason: "the Secret does not exist".to_owned() };
    };
    // An administrator may create the Secret in advance. Type kubernetes.io/tls requires the keys, and allows empty
    // values.
    let data = secret.data.as_ref().filter(|data| data.values().any(|value| !value.0.is_empty()));
    let Some(data) = data else {
        return Decision::NewAuthority { reason: "the Secret is empty".to_owned() };
    };
    // Only a self-managed Secret contains the CA's private key, and no keys beside these four.
    let expected = [BUNDLE, AUTHORITY_KEY, CERTIFICATE, KEY];
    if !data.contains_key(AUTHORITY_KEY) || data.keys().any(|key| !expected.contains(&key.as_str())) {
        let keys: Vec<&str> = data.keys().map(String::as_str).collect();
        return Decision::Refuse {
            reason: format!(
                "Secret {}/{} belongs to another client: it contains {}, expected {}. Delete the Secret, or configure \
                 another name",
                desired.namespace,
                desired.secret,
                keys.join(", "),
                expected.join(", ")
            ),
        };
    }
    let material = match Material::read(secret) {
        Ok(material) => material,
        Err(reason) => return Decision::NewAuthority { reason },
    };
    let authority_ends = match issue::ends(&material.bundle) {
        Ok(end) => renewal(end, desired),
        Err(reason) => return Decision::NewAuthority { reason: format!("{BUNDLE} {reason}") },
    };
    if authority_ends <= now {
        return Decision::NewAuthority { reason: "the CA expires soon".to_owned() };
    }
    let server_ends = match issue::ends(&material.server.certificate) {
        Ok(end) => renewal(end, desired),
        Err(reason) => return Decision::NewServer { reason: format!("{CERTIFICATE} {reason}") },
    };
    if server_ends <= now {
        return Decision::NewServer { reason: "the server certificate expires soon".to_owned() };
    }
    if let Err(reason) = material.check(&desired.dns_names, now) {
        return Decision::NewServer { reason };
    }
    let mut until = authority_ends.min(server_ends);
    if material.authorities().len() > 1 {
        let overlap = issue::begins(&material.bundle).unwrap_or(now) + BACKDATED + desired.lifetimes.overlap;
        if overlap <= now {
            return Decision::DropPrevious;
        }
        until = until.min(overlap);
    }
    Decision::Keep { until }
}

fn renewal(end: Timestamp, desired: &DesiredSecret) -> Timestamp {
    end.checked_sub(desired.lifetimes.renew_before).unwrap_or(end)
}

/// The Secret after `decision`, or None when the decision needs no write.
///
/// The Secret keeps the metadata of `found`, and so the resource version that the API server compares. `trusted` is
/// PEM text of the CAs that clients trust now. The bundle of a new CA contains them for the time of the overlap.
pub fn secret_after(
    decision: &Decision,
    found: Option<&Secret>,
    trusted: &str,
    desired: &DesiredSecret,
    now: Timestamp,
) -> Result<Option<Secret>, IssueError> {
    let material = found.and_then(|secret| Material::read(secret).ok());
    let lifetimes = &desired.lifetimes;
    let new = match (decision, material) {
        (Decision::Keep { .. } | Decision::Refuse { .. }, _) | (Decision::DropPrevious, None) => {
            return Ok(None);
        }
        (Decision::DropPrevious, Some(material)) => {
            let authority = material.authorities().into_iter().next().unwrap_or_default();
            Material { bundle: authority, ..material }
        }
        (Decision::NewServer { .. }, Some(material)) => {
            let signing = Pair { certificate: material.bundle.clone(), key: material.authority_key.clone() };
            let server = issue::server(&signing, &desired.dns_names, now, lifetimes.server);
            match server.map(|server| Material { server, ..material.clone() }) {
                Ok(renewed) if renewed.check(&desired.dns_names, now).is_ok() => renewed,
                // The CA cannot sign, because its key is lost or belongs to another CA. A new CA replaces it.
                _ => Material::new(Some(&material), trusted, desired, now)?,
            }
        }
        (Decision::NewServer { .. } | Decision::NewAuthority { .. }, material) => {
            Material::new(material.as_ref(), trusted, desired, now)?
        }
    };
    // A Secret that fails this check would be written again after every read.
    new.check(&desired.dns_names, now).map_err(IssueError::Unusable)?;
    Ok(Some(new.into_secret(found, desired)))
}

/// The contents of the Secret, all PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Material {
    /// The CA that signs, then the previous CAs.
    pub bundle: String,
    /// Private key of the CA that signs.
    pub authority_key: String,
    /// The server certificate and its private key.
    pub server: Pair,
}

impl Material {
    /// Reads a Secret. The error names the key that is missing or is not text.
    pub fn read(secret: &Secret) -> Result<Self, String> {
        let text = |key: &str| {
            let bytes = secret.data.as_ref().and_then(|data| data.get(key));
            let bytes = bytes.ok_or_else(|| format!("{key} is missing"))?;
            String::from_utf8(bytes.0.clone()).map_err(|_| format!("{key} is not PEM data"))
        };
        Ok(Self {
            bundle: text(BUNDLE)?,
            authority_key: text(AUTHORITY_KEY)?,
            server: Pair { certificate: text(CERTIFICATE)?, key: text(KEY)? },
        })
    }

    fn new(
        before: Option<&Self>,
        trusted: &str,
        desired: &DesiredSecret,
        now: Timestamp,
    ) -> Result<Self, IssueError> {
        let lifetimes = &desired.lifetimes;
        let authority =
            issue::authority(&desired.authority, &desired.organization, now, lifetimes.authority)?;
        let server = issue::server(&authority, &desired.dns_names, now, lifetimes.server)?;
        let mut previous = before.map(Self::authorities).unwrap_or_default();
        for certificate in certificates(trusted) {
            if !previous.contains(&certificate) {
                previous.push(certificate);
            }
        }
        previous.retain(|certificate| issue::ends(certificate).is_ok_and(|end| end > now));
        previous.truncate(MAX_PREVIOUS);
        let bundle = authority.certificate.clone() + &previous.concat();
        Ok(Self { bundle, authority_key: authority.key, server })
    }

    /// The certificates of the bundle, each as normalized PEM. The first one signs.
    pub fn authorities(&self) -> Vec<String> {
        certificates(&self.bundle)
    }

    /// Whether clients that trust the bundle accept the server under each of these names. The check accepts a
    /// certificate that is not valid yet: the clock of the replica that issued it may be ahead.
    pub fn check(&self, dns_names: &[String], now: Timestamp) -> Result<(), String> {
        let (chain, key) = self.server.der().map_err(|(key, reason)| format!("{key} {reason}"))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        CertifiedKey::from_der(chain.clone(), key, &provider)
            .map_err(|error| format!("{CERTIFICATE} and {KEY} do not match: {error}"))?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(
            CertificateDer::pem_slice_iter(self.bundle.as_bytes()).filter_map(Result::ok),
        );
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| format!("{BUNDLE} contains no CA: {error}"))?;
        let [certificate, intermediates @ ..] = chain.as_slice() else {
            return Err(format!("{CERTIFICATE} contains no certificate"));
        };
        let begin = issue::begins(&self.server.certificate).unwrap_or(now);
        let seconds = u64::try_from(begin.max(now).as_second()).unwrap_or_default();
        let at = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        for name in dns_names {
            let server =
                ServerName::try_from(name.as_str()).map_err(|_| format!("{name:?} is not a DNS name"))?;
            verifier
                .verify_server_cert(certificate, intermediates, &server, &[], at)
                .map_err(|error| format!("the server certificate is not valid for {name}: {error}"))?;
        }
        Ok(())
    }

    fn into_secret(self, found: Option<&Secret>, desired: &DesiredSecret) -> Secret {
        let mut secret = found.cloned().unwrap_or_else(|| {
            let mut secret = Secret { type_: Some("kubernetes.io/tls".to_owned()), ..Secret::default() };
            secret.metadata.namespace = Some(desired.namespace.clone());
            secret.metadata.name = Some(desired.secret.clone());
            secret.metadata.labels = Some(desired.labels.clone()).filter(|labels| !labels.is_empty());
            secret
        });
        let data = secret.data.get_or_insert_default();
        for (key, text) in [
            (BUNDLE, self.bundle),
            (AUTHORITY_KEY, self.authority_key),
            (CERTIFICATE, self.server.certificate),
            (KEY, self.server.key),
        ] {
            data.insert(key.to_owned(), ByteString(text.into_bytes()));
        }
        secret
    }
}

impl Pair {
    /// The certificates and the private key as DER. The error names the key of the Secret and the fault.
    pub fn der(
        &self,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), (&'static str, String)> {
        let chain = CertificateDer::pem_slice_iter(self.certificate.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| (CERTIFICATE, format!("is not PEM data: {error}")))?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes())
            .map_err(|error| (KEY, format!("contains no private key: {error}")))?;
        Ok((chain, key))
    }
}

/// The certificates in this text, each as normalized PEM. Anything else is skipped.
pub fn certificates(pem: &str) -> Vec<String> {
    certificates_der(pem).into_iter().map(encoded).collect()
}

/// The certificates in this text, as DER. Anything else is skipped.
pub fn certificates_der(pem: &str) -> Vec<Vec<u8>> {
    let blocks = x509_parser::pem::Pem::iter_from_buffer(pem.as_bytes());
    blocks
        .filter_map(Result::ok)
        .filter(|block| block.label == "CERTIFICATE" && block.parse_x509().is_ok())
        .map(|block| block.contents)
        .collect()
}

fn encoded(der: Vec<u8>) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new("CERTIFICATE", der), config)
}

#[cfg(test)]
#[path = "decide_test.rs"]
mod tests;
