//! Certificates of cert-manager, which the tests simulate, and of the operator.

use std::sync::Arc;

use anyhow::Result;
use jobset_tests::objects;
use jobset_tests::operator::NAMESPACE;
use jobset_tests::wait::TIMEOUT;
use k8s_openapi::ByteString;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};

use crate::cluster_facts::remove;
use crate::{DEPLOYMENT, MUTATING, PROMPT, Suite, VALIDATING};

const CERT_MANAGER: &str = include_str!("fixtures/cert-manager.yaml");
const CERTIFICATE: (&str, &str, &str) = ("cert-manager.io/v1", "Certificate", "jobset-serving-cert");

/// The user requires cert-manager before it is installed. The operand changes its certificates once they are issued.
pub(crate) async fn operator_waits_for_cert_manager(suite: Arc<Suite>) -> Result<()> {
    suite.install(json!({})).await?;
    suite.specify(json!({"certificates": {"provider": "CertManager"}})).await?;
    suite.wait_for_conditions(&["Degraded=True", "Available=True"], PROMPT).await?;
    let degraded = suite.condition("Degraded").await?;
    assert_eq!(
        (&degraded["reason"], &degraded["message"]),
        (
            &json!("MissingDependency"),
            &json!("please make sure that cert-manager is installed on your cluster")
        )
    );

    suite.apply(CERT_MANAGER).await?;
    suite.wait_for_object("the Certificate", CERTIFICATE, PROMPT, |_| true).await?;
    suite.wait_for_conditions(&["Degraded=False", "Available=True", "Progressing=True"], PROMPT).await?;
    let not_ready = json!({"status": {"conditions": [
        {"type": "Ready", "status": "False", "reason": "Pending", "message": "Issuing certificate"},
    ]}});
    let api = objects::api_of(&suite.client, &crate::reference(CERTIFICATE.0, CERTIFICATE.1, CERTIFICATE.2)?)
        .await?;
    api.patch_status(CERTIFICATE.2, &kube::api::PatchParams::default(), &kube::api::Patch::Merge(not_ready))
        .await?;
    let progressing = || async { suite.condition("Progressing").await };
    jobset_tests::wait::wait_for(
        "the condition to contain the Certificate's message",
        PROMPT,
        progressing,
        |condition| {
            condition["reason"] == "WaitingForCertificates"
                && condition["message"]
                    .as_str()
                    .is_some_and(|message| message.contains("Pending: Issuing certificate"))
        },
    )
    .await?;

    let authority = issue(&suite).await?;
    suite.wait_for_conditions(&["Available=True", "Progressing=False", "Degraded=False"], TIMEOUT).await?;
    let mounted = mounted(&suite).await?;
    assert_eq!(mounted, "webhook-server-cert");
    for configuration in [MUTATING, VALIDATING] {
        let bundle = || async { ca_bundle(&suite, configuration).await };
        let only_new = |bundle: &String| *bundle == authority;
        jobset_tests::wait::wait_for("the earlier CA to be removed", PROMPT, bundle, only_new).await?;
    }
    let exists =
        || async { Ok(suite.get("v1", "Secret", "jobset-builtin-webhook-server-cert").await?.is_some()) };
    jobset_tests::wait::wait_for("the earlier Secret to be deleted", PROMPT, exists, |exists| !exists)
        .await?;

    // The operand serves with the earlier certificate while its renewal fails.
    let now = jiff::Timestamp::now();
    for (failure, degraded) in [
        (json!(jiff::Timestamp::from_second(now.as_second())?), "Degraded=True"),
        (Value::Null, "Degraded=False"),
    ] {
        let patch =
            kube::api::Patch::Merge(json!({"status": {"lastFailureTime": failure, "conditions": []}}));
        api.patch_status(CERTIFICATE.2, &kube::api::PatchParams::default(), &patch).await?;
        suite.wait_for_conditions(&[degraded, "Available=True"], PROMPT).await?;
        if degraded == "Degraded=True" {
            assert_eq!(suite.condition("Degraded").await?["reason"], "CertificateRenewalFailed");
        }
    }
    Ok(())
}

