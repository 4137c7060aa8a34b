//! Fuzzes admission: sends arbitrary bytes to each webhook as the body of a request. `hack/test fuzz` runs it.
//!
//! libFuzzer mutates half of the inputs byte by byte. The other half remain valid JSON with a mutated value, so that
//! fuzzing also reaches the code after decoding.
#![no_main]
// The fuzzer reports panics.
#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing)]

#[path = "../../crates/jobset-controller/tests/admission/mutated_json.rs"]
mod mutated_json;

use axum::http::{Request, Response, StatusCode};
use fastrand::Rng;
use jobset_controller::{
    Index, Placement,
    admission::{Admission, Webhook},
};
use jobset_plan::Gates;
use kube::{Client, client::Body};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use serde_json::Value;
use std::{convert::Infallible, sync::LazyLock};
use tokio::runtime::{Builder, Runtime};
use tower::service_fn;

/// Waiting takes no time.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_current_thread().enable_time().start_paused(true).build().expect("cannot create a runtime")
});

/// Admission with an API server that has no objects. All feature gates are on, to reach more code.
static ADMISSION: LazyLock<Admission> = LazyLock::new(|| {
    let _guard = RUNTIME.enter();
    let server = service_fn(|_: Request<Body>| async {
        let body =
            Body::from(br#"{"kind":"Status","status":"Failure","reason":"NotFound","code":404}"#.to_vec());
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::NOT_FOUND;
        Ok::<_, Infallible>(response)
    });
    let gates = Gates {
        in_place_restart: true,
        restart_job: true,
        elastic_jobset: true,
        restart_on_failure_target: true,
        leader_first_placement: true,
        execution_attempts_tracking: true,
        active_deadline_seconds: true,
        workload_aware_scheduling: true,
        mutable_pod_resources: true,
        replace_on_resume: true,
    };
    Admission::new(Client::new(server, "default"), Index::default(), Placement::default(), &gates)
});

fuzz_target!(|body: &[u8]| {
    for webhook in Webhook::ALL {
        let response = RUNTIME.block_on(ADMISSION.answer(webhook, body));
        let response: Value = serde_json::from_str(&response).expect("the response is JSON");
        assert!(response["response"]["allowed"].is_boolean(), "{webhook:?}: {response}");
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut rng = Rng::with_seed(u64::from(seed));
    if rng.bool()
        && let Ok(mut json) = serde_json::from_slice::<Value>(&data[..size])
    {
        mutated_json::mutate_review(&mut json, &mut rng);
        let text = json.to_string().into_bytes();
        if text.len() <= max_size {
            data[..text.len()].copy_from_slice(&text);
            return text.len();
        }
    }
    fuzzer_mutate(data, size, max_size)
});
