//! Converts the cluster's TLS profile to the operand's configuration.
//!
//! OpenShift uses OpenSSL's names of cipher suites, and the operand uses those of the IANA registry. The suites of TLS
//! 1.3 are not configurable. For TLS 1.2, the operand supports the suites with forward secrecy and authenticated
//! encryption.

use crate::observe::facts::TlsSecurityProfile;
use jobset_api::configuration::Tls;

const TLS_1_2: &str = "VersionTLS12";
const TLS_1_3: &str = "VersionTLS13";

/// Names in OpenSSL and in the IANA registry, preferred suites first.
const SUITES: [(&str, &str); 6] = [
    ("ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    ("ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
    ("ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
    ("ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
    ("ECDHE-RSA-CHACHA20-POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
];

/// The configuration for a profile. Old equals Intermediate, because the operand does not support TLS below 1.2.
///
/// # Errors
/// When the operand supports no version or no suite of the profile.
pub fn settings(profile: &TlsSecurityProfile) -> Result<Tls, String> {
    match profile {
        TlsSecurityProfile::Old | TlsSecurityProfile::Intermediate => Ok(intermediate()),
        TlsSecurityProfile::Modern => Ok(Tls { min_version: TLS_1_3.to_owned(), cipher_suites: Vec::new() }),
        TlsSecurityProfile::Custom { min_version, ciphers } => custom(min_version, ciphers),
    }
}

/// The profile Intermediate, which also replaces an unsupported profile.
pub fn intermediate() -> Tls {
    let cipher_suites = SUITES.iter().map(|(_, iana)| (*iana).to_owned()).collect();
    Tls { min_version: TLS_1_2.to_owned(), cipher_suites }
}

fn custom(min_version: &str, ciphers: &[String]) -> Result<Tls, String> {
    let min_version = match min_version {
        TLS_1_3 => return Ok(Tls { min_version: TLS_1_3.to_owned(), cipher_suites: Vec::new() }),
        "" | "VersionTLS10" | "VersionTLS11" | TLS_1_2 => TLS_1_2.to_owned(),
        other => {
            return Err(format!(
                "the cluster's TLS profile requires minTLSVersion {other:?}, which the JobSet controller does not \
                 support; it uses the profile Intermediate until apiservers.config.openshift.io/cluster sets \
                 {TLS_1_2} or {TLS_1_3}"
            ));
        }
    };
    let is_listed =
        |(openssl, iana): &&(&str, &str)| ciphers.iter().any(|cipher| cipher == openssl || cipher == iana);
    let cipher_suites: Vec<String> =
        SUITES.iter().filter(is_listed).map(|(_, iana)| (*iana).to_owned()).collect();
    if cipher_suites.is_empty() {
        return Err(format!(
            "the cluster's TLS profile lists no cipher suite that the JobSet controller supports ({}); it uses the \
             profile Intermediate until apiservers.config.openshift.io/cluster lists one of {}",
            ciphers.join(", "),
            SUITES.map(|(openssl, _)| openssl).join(", ")
        ));
    }
    Ok(Tls { min_version, cipher_suites })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn custom_of(min_version: &str, ciphers: &[&str]) -> Result<Tls, String> {
        settings(&TlsSecurityProfile::Custom {
            min_version: min_version.into(),
            ciphers: ciphers.iter().map(|&cipher| cipher.to_owned()).collect(),
        })
    }

    #[test]
    fn named_profiles_are_converted() {
        let old = settings(&TlsSecurityProfile::Old).unwrap();
        assert_eq!((old.min_version.as_str(), old.cipher_suites.len()), ("VersionTLS12", 6));
        assert_eq!(settings(&TlsSecurityProfile::Intermediate).unwrap(), old);
        let modern = settings(&TlsSecurityProfile::Modern).unwrap();
        assert_eq!((modern.min_version.as_str(), modern.cipher_suites.len()), ("VersionTLS13", 0));
    }

    #[test]
    fn a_custom_profile_keeps_the_supported_suites() {
        let tls = custom_of(
            "VersionTLS11",
            &[
                "TLS_AES_128_GCM_SHA256",
                "ECDHE-RSA-AES256-GCM-SHA384",
                "AES128-SHA",
                "DHE-RSA-AES128-GCM-SHA256",
            ],
        );
        assert_eq!(
            tls.unwrap(),
            Tls {
                min_version: "VersionTLS12".into(),
                cipher_suites: vec!["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384".into()]
            }
        );
        assert_eq!(custom_of("VersionTLS13", &[]).unwrap().cipher_suites, Vec::<String>::new());
    }

    #[test]
    fn an_unsupported_profile_is_an_error_with_a_remedy() {
        let error = custom_of("VersionTLS12", &["AES128-SHA"]).unwrap_err();
        assert!(error.contains("(AES128-SHA)") && error.contains("ECDHE-RSA-AES128-GCM-SHA256"), "{error}");
        let error = custom_of("VersionTLS14", &["ECDHE-RSA-AES128-GCM-SHA256"]).unwrap_err();
        assert!(error.contains("\"VersionTLS14\""), "{error}");
    }
}
