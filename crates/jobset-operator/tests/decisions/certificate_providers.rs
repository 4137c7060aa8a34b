//! Providers of certificates, and the move of the operand from one provider to another.

use super::*;
use jobset_operator::desired::Issue;
use k8s_openapi::api::core::v1::Secret;
use manager_runtime::certificates::decide::{certificates, secret_after};
use manager_runtime::certificates::inject;

const MUTATING: &str = "MutatingWebhookConfiguration";

/// Issues the certificates of the plan and stores them, as the actor does.
fn issue_all(observed: &mut Observed) {
    for Issue { desired, decision } in decide(observed).issue {
        let secret: Secret = secret_after(&decision, None, "", &desired, now()).unwrap().unwrap();
        let mut object: DynamicObject =
            serde_json::from_value(serde_json::to_value(&secret).unwrap()).unwrap();
        object.types = Some(kube::core::TypeMeta { api_version: "v1".into(), kind: "Secret".into() });
        object.metadata =
            jobset_operator::desired::plan::secret(&desired.secret, &operator(json!({}))).metadata;
        let text = |key: &str| String::from_utf8(secret.data.as_ref().unwrap()[key].0.clone()).unwrap();
        let facts = CertificateSecret {
            hash: format!("hash of {}", desired.secret),
            certificate: text("tls.crt"),
            has_key: true,
            ca: text("ca.crt"),
        };
        observed.secrets.insert(desired.secret.clone(), facts);
        observed.objects.insert(ObjectKey::of(&object), applied(object));
    }
}

fn without_cert_manager(spec: Value) -> Observed {
    Observed { operator: Some(Arc::new(operator(spec))), ..Observed::default() }
}

fn mounted(plan: &Plan) -> Option<String> {
    let pod = &step(plan, "Deployment", names::OPERAND)?.data["spec"]["template"]["spec"];
    let volume = pod["volumes"].as_array()?.iter().find(|volume| volume["name"] == "cert")?;
    volume["secret"]["secretName"].as_str().map(str::to_owned)
}

fn trusted(observed: &Observed) -> Vec<String> {
    let live = observed.get(MUTATING, names::MUTATING_WEBHOOKS).unwrap();
    certificates(&inject::trusted(&live.object))
}

fn authority_of(observed: &Observed, secret: &str) -> String {
    certificates(&observed.secrets[secret].ca).remove(0)
}

#[test]
fn without_cert_manager_the_operator_issues() {
    let mut observed = without_cert_manager(json!({}));
    let plan = decide(&observed);
    assert_eq!(reasons(&plan), [""; 0]);
    let secrets: Vec<_> = plan.issue.iter().map(|issue| issue.desired.secret.as_str()).collect();
    assert_eq!(secrets, [names::BUILT_IN_WEBHOOK_SECRET, names::BUILT_IN_METRICS_SECRET]);
    assert_eq!(plan.waiting.len(), 2);
    assert!(!applies(&plan, "Deployment") && !applies(&plan, "Issuer"));

    issue_all(&mut observed);
    let plan = decide(&observed);
    assert!(plan.issue.is_empty() && plan.waiting.is_empty());
    assert!(plan.reconcile_at.unwrap() > now(), "the operator plans their renewal");
    assert!(applies(&plan, "Deployment") && applies(&plan, MUTATING));
}

/// A Certificate that was created some minutes ago and that cert-manager has not processed.
fn unprocessed_certificate(minutes: i64) -> Live {
    let created = now() - SignedDuration::from_mins(minutes);
    let object = json!({
        "apiVersion": "cert-manager.io/v1", "kind": "Certificate",
        "metadata": {"name": names::WEBHOOK_CERTIFICATE, "creationTimestamp": created.to_string()},
    });
    Live::new(serde_json::from_value(object).unwrap())
}

