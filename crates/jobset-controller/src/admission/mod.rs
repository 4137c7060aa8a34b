//! Admission: HTTP around the decisions of `jobset-plan`. Every replica serves it.

mod review;

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::post,
};
use jobset_api::JobSet;
use jobset_plan::{Gates, defaulting, validation};
use review::{AdmissionRequest, Answer, Operation};
use serde_json::json;
use std::sync::Arc;
use tracing::{debug, info};

/// Largest request that is read (the API server's own limit is lower).
const LARGEST: usize = 7 << 20;

/// The webhook paths. Their names follow from group, version and kind.
pub(crate) fn router(gates: &Gates) -> Router {
    Router::new()
        .route(
            "/mutate-jobset-x-k8s-io-v1alpha2-jobset",
            post(handle).with_state(Webhook::new(gates, default)),
        )
        .route(
            "/validate-jobset-x-k8s-io-v1alpha2-jobset",
            post(handle).with_state(Webhook::new(gates, validate)),
        )
        .route("/mutate--v1-pod", post(handle).with_state(Webhook::new(gates, |_, _| Answer::allowed())))
        .route("/validate--v1-pod", post(handle).with_state(Webhook::new(gates, |_, _| Answer::allowed())))
}

/// What one path decides.
#[derive(Clone)]
struct Webhook {
    gates: Arc<Gates>,
    decide: fn(&AdmissionRequest, &Gates) -> Answer,
}

impl Webhook {
    fn new(gates: &Gates, decide: fn(&AdmissionRequest, &Gates) -> Answer) -> Self {
        Self { gates: Arc::new(gates.clone()), decide }
    }
}

async fn handle(State(webhook): State<Webhook>, request: Request<Body>) -> Response {
    let content_type =
        request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let answer = if content_type == "application/json" {
        match to_bytes(request.into_body(), LARGEST).await {
            Ok(body) => review::answer(&body, |request| (webhook.decide)(request, &webhook.gates)),
            Err(_) => Answer::refused(413, "request entity is too large: 7 MiB at most").without_review(),
        }
    } else {
        let message = format!("contentType={content_type}, expected application/json");
        Answer::refused(400, message).without_review()
    };
    (StatusCode::OK, [(CONTENT_TYPE, "application/json")], answer.to_string()).into_response()
}

/// Defaults a new JobSet.
fn default(request: &AdmissionRequest, _: &Gates) -> Answer {
    if request.operation != Operation::Create {
        return Answer::allowed();
    }
    let patch: Vec<_> = defaulting::defaults(&request.object)
        .into_iter()
        .map(|default| json!({"op": "add", "path": default.path, "value": default.value}))
        .collect();
    Answer::patched(patch)
}

/// Refuses a JobSet that cannot be.
fn validate(request: &AdmissionRequest, gates: &Gates) -> Answer {
    let new: JobSet = match serde_json::from_value(request.object.clone()) {
        Ok(jobset) => jobset,
        Err(error) => return Answer::refused(400, format!("the JobSet cannot be read: {error}")),
    };
    let errors = match request.operation {
        Operation::Create => validation::validate_create(&new, &validation::ExistingClaims::default(), gates),
        Operation::Update => match serde_json::from_value::<JobSet>(request.old_object.clone()) {
            Ok(old) => validation::validate_update(&old, &new, gates),
            Err(error) => return Answer::refused(400, format!("the stored JobSet cannot be read: {error}")),
        },
        Operation::Other => return Answer::allowed(),
    };
    let name = new.metadata.name.as_deref().unwrap_or("");
    if errors.is_empty() {
        debug!(namespace = request.namespace, jobset = name, "admitted");
        return Answer::allowed().with_warnings(validation::warnings(&new));
    }
    let answer = Answer::invalid(name, &errors);
    info!(namespace = request.namespace, jobset = name, "refused: {}", answer.message());
    answer
}
