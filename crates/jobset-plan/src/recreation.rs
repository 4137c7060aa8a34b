//! When missing Jobs are created while other Jobs of the JobSet are being deleted.
//!
//! The Jobs of a restart are deleted one after another, and each of them frees its name. New pods compete with the
//! remaining deletions for the API server, the controllers of Kubernetes and the kubelets: if the controller created
//! each Job immediately, both the last creation and the last ready pod would come later. So creations wait while
//! deletions make progress, and the controller sends them together.
//!
//! A watch event reports each deletion. The wait needs no request.

use crate::snapshot::JobRecord;
use std::{sync::Arc, time::Duration};

/// Deletions make no progress if no Job was deleted for this long.
const QUIET: Duration = Duration::from_millis(500);
/// The longest wait: pods that stop at very different times block no Job for longer.
const LONGEST: Duration = Duration::from_secs(5);

/// The progress of the deletions of one JobSet. This state is a cache: without it, a process creates Jobs sooner. Times
/// are from a monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recreation {
    /// The number of Jobs in the last snapshot.
    jobs: usize,
    /// The times of the first and the last deletion since creations could proceed.
    deletions: Option<(Duration, Duration)>,
}

impl Recreation {
    /// How long creations wait, unless another Job is deleted before. None if they can proceed.
    pub fn wait(&mut self, jobs: &[Arc<JobRecord>], now: Duration) -> Option<Duration> {
        let before = std::mem::replace(&mut self.jobs, jobs.len());
        if !jobs.iter().any(|job| job.deleting) {
            self.deletions = None;
        } else if jobs.len() < before {
            let first = self.deletions.map_or(now, |(first, _)| first);
            self.deletions = Some((first, now));
        }
        let (first, last) = self.deletions?;
        let wait = (last + QUIET).min(first + LONGEST).saturating_sub(now);
        if wait.is_zero() {
            self.deletions = None;
        }
        self.deletions.map(|_| wait)
    }
}
