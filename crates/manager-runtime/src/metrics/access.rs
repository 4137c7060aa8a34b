//! Authenticates and authorizes requests for metrics. The API server authenticates the bearer token (`TokenReview`)
//! and authorizes the user (`SubjectAccessReview`). Both results are cached for a short time.

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

/// Timeout of one review.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the user of a token is cached.
const TOKEN_TTL: Duration = Duration::from_mins(1);
/// How long an allowed review is cached.
const ALLOWED_TTL: Duration = Duration::from_mins(5);
/// How long a denied review is cached.
const DENIED_TTL: Duration = Duration::from_secs(30);
/// Entries in each cache. Few clients scrape, and a client that tries many tokens must not fill the memory.
const CACHE_CAPACITY: u64 = 512;
/// Concurrent reviews. A client that tries many tokens must not overload the API server.
const MAX_REVIEWS: usize = 8;
/// The longest token, in bytes, that is sent to the API server.
const MAX_TOKEN_LENGTH: usize = 16 << 10;

/// A cache key: the digest of a token or of a review. The caches contain no token.
type Fingerprint = [u8; 32];

/// Authenticates and authorizes requests with the API server.
#[derive(Clone)]
pub struct Access {
    client: Client,
    users: Cache<Fingerprint, Option<Arc<UserInfo>>>,
    decisions: Cache<Fingerprint, bool>,
    reviews: Arc<Semaphore>,
}

/// Why a request is denied.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Denied {
    /// The request has no token, or one that the API server does not accept.
    #[error("Unauthorized")]
    Unauthorized,
    /// The user is not allowed.
    #[error("Authorization denied for user {0}")]
    Forbidden(String),
    /// The token review failed.
    #[error("Authentication failed")]
    AuthenticationFailed,
    /// The access review failed.
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

struct DecisionTtl;

impl Expiry<Fingerprint, bool> for DecisionTtl {
    fn expire_after_create(&self, _: &Fingerprint, allowed: &bool, _: Instant) -> Option<Duration> {
        Some(if *allowed { ALLOWED_TTL } else { DENIED_TTL })
    }
}

impl Access {
    /// `client` needs permission to create `tokenreviews` and `subjectaccessreviews`.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            users: Cache::builder().max_capacity(CACHE_CAPACITY).time_to_live(TOKEN_TTL).build(),
            decisions: Cache::builder().max_capacity(CACHE_CAPACITY).expire_after(DecisionTtl).build(),
            reviews: Arc::new(Semaphore::new(MAX_REVIEWS)),
        }
    }

    /// Authenticates and authorizes a request.
    ///
    /// # Errors
    /// When the request is denied, or a review fails.
    pub async fn check(&self, headers: &HeaderMap, method: &Method, path: &str) -> Result<(), Denied> {
        let token = bearer_token(headers).ok_or(Denied::Unauthorized)?;
        let authenticated = self.users.try_get_with(fingerprint(&[token]), self.review_token(token)).await;
        let user = authenticated
            .map_err(|error| {
                error!(%error, "metrics: token review failed");
                Denied::AuthenticationFailed
            })?
            .ok_or(Denied::Unauthorized)?;
        let name = user.username.clone().unwrap_or_default();
        let verb = method.as_str().to_ascii_lowercase();
        let key = review_key(&user, &verb, path);
        let decided = self.decisions.try_get_with(key, self.review_access(&user, &verb, path)).await;
        match decided {
            Ok(true) => Ok(()),
            Ok(false) => {
                debug!(user = name, verb, path, "metrics: denied");
                Err(Denied::Forbidden(name))
            }
            Err(error) => {
                error!(%error, user = name, "metrics: access review failed");
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
            debug!(error = status.error, "metrics: token rejected");
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
        let response = async {
            let _permit = self.reviews.acquire().await;
            reviews.create(&params, &review).await
        };
        match timeout(REVIEW_TIMEOUT, response).await {
            Ok(response) => response.map_err(|error| format!("{}: {}", K::kind(&()), api_message(&error))),
            Err(_) => Err(format!("{}: no response within {REVIEW_TIMEOUT:?}", K::kind(&()))),
        }
    }
}

/// Middleware that denies requests without access.
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
    let fits = !token.is_empty() && token.len() <= MAX_TOKEN_LENGTH && !token.contains(' ');
    (scheme.eq_ignore_ascii_case("bearer") && fits).then_some(token)
}

