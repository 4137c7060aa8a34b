//! Queries of the API server's audit log: the user, the request and the response code of every request.
//!
//! ```no_run
//! # let audit = devcluster::AuditLog::new("/tmp/audit".into());
//! let writes = audit.query().user("system:serviceaccount:jobset-system:controller").writes().resource("jobs");
//! assert_eq!(writes.count()?, 4);
//! # anyhow::Ok(())
//! ```
//!
//! A query sees a request when its response is complete (stage `ResponseComplete`): a watch when it ends.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::Deserialize;

/// Verbs of writes.
const WRITES: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Unique for each request.
    #[serde(rename = "auditID")]
    pub audit_id: String,
    /// `ResponseComplete`, `Panic`, and for a watch also `ResponseStarted`.
    pub stage: String,
    /// Path and query.
    #[serde(rename = "requestURI")]
    pub request_uri: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// User of the request.
    pub user: User,
    /// User agent of the client.
    #[serde(default)]
    pub user_agent: String,
    /// Object of the request; requests such as `/readyz` have none.
    pub object_ref: Option<ObjectRef>,
    /// Status of the response.
    pub response_status: Option<ResponseStatus>,
    /// Audit annotations, such as `authorization.k8s.io/decision`.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// When the API server received the request.
    pub request_received_timestamp: Timestamp,
    /// When the request reached this stage.
    pub stage_timestamp: Timestamp,
}

/// User of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct User {
    /// Such as `system:serviceaccount:kube-system:job-controller`.
    pub username: String,
    /// Such as `system:masters`.
    pub groups: Vec<String>,
    /// Such as `authentication.kubernetes.io/credential-id`, the ID of the token.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// Object of a request. Fields that the request does not set are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectRef {
    /// Such as `batch`; empty for the core group.
    pub api_group: String,
    /// Such as `jobs`.
    pub resource: String,
    /// Such as `status`.
    pub subresource: String,
    /// Empty for cluster-scoped requests.
    pub namespace: String,
    /// Empty for lists and watches.
    pub name: String,
}

/// Status of a response.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ResponseStatus {
    /// HTTP status code.
    pub code: u16,
    /// Such as `Conflict`; empty on success.
    pub reason: String,
}

impl Entry {
    /// HTTP status code of the response; 0: there was no response.
    pub fn code(&self) -> u16 {
        self.response_status.as_ref().map_or(0, |status| status.code)
    }

    /// Whether RBAC denied the request.
    pub fn is_forbidden(&self) -> bool {
        self.annotations.get("authorization.k8s.io/decision").is_some_and(|decision| decision == "forbid")
    }

    /// Whether the request is a write.
    pub fn is_write(&self) -> bool {
        WRITES.contains(&self.verb.as_str())
    }
}

/// The audit log of one cluster.
#[derive(Clone, Debug)]
pub struct AuditLog {
    folder: PathBuf,
}

impl AuditLog {
    /// The log in this folder: `audit.log` and its rotated files.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// A query that matches every completed request.
    pub fn query(&self) -> Query<'_> {
        Query { log: self, filters: Vec::new(), stage: "ResponseComplete" }
    }

    /// Calls `visit` with every entry, oldest first.
    pub fn for_each(&self, mut visit: impl FnMut(Entry)) -> Result<()> {
        for file in self.files()? {
            let mut reader =
                BufReader::new(File::open(&file).with_context(|| format!("cannot read {}", file.display()))?);
            let mut line = String::new();
            for number in 1.. {
                line.clear();
                let read =
                    reader.read_line(&mut line).with_context(|| format!("cannot read {}", file.display()))?;
                // The API server may not have finished the last line.
                if read == 0 || !line.ends_with('\n') {
                    break;
                }
                let entry = serde_json::from_str(&line)
                    .with_context(|| format!("{} line {number} is not an audit event", file.display()))?;
                visit(entry);
            }
        }
        Ok(())
    }

    /// The log files, oldest first: the names of rotated files contain the time of rotation.
    fn files(&self) -> Result<Vec<PathBuf>> {
        let mut rotated: Vec<_> = fs::read_dir(&self.folder)
            .with_context(|| format!("cannot read folder {}", self.folder.display()))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| is_log(path) && path.file_stem().is_some_and(|stem| stem != "audit"))
            .collect();
        rotated.sort();
        let current = self.folder.join("audit.log");
        rotated.extend(current.exists().then_some(current));
        Ok(rotated)
    }
}

