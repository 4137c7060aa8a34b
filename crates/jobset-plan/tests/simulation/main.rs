//! A hostile cluster in memory, driven by a seed: does the controller do right whatever happens?
//!
//! See docs/contributors/simulation.md.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "all of it is a test"
)]

mod agenda;
mod api_server;
mod errand;
mod failure_target;
mod fates;
mod faults;
mod garbage_collector;
mod history;
mod invariants;
mod job;
mod job_controller;
mod lost_status;
mod manager;
mod observe;
mod placement_scenarios;
mod planted_bugs;
mod queue;
mod requests;
mod rest;
mod restart_times;
mod scenarios;
mod scheduler;
mod seeds;
mod specs;
mod status_rules;
mod status_scenarios;
mod users;
mod world;