/// The cache key of an access review: everything that its result depends on.
fn review_key(user: &UserInfo, verb: &str, path: &str) -> Fingerprint {
    let extra = user.extra.iter().flatten().flat_map(|(key, values)| {
        std::iter::once(key.as_str()).chain(values.iter().map(String::as_str)).chain([""])
    });
    let who = [user.username.as_deref().unwrap_or(""), user.uid.as_deref().unwrap_or("")];
    let groups = user.groups.iter().flatten().map(String::as_str).chain([""]);
    let parts: Vec<&str> = [verb, path].into_iter().chain(who).chain(groups).chain(extra).collect();
    fingerprint(&parts)
}

/// A digest of the parts and of their lengths, so that different lists of parts differ.
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

    /// An API server that authenticates the tokens `reader`, `stranger` and `unlucky`. It allows `reader`, fails access
    /// reviews of `unlucky`, and fails token reviews of `broken`.
    fn api_server(requests: Arc<AtomicUsize>) -> Client {
        let status_of = |review: Value| match review["kind"].as_str() {
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
            requests.fetch_add(1, Ordering::SeqCst);
            async move {
                let body = request.into_body().collect_bytes().await?;
                let mut review: Value = serde_json::from_slice(&body).unwrap();
                let status = status_of(review.clone());
                let code = if status.is_null() { 500 } else { 201 };
                review["status"] = status;
                let body = Body::from(serde_json::to_vec(&review).unwrap());
                Ok::<_, kube::Error>(Response::builder().status(code).body(body).unwrap())
            }
        });
        Client::new(service, "default")
    }

    async fn check(access: &Access, authorization: Option<&str>, method: Method) -> Result<(), Denied> {
        let mut headers = HeaderMap::new();
        if let Some(text) = authorization {
            headers.insert(AUTHORIZATION, text.parse().unwrap());
        }
        access.check(&headers, &method, "/metrics").await
    }

    #[tokio::test]
    async fn the_api_server_decides() {
        let access = Access::new(api_server(Arc::default()));
        for (authorization, expected) in [
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
            assert_eq!(check(&access, authorization, Method::GET).await, expected, "{authorization:?}");
        }
        let result = check(&access, Some("Bearer reader"), Method::DELETE).await;
        assert_eq!(result, Err(Denied::Forbidden("reader".into())), "only get is allowed");
        let long = format!("Bearer {}", "x".repeat(MAX_TOKEN_LENGTH + 1));
        assert_eq!(check(&access, Some(&long), Method::GET).await, Err(Denied::Unauthorized));
    }

    #[tokio::test]
    async fn results_are_cached_and_failures_are_not() {
        let requests = Arc::new(AtomicUsize::new(0));
        let access = Access::new(api_server(requests.clone()));
        let count = async |token: &str| {
            let before = requests.load(Ordering::SeqCst);
            let many = (0..20).map(|_| check(&access, Some(token), Method::GET));
            futures::future::join_all(many).await;
            requests.load(Ordering::SeqCst) - before
        };
        assert_eq!(count("Bearer reader").await, 2, "concurrent requests share one review");
        assert_eq!(count("Bearer reader").await, 0);
        assert_eq!(count("Bearer stranger").await, 2);
        assert_eq!(count("Bearer guessed").await, 1);
        assert_eq!(count("Bearer guessed").await, 0);
        assert_eq!(count("").await, 0);
        assert!(count("Bearer broken").await > 0 && count("Bearer broken").await > 0);
    }

    #[test]
    fn every_part_of_a_review_is_in_its_key() {
        let user = |name: &str, groups: &[&str]| UserInfo {
            username: Some(name.to_owned()),
            groups: Some(groups.iter().map(|&group| group.to_owned()).collect()),
            ..UserInfo::default()
        };
        let keys = [
            review_key(&user("a", &["b"]), "get", "/metrics"),
            review_key(&user("a", &["b", ""]), "get", "/metrics"),
            review_key(&user("ab", &[]), "get", "/metrics"),
            review_key(&user("a", &["b"]), "post", "/metrics"),
            review_key(&user("a", &["b"]), "get", "/"),
        ];
        for (index, key) in keys.iter().enumerate() {
            assert!(!keys[index + 1..].contains(key));
        }
    }
}