/// The operator deletes the objects for cert-manager once all pods serve with the operator's certificates.
pub(crate) async fn certificates_return_to_the_operator(suite: Arc<Suite>) -> Result<()> {
    suite.install(json!({"certificates": {"provider": "BuiltIn"}})).await?;
    assert_eq!(mounted(&suite).await?, "jobset-builtin-webhook-server-cert");
    let exists = || async { Ok(suite.get(CERTIFICATE.0, CERTIFICATE.1, CERTIFICATE.2).await?.is_some()) };
    jobset_tests::wait::wait_for("the Certificate to be deleted", PROMPT, exists, |exists| !exists).await?;
    let exists = || async { Ok(suite.get("v1", "Secret", "webhook-server-cert").await?.is_some()) };
    jobset_tests::wait::wait_for("its Secret to be deleted", PROMPT, exists, |exists| !exists).await?;
    remove(&suite, CERT_MANAGER).await?;
    suite.install(json!({})).await
}

/// Deleting the Secret also deletes its CA. The webhook configurations contain the earlier CA as long as a pod serves
/// with a certificate of it.
pub(crate) async fn deleted_certificate_is_reissued(suite: Arc<Suite>) -> Result<()> {
    suite.install(json!({})).await?;
    let before = ca_bundle(&suite, MUTATING).await?;
    suite.delete(("v1", "Secret", "jobset-builtin-webhook-server-cert")).await?;
    let bundle = || async { ca_bundle(&suite, MUTATING).await };
    let both = |bundle: &String| bundle.contains(&before) && bundle.len() > before.len();
    jobset_tests::wait::wait_for("the webhook configurations to contain both CAs", PROMPT, bundle, both)
        .await?;
    let only_new = |bundle: &String| !bundle.contains(&before) && !bundle.is_empty();
    jobset_tests::wait::wait_for("the earlier CA to be removed", TIMEOUT, bundle, only_new).await?;
    suite.install(json!({})).await
}

async fn mounted(suite: &Suite) -> Result<String> {
    let deployment = suite.get(DEPLOYMENT.0, DEPLOYMENT.1, DEPLOYMENT.2).await?.unwrap();
    let volumes = deployment.data["spec"]["template"]["spec"]["volumes"].clone();
    let cert = volumes.as_array().unwrap().iter().find(|volume| volume["name"] == "cert").unwrap();
    Ok(cert["secret"]["secretName"].as_str().unwrap().to_owned())
}

/// The CA bundle of all webhooks in a configuration.
async fn ca_bundle(suite: &Suite, configuration: (&str, &str, &str)) -> Result<String> {
    let found = suite.get(configuration.0, configuration.1, configuration.2).await?.unwrap();
    let webhooks = found.data["webhooks"].as_array().unwrap().clone();
    let bundle = |webhook: &Value| -> Result<String> {
        let bytes: ByteString = serde_json::from_value(webhook["clientConfig"]["caBundle"].clone())?;
        Ok(String::from_utf8(bytes.0)?)
    };
    let first = bundle(&webhooks[0])?;
    for webhook in &webhooks {
        assert_eq!(bundle(webhook)?, first);
    }
    Ok(first)
}

/// Issues certificates as cert-manager does: one CA, two certificates. Returns the CA.
async fn issue(suite: &Suite) -> Result<String> {
    let mut authority = CertificateParams::new([])?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    for (secret, service) in [
        ("webhook-server-cert", "jobset-webhook-service"),
        ("metrics-server-cert", "jobset-controller-manager-metrics-service"),
    ] {
        let key = KeyPair::generate()?;
        let names = [format!("{service}.{NAMESPACE}.svc")];
        let certificate = CertificateParams::new(names)?.signed_by(&key, &authority)?;
        let secret: kube::api::DynamicObject = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret, "namespace": NAMESPACE},
            "type": "kubernetes.io/tls",
            "stringData": {"tls.crt": certificate.pem(), "tls.key": key.serialize_pem(), "ca.crt": authority.pem()},
        }))?;
        objects::create(&suite.client, NAMESPACE, &secret, false).await?;
    }
    Ok(authority.pem())
}
