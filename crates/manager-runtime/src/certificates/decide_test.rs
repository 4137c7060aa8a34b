use super::*;

const DAY: SignedDuration = SignedDuration::from_hours(24);

fn desired() -> DesiredSecret {
    DesiredSecret {
        namespace: "home".to_owned(),
        secret: "server-cert".to_owned(),
        labels: BTreeMap::from([("created".to_owned(), "here".to_owned())]),
        dns_names: vec!["webhook.home.svc".to_owned()],
        authority: "test-ca".to_owned(),
        organization: "test".to_owned(),
        lifetimes: Lifetimes::default(),
    }
}

fn start() -> Timestamp {
    "2030-01-01T00:00:00Z".parse().unwrap()
}

/// Decides, and returns the decision and the Secret after it.
fn step(found: Option<&Secret>, trusted: &str, now: Timestamp) -> (Decision, Option<Secret>) {
    let decision = decide(found, &desired(), now);
    let after = secret_after(&decision, found, trusted, &desired(), now).unwrap();
    (decision, after)
}

fn fresh() -> Secret {
    step(None, "", start()).1.unwrap()
}

fn corrupt(key: &str, text: &str) -> Secret {
    let mut secret = fresh();
    secret.data.as_mut().unwrap().insert(key.to_owned(), ByteString(text.into()));
    secret
}

fn text(secret: &Secret, key: &str) -> String {
    String::from_utf8(secret.data.as_ref().unwrap()[key].0.clone()).unwrap()
}

