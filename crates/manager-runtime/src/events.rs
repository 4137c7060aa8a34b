//! Sends Kubernetes events in the background: a full queue or a rejected event never blocks a reconcile.
//!
//! The sender has several lanes. Each lane sends one event at a time. The events about one object share a lane, so that
//! they keep their order, and a repeated event finds the event that it repeats. Events about other objects do not wait
//! for them.
//!
//! As with client-go's recorder, events of the same type, action, reason, and objects are one event with a `series`,
//! even if their notes differ. kube's own recorder cannot begin a new event while a series is active.

use crate::metrics::{EventMetrics, Metrics};
use k8s_openapi::{
    api::{
        core::v1::ObjectReference,
        events::v1::{Event as StoredEvent, EventSeries},
    },
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::{SignedDuration, Timestamp},
};
use kube::{
    Api, Client, Error,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
    runtime::events::{Event, EventType},
};
use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};
use tokio::sync::mpsc;
use tracing::{debug, warn};

/// The number of lanes, and so of events in flight.
const LANES: usize = 16;
/// The maximum number of events that wait in a lane.
const QUEUE: usize = 256;
/// The longest note that the API server accepts (Kubernetes: events.k8s.io/v1, `note`).
const LONGEST_NOTE: usize = 1024;
/// The longest reason that the API server accepts (Kubernetes: events.k8s.io/v1, `reason`).
const LONGEST_REASON: usize = 128;
/// A series ends when its event does not repeat for this long (client-go: `finishTime`).
const SERIES_ENDS: SignedDuration = SignedDuration::from_mins(6);

/// Sends the events of one controller.
#[derive(Clone)]
pub struct EventSender {
    lanes: Arc<[mpsc::Sender<Queued>]>,
    metrics: EventMetrics,
}

struct Queued {
    event: Event,
    regarding: ObjectReference,
    /// Whether to create a new event, even if the last event is equal.
    is_new: bool,
}

impl EventSender {
    /// Starts the lanes. `controller` is the name that users see in the column "From".
    pub fn start(client: Client, controller: &str, instance: String, metrics: &Metrics) -> Self {
        let metrics = metrics.events().clone();
        let counted = metrics.clone();
        let lane = move |_| {
            let (queue, waiting) = mpsc::channel(QUEUE);
            let recorder = Recorder {
                client: client.clone(),
                controller: controller.to_owned(),
                instance: instance.clone(),
                series: HashMap::new(),
            };
            tokio::spawn(send_each(waiting, recorder, counted.clone()));
            queue
        };
        Self { lanes: (0..LANES).map(lane).collect(), metrics }
    }

    /// Queues an event. It repeats an earlier event that differs only in the note. Note and reason are truncated to the
    /// length that the API server accepts.
    pub fn send(&self, event: Event, regarding: ObjectReference) {
        self.queue(Queued { event, regarding, is_new: false });
    }

    /// Queues a new event, even if it equals an earlier one.
    pub fn send_new(&self, event: Event, regarding: ObjectReference) {
        self.queue(Queued { event, regarding, is_new: true });
    }

    fn queue(&self, mut queued: Queued) {
        queued.event.note = queued.event.note.map(truncate_note);
        truncate(&mut queued.event.reason, LONGEST_REASON);
        let Some(lane) = self.lanes.get(lane_of(&queued.regarding)) else { return };
        self.metrics.waiting.inc();
        if let Err(error) = lane.try_send(queued) {
            self.metrics.waiting.dec();
            self.metrics.dropped.inc();
            warn!(%error, "event dropped");
        }
    }
}

/// Sends the events of one lane.
async fn send_each(mut waiting: mpsc::Receiver<Queued>, mut recorder: Recorder, metrics: EventMetrics) {
    while let Some(queued) = waiting.recv().await {
        metrics.waiting.dec();
        match recorder.record(&queued).await {
            Ok(()) => metrics.sent.inc(),
            Err(error) => {
                metrics.refused.inc();
                debug!(%error, reason = queued.event.reason, "event not recorded");
            }
        }
    }
}

/// The fields that all events of a series share. The references are JSON.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    type_: EventType,
    action: String,
    reason: String,
    regarding: String,
    related: String,
}

/// Writes the events of one lane.
struct Recorder {
    client: Client,
    controller: String,
    instance: String,
    /// The last event of each series.
    series: HashMap<Key, StoredEvent>,
}

