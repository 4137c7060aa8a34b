//! The controller's process: it looks at a JobSet, plans, sends the actions side by side, then stores the status,
//! then tells the events; each answer goes into its index. The same discipline as `reconcile.rs` and `act` of the
//! controller, as a machine that can stop between any two requests.

use crate::{
    agenda::Happening,
    api_server::{Answer, Change, Refusal, Request, version_of},
    observe::{Index, KINDS, Kind, Watch},
    queue::Queue,
    world::{Millis, World, timestamp},
};
use jobset_api::{JobSet, JobSetStatus};
use jobset_plan::{Action, Event, JobResume, JobSize, Plan, Snapshot, StatusTiming, plan};
use k8s_openapi::api::{
    batch::v1 as batch,
    core::v1::{PersistentVolumeClaim, Service},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How long a client waits for an answer.
const PATIENCE: Millis = 30_000;

/// Number of a request.
pub(crate) type RequestId = usize;

/// A process that is started as a leader.
pub(crate) struct Process {
    pub(crate) alive: bool,
    /// Before, it watches, and waits for the lease.
    pub(crate) leads_from: Millis,
    pub(crate) index: Index,
    pub(crate) watches: [Watch; 4],
    queue: Queue,
    looks: BTreeMap<String, Look>,
    timing: BTreeMap<String, StatusTiming>,
}

impl Process {
    fn leads(&self, now: Millis) -> bool {
        self.alive && now >= self.leads_from && self.watches.iter().all(Watch::is_filled)
    }
}

/// A look at a JobSet whose requests are under way.
struct Look {
    jobset: Arc<JobSet>,
    in_flight: usize,
    failures: Vec<Refusal>,
    wrote: bool,
    status: Option<(JobSetStatus, bool)>,
    events: Vec<Event>,
    requeue_after: Option<Duration>,
    /// Actions that a planted bug keeps for after the status.
    late: Vec<Errand>,
}

/// What a request is for.
#[derive(Clone, Debug)]
pub(crate) enum Errand {
    CreateJob(Box<batch::Job>),
    /// A Job of its name exists.
    FindJob(Box<batch::Job>),
    DeleteJob {
        name: String,
        uid: String,
    },
    /// `uid` is the Job that the plan is about.
    PatchJob {
        name: String,
        uid: String,
        patch: Value,
    },
    ClearStartTime(Box<JobResume>),
    /// What must be known of a Job before it is resumed.
    SeeJob(Box<JobResume>),
    CreateService(Box<Service>),
    FindService {
        name: String,
    },
    CreateClaim(Box<PersistentVolumeClaim>),
    FindClaim {
        name: String,
    },
    DeleteJobSet {
        name: String,
        uid: Option<String>,
    },
    Status {
        name: String,
        uid: String,
        version: Option<String>,
        status: Box<JobSetStatus>,
    },
    /// A list did not hold a Job that we created.
    Doubt {
        name: String,
        uid: String,
    },
}

impl Errand {
    fn request(&self) -> Request {
        match self.clone() {
            Self::CreateJob(job) => Request::CreateJob(job),
            Self::FindJob(job) => Request::GetJob { name: job.metadata.name.unwrap_or_default() },
            Self::DeleteJob { name, uid } => Request::DeleteJob { name, uid: Some(uid) },
            Self::PatchJob { name, patch, .. } => Request::PatchJob { name, patch },
            Self::ClearStartTime(resume) => Request::ClearStartTime { name: resume.name, uid: resume.uid },
            Self::SeeJob(resume) => Request::GetJob { name: resume.name },
            Self::CreateService(service) => Request::CreateService(service),
            Self::FindService { name } => Request::GetService { name },
            Self::CreateClaim(claim) => Request::CreateClaim(claim),
            Self::FindClaim { name } => Request::GetClaim { name },
            Self::DeleteJobSet { name, uid } => Request::DeleteJobSet { name, uid },
            Self::Status { name, uid, version, status } => {
                Request::StoreStatus { name, uid, version, status }
            }
            Self::Doubt { name, .. } => Request::GetJob { name },
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::CreateService(_) | Self::FindService { .. } => Kind::Services,
            Self::CreateClaim(_) | Self::FindClaim { .. } => Kind::Claims,
            _ => Kind::Jobs,
        }
    }
}

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
    // --- processes -----------------------------------------------------------------------------------------------

    /// A process starts.
    pub(crate) fn start_process(&mut self) {
        let leads_from = self.now + if self.rng.bool() { 0 } else { self.rng.u64(0..20_000) };
        self.processes.push(Process {
            alive: true,
            leads_from,
            index: Index::default(),
            watches: Default::default(),
            queue: Queue::default(),
            looks: BTreeMap::new(),
            timing: BTreeMap::new(),
        });
        let process = self.processes.len() - 1;
        self.note_process(process, || "starts".to_owned());
        for kind in KINDS {
            self.after(1, Happening::ListAsked { process, kind });
        }
        self.at(leads_from, Happening::Work { process });
    }

    /// A process dies. What it had sent may still arrive. If none is left, another starts.
    pub(crate) fn die(&mut self, process: usize) {
        if !std::mem::take(&mut self.processes[process].alive) {
            return;
        }
        self.note_process(process, || "dies".to_owned());
        if self.processes.iter().all(|process| !process.alive) {
            let pause = self.rng.u64(100..15_000);
            self.after(pause, Happening::Start);
        }
    }

    /// A JobSet needs a look.
    pub(crate) fn look_at(&mut self, process: usize, uid: String) {
        self.processes[process].queue.add(uid);
        self.after(1, Happening::Work { process });
    }

    fn look_again(&mut self, process: usize, uid: &str, at: Millis) {
        self.processes[process].queue.add_at(uid.to_owned(), at);
        self.at(at, Happening::Work { process });
    }

    /// Works on everything in the queue.
    pub(crate) fn work(&mut self, process: usize) {
        while self.processes[process].leads(self.now) {
            let Some(uid) = self.processes[process].queue.next(self.now) else { return };
            self.begin_look(process, &uid);
        }
    }

    // --- one look ------------------------------------------------------------------------------------------------

    fn begin_look(&mut self, process: usize, uid: &str) {
        let Some(mut family) = self.family(process, uid) else {
            self.processes[process].timing.remove(uid);
            self.processes[process].queue.done(uid);
            return;
        };
        self.looks += 1;
        self.check_view(process, uid, &family);
        self.planted_bug_changes_view(process, &mut family);
        let snapshot = Snapshot {
            jobset: &family.jobset,
            jobs: &family.jobs,
            service_exists: family.service_exists,
            claims: &family.claims,
        };
        let mut plan = plan(&snapshot, timestamp(self.now), &self.gates);
        self.planted_bug_changes_plan(&family, &mut plan);
        self.check_plan(&family, &plan);
        let Plan { actions, status, status_is_urgent, events, requeue_after, remarks: _, waiting } = plan;
        self.note_process(process, || {
            let name = family.jobset.metadata.name.as_deref().unwrap_or("");
            let status = if status.is_some() { "a new status" } else { "no new status" };
            let waiting =
                if waiting.is_empty() { String::new() } else { format!("; {}", waiting.join("; ")) };
            format!("looks at JobSet {name} ({uid}): {} actions, {status}{waiting}", actions.len())
        });
        let errands: Vec<Errand> = actions.into_iter().map(|action| errand(&family.jobset, action)).collect();
        let mut look = Look {
            jobset: family.jobset,
            in_flight: errands.len(),
            failures: Vec::new(),
            wrote: !errands.is_empty(),
            status: status.map(|status| (status, status_is_urgent)),
            events,
            requeue_after,
            late: Vec::new(),
        };
        if self.status_goes_first() && look.status.is_some() {
            look.late = errands;
            look.in_flight = 0;
            self.processes[process].looks.insert(uid.to_owned(), look);
            self.store_status(process, uid);
            return;
        }
        self.processes[process].looks.insert(uid.to_owned(), look);
        if errands.is_empty() {
            self.store_status(process, uid);
        }
        for errand in errands {
            self.send(process, errand, Some(uid));
        }
    }

    /// All actions were answered.
    fn actions_are_done(&mut self, process: usize, uid: &str) {
        let Some(look) = self.processes[process].looks.get(uid) else { return };
        if look.failures.is_empty() {
            self.store_status(process, uid);
        } else if self.failures_are_swallowed() {
            self.processes[process].looks.remove(uid);
            self.processes[process].queue.done(uid);
        } else {
            self.fail_look(process, uid);
        }
    }

    fn fail_look(&mut self, process: usize, uid: &str) {
        self.processes[process].looks.remove(uid);
        let at = self.processes[process].queue.retry(uid, self.now);
        self.look_again(process, uid, at);
        self.after(1, Happening::Work { process });
    }

    fn store_status(&mut self, process: usize, uid: &str) {
        let now = Duration::from_millis(self.now);
        let (looks, timing) = {
            let process = &mut self.processes[process];
            (&mut process.looks, &mut process.timing)
        };
        let Some(look) = looks.get_mut(uid) else { return };
        let timing = timing.entry(uid.to_owned()).or_default();
        let Some((status, is_urgent)) = look.status.take() else {
            timing.settled();
            return self.end_look(process, uid);
        };
        let wait = timing.wait(is_urgent, now);
        if !wait.is_zero() {
            look.requeue_after = Some(look.requeue_after.map_or(wait, |after| after.min(wait)));
            return self.end_look(process, uid);
        }
        let metadata = &look.jobset.metadata;
        let errand = Errand::Status {
            name: metadata.name.clone().unwrap_or_default(),
            uid: uid.to_owned(),
            version: metadata.resource_version.clone(),
            status: Box::new(status),
        };
        look.wrote = true;
        self.send(process, errand, Some(uid));
    }

    fn end_look(&mut self, process: usize, uid: &str) {
        let Some(mut look) = self.processes[process].looks.remove(uid) else { return };
        for event in std::mem::take(&mut look.events) {
            self.tell(process, uid, &event);
        }
        if !look.late.is_empty() {
            let late = std::mem::take(&mut look.late);
            look.in_flight = late.len();
            self.processes[process].looks.insert(uid.to_owned(), look);
            for errand in late {
                self.send(process, errand, Some(uid));
            }
            return;
        }
        if look.wrote {
            if let Some(at) = self.processes[process].queue.go_on(uid, self.now) {
                self.look_again(process, uid, at);
            }
        } else {
            self.processes[process].queue.done(uid);
            if let Some(after) = look.requeue_after {
                let after = Millis::try_from(after.as_millis()).unwrap_or(Millis::MAX / 2);
                self.look_again(process, uid, self.now + after.max(1));
            }
        }
        self.after(1, Happening::Work { process });
    }

    // --- requests ------------------------------------------------------------------------------------------------

    /// Sends a request. The process may die right behind it.
    pub(crate) fn send(&mut self, process: usize, errand: Errand, look: Option<&str>) {
        if !self.processes[process].alive {
            return;
        }
        let request = self.planted_bug_changes_request(errand.request());
        let jobset = look.and_then(|uid| self.processes[process].looks.get(uid)).map(|look| &look.jobset);
        let planned_on = jobset.map_or(0, |jobset| version_of(&jobset.metadata));
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
        let faults = self.faults_now();
        let (answer, travel) = if self.happens(faults.refuses) {
            (Err(Refusal::Unavailable), self.travel())
        } else {
            self.check_request(&sent);
            let answer = self.server.handle(&sent.request, self.now);
            self.check_answer(&sent, &answer);
            if self.happens(faults.loses) {
                (Err(Refusal::NoAnswer), PATIENCE)
            } else {
                (answer, self.travel())
            }
        };
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
        let Some(uid) = look else { return };
        if let Errand::Status { .. } = errand {
            if failure.is_some() && self.status_failures_are_swallowed() {
                self.processes[process].looks.remove(&uid);
                return self.processes[process].queue.done(&uid);
            }
            if failure.is_some() {
                return self.fail_look(process, &uid);
            }
            let now = Duration::from_millis(self.now);
            self.processes[process].timing.entry(uid.clone()).or_default().stored(now);
            return self.end_look(process, &uid);
        }
        let Some(look) = self.processes[process].looks.get_mut(&uid) else { return };
        look.failures.extend(failure);
        look.in_flight -= 1;
        if look.in_flight == 0 {
            self.actions_are_done(process, &uid);
        }
    }

    /// What follows from an answer: another request, nothing, or a failure.
    fn take_answer(
        &mut self,
        process: usize,
        errand: &Errand,
        answer: Result<Answer, Refusal>,
    ) -> Result<Option<Errand>, Refusal> {
        let known = |answer: Answer| match answer {
            Answer::JobSet(jobset) => Some((Kind::JobSets, Change::JobSet(jobset))),
            Answer::Job(job) => Some((Kind::Jobs, Change::Job(job))),
            Answer::Named(metadata) => Some((errand.kind(), Change::Named(metadata))),
            Answer::Gone => None,
        };
        match (errand, answer) {
            (Errand::CreateJob(job), Err(Refusal::AlreadyExists)) => {
                return Ok(Some(Errand::FindJob(job.clone())));
            }
            (Errand::CreateService(service), Err(Refusal::AlreadyExists)) => {
                return Ok(Some(Errand::FindService {
                    name: service.metadata.name.clone().unwrap_or_default(),
                }));
            }
            (Errand::CreateClaim(claim), Err(Refusal::AlreadyExists)) => {
                return Ok(Some(Errand::FindClaim { name: claim.metadata.name.clone().unwrap_or_default() }));
            }
            (Errand::FindJob(wanted), Ok(Answer::Job(found))) => {
                let owner =
                    wanted.metadata.owner_references.iter().flatten().next().map(|owner| owner.uid.as_str());
                if found.owner() != owner {
                    // It belongs to somebody else.
                    return Err(Refusal::AlreadyExists);
                }
                self.feed_answer(process, Kind::Jobs, &Change::Job(found));
            }
            (
                Errand::DeleteJob { uid, .. },
                Ok(Answer::Gone) | Err(Refusal::NotFound | Refusal::Conflict),
            ) => {
                self.feed_answer(process, Kind::Jobs, &Change::Gone(uid.clone()));
            }
            (Errand::DeleteJobSet { .. }, Err(Refusal::NotFound | Refusal::Conflict)) => {}
            (Errand::ClearStartTime(resume), Ok(Answer::Job(job))) => {
                self.feed_answer(process, Kind::Jobs, &Change::Job(job));
                return Ok(Some(after_clearing(resume)));
            }
            (Errand::SeeJob(resume), Ok(Answer::Job(job))) => {
                let now = as_kubernetes(&job);
                let patch = resume.patch(Some(&now));
                return Ok(Some(Errand::PatchJob {
                    name: resume.name.clone(),
                    uid: resume.uid.clone(),
                    patch,
                }));
            }
            (Errand::Doubt { uid, .. }, answer) => {
                let exists = match answer {
                    Ok(Answer::Job(job)) => job.uid == *uid,
                    Err(Refusal::NotFound) => false,
                    _ => true,
                };
                if !exists {
                    let owner = self.processes[process].index.end_job(uid);
                    if let Some(owner) = owner {
                        self.look_at(process, owner);
                    }
                }
            }
            (_, Ok(answer)) => {
                if let Some((kind, change)) = known(answer) {
                    self.feed_answer(process, kind, &change);
                }
            }
            (_, Err(why)) => return Err(why),
        }
        Ok(None)
    }
}

