//! Creates a CA, and the server certificates that it signs.
//!
//! The keys of servers are ECDSA P-256, which every Kubernetes TLS client supports. The key of a CA is RSA 2048 in
//! PKCS #1 form: the JobSet project's controller reads no other from the Secret, so that it can take over again.

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256, RsaKeySize,
};
use thiserror::Error;
use time::OffsetDateTime;
use x509_parser::{
    asn1_rs::{self, FromDer},
    parse_x509_certificate,
    pem::Pem,
};

/// A certificate is valid from this long before its creation, because the clocks of clients may be late.
pub const BACKDATED: SignedDuration = SignedDuration::from_hours(1);

/// Why a certificate cannot be created.
#[derive(Debug, Error)]
pub enum IssueError {
    /// The library refuses, for example an invalid name.
    #[error("cannot create a certificate: {0}")]
    Create(#[from] rcgen::Error),
    /// The CA cannot sign.
    #[error("cannot sign with the CA: {0}")]
    Authority(String),
    /// Clients would refuse the certificate.
    #[error("cannot create a certificate that clients accept: {0}")]
    Unusable(String),
    /// The expiration time is out of range.
    #[error("cannot create a certificate that expires at {0}: the time is out of range")]
    Time(Timestamp),
}

/// A certificate and its private key, both PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

/// Creates a self-signed CA.
pub fn authority(
    name: &str,
    organization: &str,
    now: Timestamp,
    validity: SignedDuration,
) -> Result<Pair, IssueError> {
    let mut params = params(name, vec![name.to_owned()], now, now.checked_add(validity).unwrap_or(now))?;
    params.distinguished_name.push(DnType::OrganizationName, organization);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
    Ok(Pair { certificate: params.self_signed(&key)?.pem(), key: pkcs1_pem(key.serialized_der())? })
}

/// Converts a private RSA key from PKCS #8, a sequence of version, algorithm and key.
fn pkcs1_pem(pkcs8: &[u8]) -> Result<String, IssueError> {
    let unreadable = |error: asn1_rs::Err<asn1_rs::Error>| IssueError::Authority(error.to_string());
    let (_, sequence) = asn1_rs::Sequence::from_der(pkcs8).map_err(unreadable)?;
    let (rest, _) = asn1_rs::Integer::from_der(&sequence.content).map_err(unreadable)?;
    let (rest, _) = asn1_rs::Sequence::from_der(rest).map_err(unreadable)?;
    let (_, key) = asn1_rs::OctetString::from_der(rest).map_err(unreadable)?;
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    Ok(pem::encode_config(&pem::Pem::new("RSA PRIVATE KEY", key.as_ref()), config))
}

/// Creates a certificate for a server with these DNS names. `authority` signs it. It expires no later than the CA.
pub fn server(
    authority: &Pair,
    dns_names: &[String],
    now: Timestamp,
    validity: SignedDuration,
) -> Result<Pair, IssueError> {
    let ca_key = KeyPair::from_pem(&authority.key).map_err(|e| IssueError::Authority(e.to_string()))?;
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, ca_key)
        .map_err(|e| IssueError::Authority(e.to_string()))?;
    let last = ends(&authority.certificate).map_err(IssueError::Authority)?;
    let end = now.checked_add(validity).unwrap_or(last).min(last);
    let first = dns_names.first().map_or("", String::as_str);
    let mut params = params(first, dns_names.to_vec(), now, end)?;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    Ok(Pair { certificate: params.signed_by(&key, &issuer)?.pem(), key: key.serialize_pem() })
}

fn params(
    common_name: &str,
    dns_names: Vec<String>,
    now: Timestamp,
    end: Timestamp,
) -> Result<CertificateParams, IssueError> {
    let mut params = CertificateParams::new(dns_names)?;
    params.distinguished_name = DistinguishedName::new();
    // X.509 limits a common name to 64 characters. A longer name is in the DNS names only.
    if common_name.len() <= 64 {
        params.distinguished_name.push(DnType::CommonName, common_name);
    }
    let time =
        |at: Timestamp| OffsetDateTime::from_unix_timestamp(at.as_second()).map_err(|_| IssueError::Time(at));
    params.not_before = time(now.checked_sub(BACKDATED).unwrap_or(now))?;
    params.not_after = time(end)?;
    Ok(params)
}

/// When the first certificate of this PEM text becomes valid.
pub fn begins(pem: &str) -> Result<Timestamp, String> {
    validity(pem).map(|(begin, _)| begin)
}

/// When the first certificate of this PEM text expires.
pub fn ends(pem: &str) -> Result<Timestamp, String> {
    validity(pem).map(|(_, end)| end)
}

fn validity(pem: &str) -> Result<(Timestamp, Timestamp), String> {
    let first = Pem::iter_from_buffer(pem.as_bytes())
        .next()
        .ok_or_else(|| "contains no PEM data".to_owned())?
        .map_err(|error| format!("is not PEM data: {error}"))?;
    let (_, parsed) = parse_x509_certificate(&first.contents)
        .map_err(|error| format!("contains no certificate: {error}"))?;
    let time = |seconds: i64| Timestamp::from_second(seconds).map_err(|error| error.to_string());
    let validity = parsed.validity();
    Ok((time(validity.not_before.timestamp())?, time(validity.not_after.timestamp())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_backdated_and_expire_with_their_ca() {
        let now: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
        let ca = authority("test-ca", "test", now, SignedDuration::from_hours(48)).unwrap();
        let names = ["a.b.svc".to_owned()];
        let short = server(&ca, &names, now, SignedDuration::from_hours(24)).unwrap();
        let long = server(&ca, &names, now, SignedDuration::from_hours(999)).unwrap();
        assert_eq!(begins(&short.certificate).unwrap(), now - BACKDATED);
        assert_eq!(ends(&short.certificate).unwrap(), now + SignedDuration::from_hours(24));
        assert_eq!(ends(&long.certificate).unwrap(), ends(&ca.certificate).unwrap());
    }

    /// Go's `x509.ParsePKCS1PrivateKey`, with which the JobSet project's controller reads the key, parses nothing else.
    #[test]
    fn the_key_of_a_ca_is_rsa_in_pkcs1_form() {
        let ca = authority("test-ca", "test", Timestamp::now(), SignedDuration::from_hours(1)).unwrap();
        assert!(ca.key.starts_with("-----BEGIN RSA PRIVATE KEY-----\n"), "not PKCS #1");
        let der = pem::parse(&ca.key).unwrap();
        let (rest, key) = asn1_rs::Sequence::from_der(der.contents()).unwrap();
        let (_, version) = asn1_rs::Integer::from_der(&key.content).unwrap();
        assert_eq!((rest.len(), version.as_u8().unwrap()), (0, 0));
        assert!(KeyPair::from_pem(&ca.key).is_ok());
    }

    #[test]
    fn a_ca_that_cannot_sign_is_an_error() {
        let now = Timestamp::now();
        let mut ca = authority("test-ca", "test", now, SignedDuration::from_hours(1)).unwrap();
        ca.key = "garbage".to_owned();
        let error = server(&ca, &[], now, SignedDuration::from_hours(1)).err().unwrap();
        assert!(error.to_string().starts_with("cannot sign with the CA"), "{error}");
    }
}
