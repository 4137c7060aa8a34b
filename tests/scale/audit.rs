//! Requests in the API server's audit log: follows the log during a run, and counts the requests of a phase.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use devcluster::audit::Entry;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// User of the Job controller.
pub(crate) const JOB_CONTROLLER: &str = "system:serviceaccount:kube-system:job-controller";

/// A completed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// The user.
    pub(crate) user: String,
    /// `create`, `update`, ...
    pub(crate) verb: String,
    /// `jobs`, `jobsets/status`, ...; empty for requests such as `/readyz`.
    pub(crate) resource: String,
    /// Name of the object.
    pub(crate) name: String,
    /// HTTP status code.
    pub(crate) code: u16,
    /// When the API server received the request.
    pub(crate) received: Timestamp,
    /// When the response was complete.
    pub(crate) completed: Timestamp,
}

impl Request {
    fn new(entry: Entry) -> Self {
        let code = entry.code();
        let object = entry.object_ref.unwrap_or_default();
        let resource = match object.subresource.as_str() {
            "" => object.resource,
            subresource => format!("{}/{subresource}", object.resource),
        };
        Self {
            user: entry.user.username,
            verb: entry.verb,
            resource,
            name: object.name,
            code,
            received: entry.request_received_timestamp,
            completed: entry.stage_timestamp,
        }
    }

    fn is_success(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// Whether the request is part of the work of a controller: not a watch, and not the renewal of a lease.
    pub(crate) fn is_work(&self) -> bool {
        self.verb != "watch" && self.resource != "leases"
    }

    fn is_write_of(&self, resource: &str) -> bool {
        self.resource == resource && self.is_success() && self.verb != "get" && self.verb != "list"
    }
}

/// Reads the audit log as it grows.
pub(crate) struct Follower {
    path: PathBuf,
    reader: Option<BufReader<File>>,
    unfinished: String,
    requests: Vec<Request>,
}

impl Follower {
    /// Follows this log file from its start.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, reader: None, unfinished: String::new(), requests: Vec::new() }
    }

    /// Reads the new lines. Returns all requests that completed so far.
    pub(crate) fn read(&mut self) -> Result<&[Request]> {
        loop {
            let reader = if let Some(reader) = &mut self.reader {
                reader
            } else {
                let file = File::open(&self.path);
                let file = file.with_context(|| format!("cannot read {}", self.path.display()))?;
                self.reader.insert(BufReader::new(file))
            };
            // The API server may have renamed the file and started another one. A renamed file does not grow.
            let is_renamed = inode(&self.path) != reader.get_ref().metadata()?.ino();
            while reader.read_line(&mut self.unfinished)? > 0 && self.unfinished.ends_with('\n') {
                let entry: Entry = serde_json::from_str(&self.unfinished)
                    .with_context(|| format!("{} contains an invalid line", self.path.display()))?;
                self.unfinished.clear();
                if entry.stage == "ResponseComplete" {
                    self.requests.push(Request::new(entry));
                }
            }
            if !is_renamed {
                return Ok(&self.requests);
            }
            self.reader = None;
        }
    }
}

/// The inode of a file; 0 between a rename and the creation of the next file.
fn inode(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.ino())
}

/// Number of requests, by verb, resource and response code, such as `create jobs 201`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Counts(pub(crate) BTreeMap<String, u64>);

impl Counts {
    /// Counts requests.
    pub(crate) fn of<'a>(requests: impl IntoIterator<Item = &'a Request>) -> Self {
        let mut counts = BTreeMap::new();
        for request in requests {
            let resource = if request.resource.is_empty() { "other" } else { &request.resource };
            *counts.entry(format!("{} {resource} {}", request.verb, request.code)).or_default() += 1;
        }
        Self(counts)
    }

    /// The sum of all counts.
    pub(crate) fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// The sum of the counts whose verb, resource and code satisfy a condition.
    pub(crate) fn sum(&self, condition: impl Fn(&str, &str, &str) -> bool) -> u64 {
        let matches = |key: &str| {
            let mut words = key.split(' ');
            let mut word = || words.next().unwrap_or_default();
            condition(word(), word(), word())
        };
        self.0.iter().filter(|(key, _)| matches(key)).map(|(_, count)| count).sum()
    }

    /// Requests with answer 409.
    pub(crate) fn conflicts(&self) -> u64 {
        self.sum(|_, _, code| code == "409")
    }

    /// Stored statuses of JobSets, and attempts to store one.
    pub(crate) fn status_writes(&self) -> u64 {
        self.sum(|verb, resource, _| resource == "jobsets/status" && ["update", "patch"].contains(&verb))
    }

    /// Events.
    pub(crate) fn events(&self) -> u64 {
        self.sum(|_, resource, _| resource == "events")
    }
}

