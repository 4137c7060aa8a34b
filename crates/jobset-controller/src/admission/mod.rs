//! The HTTP server of the admission webhooks. `jobset-plan` makes the decisions. Every replica serves them.

mod leader_wait;
mod review;

use crate::observe::{Index, Placement};
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
    Gates, agent_injection, defaulting,
    pod_admission::{self, Refusal},
    validation::{self, ExistingClaim, ExistingClaims},
};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::{Api, Client};
use leader_wait::LeaderWait;
use review::{AdmissionRequest, Answer, Operation};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;
use tracing::{debug, info};

/// The largest request body (the API server's own limit is lower).
const LARGEST: usize = 7 << 20;
/// How long a follower waits for the first list of pods, and for the list of nodes with its topology key. The timeout
/// of the webhooks is longer.
const LONGEST_WAIT: Duration = Duration::from_secs(4);
/// The number of concurrent reads of claims for one JobSet.
const CLAIMS_AT_ONCE: usize = 10;

/// A webhook: one kind of decision, at its own path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Webhook {
    /// Sets the defaults of a created or updated JobSet.
    DefaultJobSet,
    /// Validates a created or updated JobSet.
    ValidateJobSet,
    /// Places a new pod with exclusive placement, and adds the agent of in-place restart.
    PlacePod,
    /// Validates a new pod with exclusive placement or an added agent.
    ValidatePod,
}

impl Webhook {
    /// All webhooks.
    pub const ALL: [Self; 4] = [Self::DefaultJobSet, Self::ValidateJobSet, Self::PlacePod, Self::ValidatePod];

    /// The path. It contains group, version and kind, and the webhook configurations name it.
    pub fn path(self) -> &'static str {
        match self {
            Self::DefaultJobSet => "/mutate-jobset-x-k8s-io-v1alpha2-jobset",
            Self::ValidateJobSet => "/validate-jobset-x-k8s-io-v1alpha2-jobset",
            Self::PlacePod => "/mutate--v1-pod",
            Self::ValidatePod => "/validate--v1-pod",
        }
    }
}

/// Decides on admission requests, with the objects that decisions need in addition to the request.
pub struct Admission {
    client: Client,
    index: Index,
    placement: Placement,
    gates: Gates,
    agent_image: Option<String>,
    leader_wait: LeaderWait,
}

async fn handle(webhook: Webhook, State(state): State<Arc<Admission>>, request: Request<Body>) -> Response {
    let content_type =
        request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let answer = if content_type == "application/json" {
        match to_bytes(request.into_body(), LARGEST).await {
            Ok(body) => state.answer(webhook, &body).await,
            Err(_) => Answer::refused(413, "request entity is too large: 7 MiB at most")
                .without_review()
                .to_string(),
        }
    } else {
        let message = format!("contentType={content_type}, expected application/json");
        Answer::refused(400, message).without_review().to_string()
    };
    (StatusCode::OK, [(CONTENT_TYPE, "application/json")], answer).into_response()
}

impl Admission {
    /// `client` reads the existing claims of a new JobSet. `index` holds the other JobSets, and `placement` holds
    /// leader pods and nodes. Every replica watches these objects.
    pub fn new(client: Client, index: Index, placement: Placement, gates: &Gates) -> Self {
        Self {
            client,
            index,
            placement,
            gates: gates.clone(),
            agent_image: None,
            leader_wait: LeaderWait::default(),
        }
    }

    /// Sets the image of the agent that pods get.
    #[must_use]
    pub fn with_agent_image(self, agent_image: Option<String>) -> Self {
        Self { agent_image, ..self }
    }

    /// Returns a router that serves every webhook at its path.
    pub fn router(self) -> Router {
        let serve = |router: Router<Arc<Self>>, webhook: Webhook| {
            router.route(webhook.path(), post(move |state, request| handle(webhook, state, request)))
        };
        Webhook::ALL.into_iter().fold(Router::new(), serve).with_state(Arc::new(self))
    }

    /// Returns the response to an `AdmissionReview`, both as JSON. If the body is not an `AdmissionReview`, the
    /// response denies it.
    pub async fn answer(&self, webhook: Webhook, body: &[u8]) -> String {
        review::answer(body, |request| self.decide(webhook, request)).await.to_string()
    }

    async fn decide(&self, webhook: Webhook, request: AdmissionRequest) -> Answer {
        match webhook {
            Webhook::DefaultJobSet => default(&request, &self.gates),
            Webhook::ValidateJobSet => self.validate(&request).await,
            Webhook::PlacePod => {
                let place = |pod: &Pod| {
                    let mut patch = agent_injection::inject(pod, self.agent_image.as_deref(), &self.gates)?;
                    patch.extend(pod_admission::mutate(pod, &request.namespace, &self.placement)?);
                    Ok(Answer::patched(patch))
                };
                self.of_pod(webhook, &request, place).await
            }
            Webhook::ValidatePod => {
                let validate = |pod: &Pod| {
                    agent_injection::validate(pod, self.agent_image.as_deref(), &self.gates)?;
                    pod_admission::validate(pod, &request.namespace, &self.placement)?;
                    Ok(Answer::allowed())
                };
                self.of_pod(webhook, &request, validate).await
            }
        }
    }

