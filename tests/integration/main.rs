//! Tests of the controller as a process, with a control plane and simulated nodes.
// A panic fails only the test in which it occurs.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

mod active_deadline;
mod api_requests;
mod children;
mod creation_failures;
mod defaults;
mod depends_on;
mod elastic;
mod execution_attempts;
mod failure_policy;
mod foreign_jobs;
mod gang_scheduling;
mod in_place_restart;
mod jobset;
mod leader_first;
mod lifecycle;
mod lost_status;
mod managed_by;
mod metrics;
mod network;
mod placement;
mod plugin;
mod rbac;
mod replicated_jobs_status;
mod restart;
mod restart_job;
mod resumed_templates;
mod scheduling_api;
mod startup_policy;
mod success_policy;
mod suspend;
mod ttl;
mod volume_claims;

use std::process::ExitCode;

use anyhow::Result;
use devcluster::{NodeKind, Settings};
use jobset_tests::cluster::SuiteCluster;
use jobset_tests::controller::Controller;
use jobset_tests::suite::{self, Part};
use jobset_tests::tests;
use kube::Client;

/// State that the tests share.
struct Integration {
    cluster: SuiteCluster,
    client: Client,
    controller: Controller,
}

/// Feature gates that are off by default.
const ALPHA: &[(&str, bool)] = &[
    ("RestartJob", true),
    ("ElasticJobSet", true),
    ("RestartOnFailureTarget", true),
    ("InPlaceRestart", true),
    ("LeaderFirstPlacement", true),
    ("ExecutionAttemptsTracking", true),
    ("JobSetActiveDeadlineSeconds", true),
    ("MutablePodResourcesForSuspendedJobSets", true),
    ("ReplaceSchedulingDirectivesOnResume", true),
];

/// Gang scheduling, and Jobs that grow in a gang.
const GANG: &[(&str, bool)] = &[("JobSetWorkloadAwareSchedulingAPI", true), ("ElasticJobSet", true)];