/// The requests of one phase: those that the API server received in this time.
pub(crate) struct Phase<'a> {
    requests: &'a [Request],
    user: &'a str,
    from: Timestamp,
    to: Timestamp,
}

impl<'a> Phase<'a> {
    /// `user` is the user of the controller.
    pub(crate) fn new(requests: &'a [Request], user: &'a str, from: Timestamp, to: Timestamp) -> Self {
        Self { requests, user, from, to }
    }

    fn all(&self) -> impl Iterator<Item = &'a Request> {
        let (from, to) = (self.from, self.to);
        self.requests.iter().filter(move |request| request.received >= from && request.received < to)
    }

    /// The controller's work.
    fn work(&self) -> impl Iterator<Item = &'a Request> {
        let user = self.user;
        self.all().filter(move |request| request.user == user && request.is_work())
    }

    /// Counts of the controller's work.
    pub(crate) fn counts(&self) -> Counts {
        Counts::of(self.work())
    }

    /// Counts of the creations of pods by the Job controller that were denied.
    pub(crate) fn denied_pods(&self) -> u64 {
        let denied = |request: &&Request| {
            request.user == JOB_CONTROLLER
                && request.verb == "create"
                && request.resource == "pods"
                && !request.is_success()
        };
        u64::try_from(self.all().filter(denied).count()).unwrap_or(u64::MAX)
    }

    /// When the response to the controller's last write of a Job was complete.
    pub(crate) fn last_job_write(&self) -> Option<Timestamp> {
        self.work().filter(|request| request.is_write_of("jobs")).map(|request| request.completed).max()
    }

    /// When the Job controller stored that this Job has failed: its last write of the Job's status before the first
    /// write of the controller.
    pub(crate) fn job_failed(&self, job: &str) -> Option<Timestamp> {
        let reaction = self.work().filter(|request| !["get", "list"].contains(&request.verb.as_str()));
        let reaction = reaction.map(|request| request.received).min()?;
        self.all()
            .filter(|request| request.user == JOB_CONTROLLER && request.is_write_of("jobs/status"))
            .filter(|request| request.name == job && request.completed <= reaction)
            .map(|request| request.completed)
            .max()
    }

    /// Times of the creations of Jobs, in order of the log.
    pub(crate) fn job_creations(&self) -> Vec<Timestamp> {
        let created = |request: &&Request| request.verb == "create" && request.is_write_of("jobs");
        self.all().filter(created).map(|request| request.completed).collect()
    }

    /// Times at which simulated pods became ready: KWOK has written their status.
    pub(crate) fn ready_pods(&self) -> Vec<Timestamp> {
        let ready = |request: &&Request| request.user == "kwok" && request.is_write_of("pods/status");
        self.all().filter(ready).map(|request| request.completed).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const CONTROLLER: &str = "system:serviceaccount:jobset-system:jobset-controller-manager";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1000 + second).unwrap()
    }

    /// A request that the API server received at this second, and completed half a second later.
    fn request(second: i64, user: &str, what: &str, name: &str, code: u16) -> Request {
        let (verb, resource) = what.split_once(' ').unwrap();
        Request {
            user: user.into(),
            verb: verb.into(),
            resource: resource.into(),
            name: name.into(),
            code,
            received: at(second),
            completed: at(second) + jiff::SignedDuration::from_millis(500),
        }
    }

    #[test]
    fn only_the_work_of_the_controller_in_the_phase_counts() {
        let requests = [
            request(0, CONTROLLER, "create jobs", "before", 201),
            request(1, CONTROLLER, "create jobs", "a", 201),
            request(2, CONTROLLER, "create jobs", "b", 409),
            request(2, CONTROLLER, "create events", "", 201),
            request(3, CONTROLLER, "update jobsets/status", "js", 200),
            request(3, CONTROLLER, "patch jobsets/status", "js", 409),
            request(3, CONTROLLER, "watch jobs", "", 200),
            request(4, CONTROLLER, "update leases", "l", 200),
            request(4, JOB_CONTROLLER, "create pods", "p", 201),
            request(4, JOB_CONTROLLER, "create pods", "q", 403),
            request(9, CONTROLLER, "create jobs", "after", 201),
        ];
        let phase = Phase::new(&requests, CONTROLLER, at(1), at(9));
        let counts = phase.counts();
        let expected = [
            ("create events 201", 1),
            ("create jobs 201", 1),
            ("create jobs 409", 1),
            ("patch jobsets/status 409", 1),
            ("update jobsets/status 200", 1),
        ];
        assert_eq!(counts.0, expected.map(|(key, count)| (key.to_owned(), count)).into());
        assert_eq!(
            (counts.total(), counts.conflicts(), counts.status_writes(), counts.events()),
            (5, 2, 2, 1)
        );
        assert_eq!(phase.denied_pods(), 1);
        assert_eq!(phase.last_job_write(), Some(request(1, "", "x y", "", 0).completed));
    }

    #[test]
    fn a_job_has_failed_before_the_controller_reacts() {
        let requests = [
            request(1, JOB_CONTROLLER, "update jobs/status", "failing", 200),
            request(2, JOB_CONTROLLER, "update jobs/status", "failing", 200),
            request(3, JOB_CONTROLLER, "update jobs/status", "other", 200),
            request(4, CONTROLLER, "update jobsets/status", "js", 200),
            request(5, JOB_CONTROLLER, "update jobs/status", "failing", 200),
        ];
        let failed = Phase::new(&requests, CONTROLLER, at(0), at(9)).job_failed("failing");
        assert_eq!(failed, Some(requests[1].completed));
        let without_reaction = &requests[..3];
        assert_eq!(Phase::new(without_reaction, CONTROLLER, at(0), at(9)).job_failed("failing"), None);
    }

    fn line(name: &str, stage: &str) -> String {
        format!(
            r#"{{"auditID":"{name}","stage":"{stage}","requestURI":"/x","verb":"create","user":{{"username":"u"}},"objectRef":{{"resource":"pods","subresource":"binding","name":"{name}"}},"responseStatus":{{"code":201}},"requestReceivedTimestamp":"2026-01-02T03:04:05Z","stageTimestamp":"2026-01-02T03:04:06Z"}}"#
        ) + "\n"
    }

    #[test]
    fn the_follower_reads_lines_that_are_complete_also_after_a_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let mut file = File::create(&path).unwrap();
        let mut follower = Follower::new(path.clone());
        let names = |follower: &mut Follower| {
            follower.read().unwrap().iter().map(|request| request.name.clone()).collect::<Vec<_>>()
        };
        let (one, two) = (line("one", "ResponseComplete"), line("two", "ResponseComplete"));
        file.write_all(one.as_bytes()).unwrap();
        file.write_all(line("ignored", "ResponseStarted").as_bytes()).unwrap();
        file.write_all(&two.as_bytes()[..50]).unwrap();
        assert_eq!(names(&mut follower), ["one"]);
        file.write_all(&two.as_bytes()[50..]).unwrap();
        assert_eq!(names(&mut follower), ["one", "two"]);
        file.write_all(line("three", "ResponseComplete").as_bytes()).unwrap();
        std::fs::rename(&path, folder.path().join("audit-1.log")).unwrap();
        std::fs::write(&path, line("four", "ResponseComplete")).unwrap();
        assert_eq!(names(&mut follower), ["one", "two", "three", "four"]);
        assert_eq!(follower.read().unwrap()[0].resource, "pods/binding");
    }
}
