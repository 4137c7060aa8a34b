//! What the controller makes of JobSets: a control plane, simulated nodes, and the controller as a process.
// A panic fails the test that it happens in, and no other.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

mod children;
mod creation_failures;
mod defaults;
mod depends_on;
mod elastic;
mod failure_policy;
mod foreign_jobs;
mod jobset;
mod lifecycle;
mod lost_status;
mod managed_by;
mod metrics;
mod network;
mod quiet;
mod replicated_jobs_status;
mod restart;
mod restart_job;
mod rights;
mod startup_policy;
mod success_policy;
mod suspend;
mod ttl;
mod volume_claims;

use std::process::ExitCode;

use anyhow::Result;
use devcluster::NodeKind;
use jobset_tests::cluster::SuiteCluster;
use jobset_tests::controller::Controller;
use jobset_tests::suite::{self, Part};
use jobset_tests::tests;
use kube::Client;

/// What the tests share.
struct Integration {
    cluster: SuiteCluster,
    client: Client,
    controller: Controller,
}

/// Feature gates that are off by default.
const ALPHA: &[(&str, bool)] =
    &[("RestartJob", true), ("ElasticJobSet", true), ("RestartOnFailureTarget", true)];

fn main() -> ExitCode {
    let by_default = tests![
        children::jobs_are_as_documented,
        children::pods_have_stable_names,
        children::coordinator_is_named_on_jobs_and_pods,
        lifecycle::deletion_takes_the_children,
        lifecycle::recreated_jobset_has_children_of_its_own,
        replicated_jobs_status::jobs_are_counted_by_their_status,
        replicated_jobs_status::failure_counts_while_suspended,
        success_policy::operator_and_targets_decide,
        success_policy::completes_after_a_restart,
        failure_policy::first_failed_job_decides_without_policy,
        failure_policy::rules_decide,
        failure_policy::maximum_ends_restarts,
        failure_policy::failures_at_once_are_one_restart,
        restart::recreate_waits_for_each_job_alone,
        restart::blocking_recreate_waits_for_all_jobs,
        restart::failing_job_has_not_failed_yet,
        restart::deleted_job_comes_back,
        startup_policy::replicated_jobs_start_in_order,
        startup_policy::suspended_jobset_resumes_in_order,
        depends_on::each_dependency_is_waited_for,
        depends_on::dependents_wait_for_a_suspended_jobset,
        suspend::jobs_are_born_suspended,
        suspend::running_jobset_is_suspended_and_moved,
        suspend::what_kueue_changes_arrives_with_the_resume,
        suspend::restart_is_suspended,
        network::service_makes_host_names,
        network::subdomain_and_readiness_are_chosen,
        network::no_service_without_host_names,
        network::deleted_service_comes_back,
        network::subdomain_is_shared,
        network::service_that_serves_the_pods_is_no_conflict,
        network::service_that_is_not_headless_is_a_conflict,
        volume_claims::claims_are_made_and_mounted,
        volume_claims::retained_claim_serves_the_next_jobset,
        ttl::finished_jobset_is_deleted,
        ttl::time_is_given_after_the_end,
        ttl::running_jobset_stays,
        managed_by::foreign_manager_is_left_alone,
        managed_by::own_name_is_ours,
        metrics::only_who_may_reads,
        metrics::log_level_changes_while_it_runs,
        metrics::prometheus_reads_every_line,
        metrics::what_happens_is_counted,
        creation_failures::refusals_are_reported_and_overcome,
        creation_failures::lasting_refusal_is_reported_once,
        foreign_jobs::foreign_job_of_the_same_name_is_reported,
        foreign_jobs::job_of_another_jobset_is_left_alone,
        foreign_jobs::invalid_label_is_reported,
        lost_status::lost_status_is_restored_from_the_jobs,
        lost_status::edited_label_is_not_believed,
        defaults::jobset_without_defaults_runs_the_same,
        quiet::settled_jobset_causes_no_write,
        quiet::whole_life_of_few_jobs,
        quiet::whole_life_of_many_jobs,
    ];
    let behind_gates = tests![
        restart::failing_job_begins_the_restart,
        restart_job::failed_job_restarts_alone,
        restart_job::blocking_recreate_waits_for_single_jobs,
        elastic::running_jobs_follow_their_template,
    ];
    suite::run_parts(
        "integration",
        NodeKind::Kwok(3),
        // They wait more than they work.
        vec![
            Part::new(8, |cluster| prepare(cluster, &[]), by_default),
            Part::new(8, |cluster| prepare(cluster, ALPHA), behind_gates),
            // Last, as it asks what all the others needed.
            Part::new(1, |cluster| prepare(cluster, &[]), tests![rights::suffice_and_are_all_used]),
        ],
    )
}

async fn prepare(
    cluster: SuiteCluster,
    feature_gates: &'static [(&'static str, bool)],
) -> Result<Integration> {
    let client = cluster.client().await?;
    let controller = Controller::start_with(&client, cluster.layout(), feature_gates).await?;
    Ok(Integration { cluster, client, controller })
}