#[test]
fn a_cert_manager_that_does_not_issue_is_reported_after_five_minutes() {
    let mut observed = without_cert_manager(json!({}));
    observed.apis.extend([kinds::ISSUER_CRD, kinds::CERTIFICATE_CRD].map(str::to_owned));
    // A long rollout, which has nothing to do with the certificates.
    let mut cluster = operator(json!({}));
    cluster.status = Some(
        serde_json::from_value(json!({"conditions": [{
            "type": "Progressing", "status": "True", "reason": "WaitingForCertificates",
            "lastTransitionTime": "2029-01-01T00:00:00Z",
        }]}))
        .unwrap(),
    );
    observed.operator = Some(Arc::new(cluster));
    for (age, overdue) in [(None, false), (Some(4), false), (Some(5), true)] {
        if let Some(age) = age {
            let key = ObjectKey::new("Certificate", names::WEBHOOK_CERTIFICATE);
            observed.objects.insert(key, unprocessed_certificate(age));
        }
        let plan = decide(&observed);
        assert!(!plan.waiting.is_empty(), "the operator still waits");
        assert_eq!(reasons(&plan), if overdue { &["CertificatesNotIssued"][..] } else { &[] }, "{age:?}");
        let next = (age == Some(4)).then(|| now() + SignedDuration::from_mins(1));
        assert_eq!(plan.reconcile_at, next, "{age:?}");
    }
}

#[test]
fn auto_means_cert_manager_if_its_api_is_served() {
    for (provider, cert_manager, issues, needs) in [
        ("Auto", false, true, false),
        ("Auto", true, false, false),
        ("CertManager", false, false, true),
        ("BuiltIn", true, true, false),
    ] {
        let spec = json!({"certificates": {"provider": provider}});
        let mut observed = without_cert_manager(spec);
        if cert_manager {
            observed.apis.extend([kinds::ISSUER_CRD, kinds::CERTIFICATE_CRD].map(str::to_owned));
        }
        let plan = decide(&observed);
        assert_eq!(!plan.issue.is_empty(), issues, "{provider} {cert_manager}");
        assert_eq!(reasons(&plan) == ["MissingDependency"], needs, "{provider} {cert_manager}");
        assert_eq!(applies(&plan, "Certificate"), cert_manager && !issues, "{provider} {cert_manager}");
    }
}