fn keeps(secret: &Secret, now: Timestamp) -> Timestamp {
    match decide(Some(secret), &desired(), now) {
        Decision::Keep { until } => until,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_missing_secret_is_created_and_serves() {
    let (decision, secret) = step(None, "", start());
    let secret = secret.unwrap();
    assert_eq!(decision, Decision::NewAuthority { reason: "the Secret does not exist".to_owned() });
    assert_eq!(secret.metadata.namespace.as_deref(), Some("home"));
    assert_eq!(secret.metadata.labels, Some(desired().labels));
    let material = Material::read(&secret).unwrap();
    assert_eq!(material.check(&desired().dns_names, start()), Ok(()));
    assert_eq!(material.authorities().len(), 1);
    let error = material.check(&["other.home.svc".to_owned()], start()).unwrap_err();
    assert!(error.contains("is not valid for other.home.svc"), "{error}");
    assert_eq!(keeps(&secret, start()), start() + DAY * 275);
}

#[test]
fn an_empty_secret_is_filled_and_keeps_its_resource_version() {
    let mut empty = Secret::default();
    empty.metadata.name = Some("server-cert".to_owned());
    empty.metadata.resource_version = Some("7".to_owned());
    let (_, secret) = step(Some(&empty), "", start());
    let secret = secret.unwrap();
    assert_eq!(secret.metadata.resource_version.as_deref(), Some("7"));
    assert_eq!(secret.type_, None, "the type of a Secret never changes");
    keeps(&secret, start());

    let mut prepared = empty;
    prepared.data = Some([CERTIFICATE, KEY].map(|key| (key.to_owned(), ByteString::default())).into());
    let (decision, secret) = step(Some(&prepared), "", start());
    assert_eq!(decision, Decision::NewAuthority { reason: "the Secret is empty".to_owned() });
    keeps(&secret.unwrap(), start());
}

#[test]
fn the_same_ca_renews_a_server_certificate() {
    let first = fresh();
    let now = start() + DAY * 276;
    let (decision, second) = step(Some(&first), "", now);
    let second = second.unwrap();
    assert!(matches!(decision, Decision::NewServer { .. }), "{decision:?}");
    assert_eq!(text(&first, BUNDLE), text(&second, BUNDLE));
    assert_ne!(text(&first, CERTIFICATE), text(&second, CERTIFICATE));
    assert_eq!(keeps(&second, now), now + DAY * 275);
}

#[test]
fn the_previous_ca_stays_in_the_bundle_for_the_overlap() {
    let first = fresh();
    let now = start() + DAY * 3561;
    let (decision, second) = step(Some(&first), "", now);
    let second = second.unwrap();
    assert_eq!(decision, Decision::NewAuthority { reason: "the CA expires soon".to_owned() });
    let (before, after) = (Material::read(&first).unwrap(), Material::read(&second).unwrap());
    assert_eq!(after.authorities().len(), 2);
    assert_eq!(after.authorities()[1], before.authorities()[0]);
    // Clients that trust the new bundle accept both server certificates.
    assert_eq!(after.check(&desired().dns_names, now), Ok(()));
    let old_server = Material { server: before.server, ..after.clone() };
    assert_eq!(old_server.check(&desired().dns_names, start()), Ok(()));

    let end = now + Lifetimes::default().overlap;
    assert_eq!(keeps(&second, now), end);
    let (decision, third) = step(Some(&second), "", end);
    assert_eq!(decision, Decision::DropPrevious);
    let third = third.unwrap();
    assert_eq!(Material::read(&third).unwrap().authorities(), after.authorities()[..1]);
    assert_eq!(text(&third, CERTIFICATE), text(&second, CERTIFICATE));
    keeps(&third, end);
}

#[test]
fn cas_that_clients_trust_stay_in_the_bundle_for_the_overlap() {
    let lost = text(&fresh(), BUNDLE);
    let expired = {
        let long_ago = start() - DAY * 4000;
        text(&step(None, "", long_ago).1.unwrap(), BUNDLE)
    };
    let (_, secret) = step(None, &format!("{lost}{lost}{expired}nonsense"), start());
    let authorities = Material::read(&secret.unwrap()).unwrap().authorities();
    assert_eq!(authorities[1..], certificates(&lost));
}

#[test]
fn corrupt_content_is_replaced() {
    for (key, what) in [(BUNDLE, "ca.crt"), (CERTIFICATE, "tls.crt"), (KEY, "tls.key")] {
        let secret = corrupt(key, "garbage");
        let (decision, after) = step(Some(&secret), "", start());
        match decision {
            Decision::NewServer { reason } | Decision::NewAuthority { reason } => {
                assert!(reason.contains(what), "{reason}");
            }
            other => panic!("{key}: {other:?}"),
        }
        keeps(&after.unwrap(), start());
    }
}

#[test]
fn a_ca_without_its_key_is_replaced_when_it_must_sign() {
    let secret = corrupt(AUTHORITY_KEY, "garbage");
    let renewal = keeps(&secret, start());
    let (decision, after) = step(Some(&secret), "", renewal);
    assert!(matches!(decision, Decision::NewServer { .. }), "{decision:?}");
    let after = after.unwrap();
    assert_eq!(Material::read(&after).unwrap().authorities().len(), 2);
    keeps(&after, renewal);
}

#[test]
fn a_ca_with_the_key_of_another_ca_is_replaced() {
    let mut secret = corrupt(CERTIFICATE, "garbage");
    let other = Material::read(&fresh()).unwrap().authority_key;
    secret.data.as_mut().unwrap().insert(AUTHORITY_KEY.to_owned(), ByteString(other.into_bytes()));
    let (decision, after) = step(Some(&secret), "", start());
    assert!(matches!(decision, Decision::NewServer { .. }), "{decision:?}");
    keeps(&after.unwrap(), start());
}

#[test]
fn an_invalid_dns_name_is_an_error() {
    let desired = DesiredSecret { dns_names: vec!["no name".to_owned()], ..desired() };
    let decision = decide(None, &desired, start());
    let error = secret_after(&decision, None, "", &desired, start()).unwrap_err().to_string();
    assert!(error.contains("no name"), "{error}");
}

#[test]
fn changed_dns_names_need_a_new_server_certificate() {
    let secret = fresh();
    let renamed = DesiredSecret { dns_names: vec!["renamed.home.svc".to_owned()], ..desired() };
    let decision = decide(Some(&secret), &renamed, start());
    assert!(matches!(&decision, Decision::NewServer { reason } if reason.contains("renamed.home.svc")));
    let after = secret_after(&decision, Some(&secret), "", &renamed, start()).unwrap().unwrap();
    assert_eq!(text(&after, BUNDLE), text(&secret, BUNDLE));
    assert!(matches!(decide(Some(&after), &renamed, start()), Decision::Keep { .. }));
}

#[test]
fn a_certificate_that_is_not_valid_yet_is_kept() {
    let hours_behind = start() - SignedDuration::from_hours(5);
    keeps(&fresh(), hours_behind);
}

#[test]
fn a_secret_of_another_client_is_not_written() {
    let mut of_cert_manager = fresh();
    of_cert_manager.data.as_mut().unwrap().remove(AUTHORITY_KEY);
    let with_more = corrupt("password", "hunter2");
    for secret in [of_cert_manager, with_more] {
        let (decision, after) = step(Some(&secret), "", start());
        assert!(matches!(&decision, Decision::Refuse { reason } if reason.contains("home/server-cert")));
        assert_eq!(after, None);
    }
}

/// A Secret that cert-controller of Open Policy Agent wrote: RSA 2048 in PKCS#1, CA with serial number 0.
#[test]
fn a_secret_of_the_go_program_is_kept_and_renewed() {
    let text = include_str!("testdata/go-secret.json");
    let secret: Secret = serde_json::from_str(text).unwrap();
    let mut desired = desired();
    desired.dns_names = vec!["jobset-webhook-service.jobset-system.svc".to_owned()];
    let created: Timestamp = issue::begins(&Material::read(&secret).unwrap().bundle).unwrap();
    assert!(matches!(decide(Some(&secret), &desired, created + DAY), Decision::Keep { .. }));
    let late = created + DAY * 300;
    let decision = decide(Some(&secret), &desired, late);
    assert!(matches!(decision, Decision::NewServer { .. }), "{decision:?}");
    let after = secret_after(&decision, Some(&secret), "", &desired, late).unwrap().unwrap();
    assert_eq!(after.data.as_ref().unwrap()[BUNDLE], secret.data.as_ref().unwrap()[BUNDLE]);
    assert!(matches!(decide(Some(&after), &desired, late), Decision::Keep { .. }));
}
