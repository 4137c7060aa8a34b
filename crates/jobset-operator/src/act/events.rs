//! Events about the JobSetOperator: changes to objects, and changes of conditions.

use jobset_api::JobSetOperator;
use jobset_api::jobset_operator::JobSetOperatorStatus;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::DynamicObject;
use kube::runtime::events::{Event, EventType};
use kube::{Client, Resource, ResourceExt};
use manager_runtime::events::EventSender;
use manager_runtime::metrics::Metrics;

use crate::desired::condition_types::{AVAILABLE, DEGRADED};
use crate::{names, reasons};

/// Records events about the JobSetOperator.
pub struct Recorder {
    events: EventSender,
}

impl Recorder {
    pub(super) fn new(client: Client, instance: String, metrics: &Metrics) -> Self {
        Self { events: EventSender::start(client, names::OPERATOR, instance, metrics) }
    }

    pub(super) fn applied(&self, operator: &JobSetOperator, object: &DynamicObject, created: bool) {
        let kind = kind(object);
        let (verb, why) = if created {
            (reasons::CREATED, "it was missing")
        } else {
            (reasons::UPDATED, "it differed from its desired state")
        };
        let note = format!("{verb} {} because {why}", describe(object));
        let reason = format!("{kind}{verb}");
        self.send(operator, EventType::Normal, reason, "Apply", note, Some(object));
    }

    pub(super) fn deleted(&self, operator: &JobSetOperator, object: &DynamicObject) {
        let note = format!("Deleted {} because it is no longer needed", describe(object));
        self.send(
            operator,
            EventType::Normal,
            format!("{}{}", kind(object), reasons::DELETED),
            "Delete",
            note,
            Some(object),
        );
    }

    /// Records that the deletion of the JobSetOperator no longer deletes the JobSet CRD. The operator may not have
    /// observed the owner yet, and then knows it only from the owner reference.
    pub(super) fn api_released(
        &self,
        operator: Option<&JobSetOperator>,
        owner: &OwnerReference,
        crd: &DynamicObject,
    ) {
        let note = format!(
            "Removed the owner reference to the JobSetOperator from {}, because otherwise the deletion of the \
             JobSetOperator deletes every JobSet",
            describe(crd)
        );
        let owner = || ObjectReference {
            api_version: Some(owner.api_version.clone()),
            kind: Some(owner.kind.clone()),
            name: Some(owner.name.clone()),
            uid: Some(owner.uid.clone()),
            ..ObjectReference::default()
        };
        let regarding = operator.map_or_else(owner, |operator| operator.object_ref(&()));
        self.events.send(about_api(reasons::JOB_SET_API_RELEASED, "Release", note, Some(crd)), regarding);
    }

    /// Records why the JobSet CRD stays although no JobSetOperator needs it. The event is about the CRD if there is no
    /// JobSetOperator.
    pub fn api_kept(&self, operator: Option<&JobSetOperator>, crd: &DynamicObject, why: &str) {
        let note = format!("Kept {} because {why}", describe(crd));
        let event = about_api(reasons::JOB_SET_API_KEPT, "Keep", note, operator.map(|_| crd));
        let regarding = operator.map_or_else(|| reference(crd), |operator| operator.object_ref(&()));
        self.events.send(event, regarding);
    }

    /// Records changes of the conditions Available and Degraded.
    pub fn status_changed(&self, operator: &JobSetOperator, new: &JobSetOperatorStatus) {
        for condition in &new.conditions {
            let old = operator.status.iter().flat_map(|old| &old.conditions);
            let before = old.into_iter().find(|old| old.type_ == condition.type_);
            let flipped = before.map(|before| before.status.as_str()) != Some(condition.status.as_str());
            let reworded = before.is_some_and(|before| before.message != condition.message);
            let (severity, changed) = match (condition.type_.as_str(), condition.status.as_str()) {
                (DEGRADED, "True") => (EventType::Warning, flipped || reworded),
                (AVAILABLE, "False") => (EventType::Warning, flipped && before.is_some()),
                (AVAILABLE, "True") => (EventType::Normal, flipped),
                (DEGRADED, "False") => (EventType::Normal, flipped && before.is_some()),
                _ => continue,
            };
            if changed {
                let reason = match condition.reason.as_deref() {
                    Some(reasons::AS_EXPECTED) | None => format!("{}{}", condition.type_, condition.status),
                    Some(reason) => reason.to_owned(),
                };
                let message = condition.message.as_deref().unwrap_or_default();
                let note = match message {
                    "" => format!("{} is {}", condition.type_, condition.status),
                    message => message.to_owned(),
                };
                self.send(operator, severity, reason, "Report", note, None);
            }
        }
    }

    /// Records a change of the operator's own log level.
    pub fn log_level_changed(&self, operator: &JobSetOperator, from: &str, to: &str) {
        let note = format!("Operator log level changed from \"{from}\" to \"{to}\"");
        let (reason, action) = (reasons::OPERATOR_LOG_LEVEL_CHANGE.to_owned(), format!("Set{to}LogLevel"));
        self.send(operator, EventType::Normal, reason, &action, note, None);
    }

    fn send(
        &self,
        operator: &JobSetOperator,
        type_: EventType,
        reason: String,
        action: &str,
        note: String,
        about: Option<&DynamicObject>,
    ) {
        // The API counts events that differ only in their note as one, so the event also names the object.
        let secondary = about.map(reference);
        let event = Event { type_, reason, note: Some(note), action: action.to_owned(), secondary };
        self.events.send(event, operator.object_ref(&()));
    }
}

/// `Kind[.group]/name[ -n namespace]`
fn describe(object: &DynamicObject) -> String {
    let api_version = object.types.as_ref().map_or("", |types| types.api_version.as_str());
    let group = api_version.rsplit_once('/').map_or(String::new(), |(group, _)| format!(".{group}"));
    let namespace = object.namespace().map_or(String::new(), |namespace| format!(" -n {namespace}"));
    format!("{}{group}/{}{namespace}", kind(object), object.name_any())
}

fn about_api(reason: &str, action: &str, note: String, crd: Option<&DynamicObject>) -> Event {
    Event {
        type_: EventType::Normal,
        reason: reason.to_owned(),
        note: Some(note),
        action: action.to_owned(),
        secondary: crd.map(reference),
    }
}

fn reference(object: &DynamicObject) -> ObjectReference {
    ObjectReference {
        api_version: object.types.as_ref().map(|types| types.api_version.clone()),
        kind: Some(kind(object).to_owned()),
        name: Some(object.name_any()),
        namespace: object.namespace(),
        uid: object.uid(),
        ..ObjectReference::default()
    }
}

fn kind(object: &DynamicObject) -> &str {
    object.types.as_ref().map_or("", |types| types.kind.as_str())
}