/// The first request of an action.
fn errand(jobset: &JobSet, action: Action) -> Errand {
    match action {
        Action::CreateJob(job) => Errand::CreateJob(job),
        Action::DeleteJob { name, uid } => Errand::DeleteJob { name, uid },
        Action::SuspendJob { name, uid } => {
            let patch = json!({"metadata": {"uid": uid}, "spec": {"suspend": true}});
            Errand::PatchJob { name, uid, patch }
        }
        Action::ScaleJob { name, uid, size: JobSize { parallelism, completions } } => {
            let size = json!({"parallelism": parallelism, "completions": completions});
            Errand::PatchJob { name, patch: json!({"metadata": {"uid": uid}, "spec": size}), uid }
        }
        Action::ResumeJob(resume) if resume.clear_start_time => Errand::ClearStartTime(resume),
        Action::ResumeJob(resume) => after_clearing(&resume),
        Action::CreateService(service) => Errand::CreateService(service),
        Action::CreateClaim(claim) => Errand::CreateClaim(claim),
        Action::DeleteJobSet => Errand::DeleteJobSet {
            name: jobset.metadata.name.clone().unwrap_or_default(),
            uid: jobset.metadata.uid.clone(),
        },
    }
}

fn after_clearing(resume: &JobResume) -> Errand {
    if resume.needs_current() {
        Errand::SeeJob(Box::new(resume.clone()))
    } else {
        Errand::PatchJob { name: resume.name.clone(), uid: resume.uid.clone(), patch: resume.patch(None) }
    }
}

