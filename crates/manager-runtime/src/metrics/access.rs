//! Who may read the metrics: the API server says who a bearer token belongs to (`TokenReview`), and whether that
//! user may (`SubjectAccessReview`). Both answers are remembered for a while.

use crate::client::api_message;
use axum::{
    extract::{Request, State},
    http::{
        Method, StatusCode,
        header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, X_CONTENT_TYPE_OPTIONS},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, UserInfo},
    authorization::v1::{NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use moka::{Expiry, future::Cache};
use sha2::{Digest, Sha256};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use thiserror::Error;
use tokio::{sync::Semaphore, time::timeout};
use tracing::{debug, error};

/// How long the API server may take for one answer.
const LONGEST_REVIEW: Duration = Duration::from_secs(10);
/// How long it is remembered whose a token is.
const TOKENS_FOR: Duration = Duration::from_mins(1);
/// How long it is remembered that a user may.
const ALLOWED_FOR: Duration = Duration::from_mins(5);
/// How long it is remembered that a user may not.
const DENIED_FOR: Duration = Duration::from_secs(30);
/// Answers that are remembered at a time: few scrape, and whoever tries many tokens shall not fill the memory.
const REMEMBERED: u64 = 512;
/// Questions to the API server at a time: who tries many tokens shall not put that load on it.
const REVIEWS_AT_ONCE: usize = 8;
/// Longest token that the API server is bothered with.
const LONGEST_TOKEN: usize = 16 << 10;

/// A token, or a question about a user, as what is remembered of it: a digest, so that no secret stays in memory.
type Fingerprint = [u8; 32];

/// Asks the API server who may.
#[derive(Clone)]
pub struct Access {
    client: Client,
    users: Cache<Fingerprint, Option<Arc<UserInfo>>>,
    decisions: Cache<Fingerprint, bool>,
    reviews: Arc<Semaphore>,
}

/// Why a request is not served.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Denied {
    /// No token, or none that the API server knows.
    #[error("Unauthorized")]
    Unauthorized,
    /// The user may not.
    #[error("Authorization denied for user {0}")]
    Forbidden(String),
    /// It cannot be told who asks.
    #[error("Authentication failed")]
    AuthenticationFailed,
    /// It cannot be told whether the user may.
    #[error("Authorization for user {0} failed")]
    AuthorizationFailed(String),
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        let code = match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::AuthenticationFailed | Self::AuthorizationFailed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
        (code, headers, format!("{self}\n")).into_response()
    }
}

struct ByDecision;

impl Expiry<Fingerprint, bool> for ByDecision {
    fn expire_after_create(&self, _: &Fingerprint, allowed: &bool, _: Instant) -> Option<Duration> {
        Some(if *allowed { ALLOWED_FOR } else { DENIED_FOR })
    }
}

