//! JobSets that live: the plan is carried out against a small model of the API server and the Job controller,
//! while Jobs progress, fail and go at random, users suspend, resume and delete, and the process crashes in the
//! middle of its requests. What must always hold is checked with every request; in the end every JobSet settles.

use super::*;
use proptest::{collection::vec, prelude::*, sample::select};

/// Something that happens. The number picks the Job, or whatever else there is to pick.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The controller looks, and carries the whole plan out.
    Reconcile,
    /// It crashes behind this many requests, or before it stores the status.
    Crash(usize),
    /// A Job that is not suspended goes on: its pods run, are ready, it completes.
    Progress(usize),
    /// A Job that is not suspended is going to fail.
    Fail(usize, usize),
    /// Pods of suspended Jobs stop, and those of Jobs that are going to fail: these have failed then.
    Stop,
    /// A Job that is being deleted is gone.
    Gone(usize),
    /// A user deletes a Job.
    Delete(usize),
    /// A user suspends the JobSet, or resumes it.
    Suspend(bool),
    /// Time passes.
    Wait(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::Reconcile),
        1 => (0..6_usize).prop_map(Step::Crash),
        10 => (0..8_usize).prop_map(Step::Progress),
        2 => (0..8_usize, 0..REASONS.len()).prop_map(|(job, reason)| Step::Fail(job, reason)),
        3 => Just(Step::Stop),
        4 => (0..8_usize).prop_map(Step::Gone),
        1 => (0..8_usize).prop_map(Step::Delete),
        2 => any::<bool>().prop_map(Step::Suspend),
        2 => (1..90_i64).prop_map(Step::Wait),
    ]
}

const REASONS: [&str; 3] = ["BackoffLimitExceeded", "PodFailurePolicy", "DeadlineExceeded"];

/// A JobSet's spec, its feature gates, and whether it is born suspended.
fn given() -> impl Strategy<Value = (String, &'static str, bool)> {
    let action = select(vec![
        "FailJobSet",
        "RestartJobSet",
        "RestartJobSetAndIgnoreMaxRestarts",
        "RestartJob",
        "RestartJobAndIgnoreMaxRestarts",
    ]);
    let rule = (action, select(vec!["[]", "[driver]", "[worker]"]), select(REASONS.to_vec()), any::<bool>())
        .prop_map(|(action, targets, reason, all)| {
            let reasons = if all { "" } else { reason };
            format!(
                "{{name: r, action: {action}, targetReplicatedJobs: {targets}, onJobFailureReasons: [{reasons}]}}"
            )
        });
    let strategy = select(vec!["Recreate", "BlockingRecreate"]);
    let policy = proptest::option::of((-1..4_i32, strategy, vec(rule, 0..3))).prop_map(|policy| {
        policy.map_or_else(String::new, |(max, strategy, rules)| {
            let rules = rules.join(", ");
            format!("failurePolicy: {{maxRestarts: {max}, restartStrategy: {strategy}, rules: [{rules}]}}")
        })
    });
    let order = select(vec![
        ("", ""),
        ("startupPolicy: {startupPolicyOrder: InOrder}", ""),
        ("", ", dependsOn: [{name: driver, status: Ready}]"),
        ("", ", dependsOn: [{name: driver, status: Complete}]"),
    ]);
    let success = select(vec![
        "",
        "successPolicy: {operator: Any}",
        "successPolicy: {operator: All, targetReplicatedJobs: [driver]}",
    ]);
    let gates =
        select(vec!["", "RestartJob", "RestartJob ElasticJobSet", "RestartOnFailureTarget RestartJob"]);
    (0..3_i32, 0..4_i32, policy, order, success, gates, any::<bool>()).prop_map(
        |(drivers, workers, policy, (startup, depends), success, gates, suspend)| {
            let elastic = "template: {spec: {parallelism: 2, completions: 2}}";
            let spec = format!(
                "replicatedJobs: [{{name: driver, replicas: {drivers}, {elastic}}}, {{name: worker, replicas: {workers}{depends}}}]\n{policy}\n{startup}\n{success}"
            );
            (spec, gates, suspend)
        },
    )
}

/// The world: what the API server holds, and what happened so far.
struct World {
    scene: Scene,
    /// UIDs handed out.
    born: usize,
    /// UIDs of Jobs that failed.
    failed: BTreeSet<String>,
    now: i64,
}

impl World {
    fn status(&self) -> JobSetStatus {
        self.scene.jobset.status.clone().unwrap_or_default()
    }

