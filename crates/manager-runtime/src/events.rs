//! Kubernetes events, sent beside the reconcile: a full queue or a refused event never holds it up.
//!
//! Events go in lanes, each one after the other. Those about one object share a lane: they arrive in their order, and
//! a repeated one finds the event that it repeats. Those about others need not wait for the answers.

use crate::metrics::{EventMetrics, Metrics};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, Recorder, Reporter},
};
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};
use tokio::sync::mpsc;
use tracing::{debug, warn};

/// Events on their way at once.
const LANES: usize = 16;
/// Events that may wait in a lane.
const QUEUE: usize = 256;
/// Longest note that the API server takes (Kubernetes: events.k8s.io/v1, `note`).
const LONGEST_NOTE: usize = 1024;
/// Longest reason (Kubernetes: events.k8s.io/v1, `reason`).
const LONGEST_REASON: usize = 128;

/// Sends events in the name of one controller.
#[derive(Clone)]
pub struct EventSender {
    lanes: Arc<[mpsc::Sender<(Event, ObjectReference)>]>,
    metrics: EventMetrics,
}

impl EventSender {
    /// Starts to send. `controller` is what users see in the column "From".
    pub fn start(client: Client, controller: &str, instance: String, metrics: &Metrics) -> Self {
        let metrics = metrics.events().clone();
        let reporter = Reporter { controller: controller.to_owned(), instance: Some(instance) };
        let counted = metrics.clone();
        let lane = move |_| {
            let (queue, waiting) = mpsc::channel(QUEUE);
            let recorder = Recorder::new(client.clone(), reporter.clone());
            tokio::spawn(send_each(waiting, recorder, counted.clone()));
            queue
        };
        Self { lanes: (0..LANES).map(lane).collect(), metrics }
    }

    /// Queues an event. Its note and its reason are cut to what the API server takes.
    pub fn send(&self, mut event: Event, regarding: ObjectReference) {
        if let Some(note) = &mut event.note {
            truncate(note, LONGEST_NOTE);
        }
        truncate(&mut event.reason, LONGEST_REASON);
        let Some(lane) = self.lanes.get(lane_of(&regarding)) else { return };
        self.metrics.waiting.inc();
        if let Err(error) = lane.try_send((event, regarding)) {
            self.metrics.waiting.dec();
            self.metrics.dropped.inc();
            warn!(%error, "event dropped");
        }
    }
}

/// Sends what comes through one lane.
async fn send_each(
    mut waiting: mpsc::Receiver<(Event, ObjectReference)>,
    recorder: Recorder,
    metrics: EventMetrics,
) {
    while let Some((event, regarding)) = waiting.recv().await {
        metrics.waiting.dec();
        match recorder.publish(&event, &regarding).await {
            Ok(()) => metrics.sent.inc(),
            Err(error) => {
                metrics.refused.inc();
                debug!(%error, reason = event.reason, "event not recorded");
            }
        }
    }
}

/// The lane of events about this object.
fn lane_of(regarding: &ObjectReference) -> usize {
    let mut hasher = DefaultHasher::new();
    (&regarding.uid, &regarding.namespace, &regarding.name).hash(&mut hasher);
    usize::try_from(hasher.finish() % LANES as u64).unwrap_or(0)
}

/// Cuts `text` to at most `bytes` bytes, at a character's end.
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
    use kube::{client::Body, runtime::events::EventType};
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

    /// A server that tells of each request that it got, and answers all but those about the object `stuck`.
    fn server(stuck: &'static str) -> (Client, mpsc::UnboundedReceiver<(Method, String)>) {
        let (tell, told) = mpsc::unbounded_channel();
        let service = service_fn(move |request: Request<Body>| {
            let tell = tell.clone();
            async move {
                let method = request.method().clone();
                let body = request.into_body().collect_bytes().await.unwrap();
                let sent: serde_json::Value = serde_json::from_slice(&body).unwrap();
                let about = sent["regarding"]["uid"].as_str().unwrap().to_owned();
                tell.send((method, format!("{about} {}", sent["reason"].as_str().unwrap()))).unwrap();
                if about == stuck {
                    pending::<()>().await;
                }
                Ok::<_, Infallible>(Response::new(Body::from(body.to_vec())))
            }
            .boxed()
        });
        (Client::new(service, "default"), told)
    }

    #[tokio::test]
    async fn only_events_about_the_same_object_wait_for_an_answer() {
        let (client, mut told) = server("stuck");
        let sender = EventSender::start(client, "jobset", "here".to_owned(), &Metrics::new().unwrap());
        let of_stuck = lane_of(&object("stuck"));
        let other =
            (0..100).map(|n| format!("other-{n}")).find(|uid| lane_of(&object(uid)) != of_stuck).unwrap();

        sender.send(event("First"), object("stuck"));
        assert_eq!(told.recv().await.unwrap(), (Method::POST, "stuck First".to_owned()));
        sender.send(event("Second"), object("stuck"));
        for reason in ["First", "Second", "First"] {
            sender.send(event(reason), object(&other));
        }
        // A repeated one counts up the event that exists.
        for (method, reason) in [(Method::POST, "First"), (Method::POST, "Second"), (Method::PATCH, "First")]
        {
            assert_eq!(told.recv().await.unwrap(), (method, format!("{other} {reason}")));
        }
        assert!(
            told.try_recv().is_err(),
            "nothing more was sent about the object whose event is not answered"
        );
    }

    #[test]
    fn notes_are_cut_at_a_character() {
        let mut note = "ä".repeat(600);
        truncate(&mut note, 1023);
        assert_eq!(note.len(), 1022);
        let mut short = "as it is".to_owned();
        truncate(&mut short, 1024);
        assert_eq!(short, "as it is");
    }
}
