//! What the API server does with our types: CRDs and admission, without nodes.
// A panic fails the test that it happens in, and no other.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

mod admission;
mod crds;
mod immutability;
mod kubectl;
mod pods;
mod process;
mod refusals;
mod repetition;
mod schema;
mod server_side_apply;

use std::process::ExitCode;

use anyhow::Result;
use devcluster::NodeKind;
use jobset_tests::cluster::SuiteCluster;
use jobset_tests::controller::Controller;
use jobset_tests::{objects, suite, tests};
use kube::Client;

/// What the tests share.
struct Api {
    cluster: SuiteCluster,
    client: Client,
    /// Keeps answering the webhooks.
    controller: Controller,
}

fn main() -> ExitCode {
    suite::run(
        "api",
        NodeKind::None,
        // They wait more than they work.
        8,
        prepare,
        tests![
            crds::are_established,
            crds::jobset_is_listed_and_explained,
            crds::jobset_prints_five_columns,
            crds::jobset_schema_refuses,
            crds::jobset_fields_that_cannot_change,
            crds::jobset_lists_merge_by_name,
            crds::jobset_operator_is_a_singleton,
            crds::jobset_operator_schema_refuses,
            admission::defaults_what_is_left_out,
            admission::keeps_what_is_said,
            admission::accepts_the_examples,
            admission::refuses_what_cannot_be,
            admission::refuses_changes_of_replicated_jobs,
            admission::allows_changes_of_what_may_change,
            schema::defaults_come_from_the_crd,
            schema::unknown_fields_are_pruned,
            schema::limits_and_enums_are_told_exactly,
            schema::rules_of_the_crd_are_told_exactly,
            schema::status_is_a_subresource,
            immutability::policies_cannot_change_but_come_and_go,
            immutability::removed_success_policy_does_no_harm,
            immutability::dependencies_cannot_change,
            immutability::manager_cannot_change,
            immutability::placement_may_change_while_suspended,
            immutability::same_meaning_is_no_change,
            immutability::claims_are_written_back_with_empty_objects,
            immutability::replacement_needs_the_current_version,
            refusals::one_error_is_told_alone,
            refusals::all_errors_are_told_at_once_and_in_order,
            refusals::existing_claims_are_looked_at,
            refusals::generated_names_have_room,
            repetition::unchanged_manifests_change_nothing,
            repetition::changed_manifests_are_refused,
            repetition::jobsets_without_defaults_can_be_changed,
            server_side_apply::second_manager_adds_to_the_first,
            server_side_apply::containers_merge_by_name,
            server_side_apply::managers_that_disagree_are_told,
            server_side_apply::claims_are_applied_again,
            server_side_apply::conditions_merge_by_type,
            pods::leader_stays_with_its_own_and_away_from_others,
            pods::follower_waits_for_its_leader_and_then_follows,
            pods::leader_on_a_lost_node_holds_followers_back,
            pods::other_pods_are_left_alone,
            process::wrong_configuration_is_told_in_one_line,
            process::serves_all_four_paths,
            kubectl::fields_are_explained,
            kubectl::examples_are_applied,
            kubectl::warnings_are_shown,
            kubectl::shared_subdomain_is_warned_of,
            kubectl::broken_coordinator_is_warned_of_on_update,
            kubectl::refusals_are_shown,
        ],
    )
}

async fn prepare(cluster: SuiteCluster) -> Result<Api> {
    let client = cluster.client().await?;
    let bundle = objects::read_folder(&objects::repository().join("bundle/manifests"))?;
    for crd in bundle.iter().filter(|object| objects::kind(object) == "CustomResourceDefinition") {
        objects::apply(&client, crd, "olm").await?;
    }
    let controller = Controller::start(&client, cluster.layout()).await?;
    Ok(Api { cluster, client, controller })
}