    fn plan(&self) -> Plan {
        let Scene { jobset, jobs, gates, claims, .. } = &self.scene;
        let snapshot = Snapshot { jobset, jobs, service_exists: true, claims };
        plan(&snapshot, Timestamp::from_second(self.now).unwrap(), gates)
    }

    /// Carries out the first `limit` requests of a plan; the last is the status.
    fn reconcile(&mut self, limit: usize) -> Plan {
        let plan = self.plan();
        for action in plan.actions.iter().take(limit) {
            self.act(action);
        }
        if let Some(status) = plan.status.as_ref().filter(|_| plan.actions.len() < limit) {
            self.store(status);
        }
        plan
    }

    fn job(&mut self, name: &str) -> &mut JobRecord {
        self.scene.jobs.iter_mut().find(|job| job.name == name).unwrap_or_else(|| panic!("no Job {name}"))
    }

    fn act(&mut self, action: &Action) {
        let finished = !self.status().terminal_state.is_empty();
        let suspended = self.scene.jobset.spec.suspend == Some(true);
        match action {
            Action::CreateJob(job) => {
                assert!(!finished, "a finished JobSet starts nothing");
                self.create(job);
            }
            Action::DeleteJob { name, uid } => {
                let job = self.job(name);
                assert_eq!((&job.uid, job.deleting), (uid, false), "{name}");
                job.deleting = true;
            }
            Action::SuspendJob { name, .. } => {
                assert!(suspended && !finished);
                let job = self.job(name);
                assert!(!job.suspended && !job.deleting, "{name}");
                job.suspended = true;
            }
            Action::ResumeJob(resume) => {
                assert!(!suspended && !finished);
                self.check_order(&resume.name.clone());
                let job = self.job(&resume.name);
                assert!(job.suspended && !job.deleting);
                assert_eq!(job.active, 0, "the server takes no change of its template yet");
                assert_eq!(resume.clear_start_time, job.started);
                (job.suspended, job.started) = (false, false);
                if let Some(size) = resume.size {
                    self.resize(&resume.name, size);
                }
            }
            Action::ScaleJob { name, size, .. } => self.resize(name, *size),
            Action::DeleteJobSet | Action::CreateClaim(_) | Action::CreateService(_) => {
                panic!("nobody asked for {action:?}")
            }
        }
    }

    fn resize(&mut self, job: &str, JobSize { parallelism, completions }: JobSize) {
        let job = self.job(job);
        assert_ne!((job.parallelism, job.completions), (parallelism, Some(completions)));
        (job.parallelism, job.completions) = (parallelism, Some(completions));
    }

    fn create(&mut self, job: &Job) {
        let labels = job.metadata.labels.as_ref().unwrap();
        let label = |key: &str| LabelValue::read(labels.get(key).map(String::as_str));
        let name = job.metadata.name.clone().unwrap();
        assert!(!self.scene.jobs.iter().any(|job| job.name == name), "two of one name: {name}");

        let status = self.status();
        assert_eq!(label(labels::RESTART_ATTEMPT), LabelValue::Number(status.restarts), "{name}");
        let replicated_job = labels[labels::REPLICATED_JOB_NAME].clone();
        let LabelValue::Number(index) = label(labels::JOB_INDEX) else { panic!("{name} has no index") };
        let entry = status.replicated_jobs_status.iter().find(|entry| entry.name == replicated_job);
        let restarts = entry.and_then(|entry| entry.job_restarts.get(usize::try_from(index).unwrap()));
        let own = self.scene.gates.restart_job.then(|| restarts.copied().unwrap_or(0));
        assert_eq!(label(labels::JOB_RESTART_ATTEMPT), own.map_or(LabelValue::Missing, LabelValue::Number));
        if self.scene.jobset.spec.failure_policy.as_ref().is_some_and(|policy| {
            policy.restart_strategy == jobset_api::jobset::RestartStrategy::BlockingRecreate
        }) {
            assert!(self.scene.jobs.iter().all(|job| !self.is_previous(job)), "BlockingRecreate: {name}");
        }

        self.born += 1;
        let spec = job.spec.as_ref().unwrap();
        let suspended = spec.suspend.unwrap();
        assert_eq!(suspended, self.scene.jobset.spec.suspend == Some(true), "{name}");
        let record = JobRecord {
            name: name.clone(),
            uid: format!("uid-{}", self.born),
            replicated_job: Some(replicated_job),
            restart_attempt: label(labels::RESTART_ATTEMPT),
            job_restart_attempt: label(labels::JOB_RESTART_ATTEMPT),
            job_index: LabelValue::Number(index),
            parallelism: spec.parallelism.unwrap_or(1),
            completions: spec.completions,
            suspended,
            started: false,
            active: 0,
            ready: 0,
            succeeded: 0,
            verdict: None,
            deleting: false,
        };
        if !suspended {
            self.check_order(&name);
        }
        // In the order of the names, as the index keeps them.
        let place = self.scene.jobs.partition_point(|job| job.name < name);
        self.scene.jobs.insert(place, record);
    }

