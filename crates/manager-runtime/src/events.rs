//! Kubernetes events, sent beside the reconcile: a full queue or a refused event never holds it up.

use crate::metrics::{EventMetrics, Metrics};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, Recorder, Reporter},
};
use tokio::sync::mpsc;
use tracing::{debug, warn};

/// Events that may wait.
const QUEUE: usize = 1024;
/// Longest note that the API server takes (Kubernetes: events.k8s.io/v1, `note`).
const LONGEST_NOTE: usize = 1024;
/// Longest reason (Kubernetes: events.k8s.io/v1, `reason`).
const LONGEST_REASON: usize = 128;

/// Sends events in the name of one controller.
#[derive(Clone)]
pub struct EventSender {
    queue: mpsc::Sender<(Event, ObjectReference)>,
    metrics: EventMetrics,
}

impl EventSender {
    /// Starts to send. `controller` is what users see in the column "From".
    pub fn start(client: Client, controller: &str, instance: String, metrics: &Metrics) -> Self {
        let metrics = metrics.events().clone();
        let counted = metrics.clone();
        let (queue, mut receiver) = mpsc::channel::<(Event, ObjectReference)>(QUEUE);
        let recorder =
            Recorder::new(client, Reporter { controller: controller.to_owned(), instance: Some(instance) });
        tokio::spawn(async move {
            while let Some((event, regarding)) = receiver.recv().await {
                counted.waiting.dec();
                match recorder.publish(&event, &regarding).await {
                    Ok(()) => counted.sent.inc(),
                    Err(error) => {
                        counted.refused.inc();
                        debug!(%error, reason = event.reason, "event not recorded");
                    }
                }
            }
        });
        Self { queue, metrics }
    }

    /// Queues an event. Its note and its reason are cut to what the API server takes.
    pub fn send(&self, mut event: Event, regarding: ObjectReference) {
        if let Some(note) = &mut event.note {
            truncate(note, LONGEST_NOTE);
        }
        truncate(&mut event.reason, LONGEST_REASON);
        self.metrics.waiting.inc();
        if let Err(error) = self.queue.try_send((event, regarding)) {
            self.metrics.waiting.dec();
            self.metrics.dropped.inc();
            warn!(%error, "event dropped");
        }
    }
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