fn is_log(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "log")
}

type Filter = Box<dyn Fn(&Entry) -> bool>;

/// A query of the audit log. Each filter narrows it; `count` and `entries` run it.
pub struct Query<'a> {
    log: &'a AuditLog,
    filters: Vec<Filter>,
    stage: &'static str,
}

impl Query<'_> {
    /// Only requests of this user.
    #[must_use]
    pub fn user(self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.filter(move |entry| entry.user.username == name)
    }

    /// Only requests of clients whose user agent has this prefix, such as `jobset-controller-manager/`.
    #[must_use]
    pub fn user_agent(self, prefix: impl Into<String>) -> Self {
        let prefix = prefix.into();
        self.filter(move |entry| entry.user_agent.starts_with(&prefix))
    }

    /// Only requests with this verb.
    #[must_use]
    pub fn verb(self, verb: impl Into<String>) -> Self {
        let verb = verb.into();
        self.filter(move |entry| entry.verb == verb)
    }

    /// Only writes.
    #[must_use]
    pub fn writes(self) -> Self {
        self.filter(Entry::is_write)
    }

    /// Only requests for this resource, such as `jobs`, or subresource, such as `jobsets/status`. `jobs` does not match
    /// requests for subresources of Jobs.
    #[must_use]
    pub fn resource(self, resource: &str) -> Self {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let (resource, subresource) = (resource.to_owned(), subresource.to_owned());
        self.object(move |object| object.resource == resource && object.subresource == subresource)
    }

    /// Only requests in this namespace.
    #[must_use]
    pub fn namespace(self, namespace: impl Into<String>) -> Self {
        let namespace = namespace.into();
        self.object(move |object| object.namespace == namespace)
    }

    /// Only requests for the object of this name.
    #[must_use]
    pub fn name(self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.object(move |object| object.name == name)
    }

    /// Only requests whose response has this HTTP status code.
    #[must_use]
    pub fn code(self, code: u16) -> Self {
        self.filter(move |entry| entry.code() == code)
    }

    /// Only requests that the API server received at this time or later.
    #[must_use]
    pub fn since(self, time: Timestamp) -> Self {
        self.filter(move |entry| entry.request_received_timestamp >= time)
    }

    /// Only watches, from the moment they start, so that open watches match.
    #[must_use]
    pub fn watches(mut self) -> Self {
        self.stage = "ResponseStarted";
        self.filter(|entry| entry.verb == "watch")
    }

    /// Only requests for which this function returns true.
    #[must_use]
    pub fn filter(mut self, accepts: impl Fn(&Entry) -> bool + 'static) -> Self {
        self.filters.push(Box::new(accepts));
        self
    }

    fn object(self, accepts: impl Fn(&ObjectRef) -> bool + 'static) -> Self {
        self.filter(move |entry| entry.object_ref.as_ref().is_some_and(&accepts))
    }

    fn matches(&self, entry: &Entry) -> bool {
        entry.stage == self.stage && self.filters.iter().all(|accepts| accepts(entry))
    }

    /// Counts the requests that match.
    pub fn count(&self) -> Result<usize> {
        let mut count = 0;
        self.log.for_each(|entry| count += usize::from(self.matches(&entry)))?;
        Ok(count)
    }

    /// Returns the requests that match, oldest first.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        self.log.for_each(|entry| {
            if self.matches(&entry) {
                entries.push(entry);
            }
        })?;
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: u32, stage: &str, verb: &str, user: &str, resource: &str, name: &str, code: u16) -> String {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        format!(
            r#"{{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"id-{id}","stage":"{stage}","requestURI":"/x","verb":"{verb}","user":{{"username":"{user}","groups":["g"]}},"sourceIPs":["127.0.0.1"],"userAgent":"agent/1","objectRef":{{"resource":"{resource}","subresource":"{subresource}","namespace":"east","name":"{name}","apiGroup":"batch","apiVersion":"v1"}},"responseStatus":{{"metadata":{{}},"code":{code}}},"requestReceivedTimestamp":"2026-01-02T03:04:{id:02}.123456Z","stageTimestamp":"2026-01-02T03:05:00.000000Z"}}"#
        ) + "\n"
    }

    fn log(lines: &[String]) -> (tempfile::TempDir, AuditLog) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("audit.log"), lines.concat()).unwrap();
        let log = AuditLog::new(folder.path().into());
        (folder, log)
    }

    #[test]
    fn filters_narrow_a_query() {
        let (_folder, log) = log(&[
            line(1, "ResponseComplete", "create", "ann", "jobs", "one", 201),
            line(2, "ResponseComplete", "patch", "ann", "jobs/status", "one", 409),
            line(3, "ResponseComplete", "get", "bob", "pods", "two", 200),
            line(4, "ResponseStarted", "watch", "bob", "pods", "", 200),
        ]);
        assert_eq!(log.query().count().unwrap(), 3);
        assert_eq!(log.query().user("ann").count().unwrap(), 2);
        assert_eq!(log.query().writes().count().unwrap(), 2);
        assert_eq!(log.query().verb("get").count().unwrap(), 1);
        assert_eq!(log.query().resource("jobs").count().unwrap(), 1);
        assert_eq!(log.query().resource("jobs/status").count().unwrap(), 1);
        assert_eq!(log.query().namespace("west").count().unwrap(), 0);
        assert_eq!(log.query().namespace("east").name("one").count().unwrap(), 2);
        assert_eq!(log.query().code(409).entries().unwrap()[0].audit_id, "id-2");
        assert_eq!(log.query().watches().count().unwrap(), 1);
        assert_eq!(log.query().user_agent("agent/").count().unwrap(), 3);
        assert_eq!(log.query().user_agent("kubectl/").count().unwrap(), 0);
        assert_eq!(log.query().since("2026-01-02T03:04:02.2Z".parse().unwrap()).count().unwrap(), 1);
    }

    #[test]
    fn an_entry_needs_neither_object_nor_response() {
        let text = r#"{"auditID":"a","stage":"ResponseComplete","requestURI":"/readyz","verb":"get","user":{"username":"u"},"requestReceivedTimestamp":"2026-01-02T03:04:05.000000Z","stageTimestamp":"2026-01-02T03:04:05.000001Z","annotations":{"authorization.k8s.io/decision":"forbid"}}"#;
        let (_folder, log) = log(&[format!("{text}\n")]);
        let entries = log.query().entries().unwrap();
        assert_eq!((entries[0].code(), &entries[0].object_ref), (0, &None));
        assert!(entries[0].is_forbidden());
        assert_eq!(log.query().resource("jobs").count().unwrap(), 0);
    }

    #[test]
    fn rotated_files_come_first_and_an_unfinished_line_is_ignored() {
        let complete = line(2, "ResponseComplete", "get", "ann", "pods", "new", 200);
        let (folder, log) = log(&[complete.clone(), complete[..40].to_owned()]);
        let old = line(1, "ResponseComplete", "get", "ann", "pods", "old", 200);
        fs::write(folder.path().join("audit-2026-01-02T03-04-05.000.log"), old).unwrap();
        let names: Vec<_> =
            log.query().entries().unwrap().into_iter().map(|entry| entry.object_ref.unwrap().name).collect();
        assert_eq!(names, ["old", "new"]);
    }

    #[test]
    fn an_error_names_the_invalid_line() {
        let (_folder, log) = log(&["{\"kind\"\n".to_owned()]);
        let message = format!("{:#}", log.query().count().unwrap_err());
        assert!(message.contains("audit.log line 1 is not an audit event"), "{message}");
    }
}
