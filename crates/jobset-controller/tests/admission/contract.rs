//! HTTP: paths, content type, sizes, invalid bodies, and the envelope of each response.

use super::*;

/// Kubernetes: the largest body that a webhook must accept.
const SEVEN_MEBIBYTES: usize = 7 << 20;

#[tokio::test]
async fn four_paths_are_served_and_no_other() {
    for path in [
        "/mutate-jobset-x-k8s-io-v1alpha2-jobset",
        "/validate-jobset-x-k8s-io-v1alpha2-jobset",
        "/mutate--v1-pod",
        "/validate--v1-pod",
    ] {
        assert!(Webhook::ALL.iter().any(|webhook| webhook.path() == path), "{path}");
        let (code, ..) = post(admission(), path, "application/json", "{}").await;
        assert_eq!(code, 200, "{path}");
    }
    for path in ["/", "/convert", "/mutate-v1-pod"] {
        let (code, ..) = post(admission(), path, "application/json", "{}").await;
        assert_eq!(code, 404, "{path}");
    }
}

#[tokio::test]
async fn any_other_content_type_is_denied() {
    let body = review("CREATE", &jobset()).to_string();
    for content_type in ["", "text/plain", "application/json; charset=utf-8", "application/JSON"] {
        for webhook in Webhook::ALL {
            let response = response_of(post(admission(), webhook.path(), content_type, body.clone()).await);
            assert_eq!(response["allowed"], false);
            assert_eq!(response["status"]["code"], 400);
            let message = format!("contentType={content_type}, expected application/json");
            assert_eq!(response["status"]["message"], message);
        }
    }
}

#[tokio::test]
async fn a_body_of_seven_mebibytes_is_accepted_and_one_byte_more_is_denied() {
    let mut body = review("CREATE", &jobset()).to_string();
    body.push_str(&" ".repeat(SEVEN_MEBIBYTES - body.len()));
    assert_eq!(answered(Webhook::DefaultJobSet, body.clone()).await["allowed"], true);
    body.push(' ');
    let response = answered(Webhook::DefaultJobSet, body).await;
    assert_eq!((&response["allowed"], &response["status"]["code"]), (&json!(false), &json!(413)));
}

#[tokio::test]
async fn an_invalid_body_is_denied_with_400() {
    let other_group = review("CREATE", &jobset()).to_string().replace("admission.k8s.io", "example.com");
    let other_kind = review("CREATE", &jobset()).to_string().replace("AdmissionReview", "TokenReview");
    let cut = review("CREATE", &jobset()).to_string()[..200].to_owned();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (body, message) in [
        ("", "request body is empty"),
        ("null", "the request is not an AdmissionReview"),
        ("nonsense", "the request is not an AdmissionReview"),
        ("\u{0}\u{ff}", "the request is not an AdmissionReview"),
        (&cut, "the request is not an AdmissionReview"),
        (&deep, "the request is not an AdmissionReview"),
        (&other_group, r#"got "AdmissionReview" of "example.com/v1""#),
        (&other_kind, r#"got "TokenReview" of "admission.k8s.io/v1""#),
        (
            r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#,
            "the AdmissionReview contains no request",
        ),
    ] {
        for webhook in Webhook::ALL {
            let response = answered(webhook, body.to_owned()).await;
            assert_eq!(response["allowed"], false, "{body:.80}");
            assert_eq!(response["status"]["code"], 400, "{body:.80}");
            let found = response["status"]["message"].as_str().unwrap();
            assert!(found.contains(message), "{body:.80}: {found}");
        }
    }
}

#[tokio::test]
async fn the_response_has_the_version_and_the_uid_of_the_review() {
    for version in ["admission.k8s.io/v1", "admission.k8s.io/v1beta1"] {
        for webhook in Webhook::ALL {
            let object = if webhook.path().ends_with("pod") { pod("0") } else { jobset() };
            let mut sent = review("CREATE", &object);
            sent["apiVersion"] = json!(version);
            let (.., body) = post(admission(), webhook.path(), "application/json", sent.to_string()).await;
            let answer: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(answer["apiVersion"], version);
            assert_eq!(answer["response"]["uid"], sent["request"]["uid"], "{webhook:?}");
        }
    }
}

#[tokio::test]
async fn a_body_that_ends_early_is_denied() {
    let broken =
        futures::stream::iter([Ok("{\"apiVersion\":"), Err(std::io::Error::other("connection reset"))]);
    let response = answered(Webhook::ValidateJobSet, Body::from_stream(broken)).await;
    assert_eq!(response["allowed"], false);
}

#[tokio::test]
async fn other_operations_are_allowed_without_an_object() {
    for webhook in Webhook::ALL {
        for operation in ["DELETE", "CONNECT", "SOMETHING-NEW"] {
            let response = answered(webhook, review(operation, &Value::Null).to_string()).await;
            assert_eq!(response["allowed"], true, "{webhook:?} {operation}");
            assert_eq!(response.get("patch"), None);
        }
    }
}
