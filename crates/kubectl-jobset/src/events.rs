//! `events`: what happened to a JobSet, its Jobs and its pods, the oldest first.

use crate::explain::{Observed, age, time_of};
use crate::table;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use serde::Serialize;
use std::collections::BTreeSet;

/// An event.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<Timestamp>,
    #[serde(skip)]
    age: String,
    r#type: String,
    reason: String,
    object: String,
    count: i32,
    message: String,
}

/// The events about a JobSet, its Jobs and its pods, also those of pods that are gone.
pub(crate) fn of(observed: &Observed, now: Timestamp) -> Vec<Line> {
    let name = observed.recorded.jobset.metadata.name.as_deref().unwrap_or_default();
    let uids: BTreeSet<&str> = [observed.recorded.jobset.metadata.uid.as_deref()]
        .into_iter()
        .chain(observed.jobs().map(|job| job.metadata.uid.as_deref()))
        .chain(observed.pods().map(|pod| pod.metadata.uid.as_deref()))
        .flatten()
        .collect();
    let roles = observed.recorded.jobset.spec.replicated_jobs.iter();
    let prefixes: Vec<String> = roles.map(|role| format!("{name}-{}-", role.name)).collect();
    let is_about = |event: &&Event| {
        let object = &event.involved_object;
        let is_child = object.kind.as_deref().is_some_and(|kind| kind == "Job" || kind == "Pod");
        let has_name = |name: &String| prefixes.iter().any(|prefix| name.starts_with(prefix));
        object.uid.as_deref().is_some_and(|uid| uids.contains(uid))
            || is_child && object.name.as_ref().is_some_and(has_name)
    };
    let mut events: Vec<&Event> = observed.events.iter().filter(is_about).collect();
    events.sort_by_key(|event| time_of(event));
    events.into_iter().map(|event| line(event, now)).collect()
}

fn line(event: &Event, now: Timestamp) -> Line {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let time = time_of(event);
    let count = event.series.as_ref().and_then(|series| series.count).or(event.count).unwrap_or(1);
    let object = &event.involved_object;
    Line {
        time,
        age: time.map_or_else(String::new, |time| age(time, now)),
        r#type: text(&event.type_),
        reason: text(&event.reason),
        object: format!("{}/{}", text(&object.kind).to_lowercase(), text(&object.name)),
        count,
        message: text(&event.message),
    }
}

/// The table.
pub(crate) fn text(lines: &[Line]) -> String {
    let rows = lines.iter().map(|line| {
        let times = if line.count > 1 { format!(" (×{})", line.count) } else { String::new() };
        [
            format!("{}{times}", line.age),
            line.r#type.clone(),
            line.reason.clone(),
            line.object.clone(),
            line.message.trim().replace('\n', " "),
        ]
    });
    table::render(["AGE", "TYPE", "REASON", "OBJECT", "MESSAGE"], rows)
}
