//! TLS versions and cipher suites, by the names of Kubernetes and Go.

use rustls::{
    ServerConfig, SupportedCipherSuite, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs::cipher_suite as suites},
    version::{TLS12, TLS13},
};
use std::sync::Arc;
use thiserror::Error;
use tracing::warn;

use super::Certificate;

/// TLS requirements of a server. The default is TLS 1.2 or later, with every suite that rustls supports.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    only_tls13: bool,
    /// The configured suites of TLS 1.2. The suites of TLS 1.3 are not configurable.
    chosen: Option<Vec<SupportedCipherSuite>>,
}

/// Why the options are invalid.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum OptionsError {
    /// Field `tls`, with the messages of the Go program.
    #[error("tls: {0}")]
    Tls(String),
    /// The suites of TLS 1.3 are not configurable.
    #[error("tls.cipherSuites: may not be specified when `minVersion` is 'VersionTLS13'")]
    NotConfigurable,
    /// None of the configured suites is supported.
    #[error("tls.cipherSuites: none of {0} is supported: add a supported suite such as {DEFAULT_SUITE}")]
    NoneSupported(String),
}

const ONLY_TLS13: &[&SupportedProtocolVersion] = &[&TLS13];
const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
const DEFAULT_SUITE: &str = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256";

/// The support for a suite that a configuration may name.
#[derive(Clone, Copy)]
enum Support {
    /// A supported suite of TLS 1.2.
    Tls12(SupportedCipherSuite),
    /// A suite of TLS 1.3, which is always supported.
    Tls13,
    /// A suite that Go considers secure, and rustls does not support.
    Unsupported,
    /// A suite that Go considers insecure, and rustls does not support.
    Insecure,
}

/// All suites of Go's crypto/tls, sorted by name, with the two legacy names that Kubernetes accepts.
const KNOWN: &[(&str, Support)] = &[
    ("TLS_AES_128_GCM_SHA256", Support::Tls13),
    ("TLS_AES_256_GCM_SHA384", Support::Tls13),
    ("TLS_CHACHA20_POLY1305_SHA256", Support::Tls13),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", Support::Unsupported),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256", Support::Insecure),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        Support::Tls12(suites::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", Support::Unsupported),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        Support::Tls12(suites::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
        Support::Tls12(suites::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        Support::Tls12(suites::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ),
    ("TLS_ECDHE_ECDSA_WITH_RC4_128_SHA", Support::Insecure),
    ("TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA", Support::Insecure),
    ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", Support::Unsupported),
    ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256", Support::Insecure),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", Support::Tls12(suites::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)),
    ("TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", Support::Unsupported),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", Support::Tls12(suites::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384)),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
        Support::Tls12(suites::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
    ),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        Support::Tls12(suites::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
    ),
    ("TLS_ECDHE_RSA_WITH_RC4_128_SHA", Support::Insecure),
    ("TLS_RSA_WITH_3DES_EDE_CBC_SHA", Support::Insecure),
    ("TLS_RSA_WITH_AES_128_CBC_SHA", Support::Insecure),
    ("TLS_RSA_WITH_AES_128_CBC_SHA256", Support::Insecure),
    ("TLS_RSA_WITH_AES_128_GCM_SHA256", Support::Insecure),
    ("TLS_RSA_WITH_AES_256_CBC_SHA", Support::Insecure),
    ("TLS_RSA_WITH_AES_256_GCM_SHA384", Support::Insecure),
    ("TLS_RSA_WITH_RC4_128_SHA", Support::Insecure),
];

impl TlsOptions {
    /// Parses `minVersion` and `cipherSuites` of a configuration. An empty value means the default. A suite that Go
    /// supports and rustls does not is ignored with a warning.
    ///
    /// # Errors
    /// When a value is invalid. The error lists every invalid value.
    pub fn parse(min_version: &str, cipher_suites: &[String]) -> Result<Self, OptionsError> {
        let (version, chosen) = (parse_version(min_version), parse_suites(cipher_suites));
        let (only_tls13, chosen) = match (version, chosen) {
            (Ok(version), Ok(chosen)) => (version, chosen),
            (version, chosen) => {
                let wrong = [version.err(), chosen.err()].into_iter().flatten().collect::<Vec<_>>();
                return Err(OptionsError::Tls(wrong.join("; ")));
            }
        };
        if chosen.is_empty() {
            return Ok(Self { only_tls13, chosen: None });
        }
        if only_tls13 {
            return Err(OptionsError::NotConfigurable);
        }
        let served = chosen.iter().filter_map(|(_, known)| match known {
            Support::Tls12(suite) => Some(*suite),
            _ => None,
        });
        let served: Vec<_> = served.collect();
        for (name, known) in &chosen {
            if matches!(known, Support::Unsupported | Support::Insecure) {
                warn!("tls.cipherSuites: {name} is not supported, ignored");
            }
        }
        if served.is_empty() && !chosen.iter().any(|(_, known)| matches!(known, Support::Tls13)) {
            let names: Vec<&str> = chosen.iter().map(|(name, _)| *name).collect();
            return Err(OptionsError::NoneSupported(names.join(", ")));
        }
        Ok(Self { only_tls13, chosen: Some(served) })
    }

