//! The patch that a webhook configuration, mutating or validating, needs to trust a CA bundle.

use super::decide::certificates;
use k8s_openapi::ByteString;
use kube::{
    ResourceExt,
    api::{ApiResource, DynamicObject},
};
use serde_json::{Value, json};

/// The server-side apply patch that sets `caBundle` to `bundle` in every webhook of `configuration`, or None when
/// every webhook has it.
///
/// The patch names only the bundles, so other field managers keep their fields. It contains the UID: the API server
/// does not create the configuration again after its deletion.
///
/// Another field manager cannot remove a webhook by leaving it out of its apply configuration, because it does not
/// own the bundle (Kubernetes keeps the rest of the entry, which is invalid). It must remove the webhook with a patch.
pub fn injection(kind: &ApiResource, configuration: &DynamicObject, bundle: &str) -> Option<Value> {
    let webhooks = webhooks(configuration);
    if webhooks.iter().all(|webhook| ca_bundle(webhook).as_deref() == Some(bundle)) {
        return None;
    }
    let bundle = ByteString(bundle.as_bytes().to_vec());
    let with_bundle =
        |webhook: &Value| json!({"name": webhook.get("name"), "clientConfig": {"caBundle": bundle}});
    Some(json!({
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"name": configuration.name_any(), "uid": configuration.uid()},
        "webhooks": webhooks.iter().map(with_bundle).collect::<Vec<_>>(),
    }))
}

/// Whether every webhook of `configuration` trusts `authority`, in the form that [`certificates`] returns.
pub fn trusts(configuration: &DynamicObject, authority: &str) -> bool {
    let trusts = |webhook| {
        let bundle = ca_bundle(webhook).unwrap_or_default();
        certificates(&bundle).iter().any(|certificate| certificate == authority)
    };
    webhooks(configuration).iter().all(trusts)
}

/// The CAs that the webhooks of `configuration` trust, as one PEM text.
pub fn trusted(configuration: &DynamicObject) -> String {
    let mut all: Vec<String> = Vec::new();
    for webhook in webhooks(configuration) {
        for certificate in certificates(&ca_bundle(webhook).unwrap_or_default()) {
            if !all.contains(&certificate) {
                all.push(certificate);
            }
        }
    }
    all.concat()
}

fn webhooks(configuration: &DynamicObject) -> &[Value] {
    configuration.data.get("webhooks").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn ca_bundle(webhook: &Value) -> Option<String> {
    let encoded = webhook.get("clientConfig")?.get("caBundle")?;
    let bytes: ByteString = serde_json::from_value(encoded.clone()).ok()?;
    String::from_utf8(bytes.0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::issue;
    use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
    use k8s_openapi::jiff::{SignedDuration, Timestamp};

    fn authority() -> String {
        issue::authority("test-ca", "test", Timestamp::now(), SignedDuration::from_hours(1))
            .unwrap()
            .certificate
    }

    fn kind() -> ApiResource {
        ApiResource::erase::<MutatingWebhookConfiguration>(&())
    }

    fn configuration(bundles: &[(&str, Option<&str>)]) -> DynamicObject {
        let webhooks: Vec<Value> = bundles
            .iter()
            .map(|(name, bundle)| {
                let mut client = json!({"service": {"name": "webhook", "namespace": "home"}});
                if let Some(bundle) = bundle {
                    client["caBundle"] = json!(ByteString(bundle.as_bytes().to_vec()));
                }
                json!({"name": name, "clientConfig": client, "sideEffects": "None"})
            })
            .collect();
        // Items of a list have no kind.
        serde_json::from_value(json!({
            "metadata": {"name": "hooks", "uid": "u1"},
            "webhooks": webhooks,
        }))
        .unwrap()
    }

    #[test]
    fn a_patch_sets_only_bundles_and_only_when_one_differs() {
        let bundle = authority();
        assert_eq!(
            injection(&kind(), &configuration(&[("a", Some(&bundle)), ("b", Some(&bundle))]), &bundle),
            None
        );
        let encoded = json!(ByteString(bundle.clone().into_bytes()));
        assert_eq!(
            injection(&kind(), &configuration(&[("a", Some(&bundle)), ("b", None)]), &bundle).unwrap(),
            json!({
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "MutatingWebhookConfiguration",
                "metadata": {"name": "hooks", "uid": "u1"},
                "webhooks": [
                    {"name": "a", "clientConfig": {"caBundle": encoded}},
                    {"name": "b", "clientConfig": {"caBundle": encoded}},
                ],
            })
        );
    }

    #[test]
    fn a_configuration_trusts_a_ca_that_every_webhook_contains() {
        let (old, new) = (authority(), authority());
        let both = format!("{new}{old}");
        let configuration = configuration(&[("a", Some(&both)), ("b", Some(&old))]);
        assert!(trusts(&configuration, &old) && !trusts(&configuration, &new));
        assert_eq!(trusted(&configuration), both);
    }

    #[test]
    fn an_invalid_bundle_is_replaced() {
        let bundle = authority();
        let odd = configuration(&[("a", Some("nonsense"))]);
        assert!(injection(&kind(), &odd, &bundle).is_some() && !trusts(&odd, &bundle));
        assert_eq!(trusted(&odd), "");
    }
}
