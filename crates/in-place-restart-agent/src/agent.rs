//! The decisions of the agent: what follows from a version of the JobSet, a signal, or the end of the worker.
//!
//! ```text
//! start -> attempt = current + 1 (or 0) -> annotate the pod -> barrier: wait for attempt == current -> run the worker
//!                                                     attempt <= previous at any time -> exit, so that kubelet restarts
//! ```
//!
//! The attempt is in memory only. A restarted agent computes it again, so the annotation of its predecessor does not
//! matter.

use nix::libc::{SIGINT, SIGTERM};

use crate::jobset::JobSet;

/// An observation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A version of the JobSet.
    JobSet(JobSet),
    /// The agent received this signal.
    Signal(i32),
    /// The worker has ended with this exit code.
    WorkerEnded(u8),
}

/// A consequence of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Annotate the pod with this attempt.
    Annotate(i64),
    /// Lift the barrier: start the worker, or the server for the startup probe. The text is the reason.
    Lift(String),
    /// Send this signal to the worker.
    Forward(i32),
    /// Kill the worker if it runs, and exit with this code. The text is the reason.
    Exit(u8, String),
}

/// State of the agent.
#[derive(Debug)]
pub(crate) struct Agent {
    /// Exit code that makes kubelet restart the container or the pod.
    restart_code: u8,
    /// Whether the agent starts the worker.
    runs_worker: bool,
    attempt: Option<i64>,
    lifted: bool,
    /// SIGINT or SIGTERM, which the worker received.
    terminated_by: Option<i32>,
}

impl Agent {
    /// An agent that has not observed anything. `runs_worker` is true in main-container mode.
    pub(crate) fn new(restart_code: u8, runs_worker: bool) -> Self {
        Self { restart_code, runs_worker, attempt: None, lifted: false, terminated_by: None }
    }

    /// Decides what follows from an event, in this order.
    pub(crate) fn handle(&mut self, event: &Event) -> Vec<Effect> {
        match event {
            Event::JobSet(jobset) if self.terminated_by.is_none() => self.follow(jobset),
            // The pod is ending. The worker has received the signal, and its end is all that matters.
            Event::JobSet(_) => Vec::new(),
            &Event::Signal(signal) => self.signal(signal),
            &Event::WorkerEnded(code) => vec![match self.terminated_by {
                Some(signal) => exit_by(signal),
                None => Effect::Exit(code, format!("the worker exited with code {code}")),
            }],
        }
    }

    fn follow(&mut self, jobset: &JobSet) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Some(reason) = jobset.bypass() {
            if !self.lifted {
                self.lifted = true;
                effects.push(Effect::Lift(reason));
            }
            return effects;
        }
        let attempt = self.attempt.unwrap_or_else(|| {
            let attempt = jobset.current.map_or(0, |current| current.saturating_add(1));
            effects.push(Effect::Annotate(attempt));
            attempt
        });
        self.attempt = Some(attempt);
        if let Some(previous) = jobset.previous
            && attempt <= previous
        {
            let reason = format!(
                "the JobSet restarts in place: this pod has attempt {attempt}, and \
                 status.previousInPlaceRestartAttempt is {previous}"
            );
            effects.push(Effect::Exit(self.restart_code, reason));
        } else if !self.lifted && jobset.current == Some(attempt) {
            self.lifted = true;
            effects.push(Effect::Lift(format!("all pods have reached attempt {attempt}")));
        }
        effects
    }

    fn signal(&mut self, signal: i32) -> Vec<Effect> {
        let ends = matches!(signal, SIGINT | SIGTERM);
        if self.runs_worker && self.lifted {
            if ends {
                self.terminated_by.get_or_insert(signal);
            }
            vec![Effect::Forward(signal)]
        } else if ends {
            vec![exit_by(signal)]
        } else {
            Vec::new()
        }
    }
}

fn exit_by(signal: i32) -> Effect {
    let code = u8::try_from(128 + signal).unwrap_or(u8::MAX);
    Effect::Exit(code, format!("the agent received signal {signal}"))
}