fn main() -> ExitCode {
    let by_default = tests![
        children::jobs_have_the_documented_metadata,
        children::pods_have_stable_names,
        children::jobs_and_pods_name_the_coordinator,
        lifecycle::children_are_deleted_with_their_jobset,
        lifecycle::recreated_jobset_gets_new_children,
        replicated_jobs_status::jobs_are_counted_by_their_status,
        replicated_jobs_status::failures_count_while_suspended,
        success_policy::operator_and_targets_decide_completion,
        success_policy::jobset_completes_after_a_restart,
        failure_policy::first_failed_job_fails_a_jobset_without_policy,
        failure_policy::first_matching_rule_decides,
        failure_policy::jobset_fails_at_max_restarts,
        failure_policy::simultaneous_failures_cause_one_restart,
        restart::recreate_replaces_each_job_independently,
        restart::blocking_recreate_waits_for_all_jobs,
        restart::failure_target_causes_no_restart_by_default,
        restart::deleted_job_is_recreated,
        startup_policy::replicated_jobs_start_in_order,
        startup_policy::suspended_jobset_resumes_in_order,
        depends_on::replicated_job_waits_for_each_dependency,
        depends_on::dependents_are_not_created_while_suspended,
        suspend::jobs_of_a_suspended_jobset_are_created_suspended,
        suspend::running_jobset_can_be_suspended_and_moved,
        suspend::template_changes_reach_jobs_on_resume,
        suspend::restart_is_interrupted_by_suspension,
        resumed_templates::flavors_add_up_by_default,
        network::service_is_named_after_the_jobset,
        network::service_has_the_ports_of_the_containers,
        network::denied_ports_do_not_stop_a_jobset,
        network::subdomain_and_readiness_can_be_set,
        network::no_service_is_created_without_host_names,
        network::deleted_service_is_recreated,
        network::jobset_with_a_shared_subdomain_reports_a_conflict,
        network::service_that_selects_the_pods_is_no_conflict,
        network::service_that_is_not_headless_is_a_conflict,
        volume_claims::claims_are_created_and_mounted,
        volume_claims::retained_claim_is_reused_by_the_next_jobset,
        placement::each_job_has_a_rack_exclusively,
        placement::followers_in_another_rack_are_evicted,
        placement::missing_topology_key_is_reported,
        ttl::finished_jobset_is_deleted_after_its_ttl,
        ttl::ttl_can_be_set_after_the_end,
        ttl::running_jobset_is_not_deleted,
        managed_by::jobset_of_another_manager_is_ignored,
        managed_by::jobset_managed_by_this_controller_is_reconciled,
        managed_by::finished_jobset_of_another_manager_is_deleted,
        metrics::only_authorized_users_read_metrics,
        metrics::log_level_can_be_changed_at_run_time,
        metrics::prometheus_parses_every_line,
        metrics::outcomes_of_jobsets_are_counted,
        creation_failures::failed_creations_are_reported_and_retried,
        creation_failures::persistent_failure_is_reported_once,
        foreign_jobs::foreign_job_of_the_same_name_is_reported,
        foreign_jobs::job_of_another_owner_is_ignored,
        foreign_jobs::invalid_label_is_reported,
        lost_status::lost_status_is_restored_from_the_jobs,
        lost_status::edited_attempt_label_restores_nothing,
        defaults::jobset_without_defaults_runs,
        plugin::waiting_jobset_is_explained,
        plugin::quota_is_explained,
        plugin::failed_jobset_is_explained,
        plugin::plan_is_what_the_controller_creates,
        plugin::errors_of_the_plugin_say_what_is_missing,
        plugin::suspension_and_waiting_follow_the_jobset,
        api_requests::settled_jobset_causes_no_write,
        api_requests::small_jobset_causes_minimal_writes,
        api_requests::large_jobset_causes_minimal_writes,
    ];
    let with_feature_gates = tests![
        restart::failure_target_causes_a_restart_behind_its_gate,
        restart_job::failed_job_restarts_alone,
        restart_job::blocking_recreate_waits_for_each_restarting_job,
        resumed_templates::flavor_replaces_the_previous_one_behind_its_gate,
        resumed_templates::resources_can_change_while_suspended,
        resumed_templates::rejected_resources_are_reported_and_retried,
        elastic::running_jobs_follow_their_template,
        leader_first::waiting_jobs_can_be_suspended_and_scaled,
        in_place_restart::attempts_follow_the_pods,
        in_place_restart::pods_of_a_predecessor_do_not_count,
        in_place_restart::agent_is_injected_and_its_permissions_are_checked,
        active_deadline::running_jobset_fails_at_its_deadline,
        active_deadline::suspension_stops_the_deadline,
        active_deadline::restart_of_all_jobs_begins_a_new_time,
        execution_attempts::resumes_and_restarts_count,
        api_requests::jobset_with_a_deadline_causes_minimal_writes,
    ];
    let plain = suite::run_parts(
        "integration",
        NodeKind::Kwok(3),
        // The tests mostly wait for the cluster, so they run concurrently.
        vec![
            Part::new(8, |cluster| prepare(cluster, &[]), by_default),
            Part::new(8, |cluster| prepare(cluster, ALPHA), with_feature_gates),
            // These tests measure times.
            Part::new(
                1,
                |cluster| prepare(cluster, &[("LeaderFirstPlacement", true)]),
                tests![leader_first::followers_are_never_denied],
            ),
            Part::new(
                1,
                |cluster| prepare(cluster, &[]),
                tests![leader_first::followers_wait_for_leaders_without_the_gate],
            ),
            // These tests stop the controller or start other controllers.
            Part::new(
                1,
                |cluster| prepare(cluster, &[("InPlaceRestart", true)]),
                tests![
                    in_place_restart::gate_can_be_disabled_and_enabled_again,
                    resumed_templates::gates_can_be_disabled_and_enabled_again,
                ],
            ),
            Part::new(
                1,
                |cluster| prepare(cluster, &[("JobSetActiveDeadlineSeconds", true)]),
                tests![
                    active_deadline::expired_jobset_that_succeeded_completes,
                    active_deadline::gate_can_be_disabled_and_enabled_again,
                    execution_attempts::gate_can_be_disabled_and_enabled_again,
                ],
            ),
            Part::new(
                1,
                |cluster| prepare(cluster, scheduling_api::GATES),
                tests![
                    gang_scheduling::conflicts::missing_api_is_reported,
                    scheduling_api::other_jobsets_run_without_the_api,
                ],
            ),
            // This test runs last, because it checks which rules all the other tests used.
            Part::new(
                1,
                |cluster| prepare(cluster, &[]),
                tests![rbac::granted_rules_suffice_and_are_all_used],
            ),
        ],
    );
    let gang = suite::run_parts(
        "integration-gang",
        Settings { gang: true, ..NodeKind::Kwok(3).into() },
        vec![
            Part::new(
                8,
                |cluster| prepare(cluster, GANG),
                tests![
                    gang_scheduling::capacity::one_jobset_starts_whole_and_the_other_waits,
                    gang_scheduling::capacity::gang_that_does_not_fit_is_reported,
                    gang_scheduling::capacity::higher_priority_evicts_a_whole_gang,
                    gang_scheduling::capacity::each_replica_is_a_gang_in_one_rack,
                    gang_scheduling::capacity::gang_starts_on_the_nodes_of_its_jobs,
                    gang_scheduling::capacity::replicated_job_without_pods_blocks_no_other,
                    gang_scheduling::lifecycle::dependent_gang_starts_after_its_dependency,
                    gang_scheduling::lifecycle::suspended_jobset_has_no_groups,
                    gang_scheduling::lifecycle::resume_right_after_a_suspension_starts_the_gang_again,
                    gang_scheduling::lifecycle::completed_jobs_do_not_count_after_a_resume,
                    gang_scheduling::lifecycle::restart_keeps_the_groups,
                    gang_scheduling::lifecycle::min_count_follows_an_elastic_job,
                    gang_scheduling::lifecycle::failed_pod_is_replaced_after_another_has_finished,
                    gang_scheduling::lifecycle::groups_are_deleted_with_their_jobset,
                    gang_scheduling::conflicts::objects_of_other_owners_are_untouched,
                    gang_scheduling::examples::examples_start,
                    gang_scheduling::requests::one_gang_causes_minimal_writes,
                    gang_scheduling::requests::two_gangs_cause_minimal_writes,
                ],
            ),
            // This test starts other controllers.
            Part::new(
                1,
                |cluster| prepare(cluster, GANG),
                tests![gang_scheduling::lifecycle::gate_can_be_disabled_and_enabled_again],
            ),
            // This test runs last; see above.
            Part::new(
                1,
                |cluster| prepare(cluster, GANG),
                tests![rbac::gang_scheduling_rules_suffice_and_are_all_used],
            ),
        ],
    );
    if plain == ExitCode::SUCCESS { gang } else { plain }
}

async fn prepare(
    cluster: SuiteCluster,
    feature_gates: &'static [(&'static str, bool)],
) -> Result<Integration> {
    let client = cluster.client().await?;
    let controller = Controller::start_with(&client, cluster.layout(), feature_gates).await?;
    Ok(Integration { cluster, client, controller })
}
