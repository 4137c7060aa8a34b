//! Observes the JobSet: one list, and then a watch that continues where the previous one ended.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::Method;
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tracing::info;

use crate::api::{Api, Failure, LONGEST, broken};
use crate::jobset::{JobSet, Line, parse_line, parse_list};
use crate::report::{Purpose, Retries};

const PURPOSE: Purpose = Purpose {
    what: "watch the JobSet",
    group: "jobset.x-k8s.io",
    resource: "jobsets",
    verbs: "\"get\", \"list\", \"watch\"",
};
/// A watch of this duration was useful, even if it returned nothing.
const USEFUL: Duration = Duration::from_secs(30);
/// Resource version that is too old.
const GONE: u16 = 410;
/// A buffer that grew for a large JobSet is released, because the agent waits for hours.
const SMALL: usize = 64 << 10;

/// Sends every version of the JobSet. It ends only when the receiver is dropped.
pub(crate) async fn observe(api: Arc<Api>, jobset: String, versions: mpsc::Sender<JobSet>) {
    let mut observer = Observer {
        retries: Retries::new(PURPOSE, &api.account.namespace),
        path: path(&api.account.namespace, &jobset),
        name: jobset,
        version: None,
        found: None,
        established: None,
        versions,
        api,
    };
    while !observer.versions.is_closed() {
        let end = observer.session().await;
        if observer.established.take().is_some_and(|start| start.elapsed() >= USEFUL) {
            observer.retries.succeeded();
        }
        let delay = match end {
            Ok(()) => observer.retries.ended(),
            Err(failure) => {
                if failure.code() == GONE {
                    observer.version = None;
                }
                observer.retries.failed(&failure)
            }
        };
        tokio::select! {
            () = sleep(delay) => {}
            () = observer.versions.closed() => return,
        }
    }
}

/// Path of a list. The field selector makes the API server send one JobSet only, and RBAC rules can name it.
fn path(namespace: &str, jobset: &str) -> String {
    let (namespace, jobset) = (encode(namespace), encode(jobset));
    format!(
        "/apis/jobset.x-k8s.io/v1alpha2/namespaces/{namespace}/jobsets?fieldSelector=metadata.name%3D{jobset}"
    )
}

/// Percent-encodes a value for a path or a query.
pub(crate) fn encode(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

struct Observer {
    api: Arc<Api>,
    name: String,
    path: String,
    /// Where the next watch begins; without it, a list is necessary.
    version: Option<String>,
    /// Whether the last list contained the JobSet.
    found: Option<bool>,
    /// When the API server accepted the watch.
    established: Option<Instant>,
    retries: Retries,
    versions: mpsc::Sender<JobSet>,
}

impl Observer {
    /// Lists if necessary, and watches until the API server ends the watch.
    async fn session(&mut self) -> Result<(), Failure> {
        let mut connection = self.api.connect().await?;
        let version = if let Some(version) = self.version.clone() {
            version
        } else {
            // Without a resource version, the response is consistent: an old status would yield a wrong attempt.
            let request = self.api.request(Method::GET, &self.path)?;
            let response = self.api.send(&mut connection, request).await?;
            let list = parse_list(&self.api.read(response.into_body()).await?)?;
            self.report(list.jobset.is_some());
            if let Some(jobset) = list.jobset {
                self.send(jobset).await;
            }
            self.version.insert(list.version).clone()
        };
        // Random, so that the watches of thousands of agents do not end together.
        let seconds = self.api.timeouts.watch.mul_f64(1.0 + fastrand::f64()).as_secs().max(1);
        let path = format!(
            "{}&watch=true&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={}",
            self.path,
            encode(&version)
        );
        let request = self.api.request(Method::GET, &path)?;
        let response = self.api.send(&mut connection, request).await?;
        self.established = Some(Instant::now());
        self.follow(response.into_body()).await
    }

    /// Reads a watch to its end.
    async fn follow(&mut self, mut body: Incoming) -> Result<(), Failure> {
        let after = self.api.timeouts.idle;
        let mut buffer = Vec::new();
        loop {
            let next = tokio::select! {
                next = timeout(after, body.frame()) => next,
                () = self.versions.closed() => return Ok(()),
            };
            let Some(frame) = next.map_err(|_| Failure::Timeout { what: "event or bookmark", after })? else {
                return if buffer.is_empty() { Ok(()) } else { Err(Failure::Cut) };
            };
            let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
            let mut rest = data.as_ref();
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let (line, after) = rest.split_at(end + 1);
                rest = after;
                buffer.extend_from_slice(line);
                let line = parse_line(&buffer)?;
                buffer.clear();
                buffer.shrink_to(SMALL);
                self.line(line).await?;
            }
            if buffer.len() + rest.len() > LONGEST {
                return Err(Failure::TooLong);
            }
            buffer.extend_from_slice(rest);
        }
    }

    async fn line(&mut self, line: Line) -> Result<(), Failure> {
        let version = match line {
            Line::Failed(status) => return Err(Failure::of_status(status)),
            Line::Version(version) => version,
            Line::Changed(jobset, version) => {
                self.send(jobset).await;
                version
            }
        };
        self.retries.succeeded();
        if !version.is_empty() {
            self.version = Some(version);
        }
        Ok(())
    }

    async fn send(&mut self, jobset: JobSet) {
        // Without a receiver, the next wait ends.
        drop(self.versions.send(jobset).await);
    }

    fn report(&mut self, found: bool) {
        if self.found.replace(found) != Some(found) && !found {
            info!(
                "JobSet \"{}\" does not exist in namespace \"{}\": waiting for it; if its name is another one, correct \
                 environment variable JOBSET_NAME",
                self.name, self.api.account.namespace
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_selects_one_jobset() {
        assert_eq!(
            path("team", "a&b=c d"),
            "/apis/jobset.x-k8s.io/v1alpha2/namespaces/team/jobsets?fieldSelector=metadata.name%3Da%26b%3Dc%20d"
        );
    }
}
