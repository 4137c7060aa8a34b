//! The requests about Workloads and PodGroups, and the meaning of each response. Pure, like [`super::operation`].
//!
//! ```text
//! create ──► already exists ──► GET: own, a predecessor's, or a foreign object
//! change ──► not found: deleted
//! delete ──► conflict ──► GET: deleted, or an admission webhook denied the request
//! ```

use super::{
    error::{ActError, Refusal, RequestError, SchedulingVerb},
    request::{Answer, Owner, SchedulingRequest, exists},
};
use crate::observe::{Observation, SchedulingKind, controlling_jobset, will_be_deleted};
use jobset_plan::{ScaledTemplate, SchedulingAction};
use json_patch::{Patch, PatchOperation, ReplaceOperation, TestOperation, jsonptr::PointerBuf};
use serde_json::{Value, json};

/// The purpose of the current request about an object.
#[derive(Clone, Debug)]
pub(crate) struct SchedulingPurpose<E> {
    kind: SchedulingKind,
    name: String,
    step: Step<E>,
}

#[derive(Clone, Debug)]
enum Step<E> {
    Create(Owner),
    /// An object with the name exists: an own one if a response was lost; one of a predecessor whose deletion is not
    /// complete; or a foreign object.
    Identify(Owner),
    Change {
        uid: String,
    },
    Delete {
        uid: String,
    },
    /// A conflict means that a successor has the name, or that an admission webhook denied the request with this code.
    ConfirmDelete {
        uid: String,
        error: E,
    },
}

/// What follows from a response.
pub(crate) enum Next<E: RequestError> {
    Send(SchedulingRequest, SchedulingPurpose<E>),
    /// The action is complete. The index stores this.
    Done(Option<Observation>),
    Failed(ActError<E>),
}

/// The first request of an action for `jobset`.
pub(crate) fn begin<E>(jobset: Owner, action: SchedulingAction) -> (SchedulingRequest, SchedulingPurpose<E>) {
    use SchedulingKind::{PodGroups, Workloads};
    let delete = |kind, name: String, uid: String| {
        let request = SchedulingRequest::Delete { kind, name: name.clone(), uid: uid.clone() };
        (request, SchedulingPurpose { kind, name, step: Step::Delete { uid } })
    };
    match action {
        SchedulingAction::CreateWorkload(workload) => {
            let name = workload.metadata.name.clone().unwrap_or_default();
            let purpose = SchedulingPurpose { kind: Workloads, name, step: Step::Create(jobset) };
            (SchedulingRequest::CreateWorkload(workload), purpose)
        }
        SchedulingAction::CreatePodGroup(pod_group) => {
            let name = pod_group.metadata.name.clone().unwrap_or_default();
            let purpose = SchedulingPurpose { kind: PodGroups, name, step: Step::Create(jobset) };
            (SchedulingRequest::CreatePodGroup(pod_group), purpose)
        }
        SchedulingAction::ScaleWorkload { name, uid, templates } => {
            let request =
                SchedulingRequest::PatchWorkload { name: name.clone(), patch: scale(&uid, &templates) };
            (request, SchedulingPurpose { kind: Workloads, name, step: Step::Change { uid } })
        }
        SchedulingAction::ScalePodGroup { name, uid, min_count } => {
            let spec = json!({"schedulingPolicy": {"gang": {"minCount": min_count}}});
            let patch = json!({"metadata": {"uid": uid}, "spec": spec});
            let request = SchedulingRequest::PatchPodGroup { name: name.clone(), patch };
            (request, SchedulingPurpose { kind: PodGroups, name, step: Step::Change { uid } })
        }
        SchedulingAction::DeleteWorkload { name, uid } => delete(Workloads, name, uid),
        SchedulingAction::DeletePodGroup { name, uid } => delete(PodGroups, name, uid),
    }
}

