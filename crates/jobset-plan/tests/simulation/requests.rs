//! Sends the requests of operations to the API server and returns the responses, some of them late, lost or refused.
//! This file reproduces `Actor` of the controller.

use crate::{
    api_server::{Answer, Refusal},
    history::describe_request,
    operation::{Operation, Outcome},
    request::Request,
    schedule::ScheduledEvent,
    world::{Millis, World},
};

/// The timeout of a request.
const TIMEOUT: Millis = 30_000;

/// The number of a request.
pub(crate) type RequestId = usize;

/// A request that was sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) process: usize,
    /// The UID of the JobSet whose reconcile sent it. None for a request of a watch.
    pub(crate) reconciled: Option<String>,
    pub(crate) operation: Operation<Refusal>,
    /// The request that was sent. A planted bug can change it.
    pub(crate) request: Request,
    /// The resource version of the JobSet in the snapshot of its plan.
    pub(crate) planned_on: u64,
    answer: Option<Result<Answer, Refusal>>,
}

impl World {
    /// Sends a request. The process can die immediately after it.
    pub(crate) fn send(&mut self, process: usize, operation: Operation<Refusal>, reconciled: Option<&str>) {
        if !self.processes[process].alive {
            return;
        }
        let request = self.planted_bug_changes_request(operation.request.clone());
        let planned_on = reconciled.map_or(0, |uid| self.processes[process].planned_on(uid));
        self.note_process(process, || format!("sends {}", describe_request(&request)));
        if request.writes() {
            self.writes += 1;
        }
        self.requests.push(Sent {
            process,
            reconciled: reconciled.map(str::to_owned),
            operation,
            request,
            planned_on,
            answer: None,
        });
        let id = self.requests.len() - 1;
        let travel = self.travel();
        self.after(travel, ScheduledEvent::Arrive(id));
        let dies = self.faults_now().dies;
        if self.happens(dies) {
            self.die(process);
        }
    }

    /// Handles a request that reaches the API server.
    pub(crate) fn arrive(&mut self, id: RequestId) {
        let sent = self.requests[id].clone();
        let dead = !self.processes[sent.process].alive;
        if dead && self.rng.bool() {
            return;
        }
        let (answer, travel) = self.execute(&sent);
        self.note("API server", || {
            let suffix = if dead { ", sent by a dead process" } else { "" };
            let result = match &answer {
                Ok(_) => "done".to_owned(),
                Err(why) => format!("{why:?}"),
            };
            format!("process {}{suffix}: {}: {result}", sent.process, describe_request(&sent.request))
        });
        self.requests[id].answer = Some(answer);
        self.after(travel, ScheduledEvent::Answer(id));
    }

    /// Sends a request to the API server. Returns the response and its transit time.
    fn execute(&mut self, sent: &Sent) -> (Result<Answer, Refusal>, Millis) {
        let faults = self.faults_now();
        let refused = self.refuses.and_then(|refuses| refuses(&sent.request, self.refused));
        self.refused += u32::from(refused.is_some());
        if let Some(why) = refused.or_else(|| self.happens(faults.refuses).then_some(Refusal::Unavailable)) {
            self.checker.count(&format!("{why:?}"));
            return (Err(why), self.travel());
        }
        self.check_request(sent);
        let before = self.server.version();
        let answer = self.server.handle(&sent.request, self.now);
        self.check_answer(sent, &answer, self.server.version() > before);
        let lost = self.loses.is_some_and(|loses| loses(&sent.request, self.lost));
        self.lost += u32::from(lost);
        if lost || self.happens(faults.loses) {
            self.checker.count("NoAnswer");
            return (Err(Refusal::NoAnswer), TIMEOUT);
        }
        (answer, self.travel())
    }

    /// Handles a response that reaches its process.
    pub(crate) fn answered(&mut self, id: RequestId) {
        let Some(answer) = self.requests[id].answer.take() else { return };
        let Sent { process, operation, reconciled, .. } = self.requests[id].clone();
        if !self.processes[process].alive {
            return;
        }
        let is_status = matches!(operation.request, Request::StoreStatus { .. });
        let answer = answer.map(|answer| answer.decoded(&operation.request));
        let Outcome { observed, next } = operation.clone().answered(answer);
        let concerned = observed.and_then(|observed| self.learn(process, observed));
        match (next, reconciled) {
            (Ok(Some(next)), reconciled) => self.send(process, next, reconciled.as_deref()),
            (Ok(None), Some(uid)) => self.operation_ended(process, &uid, is_status, None),
            (Err(error), Some(uid)) => self.operation_ended(process, &uid, is_status, Some(error)),
            (Ok(None), None) => {
                if let Some(uid) = concerned {
                    self.requeue(process, uid);
                }
            }
            // The watches retry until there is a response.
            (Err(_), None) => self.send(process, operation, None),
        }
    }
}