impl Access {
    /// `client` needs the rights to create `tokenreviews` and `subjectaccessreviews`.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            users: Cache::builder().max_capacity(REMEMBERED).time_to_live(TOKENS_FOR).build(),
            decisions: Cache::builder().max_capacity(REMEMBERED).expire_after(ByDecision).build(),
            reviews: Arc::new(Semaphore::new(REVIEWS_AT_ONCE)),
        }
    }

    /// Whether whoever sends these headers may do this.
    ///
    /// # Errors
    /// When not, with what to answer.
    pub async fn check(&self, headers: &HeaderMap, method: &Method, path: &str) -> Result<(), Denied> {
        let token = bearer_token(headers).ok_or(Denied::Unauthorized)?;
        let known = self.users.try_get_with(fingerprint(&[token]), self.review_token(token)).await;
        let user = known
            .map_err(|error| {
                error!(%error, "metrics: cannot tell whose a token is");
                Denied::AuthenticationFailed
            })?
            .ok_or(Denied::Unauthorized)?;
        let name = user.username.clone().unwrap_or_default();
        let verb = method.as_str().to_ascii_lowercase();
        let question = question(&user, &verb, path);
        let decided = self.decisions.try_get_with(question, self.review_access(&user, &verb, path)).await;
        match decided {
            Ok(true) => Ok(()),
            Ok(false) => {
                debug!(user = name, verb, path, "metrics: denied");
                Err(Denied::Forbidden(name))
            }
            Err(error) => {
                error!(%error, user = name, "metrics: cannot tell whether the user may read them");
                Err(Denied::AuthorizationFailed(name))
            }
        }
    }

    async fn review_token(&self, token: &str) -> Result<Option<Arc<UserInfo>>, String> {
        let review = TokenReview {
            spec: TokenReviewSpec { token: token.to_owned(), audiences: None },
            ..TokenReview::default()
        };
        let status = self.review(review).await?.status.unwrap_or_default();
        if !status.authenticated.unwrap_or(false) {
            debug!(error = status.error, "metrics: token not accepted");
            return Ok(None);
        }
        Ok(status.user.map(Arc::new))
    }

    async fn review_access(&self, user: &UserInfo, verb: &str, path: &str) -> Result<bool, String> {
        let attributes = NonResourceAttributes { path: Some(path.to_owned()), verb: Some(verb.to_owned()) };
        let review = SubjectAccessReview {
            metadata: ObjectMeta::default(),
            spec: SubjectAccessReviewSpec {
                user: user.username.clone(),
                uid: user.uid.clone(),
                groups: user.groups.clone(),
                extra: user.extra.clone(),
                non_resource_attributes: Some(attributes),
                resource_attributes: None,
            },
            status: None,
        };
        Ok(self.review(review).await?.status.is_some_and(|status| status.allowed))
    }

    async fn review<K>(&self, review: K) -> Result<K, String>
    where
        K: kube::Resource<DynamicType = ()>
            + Clone
            + serde::Serialize
            + serde::de::DeserializeOwned
            + std::fmt::Debug,
    {
        let (reviews, params) = (Api::<K>::all(self.client.clone()), PostParams::default());
        let answer = async {
            let _place = self.reviews.acquire().await;
            reviews.create(&params, &review).await
        };
        match timeout(LONGEST_REVIEW, answer).await {
            Ok(answer) => answer.map_err(|error| format!("{}: {}", K::kind(&()), api_message(&error))),
            Err(_) => Err(format!("{}: no answer within {LONGEST_REVIEW:?}", K::kind(&()))),
        }
    }
}

/// Lets through whoever may.
pub(super) async fn require(State(access): State<Access>, request: Request, next: Next) -> Response {
    match access.check(request.headers(), request.method(), request.uri().path()).await {
        Ok(()) => next.run(request).await,
        Err(denied) => denied.into_response(),
    }
}

/// The token of `Authorization: Bearer <token>` (RFC 6750; the scheme in any case).
fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    let token = token.trim();
    let fits = !token.is_empty() && token.len() <= LONGEST_TOKEN && !token.contains(' ');
    (scheme.eq_ignore_ascii_case("bearer") && fits).then_some(token)
}

/// What a decision depends on.
fn question(user: &UserInfo, verb: &str, path: &str) -> Fingerprint {
    let extra = user.extra.iter().flatten().flat_map(|(key, values)| {
        std::iter::once(key.as_str()).chain(values.iter().map(String::as_str)).chain([""])
    });
    let who = [user.username.as_deref().unwrap_or(""), user.uid.as_deref().unwrap_or("")];
    let groups = user.groups.iter().flatten().map(String::as_str).chain([""]);
    let parts: Vec<&str> = [verb, path].into_iter().chain(who).chain(groups).chain(extra).collect();
    fingerprint(&parts)
}

