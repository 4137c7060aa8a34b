//! Runs the controller in a simulated cluster with random faults. A seed determines the faults.
//!
//! See docs/contributors/simulation.md.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this file is a test"
)]

mod api_server;
mod failure_target;
mod faults;
mod gang_scenarios;
mod garbage_collector;
mod group_rules;
mod history;
mod invariants;
mod job;
mod job_controller;
mod lost_status;
mod manager;
mod observe;
mod placement_scenarios;
mod planted_bugs;
mod pod_groups;
mod pod_outcomes;
mod repair_scenarios;
mod requests;
mod rest;
mod restart_times;
mod run_rules;
mod run_scenarios;
mod scenarios;
mod schedule;
mod scheduler;
mod seeds;
mod specs;
mod status_rules;
mod status_scenarios;
mod users;
mod world;

// Source files of the controller, like those that `observe` includes.
#[path = "../../../jobset-controller/src/act/error.rs"]
mod error;
#[path = "../../../jobset-controller/src/act/eviction.rs"]
mod eviction;
#[path = "../../../jobset-controller/src/act/operation.rs"]
mod operation;
#[path = "../../../jobset-controller/src/act/request.rs"]
mod request;
#[path = "../../../jobset-controller/src/act/scheduling.rs"]
mod scheduling;
#[path = "../../src/tests/strategic_merge_patch.rs"]
mod strategic_merge_patch;
#[allow(dead_code, reason = "the controller also measures the queue")]
#[path = "../../../manager-runtime/src/queue/state.rs"]
mod work_queue;