    /// The configuration of a server with these options and this certificate, for HTTP/1.1.
    ///
    /// # Errors
    /// When the TLS implementation of the process supports none of the suites (FIPS mode supports fewer).
    pub fn server_config(&self, certificate: Certificate) -> Result<ServerConfig, rustls::Error> {
        let mut provider = CryptoProvider::get_default()
            .map_or_else(rustls::crypto::aws_lc_rs::default_provider, |provider| provider.as_ref().clone());
        if let Some(chosen) = &self.chosen {
            provider.cipher_suites.retain(|suite| suite.tls13().is_some() || chosen.contains(suite));
        }
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(self.versions())?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(certificate));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    /// Without a suite of TLS 1.2, only TLS 1.3 is possible.
    fn versions(&self) -> &'static [&'static SupportedProtocolVersion] {
        let no_suite = self.chosen.as_ref().is_some_and(Vec::is_empty);
        if self.only_tls13 || no_suite { ONLY_TLS13 } else { BOTH }
    }
}

/// Whether the minimum is TLS 1.3.
fn parse_version(name: &str) -> Result<bool, String> {
    const REMEDY: &str = "Please use VersionTLS12 or VersionTLS13";
    match name {
        "" | "VersionTLS12" => Ok(false),
        "VersionTLS13" => Ok(true),
        "VersionTLS10" | "VersionTLS11" => {
            Err(format!("invalid minVersion: {name} is not supported. {REMEDY}"))
        }
        _ => Err(format!("invalid minVersion: unknown tls version {name:?}. {REMEDY}")),
    }
}

fn parse_suites(names: &[String]) -> Result<Vec<(&'static str, Support)>, String> {
    let known = names.iter().map(|name| KNOWN.iter().find(|(known, _)| known == name).copied().ok_or(name));
    known.collect::<Result<_, _>>().map_err(|name| {
        let secure = KNOWN.iter().filter(|(_, known)| !matches!(known, Support::Insecure)).map(|(name, _)| *name);
        format!(
            "invalid cipher suites: Cipher suite {name} not supported or doesn't exist. Please use the secure cipher \
             names: [{}]",
            secure.collect::<Vec<_>>().join(" ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(version: &str, suites: &[&str]) -> Result<TlsOptions, String> {
        let suites: Vec<String> = suites.iter().map(|&suite| suite.to_owned()).collect();
        TlsOptions::parse(version, &suites).map_err(|error| error.to_string())
    }

    #[test]
    fn suites_are_sorted_by_name() {
        assert!(KNOWN.is_sorted_by(|(one, _), (other, _)| one < other));
    }

    #[test]
    fn errors_name_the_value_and_the_remedy() {
        let version =
            |rest: &str| format!("tls: invalid minVersion: {rest}. Please use VersionTLS12 or VersionTLS13");
        assert_eq!(parse("VersionTLS10", &[]).unwrap_err(), version("VersionTLS10 is not supported"));
        assert_eq!(parse("VersionTLS11", &[]).unwrap_err(), version("VersionTLS11 is not supported"));
        assert_eq!(parse("1.2", &[]).unwrap_err(), version("unknown tls version \"1.2\""));
        let suites = "invalid cipher suites: Cipher suite TLS_NONE not supported or doesn't exist. Please use the \
            secure cipher names: [TLS_AES_128_GCM_SHA256 TLS_AES_256_GCM_SHA384 TLS_CHACHA20_POLY1305_SHA256 \
            TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 \
            TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 \
            TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305 TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 \
            TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 \
            TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 \
            TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305 TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256]";
        assert_eq!(parse("", &[DEFAULT_SUITE, "TLS_NONE"]).unwrap_err(), format!("tls: {suites}"));
        assert_eq!(
            parse("VersionTLS10", &["TLS_NONE"]).unwrap_err(),
            format!("{}; {suites}", version("VersionTLS10 is not supported"))
        );
        assert_eq!(
            parse("VersionTLS13", &["TLS_AES_128_GCM_SHA256"]).unwrap_err(),
            "tls.cipherSuites: may not be specified when `minVersion` is 'VersionTLS13'"
        );
        assert_eq!(
            parse("", &["TLS_RSA_WITH_AES_128_CBC_SHA", "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"]).unwrap_err(),
            "tls.cipherSuites: none of TLS_RSA_WITH_AES_128_CBC_SHA, TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA is supported: \
             add a supported suite such as TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
        );
    }

    #[test]
    fn only_suites_of_tls12_are_configurable() {
        let certificate = Certificate::self_signed(&["localhost"]).unwrap();
        let served = |version: &str, suites: &[&str]| {
            let config = parse(version, suites).unwrap().server_config(certificate.clone()).unwrap();
            let names = config.crypto_provider().cipher_suites.iter();
            names.map(|suite| format!("{:?}", suite.suite())).collect::<Vec<_>>()
        };
        assert_eq!(served("", &[]).len(), 9);
        assert_eq!(
            served("VersionTLS12", &["TLS_RSA_WITH_RC4_128_SHA", DEFAULT_SUITE]),
            [
                "TLS13_AES_256_GCM_SHA384",
                "TLS13_AES_128_GCM_SHA256",
                "TLS13_CHACHA20_POLY1305_SHA256",
                DEFAULT_SUITE
            ]
        );
        assert_eq!(
            served("", &["TLS_AES_128_GCM_SHA256"]).len(),
            3,
            "the suites of TLS 1.3 are not configurable"
        );
    }
}
