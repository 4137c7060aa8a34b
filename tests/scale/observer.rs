//! Observes JobSets or Jobs with one watch, and adds up their states.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _};
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject};
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// A step fails if nothing changes for this long.
const STALL: Duration = Duration::from_mins(3);

/// Sums over all observed objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Objects.
    pub(crate) objects: u64,
    /// Ready Jobs.
    pub(crate) ready: u64,
    /// Suspended Jobs.
    pub(crate) suspended: u64,
    /// Objects with condition Suspended.
    pub(crate) suspended_objects: u64,
    /// Objects with condition Completed or Complete.
    pub(crate) completed: u64,
    /// Restarts.
    pub(crate) restarts: u64,
}

impl Totals {
    fn add(&mut self, other: &Self) {
        self.each(other, u64::saturating_add);
    }

    fn subtract(&mut self, other: &Self) {
        self.each(other, u64::saturating_sub);
    }

    fn each(&mut self, other: &Self, operation: fn(u64, u64) -> u64) {
        self.objects = operation(self.objects, other.objects);
        self.ready = operation(self.ready, other.ready);
        self.suspended = operation(self.suspended, other.suspended);
        self.suspended_objects = operation(self.suspended_objects, other.suspended_objects);
        self.completed = operation(self.completed, other.completed);
        self.restarts = operation(self.restarts, other.restarts);
    }

    /// The state of a JobSet, from its status.
    pub(crate) fn of_job_set(object: &DynamicObject) -> Self {
        let counts = |field: &str| {
            let statuses = object.data.pointer("/status/replicatedJobsStatus").and_then(Value::as_array);
            statuses.into_iter().flatten().filter_map(|status| status.get(field)?.as_u64()).sum()
        };
        Self {
            objects: 1,
            ready: counts("ready"),
            suspended: counts("suspended"),
            suspended_objects: u64::from(has_condition(object, "Suspended")),
            completed: u64::from(has_condition(object, "Completed")),
            restarts: number(object, "/status/restarts"),
        }
    }

    /// The state of a Job.
    pub(crate) fn of_job(object: &DynamicObject) -> Self {
        let suspended = u64::from(has_condition(object, "Suspended"));
        let ready = number(object, "/status/ready") >= number(object, "/spec/parallelism");
        Self {
            objects: 1,
            ready: u64::from(ready),
            suspended,
            suspended_objects: suspended,
            completed: u64::from(has_condition(object, "Complete")),
            restarts: 0,
        }
    }
}

fn number(object: &DynamicObject, path: &str) -> u64 {
    object.data.pointer(path).and_then(Value::as_u64).unwrap_or_default()
}

fn has_condition(object: &DynamicObject, name: &str) -> bool {
    let conditions = object.data.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|condition| {
        condition.get("type").and_then(Value::as_str) == Some(name)
            && condition.get("status").and_then(Value::as_str) == Some("True")
    })
}

/// A running watch. It ends when this value is dropped.
pub(crate) struct Observer {
    totals: watch::Receiver<Totals>,
    task: AbortHandle,
}

impl Observer {
    /// Watches all objects of this API. Returns when it has listed them.
    pub(crate) async fn start(
        api: Api<DynamicObject>,
        state_of: fn(&DynamicObject) -> Totals,
    ) -> Result<Self> {
        let (sender, receiver) = watch::channel(Totals::default());
        let (listed, first_list) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(observe(api, state_of, sender, listed)).abort_handle();
        first_list.await.context("the watch of the benchmark ended before its first list")?;
        Ok(Self { totals: receiver, task })
    }

    /// The current sums.
    pub(crate) fn totals(&self) -> Totals {
        *self.totals.borrow()
    }

