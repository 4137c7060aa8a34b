//! Certificate Secrets, without their private keys.

use crate::content_hash::content_hash;
use k8s_openapi::ByteString;
use kube::api::DynamicObject;

/// The part of a certificate Secret that decisions need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateSecret {
    /// Hash of its contents.
    pub hash: String,
    /// `tls.crt`, PEM.
    pub certificate: String,
    /// Whether it contains a `tls.key`.
    pub has_key: bool,
    /// `ca.crt`: the CAs that verify the certificate, PEM.
    pub ca: String,
}

impl CertificateSecret {
    pub(super) fn of(secret: &DynamicObject) -> Self {
        let [certificate, key, ca] = ["tls.crt", "tls.key", "ca.crt"].map(|name| {
            let encoded = secret.data.get("data").and_then(|data| data.get(name)).cloned();
            let decoded = encoded.and_then(|encoded| serde_json::from_value::<ByteString>(encoded).ok());
            decoded.map(|decoded| decoded.0).unwrap_or_default()
        });
        Self {
            hash: content_hash([certificate.as_slice(), &key, &ca]),
            certificate: String::from_utf8_lossy(&certificate).into_owned(),
            has_key: !key.is_empty(),
            ca: String::from_utf8_lossy(&ca).into_owned(),
        }
    }

    /// Whether a server can use it and clients can verify it.
    pub fn is_complete(&self) -> bool {
        !self.certificate.is_empty() && self.has_key && !self.ca.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[allow(clippy::needless_pass_by_value)]
    fn secret(data: serde_json::Value) -> CertificateSecret {
        let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": data});
        CertificateSecret::of(&serde_json::from_value(object).unwrap())
    }

    #[test]
    fn a_complete_secret_has_certificate_key_and_ca() {
        let complete = secret(json!({"tls.crt": "YQ==", "tls.key": "Yg==", "ca.crt": "Yw=="}));
        assert!(complete.is_complete());
        assert_eq!((complete.certificate.as_str(), complete.ca.as_str()), ("a", "c"));
        for data in [
            json!({"tls.crt": "YQ==", "tls.key": "", "ca.crt": "Yw=="}),
            json!({"tls.crt": "YQ==", "tls.key": "Yg=="}),
            json!({"tls.key": "Yg==", "ca.crt": "Yw=="}),
            json!({}),
            json!(null),
        ] {
            assert!(!secret(data.clone()).is_complete(), "{data}");
        }
    }

    #[test]
    fn the_hash_includes_all_contents_and_the_key_is_not_stored() {
        let one = secret(json!({"tls.crt": "YQ==", "tls.key": "Yg==", "ca.crt": "Yw=="}));
        for (certificate, key, ca) in
            [("eA==", "Yg==", "Yw=="), ("YQ==", "eA==", "Yw=="), ("YQ==", "Yg==", "eA==")]
        {
            let other = secret(json!({"tls.crt": certificate, "tls.key": key, "ca.crt": ca}));
            assert_ne!(one.hash, other.hash);
        }
        assert!(!format!("{:?}", secret(json!({"tls.key": "c2VjcmV0"}))).contains("secret"));
    }
}
