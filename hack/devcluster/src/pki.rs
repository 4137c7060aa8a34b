//! The cluster's certificates, keys and kubeconfigs.
//!
//! There are two certificate authorities, as Kubernetes requires: one for servers and for clients of the API server,
//! one for the API server's requests to aggregated API servers. Keys are ECDSA P-256, because generating an RSA key
//! takes longer than starting the control plane.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use serde_json::json;
use time::{Duration, OffsetDateTime};

use crate::state::write_atomically;

/// A certificate and its private key, as files and as PEM.
#[derive(Clone, Debug)]
pub struct Pair {
    /// File of the certificate.
    pub cert_file: PathBuf,
    /// File of the private key (PKCS #8).
    pub key_file: PathBuf,
    /// The certificate.
    pub cert: String,
    /// The private key (PKCS #8).
    pub key: String,
}

/// The folder `pki/` of a cluster.
#[derive(Clone, Debug)]
pub struct Pki {
    folder: PathBuf,
    ca: Pair,
    front_proxy_ca: Pair,
}

impl Pki {
    /// Reads the certificate authorities and the service account key from this folder. Creates them if they are
    /// missing.
    pub fn load_or_create(folder: &Path) -> Result<Self> {
        let pki = Self {
            folder: folder.to_path_buf(),
            ca: authority(folder, "ca", "devcluster-ca")?,
            front_proxy_ca: authority(folder, "front-proxy-ca", "devcluster-front-proxy-ca")?,
        };
        if !pki.service_account_key().exists() {
            let key = KeyPair::generate()?;
            write_atomically(&pki.service_account_public_key(), key.public_key_pem().as_bytes())?;
            write_atomically(&pki.service_account_key(), key.serialize_pem().as_bytes())?;
        }
        Ok(pki)
    }

    /// The authority for servers and clients. Clients trust its certificate.
    pub fn ca(&self) -> &Pair {
        &self.ca
    }

    /// The authority for the API server's requests to aggregated API servers.
    pub fn front_proxy_ca(&self) -> &Pair {
        &self.front_proxy_ca
    }

    /// File of the private key that signs service account tokens.
    pub fn service_account_key(&self) -> PathBuf {
        self.folder.join("service-account.key")
    }

    /// File of the public key that verifies service account tokens.
    pub fn service_account_public_key(&self) -> PathBuf {
        self.folder.join("service-account.pub")
    }

    /// Issues a serving certificate for these DNS names and addresses, stored as `<name>.crt` and `<name>.key`.
    pub fn serving_cert(&self, name: &str, dns_names: &[&str], addresses: &[IpAddr]) -> Result<Pair> {
        let mut params = leaf(name, None, ExtendedKeyUsagePurpose::ServerAuth);
        for dns_name in dns_names {
            params.subject_alt_names.push(SanType::DnsName((*dns_name).try_into()?));
        }
        params.subject_alt_names.extend(addresses.iter().map(|address| SanType::IpAddress(*address)));
        signed(&self.folder, name, &params, &self.ca)
    }

    /// Issues a client certificate for this user and group, stored as `<name>.crt` and `<name>.key`.
    pub fn client_cert(&self, name: &str, common_name: &str, group: Option<&str>) -> Result<Pair> {
        signed(&self.folder, name, &leaf(common_name, group, ExtendedKeyUsagePurpose::ClientAuth), &self.ca)
    }

    /// Issues the client certificate for the API server's requests to aggregated API servers.
    pub fn front_proxy_client(&self) -> Result<Pair> {
        let name = "front-proxy-client";
        signed(
            &self.folder,
            name,
            &leaf(name, None, ExtendedKeyUsagePurpose::ClientAuth),
            &self.front_proxy_ca,
        )
    }

    /// Returns a kubeconfig for the user `common_name` in this group. It embeds the certificates, so it can be copied.
    /// `context` is the name of its cluster and its context.
    pub fn client_kubeconfig(
        &self,
        name: &str,
        common_name: &str,
        group: Option<&str>,
        server_url: &str,
        context: &str,
    ) -> Result<String> {
        let pair = self.client_cert(name, common_name, group)?;
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": context, "cluster": {
                "server": server_url,
                "certificate-authority-data": BASE64_STANDARD.encode(&self.ca.cert),
            }}],
            "users": [{"name": common_name, "user": {
                "client-certificate-data": BASE64_STANDARD.encode(&pair.cert),
                "client-key-data": BASE64_STANDARD.encode(&pair.key),
            }}],
            "contexts": [{"name": context, "context": {"cluster": context, "user": common_name}}],
            "current-context": context,
        });
        Ok(serde_yaml::to_string(&config)?)
    }
}

/// Certificates are valid for a year. They start an hour ago, because clocks differ.
fn set_validity(params: &mut CertificateParams) {
    params.not_before = OffsetDateTime::now_utc() - Duration::hours(1);
    params.not_after = OffsetDateTime::now_utc() + Duration::days(365);
}

fn leaf(common_name: &str, group: Option<&str>, usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = CertificateParams::default();
    set_validity(&mut params);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    // Kubernetes reads the user's groups from the organization. rcgen supports one.
    if let Some(group) = group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    params
}

fn authority(folder: &Path, name: &str, common_name: &str) -> Result<Pair> {
    let mut pair = pair_at(folder, name);
    if pair.cert_file.exists() {
        let read =
            |file: &Path| fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()));
        pair.cert = read(&pair.cert_file)?;
        pair.key = read(&pair.key_file)?;
        return Ok(pair);
    }
    let mut params = CertificateParams::default();
    set_validity(&mut params);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate()?;
    pair.cert = params.self_signed(&key)?.pem();
    pair.key = key.serialize_pem();
    store(&pair)?;
    Ok(pair)
}

fn signed(folder: &Path, name: &str, params: &CertificateParams, ca: &Pair) -> Result<Pair> {
    let issuer = Issuer::from_ca_cert_pem(&ca.cert, KeyPair::from_pem(&ca.key)?)?;
    let key = KeyPair::generate()?;
    let mut pair = pair_at(folder, name);
    pair.cert = params.signed_by(&key, &issuer)?.pem();
    pair.key = key.serialize_pem();
    store(&pair)?;
    Ok(pair)
}

fn pair_at(folder: &Path, name: &str) -> Pair {
    Pair {
        cert_file: folder.join(format!("{name}.crt")),
        key_file: folder.join(format!("{name}.key")),
        cert: String::new(),
        key: String::new(),
    }
}

// The key comes first, so that every certificate has a key.
fn store(pair: &Pair) -> Result<()> {
    write_atomically(&pair.key_file, pair.key.as_bytes())?;
    write_atomically(&pair.cert_file, pair.cert.as_bytes())
}