/// As much of a Job as a resume looks at.
fn as_kubernetes(job: &crate::job::Job) -> batch::Job {
    let spec = batch::JobSpec { template: (*job.template).clone(), ..batch::JobSpec::default() };
    batch::Job { metadata: job.metadata(), spec: Some(spec), status: None }
}

fn in_words(request: &Request) -> String {
    match request {
        Request::CreateJob(job) => {
            let suspended = job.spec.as_ref().is_some_and(|spec| spec.suspend == Some(true));
            let sent = crate::job::Job::sent(job);
            let (attempt, own) = sent.attempts();
            let suspended = if suspended { ", suspended" } else { "" };
            format!("create Job {} of attempt {attempt}.{own}{suspended}", sent.name)
        }
        Request::CreateService(service) => {
            format!("create Service {}", service.metadata.name.as_deref().unwrap_or(""))
        }
        Request::CreateClaim(claim) => {
            format!("create claim {}", claim.metadata.name.as_deref().unwrap_or(""))
        }
        Request::PatchJob { name, patch } => {
            format!("patch Job {name} {}", patch.get("spec").unwrap_or(patch))
        }
        Request::StoreStatus { name, uid, version, status } => {
            let conditions: Vec<String> = status
                .conditions
                .iter()
                .map(|condition| format!("{}={}", condition.type_, condition.status))
                .collect();
            let counts: Vec<String> = status
                .replicated_jobs_status
                .iter()
                .map(|s| {
                    let of = format!(
                        "{} r{} s{} f{} a{} x{}",
                        s.name, s.ready, s.succeeded, s.failed, s.active, s.suspended
                    );
                    if s.job_restarts.is_empty() { of } else { format!("{of} restarts {:?}", s.job_restarts) }
                })
                .collect();
            format!(
                "status of JobSet {name} ({uid}) at {}: restarts {} ({} counted) {:?} {} [{}] [{}]",
                version.as_deref().unwrap_or("any version"),
                status.restarts,
                status.restarts_count_towards_max,
                status.terminal_state,
                conditions.join(" "),
                counts.join(", "),
                "",
            )
            .replace(" []", "")
        }
        other => format!("{other:?}"),
    }
}