    /// Decides on the creation of a pod.
    async fn of_pod(
        &self,
        webhook: Webhook,
        request: &AdmissionRequest,
        decide: impl FnOnce(&Pod) -> Result<Answer, Refusal>,
    ) -> Answer {
        if request.operation != Operation::Create {
            return Answer::allowed();
        }
        let pod: Pod = match request.object.decode() {
            Ok(pod) => pod,
            Err(error) => return Answer::refused(400, format!("cannot decode the pod: {error}")),
        };
        if let Some(key) = pod_admission::topology_key(&pod) {
            // The watch of this replica may not have delivered the JobSet yet.
            self.placement.demand.topologies([key], || self.index.topology_keys());
            if !pod_admission::is_leader(&pod) {
                // Without the lists, the pod is denied, and the Job controller creates it again.
                let _ = timeout(LONGEST_WAIT, self.placement.demand.listed(key)).await;
            }
        }
        // The pod has a domain if another replica has delivered the leader: this one waits for its own watch.
        if webhook == Webhook::PlacePod || pod_admission::has_domain(&pod) {
            self.leader_wait.for_leader(&pod, &request.namespace, &self.placement).await;
        }
        decide(&pod).unwrap_or_else(|refusal| {
            debug!(namespace = request.namespace, pod = pod.metadata.generate_name, ?refusal, "denied");
            match refusal {
                Refusal::Forbidden(why) => Answer::forbidden(&why),
                Refusal::NodeNotFound(node) => Answer::node_not_found(&node),
            }
        })
    }

    /// Validates a JobSet.
    async fn validate(&self, request: &AdmissionRequest) -> Answer {
        if request.operation == Operation::Other {
            return Answer::allowed();
        }
        let mut new: JobSet = match request.object.decode() {
            Ok(jobset) => jobset,
            Err(error) => return Answer::refused(400, format!("cannot decode the JobSet: {error}")),
        };
        // The controller applies these defaults as well, for JobSets that were created while no webhook ran.
        new.spec.replicated_jobs.iter_mut().for_each(defaulting::fill_in);
        let errors = if request.operation == Operation::Create {
            let claims = self.existing_claims(&request.namespace, &new).await;
            let mut errors = validation::validate_create(&new, &claims, &self.gates);
            errors.extend(validation::validate_injection(&new, self.agent_image.is_some(), &self.gates));
            errors
        } else {
            match request.old_object.decode::<JobSet>() {
                Ok(old) => validation::validate_update(&old, &new, &self.gates),
                Err(error) => {
                    return Answer::refused(400, format!("cannot decode the stored JobSet: {error}"));
                }
            }
        };
        let name = new.metadata.name.as_deref().unwrap_or("");
        if errors.is_empty() {
            debug!(namespace = request.namespace, jobset = name, "allowed");
            let mut warnings = validation::warnings(&new);
            let has_image = self.agent_image.is_some();
            warnings.extend(validation::injection_warnings(&new, has_image, &self.gates));
            if request.operation == Operation::Create {
                warnings.extend(self.shared_subdomain(&request.namespace, new));
            }
            return Answer::allowed().with_warnings(warnings);
        }
        let answer = Answer::invalid(name, &errors);
        info!(namespace = request.namespace, jobset = name, "denied: {}", answer.message());
        answer
    }

    /// A warning if another JobSet of the namespace has the same subdomain. The index may not yet contain a JobSet that
    /// was just created.
    fn shared_subdomain(&self, namespace: &str, mut jobset: JobSet) -> Option<String> {
        jobset.metadata.namespace = Some(namespace.to_owned());
        let other = self.index.shares_subdomain(&jobset)?;
        Some(validation::shared_subdomain(&jobset, &other))
    }

    /// Reads the existing claims with the names of the JobSet's claims.
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

/// Sets the defaults of a JobSet.
fn default(request: &AdmissionRequest, gates: &Gates) -> Answer {
    let (new, old) = match (request.object.decode::<Value>(), request.old_object.decode::<Value>()) {
        (Ok(new), Ok(old)) => (new, old),
        (Err(error), _) | (_, Err(error)) => {
            return Answer::refused(400, format!("cannot decode the JobSet: {error}"));
        }
    };
    let defaults = match request.operation {
        Operation::Create => defaulting::defaults(&new, gates),
        Operation::Update => defaulting::defaults_on_update(&old, &new, gates),
        Operation::Other => Vec::new(),
    };
    let operation =
        |default: defaulting::Default| json!({"op": "add", "path": default.path, "value": default.value});
    Answer::patched(defaults.into_iter().map(operation).collect())
}