    /// Waits until the sums satisfy a condition. Returns an error if they do not change for [`STALL`].
    pub(crate) async fn until(
        &self,
        what: &str,
        mut on_change: impl FnMut(&Totals),
        condition: impl Fn(&Totals) -> bool,
    ) -> Result<()> {
        let mut totals = self.totals.clone();
        loop {
            let now = *totals.borrow_and_update();
            on_change(&now);
            if condition(&now) {
                return Ok(());
            }
            match tokio::time::timeout(STALL, totals.changed()).await {
                Ok(changed) => changed.context("the watch of the benchmark ended")?,
                Err(_) => bail!(
                    "timed out waiting for {what}: nothing changed for {STALL:?}; last observed: {now:?}"
                ),
            }
        }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn observe(
    api: Api<DynamicObject>,
    state_of: fn(&DynamicObject) -> Totals,
    sender: watch::Sender<Totals>,
    listed: tokio::sync::oneshot::Sender<()>,
) {
    let mut listed = Some(listed);
    let mut known: HashMap<String, Totals> = HashMap::new();
    let mut sums = Totals::default();
    let mut events = watcher(api, watcher::Config::default()).boxed();
    loop {
        let (object, state) = match events.try_next().await {
            Ok(Some(Event::Apply(object) | Event::InitApply(object))) => {
                let state = state_of(&object);
                (object, Some(state))
            }
            Ok(Some(Event::Delete(object))) => (object, None),
            Ok(Some(Event::Init)) => {
                known.clear();
                sums = Totals::default();
                continue;
            }
            Ok(Some(Event::InitDone)) => {
                // The caller that started the watch may be gone.
                let _ = listed.take().map(|listed| listed.send(()));
                let _ = sender.send(sums);
                continue;
            }
            // The watcher retries.
            Err(_) => continue,
            Ok(None) => return,
        };
        let before = match state {
            Some(state) => known.insert(object.name_any(), state),
            None => known.remove(&object.name_any()),
        };
        if let Some(before) = before {
            sums.subtract(&before);
        }
        if let Some(state) = state {
            sums.add(&state);
        }
        if listed.is_none() && sender.send(sums).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(spec: &Value, status: &Value) -> DynamicObject {
        serde_json::from_value(json!({ "metadata": { "name": "o" }, "spec": spec, "status": status }))
            .unwrap()
    }

    #[test]
    fn the_status_of_a_job_set_contains_its_jobs() {
        let status = json!({
            "restarts": 2,
            "conditions": [{ "type": "Suspended", "status": "False" }, { "type": "Completed", "status": "True" }],
            "replicatedJobsStatus": [{ "ready": 3, "suspended": 1 }, { "ready": 4 }],
        });
        let expected =
            Totals { objects: 1, ready: 7, suspended: 1, completed: 1, restarts: 2, ..Totals::default() };
        assert_eq!(Totals::of_job_set(&object(&json!({}), &status)), expected);
        let new = Totals { objects: 1, ..Totals::default() };
        assert_eq!(Totals::of_job_set(&object(&json!({}), &json!({}))), new);
    }

    #[test]
    fn a_job_is_ready_when_all_its_pods_are() {
        let job =
            |ready: u64| Totals::of_job(&object(&json!({ "parallelism": 4 }), &json!({ "ready": ready })));
        assert_eq!((job(3).ready, job(4).ready), (0, 1));
        let suspended = json!({ "conditions": [{ "type": "Suspended", "status": "True" }] });
        let suspended = Totals::of_job(&object(&json!({ "parallelism": 4 }), &suspended));
        assert_eq!((suspended.suspended, suspended.suspended_objects, suspended.ready), (1, 1, 0));
    }

    #[test]
    fn sums_add_and_subtract() {
        let one =
            Totals { objects: 1, ready: 2, suspended: 3, suspended_objects: 4, completed: 5, restarts: 6 };
        let mut sum = one;
        sum.add(&one);
        assert_eq!((sum.objects, sum.ready, sum.completed, sum.restarts), (2, 4, 10, 12));
        sum.subtract(&one);
        assert_eq!(sum, one);
    }
}
