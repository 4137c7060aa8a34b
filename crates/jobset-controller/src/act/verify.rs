//! Verifies that a Job exists that the controller created and a list does not contain.

use super::{operation::Operation, send};
use crate::{
    observe::{Index, UnconfirmedJob},
    requeue::Requeue,
};
use kube::Client;
use manager_runtime::client::WatchBackoff;
use tracing::warn;

/// Reads unconfirmed Jobs.
#[derive(Clone)]
pub(crate) struct Verifier {
    client: Client,
    index: Index,
    requeue: Requeue,
}

impl Verifier {
    pub(crate) fn new(client: Client, index: Index, requeue: Requeue) -> Self {
        Self { client, index, requeue }
    }

    /// Reads the Job, and retries until the API server answers. Requeues the JobSet if the Job does not exist.
    pub(crate) async fn verify(self, job: UnconfirmedJob) {
        let mut delays = WatchBackoff::default();
        loop {
            let operation = Operation::verify_job(job.clone());
            let answer = send(&self.client, &operation.namespace, &operation.request).await;
            let outcome = operation.answered(answer);
            let Err(error) = outcome.next else {
                self.requeue.add(outcome.observed.and_then(|observed| self.index.store(observed)));
                return;
            };
            let after = delays.next().unwrap_or_default();
            warn!(namespace = job.namespace, name = job.name, %error, ?after, "cannot verify the Job, retrying");
            tokio::time::sleep(after).await;
        }
    }
}
