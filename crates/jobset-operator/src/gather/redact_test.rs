use super::*;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use manager_runtime::certificates::issue::{authority, server};
use serde_json::json;

/// No value with this word may leave the cluster.
const NEEDLE: &str = "hunter2";

fn redacted(mut value: Value, author: Author) -> Value {
    object(&mut value, author);
    value
}

#[test]
fn values_of_users_do_not_leave_the_cluster() {
    for (case, value) in [
        ("variable", json!({"env": [{"name": "PASSWORD", "value": "hunter2"}]})),
        ("variable with a harmless name", json!({"env": [{"name": "MODEL", "value": "hunter2"}]})),
        ("argument", json!({"args": ["--token", "hunter2"]})),
        ("command", json!({"command": ["sh", "-c", "echo hunter2 | login"]})),
        ("command of a probe", json!({"livenessProbe": {"exec": {"command": ["hunter2"]}}})),
        (
            "header of a probe",
            json!({"httpGet": {"httpHeaders": [{"name": "Authorization", "value": "hunter2"}]}}),
        ),
        ("last applied configuration", json!({"metadata": {"annotations": {LAST_APPLIED: "{hunter2}"}}})),
        (
            "the same in a template",
            json!({"spec": {"template": {"metadata": {"annotations": {LAST_APPLIED: "hunter2"}}}}}),
        ),
        ("annotation", json!({"metadata": {"annotations": {"example.com/login": "hunter2"}}})),
        (
            "annotation of a similar domain",
            json!({"metadata": {"annotations": {"evilk8s.io/login": "hunter2"}}}),
        ),
        ("annotation without a domain", json!({"metadata": {"annotations": {"login": "hunter2"}}})),
        ("URL", json!({"spec": {"sources": ["https://me:hunter2@git.example/repository"]}})),
        ("volume", json!({"csi": {"driver": "d", "volumeAttributes": {"key": "hunter2"}}})),
        ("old volume", json!({"flexVolume": {"driver": "d", "options": {"key": "hunter2"}}})),
        ("output of a container", json!({"state": {"terminated": {"exitCode": 1, "message": "hunter2"}}})),
    ] {
        assert!(value.to_string().contains(NEEDLE), "{case}: the test proves nothing");
        let nested = json!({"kind": "JobSet", "spec": {"replicatedJobs": [{"template": value.clone()}]}});
        for value in [value, nested] {
            let left = redacted(value, Author::User).to_string();
            assert!(!left.contains(NEEDLE), "{case}: {left}");
        }
    }
}

#[test]
fn support_sees_the_structure_of_users_objects() {
    let pod = json!({
        "kind": "Pod",
        "metadata": {
            "name": "train-0",
            "labels": {"jobset.sigs.k8s.io/jobset-name": "train"},
            "annotations": {"jobset.sigs.k8s.io/restart-attempt": "3", "batch.kubernetes.io/job-completion-index": "1"},
        },
        "spec": {"containers": [{
            "name": "w",
            "image": "registry.example/w:v1",
            "command": ["/in-place-restart-agent", "REDACTED"],
            "env": [{"name": "FROM", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}, {"name": "EMPTY", "value": ""}],
        }]},
        "status": {"containerStatuses": [{"state": {"terminated": {"exitCode": 1, "reason": "Error"}}}]},
    });
    assert_eq!(redacted(pod.clone(), Author::User), pod);
}

#[test]
fn of_the_installation_only_unknown_variables_and_credentials_are_removed() {
    let deployment = json!({"spec": {"containers": [{
        "args": ["--config=/c.yaml"],
        "env": [
            {"name": "OPERAND_IMAGE", "value": "registry.example/a:v1"},
            {"name": "HTTPS_PROXY", "value": "http://me:hunter2@proxy.example:3128"},
            {"name": "OTEL_EXPORTER_OTLP_HEADERS", "value": "key=hunter2"},
        ],
    }]}});
    let expected = json!({"spec": {"containers": [{
        "args": ["--config=/c.yaml"],
        "env": [
            {"name": "OPERAND_IMAGE", "value": "registry.example/a:v1"},
            {"name": "HTTPS_PROXY", "value": "http://REDACTED@proxy.example:3128"},
            {"name": "OTEL_EXPORTER_OTLP_HEADERS", "value": "REDACTED"},
        ],
    }]}});
    assert_eq!(redacted(deployment, Author::Installation), expected);
    let plan =
        json!({"kind": "InstallPlan", "status": {"phase": "Complete", "plan": [{"manifest": "hunter2"}]}});
    assert_eq!(redacted(plan, Author::Installation)["status"], json!({"phase": "Complete"}));
}

#[test]
fn urls_lose_their_credentials_and_nothing_else() {
    for (text, expected) in [
        ("http://a:b@c.example/d?e@f", "http://REDACTED@c.example/d?e@f"),
        ("dial https://p@ss:w@rd@host:443: refused", "dial https://REDACTED@host:443: refused"),
        ("a://b a://c@d", "a://b a://REDACTED@d"),
        ("https://host/me@example.com", "https://host/me@example.com"),
        ("me@example.com", "me@example.com"),
        ("", ""),
        ("://", "://"),
        ("ü://ü@ü", "ü://REDACTED@ü"),
    ] {
        assert_eq!(without_credentials(text), expected);
    }
}

#[test]
fn of_a_secret_the_names_and_the_validity_of_certificates_are_left() {
    let now: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
    let ca = authority("ca", "o", now, SignedDuration::from_hours(24 * 365)).unwrap();
    let pair = server(&ca, &["a.example".to_owned()], now, SignedDuration::from_hours(1)).unwrap();
    let bytes = |text: &str| serde_json::to_value(k8s_openapi::ByteString(text.as_bytes().to_vec())).unwrap();
    let found = json!({
        "kind": "Secret",
        "metadata": {
            "name": "cert", "namespace": "ns", "labels": {"a": "b"},
            "annotations": {LAST_APPLIED: NEEDLE, "a.k8s.io/b": NEEDLE},
        },
        "type": "kubernetes.io/tls",
        "data": {"tls.crt": bytes(&pair.certificate), "tls.key": bytes(&pair.key), "password": bytes(NEEDLE)},
    });
    let left = secret(&found);
    assert_eq!(left["keys"], json!(["password", "tls.crt", "tls.key"]));
    assert_eq!(
        left["certificates"],
        json!([{"in": "tls.crt", "notBefore": "2029-12-31T23:00:00Z", "notAfter": "2030-01-01T01:00:00Z"}])
    );
    assert_eq!(left["metadata"], json!({"name": "cert", "namespace": "ns", "labels": {"a": "b"}}));
    let text = left.to_string();
    for hidden in [bytes(&pair.key), bytes(NEEDLE), bytes(&pair.certificate), json!(NEEDLE)] {
        assert!(!text.contains(hidden.as_str().unwrap()), "{text}");
    }
    let webhooks = json!({"webhooks": [{"name": "w", "clientConfig": {"caBundle": bytes(&ca.certificate)}}, {"name": "x"}]});
    let [found] = webhook_certificates(&webhooks).try_into().unwrap();
    assert_eq!((&found["in"], &found["notAfter"]), (&json!("w"), &json!("2031-01-01T00:00:00Z")));
}