    fn is_previous(&self, job: &JobRecord) -> bool {
        let status = self.status();
        let number = |label: &LabelValue| if let LabelValue::Number(number) = label { *number } else { 0 };
        let entry = status
            .replicated_jobs_status
            .iter()
            .find(|entry| Some(&entry.name) == job.replicated_job.as_ref());
        let index = usize::try_from(number(&job.job_index)).unwrap();
        let own = entry.and_then(|entry| entry.job_restarts.get(index)).copied().unwrap_or(0);
        number(&job.restart_attempt) < status.restarts || number(&job.job_restart_attempt) < own
    }

    /// Workers run only when the drivers are as far as the JobSet asks for.
    fn check_order(&self, name: &str) {
        let spec = &self.scene.jobset.spec;
        if !name.starts_with("train-worker-") {
            return;
        }
        let drivers = usize::try_from(spec.replicated_jobs[0].replicas).unwrap();
        let current = self
            .scene
            .jobs
            .iter()
            .filter(|job| job.name.starts_with("train-driver-") && !self.is_previous(job));
        let ended = |job: &JobRecord| job.verdict.is_some();
        let started = |job: &JobRecord| ended(job) || job.ready + job.succeeded >= job.parallelism;
        if let Some(dependency) = spec.replicated_jobs[1].depends_on.iter().flatten().next() {
            let complete = dependency.status == jobset_api::jobset::DependsOnStatus::Complete;
            let reached = current.filter(|job| if complete { ended(job) } else { started(job) }).count();
            assert_eq!(reached, drivers, "{name} depends on the drivers");
        } else if spec.startup_policy.is_some() {
            assert_eq!(
                current.filter(|job| started(job)).count(),
                drivers,
                "{name} comes behind the drivers"
            );
        }
    }

    fn store(&mut self, status: &JobSetStatus) {
        let before = self.status();
        assert_ne!(self.scene.jobset.status.as_ref(), Some(status), "a status that says nothing new");
        assert!(before.terminal_state.is_empty() || before.terminal_state == status.terminal_state);
        for end in ["Completed", "Failed"] {
            let is = |status: &JobSetStatus| {
                status.conditions.iter().any(|condition| condition.type_ == end && condition.status == "True")
            };
            assert!(!is(&before) || is(status), "{end} is final");
            assert_eq!(is(status), status.terminal_state == end);
        }
        let singles = |status: &JobSetStatus, counted: bool| -> i32 {
            let of = |entry: &ReplicatedJobStatus| -> i32 {
                if counted { &entry.job_restarts_count_towards_max } else { &entry.job_restarts }.iter().sum()
            };
            status.replicated_jobs_status.iter().map(of).sum()
        };
        let all = |status: &JobSetStatus| status.restarts + singles(status, false);
        assert!((0..=1).contains(&(all(status) - all(&before))), "one restart at a time");
        assert!(
            usize::try_from(all(status)).unwrap() <= self.failed.len(),
            "more restarts than failures: {status:?}"
        );
        let counted = status.restarts_count_towards_max + singles(status, true);
        let policy = self.scene.jobset.spec.failure_policy.as_ref();
        let max = policy.map_or(0, |policy| policy.max_restarts);
        assert!(counted <= max.max(0), "{counted} restarts of {max}");
        if policy.is_some_and(|policy| policy.rules.is_empty()) {
            assert_eq!(counted, status.restarts, "without rules every restart counts");
        }
        self.scene.jobset.status = Some(status.clone());
    }

    /// A rule about single Jobs needs its gate; without it such a JobSet says what it waits for.
    fn is_stuck(&self) -> bool {
        self.plan().waiting.iter().any(|why| why.contains("feature gate RestartJob"))
    }

