//! Emcee in two real clusters, with only the rights that `emcee manifests rbac` grants.

#[path = "traffic/users.rs"]
#[expect(dead_code, reason = "the other suite uses the rest")]
mod users;
#[path = "traffic/workloads.rs"]
#[expect(dead_code, reason = "the other suite uses the rest")]
mod workloads;

mod controller {
    pub(crate) mod admission;
    pub(crate) mod backup;
    pub(crate) mod emcee;
    pub(crate) mod guards;
    pub(crate) mod hands;
    pub(crate) mod installed;
    pub(crate) mod labels;
    pub(crate) mod neighbours;
    pub(crate) mod resource;
    pub(crate) mod styles;
    pub(crate) mod survival;
    pub(crate) mod world;
}

use std::process::ExitCode;

use controller::{admission, backup, guards, hands, installed, labels, neighbours, styles, survival};
use emcee_testbed::Options;
use emcee_testbed::suite::{self, Test};
use users::{BOUNDARY, FLAT, PASSTHROUGH, WHARF};

/// In this order: the last test removes everything, and compares with the state before the first one.
const TESTS: &[Test] = &[
    ("boundary_carries_traffic", |bed| styles::carries_traffic(bed, &BOUNDARY)),
    ("passthrough_carries_traffic", |bed| styles::carries_traffic(bed, &PASSTHROUGH)),
    ("wharf_carries_traffic", |bed| styles::carries_traffic(bed, &WHARF)),
    ("flat_carries_traffic", |bed| styles::carries_traffic(bed, &FLAT)),
    ("manual_changes_are_reverted", hands::changes_are_reverted),
    ("removed_labels_are_restored", hands::labels_are_restored),
    ("what_is_somebody_elses_stays_theirs", hands::users_service_is_not_overwritten),
    ("a_gateway_of_a_generated_name_stays_as_it_is", hands::users_gateway_is_not_overwritten),
    ("objects_restored_from_a_backup_are_adopted", backup::restored_objects_are_adopted),
    ("a_selected_gateway_still_serves_its_own_traffic", neighbours::users_traffic_is_undisturbed),
    ("a_service_is_exposed_by_its_label", labels::labels_expose_a_service),
    ("an_object_that_a_webhook_refuses_does_not_block_others", admission::refused_object_blocks_no_other),
    ("plaintext_is_not_let_in", guards::plaintext_is_refused),
    ("a_pod_labelled_like_a_gateway_gets_no_key", guards::impostor_gets_no_key),
    ("teams_cannot_make_relationships", guards::teams_cannot_create_relationships),
    ("only_allowed_namespaces_use_a_relationship", guards::only_allowed_namespaces),
    ("a_second_replica_takes_over", survival::second_replica_takes_over),
    (
        "an_object_of_others_under_a_generated_name_is_not_overwritten",
        survival::taken_name_is_not_overwritten,
    ),
    ("replicas_that_are_killed_at_random_converge", survival::killed_replicas_converge),
    ("emcee_catches_up_after_an_api_server_outage", survival::api_server_outage),
    ("the_api_server_calls_the_webhook", admission::webhook_is_called),
    ("uninstall_leaves_nothing_generated", installed::uninstall_leaves_nothing),
    ("nothing_is_left_behind", styles::nothing_is_left),
];

fn main() -> ExitCode {
    let common_root = ["m1", "m2"].map(str::to_owned).into();
    let options = Options::new(env!("CARGO_BIN_EXE_emcee-testbed"), &["m1", "m2"]);
    suite::run_with_emcee(&Options { common_root, ..options }, TESTS)
}