/// Each step waits for the previous one, and at each step the webhooks trust the certificate of every serving pod.
#[test]
fn the_operand_moves_to_the_operators_certificates_and_back() {
    let mut observed = with_deployment(installed(json!({})), rolled_out());
    execute(&mut observed);
    let (cert_manager, spec) = (AUTHORITIES[0].clone(), json!({"certificates": {"provider": "BuiltIn"}}));
    let old = certificates(&cert_manager);
    assert_eq!(trusted(&observed), old);

    observed.operator = Some(Arc::new(operator(spec)));
    let plan = decide(&observed);
    assert_eq!(plan.issue.len(), 2);
    assert_eq!(
        mounted(&plan).as_deref(),
        Some(names::WEBHOOK_SECRET),
        "the pods still mount the old certificate"
    );
    assert!(applies(&plan, "Certificate"), "cert-manager still renews the old certificate");

    issue_all(&mut observed);
    let new = authority_of(&observed, names::BUILT_IN_WEBHOOK_SECRET);
    let plan = decide(&observed);
    assert_eq!(mounted(&plan), None, "the webhooks do not trust the new CA yet");
    execute(&mut observed);
    assert_eq!(trusted(&observed), [vec![new.clone()], old.clone()].concat(), "both");

    let plan = decide(&observed);
    assert_eq!(mounted(&plan).as_deref(), Some(names::BUILT_IN_WEBHOOK_SECRET));
    execute(&mut observed);
    let mut observed = with_deployment(
        observed,
        json!({"observedGeneration": 7, "replicas": 2,
        "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1}),
    );
    execute(&mut observed);
    assert_eq!(trusted(&observed).len(), 2, "an old pod still serves");
    assert!(observed.get("Certificate", names::WEBHOOK_CERTIFICATE).is_some());

    let mut observed = with_deployment(observed, rolled_out());
    let plan = decide(&observed);
    assert!(plan.delete.iter().any(|key| key.kind == "Certificate"), "{:?}", plan.delete);
    assert!(plan.delete.iter().any(|key| key.kind == "Issuer"));
    execute(&mut observed);
    assert_eq!(trusted(&observed), std::slice::from_ref(&new));

    // And back to cert-manager, whose certificates are issued.
    observed.operator = Some(Arc::new(operator(json!({}))));
    assert!(applies(&decide(&observed), "Certificate"));
    execute(&mut observed);
    assert_eq!(trusted(&observed), [old.clone(), vec![new]].concat());
    execute(&mut observed);
    let mut observed = with_deployment(observed, rolled_out());
    execute(&mut observed);
    assert_eq!(trusted(&observed), old);
    let secrets: Vec<_> = observed.objects.keys().filter(|key| key.kind == "Secret").collect();
    assert!(secrets.is_empty(), "{secrets:?}");
}

#[test]
fn the_webhooks_trust_the_old_and_the_new_ca_until_every_pod_serves_with_the_new_one() {
    let mut observed = with_deployment(installed(json!({})), rolled_out());
    execute(&mut observed);
    observed.secrets.insert(names::WEBHOOK_SECRET.into(), complete("hash-3", &AUTHORITIES[1]));
    assert_eq!(mounted(&decide(&observed)), None);
    execute(&mut observed);
    let both: Vec<_> = [1, 0].iter().flat_map(|&index| certificates(&AUTHORITIES[index])).collect();
    assert_eq!(trusted(&observed), both);
    execute(&mut observed);
    let observed = with_deployment(observed, json!({"observedGeneration": 6}));
    assert_eq!(trusted(&observed), both);
    let mut observed = with_deployment(observed, rolled_out());
    // The Deployment does not count terminating pods, and they may still receive requests.
    observed.ending_pods = 1;
    execute(&mut observed);
    assert_eq!(trusted(&observed), both);
    observed.ending_pods = 0;
    execute(&mut observed);
    assert_eq!(trusted(&observed), certificates(&AUTHORITIES[1]));
}

#[test]
fn a_ca_that_another_client_removed_is_restored() {
    let mut observed = with_deployment(installed(json!({})), rolled_out());
    let key = ObjectKey::new(MUTATING, names::MUTATING_WEBHOOKS);
    let live = observed.objects.get_mut(&key).unwrap();
    let mut object = (*live.object).clone();
    object.data["webhooks"][0]["clientConfig"]["caBundle"] = json!("");
    live.object = Arc::new(object);
    execute(&mut observed);
    assert_eq!(trusted(&observed), certificates(&AUTHORITIES[0]));
}

#[test]
fn the_annotation_of_the_ca_injector_is_removed() {
    let mut observed = installed(json!({}));
    assert_eq!(decide(&observed).detach_injector, []);
    let key = ObjectKey::new(MUTATING, names::MUTATING_WEBHOOKS);
    let live = observed.objects.get_mut(&key).unwrap();
    let mut object = (*live.object).clone();
    object.metadata.annotations =
        Some([("cert-manager.io/inject-ca-from".to_owned(), "ns/jobset-serving-cert".to_owned())].into());
    live.object = Arc::new(object);
    assert_eq!(decide(&observed).detach_injector, [key]);
}

#[test]
fn a_secret_of_another_client_is_not_overwritten() {
    let mut observed = without_cert_manager(json!({}));
    let object: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": names::BUILT_IN_WEBHOOK_SECRET},
        "data": {"password": "c2VjcmV0"},
    }))
    .unwrap();
    observed.objects.insert(ObjectKey::of(&object), Live::new(object));
    let plan = decide(&observed);
    assert_eq!(reasons(&plan), ["ForeignSecret"]);
    assert!(plan.problems[0].message.contains(names::BUILT_IN_WEBHOOK_SECRET));
    assert!(step(&plan, "Secret", names::BUILT_IN_WEBHOOK_SECRET).is_none());
    assert_eq!(plan.issue.len(), 1, "the other one");
}
