//! Admission: HTTP around the decisions of `jobset-plan`. Every replica serves it.

mod review;

use crate::observe::Placement;
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::post,
};
use futures::{StreamExt, stream};
use jobset_api::JobSet;
use jobset_plan::{
    Gates, defaulting,
    pod_admission::{self, Refusal},
    validation::{self, ExistingClaim, ExistingClaims},
};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::{Api, Client};
use review::{AdmissionRequest, Answer, Operation};
use serde_json::json;
use std::sync::Arc;
use tracing::{debug, info};

/// Largest request that is read (the API server's own limit is lower).
const LARGEST: usize = 7 << 20;
/// Claims that are looked up side by side for one JobSet.
const CLAIMS_AT_ONCE: usize = 10;

/// The webhook paths. Their names follow from group, version and kind.
pub(crate) fn router(client: Client, placement: Placement, gates: &Gates) -> Router {
    let state = Arc::new(Admission { client, placement, gates: gates.clone() });
    let path = |webhook: Webhook| post(move |state, request| handle(webhook, state, request));
    Router::new()
        .route("/mutate-jobset-x-k8s-io-v1alpha2-jobset", path(Webhook::DefaultJobSet))
        .route("/validate-jobset-x-k8s-io-v1alpha2-jobset", path(Webhook::ValidateJobSet))
        .route("/mutate--v1-pod", path(Webhook::PlacePod))
        .route("/validate--v1-pod", path(Webhook::ValidatePod))
        .with_state(state)
}

/// What one path decides about.
#[derive(Clone, Copy)]
enum Webhook {
    DefaultJobSet,
    ValidateJobSet,
    PlacePod,
    ValidatePod,
}

/// What decisions need beside the request.
struct Admission {
    client: Client,
    placement: Placement,
    gates: Gates,
}

async fn handle(webhook: Webhook, State(state): State<Arc<Admission>>, request: Request<Body>) -> Response {
    let content_type =
        request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let answer = if content_type == "application/json" {
        match to_bytes(request.into_body(), LARGEST).await {
            Ok(body) => review::answer(&body, |request| state.decide(webhook, request)).await,
            Err(_) => Answer::refused(413, "request entity is too large: 7 MiB at most").without_review(),
        }
    } else {
        let message = format!("contentType={content_type}, expected application/json");
        Answer::refused(400, message).without_review()
    };
    (StatusCode::OK, [(CONTENT_TYPE, "application/json")], answer.to_string()).into_response()
}

impl Admission {
    async fn decide(&self, webhook: Webhook, request: AdmissionRequest) -> Answer {
        match webhook {
            Webhook::DefaultJobSet => default(&request),
            Webhook::ValidateJobSet => self.validate(&request).await,
            Webhook::PlacePod => Self::of_pod(&request, |pod| {
                pod_admission::mutate(pod, &request.namespace, &self.placement).map(Answer::patched)
            }),
            Webhook::ValidatePod => Self::of_pod(&request, |pod| {
                pod_admission::validate(pod, &request.namespace, &self.placement).map(|()| Answer::allowed())
            }),
        }
    }

    /// Decides about a pod that is being created.
    fn of_pod(request: &AdmissionRequest, decide: impl FnOnce(&Pod) -> Result<Answer, Refusal>) -> Answer {
        if request.operation != Operation::Create {
            return Answer::allowed();
        }
        let pod: Pod = match serde_json::from_value(request.object.clone()) {
            Ok(pod) => pod,
            Err(error) => return Answer::refused(400, format!("the pod cannot be read: {error}")),
        };
        decide(&pod).unwrap_or_else(|refusal| {
            debug!(namespace = request.namespace, pod = pod.metadata.generate_name, ?refusal, "refused");
            match refusal {
                Refusal::Forbidden(why) => Answer::forbidden(&why),
                Refusal::NodeNotFound(node) => Answer::node_not_found(&node),
            }
        })
    }

    /// Refuses a JobSet that cannot be.
    async fn validate(&self, request: &AdmissionRequest) -> Answer {
        let new: JobSet = match serde_json::from_value(request.object.clone()) {
            Ok(jobset) => jobset,
            Err(error) => return Answer::refused(400, format!("the JobSet cannot be read: {error}")),
        };
        let errors = match request.operation {
            Operation::Create => {
                let claims = self.existing_claims(&request.namespace, &new).await;
                validation::validate_create(&new, &claims, &self.gates)
            }
            Operation::Update => match serde_json::from_value::<JobSet>(request.old_object.clone()) {
                Ok(old) => validation::validate_update(&old, &new, &self.gates),
                Err(error) => {
                    return Answer::refused(400, format!("the stored JobSet cannot be read: {error}"));
                }
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

    /// The claims that exist already under the names that the JobSet's would have.
    async fn existing_claims(&self, namespace: &str, jobset: &JobSet) -> ExistingClaims {
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), namespace);
        let read = async |name: String| {
            let found = match claims.get_opt(&name).await {
                Ok(None) => ExistingClaim::Absent,
                Ok(Some(claim)) => ExistingClaim::Present(Box::new(claim.spec.unwrap_or_default())),
                Err(error) => ExistingClaim::ReadError(error.to_string()),
            };
            (name, found)
        };
        let names = validation::claims_to_read(jobset);
        stream::iter(names).map(read).buffer_unordered(CLAIMS_AT_ONCE).collect().await
    }
}

/// Defaults a new JobSet.
fn default(request: &AdmissionRequest) -> Answer {
    if request.operation != Operation::Create {
        return Answer::allowed();
    }
    let patch: Vec<_> = defaulting::defaults(&request.object)
        .into_iter()
        .map(|default| json!({"op": "add", "path": default.path, "value": default.value}))
        .collect();
    Answer::patched(patch)
}
