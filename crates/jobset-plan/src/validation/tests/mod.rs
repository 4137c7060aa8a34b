//! The rules, row by row, in the order of the JobSet API specification.

use super::{ExistingClaims, FieldError, validate_create, validate_update};
use crate::Gates;
use jobset_api::JobSet;
use serde_json::{Value, json};

mod active_deadline;
mod create;
mod failure_policy_and_coordinator;
mod properties;
mod scheduling;
mod scheduling_update;
mod update;
mod volume_claims;
mod warnings;

/// A valid, defaulted JobSet with one Job of `driver` and two Jobs of `worker`, three pods each.
fn valid() -> Value {
    let replicated_job = |name: &str, replicas: i32| {
        json!({
            "name": name,
            "groupName": "default",
            "replicas": replicas,
            "template": {"spec": {
                "completionMode": "Indexed",
                "parallelism": 3,
                "completions": 3,
                "template": {"spec": {
                    "restartPolicy": "OnFailure",
                    "containers": [{"name": "main", "image": "busybox"}],
                }},
            }},
        })
    };
    json!({
        "metadata": {"name": "js", "namespace": "team"},
        "spec": {
            "network": {"enableDNSHostnames": true, "publishNotReadyAddresses": true},
            "successPolicy": {"operator": "All"},
            "startupPolicy": {"startupPolicyOrder": "AnyOrder"},
            "replicatedJobs": [replicated_job("driver", 1), replicated_job("worker", 2)],
        },
    })
}

/// [`valid`] with values set at JSON pointers.
fn edited(edits: &[(&str, Value)]) -> JobSet {
    let mut jobset = valid();
    for (pointer, value) in edits {
        set(&mut jobset, pointer, value.clone());
    }
    serde_json::from_value(jobset).unwrap()
}

/// Sets a value at a JSON pointer. Creates missing parent objects, and treats null as absent.
fn set(json: &mut Value, pointer: &str, value: Value) {
    let mut place = json;
    for key in pointer.split('/').skip(1) {
        let key = key.replace("~1", "/");
        place = match place {
            Value::Array(items) => {
                let index: usize = key.parse().unwrap();
                if index == items.len() {
                    items.push(Value::Null);
                }
                &mut items[index]
            }
            other => &mut other[key],
        };
    }
    *place = value;
}

fn texts(errors: &[FieldError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

/// The errors of creating [`valid`] with edits, without claims and with all gates off.
fn created(edits: &[(&str, Value)]) -> Vec<String> {
    texts(&validate_create(&edited(edits), &ExistingClaims::new(), &Gates::default()))
}

/// Checks a table of creations: description, edits to [`valid`], expected errors.
fn check_created(gates: &Gates, rows: &[Row<'_>]) {
    for (what, edits, expected) in rows {
        let errors = texts(&validate_create(&edited(edits), &ExistingClaims::new(), gates));
        assert_eq!(errors, *expected, "{what}");
    }
}

type Row<'a> = (&'a str, &'a [(&'a str, Value)], &'a [&'a str]);
