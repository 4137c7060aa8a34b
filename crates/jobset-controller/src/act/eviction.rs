//! The requests that evict a pod, and the meaning of each response. Pure, like [`super::operation`].
//!
//! ```text
//! PATCH status: DisruptionTarget ──► DELETE ──► end
//!        │ not found                     │ not found, or another pod of this name
//!        └──► end                        └──► end
//! ```

use super::error::{Refusal, RequestError};
use jiff::Timestamp;
use jobset_plan::{PodRecord, disruption_target};
use serde_json::Value;
use thiserror::Error;

/// A request about a pod.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Request {
    /// A strategic merge patch of subresource `status`.
    Mark(Value),
    /// Propagation Background. The UID is a precondition.
    Delete { uid: String },
}

/// Why a pod was not evicted.
#[derive(Clone, Debug, Error)]
pub(crate) enum EvictionError {
    #[error("cannot set condition DisruptionTarget of pod {pod}: {message}")]
    Mark { pod: String, message: String },
    #[error("cannot delete pod {pod}: {message}")]
    Delete { pod: String, message: String },
}

/// The eviction of one pod: its next request.
#[derive(Clone, Debug)]
pub(crate) struct Eviction {
    pub(crate) pod: String,
    pub(crate) request: Request,
    uid: String,
}

impl Eviction {
    /// A pod that already has the condition is only deleted.
    pub(crate) fn new(pod: &PodRecord, now: Timestamp) -> Self {
        let uid = pod.uid.to_string();
        let request = if pod.disruption_target {
            Request::Delete { uid: uid.clone() }
        } else {
            Request::Mark(disruption_target(pod, now))
        };
        Self { pod: pod.name.to_string(), request, uid }
    }

    /// Takes the result of the request. Returns the eviction with its next request, or None at its end.
    pub(crate) fn answered<E: RequestError>(
        self,
        result: Result<(), E>,
    ) -> Result<Option<Self>, EvictionError> {
        let Self { pod, request, uid } = self;
        match result {
            Ok(()) => Ok(match request {
                Request::Mark(_) => Some(Self { pod, request: Request::Delete { uid: uid.clone() }, uid }),
                Request::Delete { .. } => None,
            }),
            // The pod is gone. A response that was lost has the same effect.
            Err(error) if matches!(error.refusal(), Some(Refusal::NotFound | Refusal::Conflict)) => Ok(None),
            Err(error) => {
                let message = error.message();
                Err(match request {
                    Request::Mark(_) => EvictionError::Mark { pod, message },
                    Request::Delete { .. } => EvictionError::Delete { pod, message },
                })
            }
        }
    }
}