/// The patch of a Workload. A merge patch replaces the list of templates, and would remove fields that are unknown to
/// this program. The API server reports another UID as a conflict.
fn scale(uid: &str, templates: &[ScaledTemplate]) -> Patch {
    let mut operations = vec![replace(&["metadata", "uid"], json!(uid))];
    for ScaledTemplate { index, name, min_count } in templates {
        let template = ["spec", "podGroupTemplates", &index.to_string()];
        let path = pointer(&[&template[..], &["name"]].concat());
        operations.push(PatchOperation::Test(TestOperation { path, value: json!(name) }));
        let field = ["schedulingPolicy", "gang", "minCount"];
        operations.push(replace(&[template, field].concat(), json!(min_count)));
    }
    Patch(operations)
}

fn replace(path: &[&str], value: Value) -> PatchOperation {
    PatchOperation::Replace(ReplaceOperation { path: pointer(path), value })
}

fn pointer(path: &[&str]) -> PointerBuf {
    PointerBuf::from_tokens(path.iter().copied())
}

impl<E: RequestError> SchedulingPurpose<E> {
    /// Takes the response to the request.
    pub(crate) fn answered(self, answer: Result<Answer, E>) -> Next<E> {
        let Self { kind, name, step } = self;
        let gone = |uid| Next::Done(Some(Observation::SchedulingGone(kind, uid)));
        let get = |name: String, step| {
            let request = SchedulingRequest::Get { kind, name: name.clone() };
            Next::Send(request, Self { kind, name, step })
        };
        let failed = |verb, name, error| Next::Failed(ActError::SchedulingObject { verb, kind, name, error });
        match (step, answer) {
            (Step::Create(jobset), Err(error)) => match error.refusal() {
                Some(Refusal::AlreadyExists) => get(name, Step::Identify(jobset)),
                _ => failed(SchedulingVerb::Create, name, error),
            },
            (Step::Identify(jobset), Ok(found)) => {
                let metadata = found.metadata().cloned().unwrap_or_default();
                let owner = controlling_jobset(&metadata).map(|owner| &owner.uid);
                let is_own = owner.is_some() && owner == jobset.uid.as_ref();
                if is_own && metadata.deletion_timestamp.is_none() {
                    Next::Done(found.observation())
                } else if will_be_deleted(&metadata, &jobset.name) {
                    let since = metadata.deletion_timestamp.map(|time| time.0);
                    Next::Failed(ActError::SchedulingNameHeld { kind, name, since })
                } else {
                    let Owner { namespace, name: jobset, .. } = jobset;
                    Next::Failed(ActError::ForeignSchedulingObject { kind, namespace, name, jobset })
                }
            }
            (Step::Identify(_), Err(error)) => match error.refusal() {
                Some(Refusal::NotFound) => {
                    Next::Failed(ActError::SchedulingNameHeld { kind, name, since: None })
                }
                _ => failed(SchedulingVerb::Create, name, error),
            },
            (Step::Change { uid }, Err(error)) => match error.refusal() {
                Some(Refusal::NotFound) => gone(uid),
                _ => failed(SchedulingVerb::Change, name, error),
            },
            (Step::Delete { uid }, Ok(Answer::Gone)) => gone(uid),
            // A deleted object with finalizers still exists.
            (Step::Create(_) | Step::Change { .. } | Step::Delete { .. }, Ok(answer)) => {
                Next::Done(answer.observation())
            }
            (Step::Delete { uid }, Err(error)) => match error.refusal() {
                Some(Refusal::NotFound) => gone(uid),
                Some(Refusal::Conflict) => get(name, Step::ConfirmDelete { uid, error }),
                _ => failed(SchedulingVerb::Delete, name, error),
            },
            (Step::ConfirmDelete { uid, error }, answer) => match exists(&uid, answer) {
                Ok(true) => failed(SchedulingVerb::Delete, name, error),
                Ok(false) => gone(uid),
                Err(error) => failed(SchedulingVerb::Delete, name, error),
            },
        }
    }
}
