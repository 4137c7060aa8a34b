//! Requests on their way to the API server, and answers on their way back: late, lost, or refused.

use crate::{
    agenda::Happening,
    api_server::{Answer, Refusal, Request},
    errand::Errand,
    history::in_words,
    world::{Millis, World},
};
/// How long a client waits for an answer.
const PATIENCE: Millis = 30_000;

/// Number of a request.
pub(crate) type RequestId = usize;

/// A request under way.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) process: usize,
    /// UID of the JobSet whose look it belongs to.
    pub(crate) look: Option<String>,
    pub(crate) errand: Errand,
    pub(crate) request: Request,
    /// Resource version of the JobSet that it was planned on.
    pub(crate) planned_on: u64,
    answer: Option<Result<Answer, Refusal>>,
}

impl World {
    /// Sends a request. The process may die right behind it.
    pub(crate) fn send(&mut self, process: usize, errand: Errand, look: Option<&str>) {
        if !self.processes[process].alive {
            return;
        }
        let request = self.planted_bug_changes_request(errand.request());
        let planned_on = look.map_or(0, |uid| self.processes[process].planned_on(uid));
        self.note_process(process, || format!("sends {}", in_words(&request)));
        if request.writes() {
            self.writes += 1;
        }
        self.requests.push(Sent {
            process,
            look: look.map(str::to_owned),
            errand,
            request,
            planned_on,
            answer: None,
        });
        let id = self.requests.len() - 1;
        let travel = self.travel();
        self.after(travel, Happening::Arrive(id));
        let dies = self.faults_now().dies;
        if self.happens(dies) {
            self.die(process);
        }
    }

    /// A request reaches the API server.
    pub(crate) fn arrive(&mut self, id: RequestId) {
        let sent = self.requests[id].clone();
        let dead = !self.processes[sent.process].alive;
        if dead && self.rng.bool() {
            return;
        }
        let (answer, travel) = self.carry_out(&sent);
        self.note("API server", || {
            let ghost = if dead { ", sent by a dead process" } else { "" };
            let says = match &answer {
                Ok(_) => "done".to_owned(),
                Err(why) => format!("{why:?}"),
            };
            format!("process {}{ghost}: {}: {says}", sent.process, in_words(&sent.request))
        });
        self.requests[id].answer = Some(answer);
        self.after(travel, Happening::Answer(id));
    }

    /// The answer to a request, and how long it takes to come back.
    fn carry_out(&mut self, sent: &Sent) -> (Result<Answer, Refusal>, Millis) {
        let faults = self.faults_now();
        let refused = self.refuses.and_then(|refuses| refuses(&sent.request, self.refused));
        self.refused += u32::from(refused.is_some());
        if let Some(why) = refused.or_else(|| self.happens(faults.refuses).then_some(Refusal::Unavailable)) {
            self.referee.count(&format!("{why:?}"));
            return (Err(why), self.travel());
        }
        self.check_request(sent);
        let before = self.server.version();
        let answer = self.server.handle(&sent.request, self.now);
        self.check_answer(sent, &answer, self.server.version() > before);
        let lost = self.loses.is_some_and(|loses| loses(&sent.request, self.lost));
        self.lost += u32::from(lost);
        if lost || self.happens(faults.loses) {
            self.referee.count("NoAnswer");
            return (Err(Refusal::NoAnswer), PATIENCE);
        }
        (answer, self.travel())
    }

    /// An answer reaches its process.
    pub(crate) fn answered(&mut self, id: RequestId) {
        let Some(answer) = self.requests[id].answer.take() else { return };
        let Sent { process, errand, look, .. } = self.requests[id].clone();
        if !self.processes[process].alive {
            return;
        }
        let failure = match self.take_answer(process, &errand, answer) {
            Ok(Some(next)) => return self.send(process, next, look.as_deref()),
            Ok(None) => None,
            Err(why) => Some(why),
        };
        if let Some(uid) = look {
            self.errand_is_done(process, &uid, &errand, failure);
        }
    }
}
