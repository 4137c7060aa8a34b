//! Verifies that a Job exists which the controller created and which a list did not hold.

use super::{operation::Operation, send};
use crate::{
    observe::{Index, UnconfirmedJob},
    requeue::Requeue,
};
use kube::Client;
use manager_runtime::client::WatchBackoff;
use tracing::warn;

/// See the module.
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

    /// Reads the Job until there is a response. Requeues its JobSet if the Job is gone.
    pub(crate) async fn verify(self, job: UnconfirmedJob) {
        let mut delays = WatchBackoff::default();
        loop {
            let operation = Operation::verify_job(job.clone());
            let answer = send(&self.client, &operation.namespace, &operation.request).await;
            let outcome = operation.answered(answer);
            let Err(error) = outcome.next else {
                self.requeue.add(outcome.observed.and_then(|observed| self.index.learn(observed)));
                return;
            };
            let after = delays.next().unwrap_or_default();
            warn!(namespace = job.namespace, name = job.name, %error, ?after, "cannot verify the Job, retrying");
            tokio::time::sleep(after).await;
        }
    }
}