    fn step(&mut self, step: Step) {
        let pick = |jobs: &[usize], number: usize| (!jobs.is_empty()).then(|| jobs[number % jobs.len()]);
        let which = |of: &dyn Fn(&JobRecord) -> bool| -> Vec<usize> {
            let jobs = self.scene.jobs.iter().enumerate();
            jobs.filter(|(_, job)| of(job)).map(|(place, _)| place).collect()
        };
        let runs = |job: &JobRecord| !job.suspended && job.verdict.is_none();
        self.now += 1;
        let at = Timestamp::from_second(self.now).unwrap();
        let verdict = |outcome, reason: &str| {
            Some(Verdict { outcome, reason: reason.into(), message: String::new(), at })
        };
        match step {
            Step::Reconcile => {
                self.reconcile(usize::MAX);
            }
            Step::Crash(limit) => {
                self.reconcile(limit);
            }
            Step::Progress(number) => {
                if let Some(place) = pick(&which(&runs), number) {
                    let job = &mut self.scene.jobs[place];
                    if !job.started {
                        (job.started, job.active) = (true, job.parallelism);
                    } else if job.ready < job.parallelism {
                        job.ready = job.parallelism;
                    } else {
                        (job.active, job.ready, job.succeeded) = (0, 0, job.parallelism);
                        job.verdict = verdict(Outcome::Complete, "CompletionsReached");
                    }
                }
            }
            Step::Fail(number, reason) => {
                if let Some(place) = pick(&which(&runs), number) {
                    let job = &mut self.scene.jobs[place];
                    job.ready = 0;
                    job.verdict = verdict(Outcome::Failing, REASONS[reason]);
                    self.failed.insert(job.uid.clone());
                }
            }
            Step::Stop => {
                for job in &mut self.scene.jobs {
                    let fails = job.verdict.as_mut().filter(|verdict| verdict.outcome == Outcome::Failing);
                    if job.suspended || fails.is_some() {
                        (job.active, job.ready) = (0, 0);
                    }
                    if let Some(verdict) = fails {
                        (verdict.outcome, verdict.at) = (Outcome::Failed, at);
                    }
                }
            }
            Step::Gone(number) => {
                if let Some(place) = pick(&which(&|job| job.deleting), number) {
                    self.scene.jobs.remove(place);
                }
            }
            Step::Delete(number) => {
                if let Some(place) = pick(&which(&|_| true), number) {
                    self.scene.jobs[place].deleting = true;
                }
            }
            Step::Suspend(suspend) => self.scene.jobset.spec.suspend = Some(suspend),
            Step::Wait(seconds) => self.now += seconds,
        }
    }

    /// Looks until there is nothing to do. Without news from outside nothing is done twice.
    fn settle(&mut self) {
        let mut done = BTreeSet::new();
        for _ in 0..40 {
            let plan = self.reconcile(usize::MAX);
            if plan.actions.is_empty() && plan.status.is_none() {
                assert_eq!(plan.events, []);
                return;
            }
            for action in &plan.actions {
                assert!(done.insert(format!("{action:?}")), "again: {action:?}");
            }
        }
        panic!("it does not settle: {:#?}", self.plan());
    }
}

/// With Jobs that all run to their end, and nobody who interferes, every JobSet that has Jobs comes to its end.
fn run_to_the_end(world: &mut World) {
    world.scene.jobset.spec.suspend = Some(false);
    for _ in 0..60 {
        world.settle();
        for _ in 0..4 * world.scene.jobs.len() {
            world.step(Step::Gone(0));
            world.step(Step::Stop);
        }
        world.settle();
        if world.status().terminal_state.is_empty() {
            for number in 0..world.scene.jobs.len() {
                world.step(Step::Progress(number));
            }
        } else if world.scene.jobs.iter().all(|job| job.verdict.is_some()) {
            return;
        }
        if world.scene.jobs.is_empty() || world.is_stuck() {
            return;
        }
    }
    panic!("it does not end: {:#?}\n{:#?}", world.status(), world.scene.jobs);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_it_settles((spec, gates, suspend) in given(), steps in vec(step(), 0..120)) {
        let scene = jobset(&spec).gates(gates).suspend(suspend);
        let mut world = World { scene, born: 0, failed: BTreeSet::new(), now: NOW };
        for step in steps {
            world.step(step);
        }
        world.settle();
        prop_assert_eq!(world.plan().actions, []);

        run_to_the_end(&mut world);
        let spec = &world.scene.jobset.spec;
        let wanted: i32 = spec.replicated_jobs.iter().map(|rj| rj.replicas).sum();
        if wanted > 0 && !world.is_stuck() {
            prop_assert_ne!(world.status().terminal_state, "", "{:#?}", world.scene.jobs);
        }
    }
}