impl Recorder {
    async fn record(&mut self, queued: &Queued) -> kube::Result<()> {
        let Queued { event, regarding, is_new } = queued;
        let now = Timestamp::now();
        self.series.retain(|_, stored| last_observed(stored).is_some_and(|last| last + SERIES_ENDS > now));
        let json = |reference: &ObjectReference| serde_json::to_string(reference).map_err(Error::SerdeError);
        let key = Key {
            type_: event.type_,
            action: event.action.clone(),
            reason: event.reason.clone(),
            regarding: json(regarding)?,
            related: event.secondary.as_ref().map(json).transpose()?.unwrap_or_default(),
        };
        // As in client-go, events about objects without a namespace are stored in `default`.
        let namespace = regarding.namespace.as_deref().unwrap_or("default");
        let api: Api<StoredEvent> = Api::namespaced(self.client.clone(), namespace);
        if let Some(stored) = self.series.get(&key).filter(|_| !is_new) {
            let repeated = repeated(stored, now);
            let name = repeated.metadata.name.as_deref().unwrap_or_default();
            match api.patch(name, &PatchParams::default(), &Patch::Merge(&repeated)).await {
                Ok(_) => {
                    self.series.insert(key, repeated);
                    return Ok(());
                }
                // The event has expired, or a client deleted it: create a new one.
                Err(Error::Api(status)) if status.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        // A new event ends the previous series, even if its creation fails: the next event does not repeat the old one.
        self.series.remove(&key);
        let created = self.new_event(event, regarding, namespace, now);
        api.create(&PostParams::default(), &created).await?;
        self.series.insert(key, created);
        Ok(())
    }

    fn new_event(
        &self,
        event: &Event,
        regarding: &ObjectReference,
        namespace: &str,
        now: Timestamp,
    ) -> StoredEvent {
        let object = regarding.name.as_deref().unwrap_or(&self.controller);
        let type_ = match event.type_ {
            EventType::Normal => "Normal",
            EventType::Warning => "Warning",
        };
        StoredEvent {
            action: Some(event.action.clone()),
            reason: Some(event.reason.clone()),
            event_time: Some(MicroTime(now)),
            regarding: Some(regarding.clone()),
            related: event.secondary.clone(),
            note: event.note.clone(),
            metadata: ObjectMeta {
                namespace: Some(namespace.to_owned()),
                name: Some(format!("{object}.{:x}", now.as_nanosecond())),
                ..ObjectMeta::default()
            },
            reporting_controller: Some(self.controller.clone()),
            reporting_instance: Some(self.instance.clone()),
            type_: Some(type_.to_owned()),
            ..StoredEvent::default()
        }
    }
}

/// The event after another occurrence at `now`.
fn repeated(stored: &StoredEvent, now: Timestamp) -> StoredEvent {
    // Kubernetes: a series begins with the second occurrence.
    let count = stored.series.as_ref().map_or(1, |series| series.count).saturating_add(1);
    let series = EventSeries { count, last_observed_time: MicroTime(now) };
    StoredEvent { series: Some(series), ..stored.clone() }
}

fn last_observed(stored: &StoredEvent) -> Option<Timestamp> {
    let series = stored.series.as_ref().map(|series| series.last_observed_time.0);
    series.or_else(|| stored.event_time.as_ref().map(|time| time.0))
}

/// The lane of the events about this object.
fn lane_of(regarding: &ObjectReference) -> usize {
    let mut hasher = DefaultHasher::new();
    (&regarding.uid, &regarding.namespace, &regarding.name).hash(&mut hasher);
    usize::try_from(hasher.finish() % LANES as u64).unwrap_or(0)
}

/// Truncates a note to the length that the API server accepts.
#[must_use]
pub fn truncate_note(mut note: String) -> String {
    truncate(&mut note, LONGEST_NOTE);
    note
}

/// Truncates `text` to at most `bytes` bytes, at a character boundary.
fn truncate(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        let end = (0..=bytes).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{Method, Request, Response};
    use futures::FutureExt;
    use kube::client::Body;
    use std::{convert::Infallible, future::pending};
    use tower::service_fn;

    fn object(uid: &str) -> ObjectReference {
        ObjectReference {
            uid: Some(uid.to_owned()),
            name: Some("train".to_owned()),
            namespace: Some("default".to_owned()),
            ..Default::default()
        }
    }

    fn event(reason: &str) -> Event {
        Event {
            type_: EventType::Normal,
            reason: reason.to_owned(),
            note: None,
            action: "Reconciling".to_owned(),
            secondary: None,
        }
    }

    /// A server that reports each request, does not respond to events about the object `stuck`, and returns 404 for
    /// `expired` events.
    fn server(stuck: &'static str) -> (Client, mpsc::UnboundedReceiver<(Method, String)>) {
        let (report, reports) = mpsc::unbounded_channel();
        let service = service_fn(move |request: Request<Body>| {
            let report = report.clone();
            async move {
                let method = request.method().clone();
                let body = request.into_body().collect_bytes().await.unwrap();
                let sent: serde_json::Value = serde_json::from_slice(&body).unwrap();
                let about = sent["regarding"]["uid"].as_str().unwrap().to_owned();
                report
                    .send((method.clone(), format!("{about} {}", sent["reason"].as_str().unwrap())))
                    .unwrap();
                if about == stuck {
                    pending::<()>().await;
                }
                if about == "expired" && method == Method::PATCH {
                    let gone = serde_json::json!({"code": 404, "reason": "NotFound"}).to_string();
                    return Ok(Response::builder().status(404).body(Body::from(gone.into_bytes())).unwrap());
                }
                Ok::<_, Infallible>(Response::new(Body::from(body.to_vec())))
            }
            .boxed()
        });
        (Client::new(service, "default"), reports)
    }

    #[tokio::test]
    async fn only_events_about_the_same_object_wait_for_the_response() {
        let (client, mut reports) = server("stuck");
        let sender = EventSender::start(client, "jobset", "here".to_owned(), &Metrics::new().unwrap());
        let of_stuck = lane_of(&object("stuck"));
        let other =
            (0..100).map(|n| format!("other-{n}")).find(|uid| lane_of(&object(uid)) != of_stuck).unwrap();

        sender.send(event("First"), object("stuck"));
        assert_eq!(reports.recv().await.unwrap(), (Method::POST, "stuck First".to_owned()));
        sender.send(event("Second"), object("stuck"));
        for reason in ["First", "Second", "First"] {
            sender.send(event(reason), object(&other));
        }
        // A repeated event increments the count of the existing event.
        for (method, reason) in [(Method::POST, "First"), (Method::POST, "Second"), (Method::PATCH, "First")]
        {
            assert_eq!(reports.recv().await.unwrap(), (method, format!("{other} {reason}")));
        }
        assert!(reports.try_recv().is_err(), "the lane waits for the response");
    }

    #[tokio::test]
    async fn a_new_or_expired_event_is_created_again() {
        let (client, mut reports) = server("stuck");
        let sender = EventSender::start(client, "jobset", "here".to_owned(), &Metrics::new().unwrap());
        sender.send(event("Failed"), object("a"));
        sender.send(event("Failed"), object("a"));
        sender.send_new(event("Failed"), object("a"));
        sender.send(event("Failed"), object("a"));
        for method in [Method::POST, Method::PATCH, Method::POST, Method::PATCH] {
            assert_eq!(reports.recv().await.unwrap(), (method, "a Failed".to_owned()));
        }
        sender.send(event("Failed"), object("expired"));
        sender.send(event("Failed"), object("expired"));
        for method in [Method::POST, Method::PATCH, Method::POST] {
            assert_eq!(reports.recv().await.unwrap(), (method, "expired Failed".to_owned()));
        }
    }

    #[test]
    fn a_series_counts_from_the_first_event() {
        let second = repeated(&StoredEvent::default(), Timestamp::UNIX_EPOCH);
        let third = repeated(&second, Timestamp::UNIX_EPOCH + SERIES_ENDS);
        let counts = [&second, &third].map(|event| event.series.as_ref().unwrap().count);
        assert_eq!(counts, [2, 3]);
        assert_eq!(last_observed(&third), Some(Timestamp::UNIX_EPOCH + SERIES_ENDS));
    }

    #[test]
    fn notes_are_truncated_at_a_character_boundary() {
        let mut note = "ä".repeat(600);
        truncate(&mut note, 1023);
        assert_eq!(note.len(), 1022);
        let mut short = "short".to_owned();
        truncate(&mut short, 1024);
        assert_eq!(short, "short");
    }
}