/// A digest in which the ends of the parts count.
fn fingerprint(parts: &[&str]) -> Fingerprint {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.len().to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tower::service_fn;

    /// An API server that knows the tokens `reader` and `stranger`, of which the first may, and fails otherwise.
    fn api_server(asked: Arc<AtomicUsize>) -> Client {
        let answer = |review: Value| match review["kind"].as_str() {
            Some("TokenReview") => match review["spec"]["token"].as_str() {
                Some(token @ ("reader" | "stranger" | "unlucky")) => {
                    json!({"authenticated": true, "user": {"username": token, "groups": ["system:authenticated"]}})
                }
                Some("broken") => Value::Null,
                _ => json!({"authenticated": false, "error": "unknown token"}),
            },
            _ => match review["spec"]["user"].as_str() {
                Some("unlucky") => Value::Null,
                user => json!({"allowed": user == Some("reader")
                    && review["spec"]["nonResourceAttributes"] == json!({"path": "/metrics", "verb": "get"})}),
            },
        };
        let service = service_fn(move |request: Request<Body>| {
            asked.fetch_add(1, Ordering::SeqCst);
            async move {
                let body = request.into_body().collect_bytes().await?;
                let mut review: Value = serde_json::from_slice(&body).unwrap();
                let status = answer(review.clone());
                let code = if status.is_null() { 500 } else { 201 };
                review["status"] = status;
                let body = Body::from(serde_json::to_vec(&review).unwrap());
                Ok::<_, kube::Error>(Response::builder().status(code).body(body).unwrap())
            }
        });
        Client::new(service, "default")
    }

    async fn ask(access: &Access, authorization: Option<&str>, method: Method) -> Result<(), Denied> {
        let mut headers = HeaderMap::new();
        if let Some(text) = authorization {
            headers.insert(AUTHORIZATION, text.parse().unwrap());
        }
        access.check(&headers, &method, "/metrics").await
    }

    #[tokio::test]
    async fn the_api_server_decides() {
        let access = Access::new(api_server(Arc::default()));
        for (authorization, answer) in [
            (Some("Bearer reader"), Ok(())),
            (Some("bearer  reader "), Ok(())),
            (None, Err(Denied::Unauthorized)),
            (Some("Bearer"), Err(Denied::Unauthorized)),
            (Some("Bearer "), Err(Denied::Unauthorized)),
            (Some("Bearer two words"), Err(Denied::Unauthorized)),
            (Some("Basic reader"), Err(Denied::Unauthorized)),
            (Some("Bearer guessed"), Err(Denied::Unauthorized)),
            (Some("Bearer stranger"), Err(Denied::Forbidden("stranger".into()))),
            (Some("Bearer broken"), Err(Denied::AuthenticationFailed)),
            (Some("Bearer unlucky"), Err(Denied::AuthorizationFailed("unlucky".into()))),
        ] {
            assert_eq!(ask(&access, authorization, Method::GET).await, answer, "{authorization:?}");
        }
        let answer = ask(&access, Some("Bearer reader"), Method::DELETE).await;
        assert_eq!(answer, Err(Denied::Forbidden("reader".into())), "the right is to get");
        let long = format!("Bearer {}", "x".repeat(LONGEST_TOKEN + 1));
        assert_eq!(ask(&access, Some(&long), Method::GET).await, Err(Denied::Unauthorized));
    }

    #[tokio::test]
    async fn answers_are_remembered_and_failures_are_not() {
        let asked = Arc::new(AtomicUsize::new(0));
        let access = Access::new(api_server(asked.clone()));
        let count = async |token: &str| {
            let before = asked.load(Ordering::SeqCst);
            let many = (0..20).map(|_| ask(&access, Some(token), Method::GET));
            futures::future::join_all(many).await;
            asked.load(Ordering::SeqCst) - before
        };
        assert_eq!(count("Bearer reader").await, 2, "many at once ask once");
        assert_eq!(count("Bearer reader").await, 0);
        assert_eq!(count("Bearer stranger").await, 2);
        assert_eq!(count("Bearer guessed").await, 1);
        assert_eq!(count("Bearer guessed").await, 0);
        assert_eq!(count("").await, 0);
        assert!(count("Bearer broken").await > 0 && count("Bearer broken").await > 0);
    }

    #[test]
    fn every_part_of_a_question_counts() {
        let user = |name: &str, groups: &[&str]| UserInfo {
            username: Some(name.to_owned()),
            groups: Some(groups.iter().map(|&group| group.to_owned()).collect()),
            ..UserInfo::default()
        };
        let questions = [
            question(&user("a", &["b"]), "get", "/metrics"),
            question(&user("a", &["b", ""]), "get", "/metrics"),
            question(&user("ab", &[]), "get", "/metrics"),
            question(&user("a", &["b"]), "post", "/metrics"),
            question(&user("a", &["b"]), "get", "/"),
        ];
        for (index, one) in questions.iter().enumerate() {
            assert!(!questions[index + 1..].contains(one));
        }
    }
}
