//! Verifies that a Job exists that the controller created and a list does not contain.

use super::{operation::Operation, send};
use crate::{
    metrics::JobSetMetrics,
    observe::{Index, UnconfirmedJob},
    requeue::Requeue,
};
use kube::Client;
use manager_runtime::client::WatchBackoff;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tracing::{debug, warn};

/// Most Jobs to read at the same time.
const IN_FLIGHT: usize = 16;

/// Reads unconfirmed Jobs.
#[derive(Clone)]
pub(crate) struct Verifier {
    client: Client,
    index: Index,
    requeue: Requeue,
    metrics: JobSetMetrics,
    permits: Arc<Semaphore>,
}

impl Verifier {
    pub(crate) fn new(client: Client, index: Index, requeue: Requeue, metrics: JobSetMetrics) -> Self {
        Self { client, index, requeue, metrics, permits: Arc::new(Semaphore::new(IN_FLIGHT)) }
    }

    /// Reads the Job, and retries until the API server answers. Requeues the JobSet if the Job does not exist.
    pub(crate) async fn verify(self, job: UnconfirmedJob) {
        let mut delays = WatchBackoff::default();
        let mut last_error = String::new();
        loop {
            let operation = Operation::verify_job(job.clone());
            let answer = {
                // The semaphore is never closed.
                let _permit = self.permits.acquire().await;
                send(&self.client, &operation.namespace, &operation.request).await
            };
            let outcome = operation.answered(answer);
            let Err(error) = outcome.next else {
                self.requeue.add(outcome.observed.and_then(|observed| self.index.store(observed)));
                return;
            };
            let after = delays.next().unwrap_or_default();
            self.metrics.request_failed(error.action());
            let (namespace, error) = (&job.namespace, error.to_string());
            if error == last_error {
                debug!(namespace, job = job.name, error, ?after, "cannot verify the Job, retrying");
            } else {
                warn!(namespace, job = job.name, error, ?after, "cannot verify the Job, retrying");
                last_error = error;
            }
            tokio::time::sleep(after).await;
        }
    }
}
