//! `AdmissionReview`: the request of the API server and its response (Kubernetes: admission.k8s.io/v1).

use base64::{Engine, prelude::BASE64_STANDARD};
use jobset_api::jobset;
use jobset_plan::validation::{FieldError, aggregate};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json, value::RawValue};
use std::fmt;

/// The fields of a review that decisions need. The response has the version of the request, v1 or v1beta1.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    api_version: String,
    kind: String,
    request: Option<AdmissionRequest>,
}

/// The request of a review.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AdmissionRequest {
    uid: String,
    /// The operation on the object.
    #[serde(default)]
    pub(super) operation: Operation,
    /// The new object.
    #[serde(default)]
    pub(super) object: Encoded,
    /// The old object.
    #[serde(default)]
    pub(super) old_object: Encoded,
    /// The namespace of the object.
    #[serde(default)]
    pub(super) namespace: String,
}

/// An object as the request contains it, or null.
#[derive(Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Encoded(Option<Box<RawValue>>);

impl Encoded {
    /// Decodes the object. The error names no position, because users do not see the text.
    pub(super) fn decode<T: DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_str(self.0.as_deref().map_or("null", RawValue::get)).map_err(|error| {
            let position = format!(" at line {} column {}", error.line(), error.column());
            let message = error.to_string();
            message.strip_suffix(&position).unwrap_or(&message).to_owned()
        })
    }
}

/// An operation on an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Operation {
    Create,
    Update,
    /// `DELETE`, `CONNECT` or an unknown operation: always allowed.
    #[default]
    #[serde(other)]
    Other,
}

/// Decodes a review, calls `decide`, and returns the response.
pub(super) async fn answer(body: &[u8], decide: impl AsyncFnOnce(AdmissionRequest) -> Answer) -> Answer {
    let review: Review = match serde_json::from_slice(body) {
        Ok(review) => review,
        Err(_) if body.is_empty() => return Answer::refused(400, "request body is empty").without_review(),
        Err(error) => {
            let message = format!("the request is not an AdmissionReview: {error}");
            return Answer::refused(400, message).without_review();
        }
    };
    let (api_version, kind) = (review.api_version, review.kind);
    if kind != "AdmissionReview" || !api_version.starts_with("admission.k8s.io/") {
        let message =
            format!("expected an AdmissionReview of admission.k8s.io, got {kind:?} of {api_version:?}");
        return Answer::refused(400, message).without_review();
    }
    match review.request {
        Some(request) => {
            let uid = request.uid.clone();
            Answer { uid, api_version, ..decide(request).await }
        }
        None => Answer { api_version, ..Answer::refused(400, "the AdmissionReview contains no request") },
    }
}

/// The response to a review. It displays as the JSON body.
pub(super) struct Answer {
    uid: String,
    api_version: String,
    allowed: bool,
    patch: Vec<Value>,
    warnings: Vec<String>,
    status: Option<Value>,
}

impl Answer {
    /// Allows the request.
    pub(super) fn allowed() -> Self {
        Self {
            uid: String::new(),
            api_version: String::new(),
            allowed: true,
            patch: Vec::new(),
            warnings: Vec::new(),
            status: None,
        }
    }

    /// Allows the request with these changes (RFC 6902).
    pub(super) fn patched(patch: Vec<Value>) -> Self {
        Self { patch, ..Self::allowed() }
    }

    /// Adds warnings, which the client shows to the user.
    pub(super) fn with_warnings(self, warnings: Vec<String>) -> Self {
        Self { warnings, ..self }
    }

    /// Denies the request with this status code.
    pub(super) fn refused(code: u16, message: impl Into<String>) -> Self {
        Self::denied(json!({"code": code, "message": message.into()}))
    }

    /// Denies the request for a reason that may be temporary.
    pub(super) fn forbidden(why: &str) -> Self {
        Self::denied(json!({"code": 403, "reason": "Forbidden", "message": why}))
    }

