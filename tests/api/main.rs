//! Tests of CRDs and admission with a real API server, without nodes.
// A panic fails only the test in which it occurs.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

mod admission;
mod agent;
mod crds;
mod helm;
mod immutability;
mod kubectl;
mod manifests;
mod must_gather;
mod pods;
mod process;
mod scheduling;
mod schema;
mod server_side_apply;
mod validation_errors;

use std::process::ExitCode;

use anyhow::Result;
use devcluster::NodeKind;
use jobset_tests::cluster::SuiteCluster;
use jobset_tests::controller::Controller;
use jobset_tests::{objects, suite, tests};
use kube::Client;

/// State that the tests share.
struct Api {
    cluster: SuiteCluster,
    client: Client,
    /// Serves the webhooks.
    controller: Controller,
}

fn main() -> ExitCode {
    suite::run(
        "api",
        NodeKind::None,
        // The tests mostly wait for the API server, so they run concurrently.
        8,
        prepare,
        tests![
            crds::both_crds_are_established,
            crds::kubectl_lists_and_explains_jobset,
            crds::kubectl_prints_its_columns,
            crds::jobset_schema_rejects_invalid_values,
            crds::jobset_policies_are_immutable,
            crds::jobset_lists_merge_by_name,
            crds::jobset_operator_is_a_singleton,
            crds::jobset_operator_schema_rejects_invalid_values,
            admission::missing_fields_are_defaulted,
            admission::explicit_values_are_kept,
            admission::examples_are_admitted,
            admission::invalid_specs_are_denied,
            admission::changes_to_replicated_jobs_are_denied,
            admission::changes_to_mutable_fields_are_allowed,
            schema::defaults_come_from_the_crd,
            schema::unknown_fields_are_pruned,
            schema::errors_name_the_violated_limit_or_enum,
            schema::errors_contain_the_message_of_the_violated_rule,
            schema::status_is_a_subresource,
            immutability::policies_are_immutable_but_can_be_added_and_removed,
            immutability::jobset_can_change_after_its_success_policy_is_removed,
            immutability::dependencies_are_immutable,
            immutability::managed_by_is_immutable,
            immutability::placement_can_change_while_suspended,
            immutability::equivalent_values_are_not_a_change,
            immutability::empty_objects_in_claim_templates_are_not_a_change,
            immutability::replace_requires_the_current_resource_version,
            validation_errors::single_error_is_the_whole_message,
            validation_errors::all_errors_are_reported_in_order,
            validation_errors::existing_claims_are_validated,
            validation_errors::generated_suffix_counts_toward_the_name_limit,
            manifests::unchanged_manifests_change_nothing,
            manifests::changed_manifests_are_rejected,
            manifests::jobsets_without_defaults_can_be_changed,
            scheduling::invalid_scheduling_is_rejected_by_the_schema,
            scheduling::valid_scheduling_is_accepted_and_defaulted,
            scheduling::scheduling_without_groups_allows_no_startup_order,
            scheduling::invalid_scheduling_is_denied,
            scheduling::scheduling_can_change_while_stopped,
            scheduling::empty_scheduling_can_be_sent_again,
            server_side_apply::second_manager_adds_fields,
            server_side_apply::containers_merge_by_name,
            server_side_apply::disagreeing_managers_get_a_conflict,
            server_side_apply::claims_can_be_applied_again,
            server_side_apply::conditions_merge_by_type,
            pods::leader_gets_affinity_to_its_job_and_anti_affinity_to_others,
            pods::follower_is_denied_until_its_leader_is_scheduled,
            pods::leader_on_a_missing_node_blocks_followers,
            pods::other_pods_are_unchanged,
            agent::sidecar_follows_the_status_of_its_jobset,
            agent::main_container_runs_its_worker_in_a_process_group,
            agent::worker_and_its_children_receive_signals,
            agent::missing_permissions_are_named_and_awaited,
            agent::new_token_is_used_when_the_old_one_is_rejected,
            agent::agent_waits_for_its_jobset,
            agent::admission_policy_limits_the_agent_to_its_annotation,
            process::invalid_configuration_is_reported_in_one_line,
            process::all_four_webhook_paths_are_served,
            kubectl::fields_are_explained,
            kubectl::examples_can_be_applied,
            kubectl::warnings_are_shown,
            kubectl::shared_subdomain_causes_a_warning,
            kubectl::invalid_coordinator_causes_a_warning_on_update,
            kubectl::errors_are_shown,
            helm::charts_have_no_lint_errors,
            helm::default_values_render_the_plain_manifests,
            helm::values_of_the_controller_reach_its_objects,
            helm::values_of_the_operator_reach_its_objects,
            helm::invalid_values_are_rejected_by_name,
            helm::rendered_objects_are_accepted,
            must_gather::must_gather_collects_no_secrets,
            must_gather::must_gather_names_what_it_may_not_read,
        ],
    )
}

async fn prepare(cluster: SuiteCluster) -> Result<Api> {
    let client = cluster.client().await?;
    let bundle = objects::read_folder(&objects::repository().join("bundle/manifests"))?;
    for crd in bundle.iter().filter(|object| objects::kind(object) == "CustomResourceDefinition") {
        objects::apply(&client, crd, "olm").await?;
    }
    let gates = [("JobSetWorkloadAwareSchedulingAPI", true)];
    let controller = Controller::start_with(&client, cluster.layout(), &gates).await?;
    Ok(Api { cluster, client, controller })
}
