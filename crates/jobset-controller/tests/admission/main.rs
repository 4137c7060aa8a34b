//! The admission webhooks as the API server calls them, without TLS: the tests send requests to the router. No cluster.
// A panic fails only its own test.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

mod contract;
mod decisions;
mod mutated_bodies;
mod mutated_json;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, Response, StatusCode},
};
use jobset_controller::{
    Index, Placement,
    admission::{Admission, Webhook},
};
use jobset_plan::Gates;
use kube::Client;
use serde_json::{Value, json};
use std::convert::Infallible;
use tower::{ServiceExt, service_fn};

/// Admission with an API server without objects: every read returns 404.
fn admission() -> Router {
    with_gates(&Gates::default())
}

/// [`admission`] with feature gates.
fn with_gates(gates: &Gates) -> Router {
    let not_found =
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404});
    with_api_server(404, not_found, gates)
}

/// Admission with an API server that returns this response to every request.
fn with_api_server(code: u16, answer: Value, gates: &Gates) -> Router {
    let server = service_fn(move |_: Request<kube::client::Body>| {
        let mut response = Response::new(Body::from(answer.to_string()));
        *response.status_mut() = StatusCode::from_u16(code).unwrap();
        async { Ok::<_, Infallible>(response) }
    });
    Admission::new(Client::new(server, "default"), Index::default(), Placement::default(), gates).router()
}

/// An `AdmissionReview` of `object`.
fn review(operation: &str, object: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "operation": operation,
            "namespace": "team",
            "object": object,
        },
    })
}

/// Posts a body as the API server does. Returns status, content type and body of the response.
async fn post(
    admission: Router,
    path: &str,
    content_type: &str,
    body: impl Into<Body>,
) -> (u16, String, String) {
    let request = Request::post(path).header("Content-Type", content_type).body(body.into()).unwrap();
    let response = admission.oneshot(request).await.unwrap();
    let code = response.status().as_u16();
    let content_type =
        response.headers().get("Content-Type").map_or("", |it| it.to_str().unwrap()).to_owned();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (code, content_type, String::from_utf8(body.to_vec()).unwrap())
}

/// The `response` of the review. The HTTP request always succeeds: the `response` contains errors.
async fn answered(webhook: Webhook, body: impl Into<Body>) -> Value {
    response_of(post(admission(), webhook.path(), "application/json", body).await)
}

fn response_of((code, content_type, body): (u16, String, String)) -> Value {
    assert_eq!((code, content_type.as_str()), (200, "application/json"), "{body}");
    let review: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(review["kind"], "AdmissionReview", "{review}");
    assert!(review["response"]["allowed"].is_boolean(), "{review}");
    review["response"].clone()
}

/// A JobSet with two ReplicatedJobs and only required fields.
fn jobset() -> Value {
    let template =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "busybox"}]}}}});
    json!({
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {"name": "train", "namespace": "team"},
        "spec": {"replicatedJobs": [
            {"name": "driver", "groupName": "default", "replicas": 1, "template": template},
            {"name": "worker", "groupName": "default", "replicas": 2, "template": template},
        ]},
    })
}

/// A pod with exclusive placement and this completion index.
fn pod(index: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": format!("train-worker-1-{index}-"),
            "annotations": {
                "jobset.sigs.k8s.io/jobset-name": "train",
                "alpha.jobset.sigs.k8s.io/exclusive-topology": "rack",
                "batch.kubernetes.io/job-completion-index": index,
            },
            "labels": {
                "jobset.sigs.k8s.io/jobset-name": "train",
                "jobset.sigs.k8s.io/replicatedjob-name": "worker",
                "jobset.sigs.k8s.io/job-index": "1",
                "jobset.sigs.k8s.io/job-key": "k-1",
            },
        },
        "spec": {"containers": [{"name": "main", "image": "busybox"}], "priority": 7},
    })
}