    /// Denies the request because a node does not exist. The text is upstream's: its client names the kind and not the
    /// resource.
    pub(super) fn node_not_found(node: &str) -> Self {
        Self::denied(json!({
            "code": 404,
            "reason": "NotFound",
            "message": format!("Node \"{node}\" not found"),
            "details": {"name": node, "kind": "Node"},
        }))
    }

    fn denied(mut status: Value) -> Self {
        if let Value::Object(fields) = &mut status {
            fields.insert("status".to_owned(), json!("Failure"));
            fields.insert("metadata".to_owned(), json!({}));
        }
        Self { allowed: false, status: Some(status), ..Self::allowed() }
    }

    /// Denies the request because the JobSet `name` is invalid.
    pub(super) fn invalid(name: &str, errors: &[FieldError]) -> Self {
        let (group, kind) = (jobset::GROUP, jobset::KIND);
        let causes: Vec<_> = errors.iter().map(FieldError::cause).collect();
        Self::denied(json!({
            "code": 422,
            "reason": "Invalid",
            "message": format!("{kind}.{group} \"{name}\" is invalid: {}", aggregate(errors)),
            "details": {"name": name, "group": group, "kind": kind, "causes": causes},
        }))
    }

    /// Sets the version for a request that cannot be decoded, whose version is unknown.
    pub(super) fn without_review(self) -> Self {
        Self { api_version: "admission.k8s.io/v1".to_owned(), ..self }
    }

    /// The reason of a denial, or an empty text.
    pub(super) fn message(&self) -> &str {
        self.status.as_ref().and_then(|status| status.get("message")?.as_str()).unwrap_or("")
    }
}

/// The response as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a Value>,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let patch = (!self.patch.is_empty()).then(|| Value::Array(self.patch.clone()).to_string());
        let response = Response {
            uid: &self.uid,
            allowed: self.allowed,
            patch_type: patch.is_some().then_some("JSONPatch"),
            patch: patch.map(|patch| BASE64_STANDARD.encode(patch)),
            warnings: &self.warnings,
            status: self.status.as_ref(),
        };
        write!(
            f,
            "{}",
            json!({"apiVersion": self.api_version, "kind": "AdmissionReview", "response": response})
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn respond(body: &str, decide: impl FnOnce(AdmissionRequest) -> Answer) -> Value {
        let answer = answer(body.as_bytes(), async |request| decide(request));
        serde_json::from_str(&answer.now_or_never().unwrap().to_string()).unwrap()
    }

    #[test]
    fn the_uid_and_the_version_are_echoed() {
        for version in ["v1", "v1beta1"] {
            let body = json!({
                "apiVersion": format!("admission.k8s.io/{version}"), "kind": "AdmissionReview",
                "request": {"uid": "u-1", "operation": "CREATE", "object": {"a": 1}},
            });
            let got = respond(&body.to_string(), |request| {
                assert_eq!(request.operation, Operation::Create);
                Answer::patched(vec![json!({"op": "add", "path": "/b", "value": 2})])
            });
            assert_eq!(got["apiVersion"], body["apiVersion"]);
            assert_eq!(got["response"]["uid"], "u-1");
            assert_eq!(got["response"]["allowed"], true);
            let patch = BASE64_STANDARD.decode(got["response"]["patch"].as_str().unwrap()).unwrap();
            assert_eq!(patch, br#"[{"op":"add","path":"/b","value":2}]"#);
        }
    }

    #[test]
    fn a_body_that_is_not_a_review_is_denied_with_400() {
        for body in ["", "{}", "[]", "nonsense", r#"{"apiVersion":"v1","kind":"Pod"}"#] {
            let got = respond(body, |_| unreachable!());
            assert_eq!(got["response"]["allowed"], false, "{body}");
            assert_eq!(got["response"]["status"]["code"], 400, "{body}");
        }
        let empty = r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#;
        assert_eq!(respond(empty, |_| unreachable!())["response"]["status"]["code"], 400);
    }
}
