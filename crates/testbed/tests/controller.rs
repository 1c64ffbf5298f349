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
    pub(crate) mod failover;
    pub(crate) mod installation;
    pub(crate) mod labels;
    pub(crate) mod manual_changes;
    pub(crate) mod protections;
    pub(crate) mod resource;
    pub(crate) mod shared_gateways;
    pub(crate) mod styles;
    pub(crate) mod world;
}

use std::process::ExitCode;

use controller::{
    admission, backup, failover, installation, labels, manual_changes, protections, shared_gateways, styles,
};
use emcee_testbed::Options;
use emcee_testbed::suite::{self, Test};
use users::{BOUNDARY, FLAT, PASSTHROUGH, WHARF};

/// In this order: the last test removes everything, and compares with the state before the first one.
const TESTS: &[Test] = &[
    ("boundary_carries_traffic", |bed| styles::carries_traffic(bed, &BOUNDARY)),
    ("passthrough_carries_traffic", |bed| styles::carries_traffic(bed, &PASSTHROUGH)),
    ("wharf_carries_traffic", |bed| styles::carries_traffic(bed, &WHARF)),
    ("flat_carries_traffic", |bed| styles::carries_traffic(bed, &FLAT)),
    ("manual_changes_are_reverted", manual_changes::changes_are_reverted),
    ("removed_labels_are_restored", manual_changes::labels_are_restored),
    ("what_is_somebody_elses_stays_theirs", manual_changes::users_service_is_not_overwritten),
    ("a_gateway_of_a_generated_name_stays_as_it_is", manual_changes::users_gateway_is_not_overwritten),
    ("objects_restored_from_a_backup_are_adopted", backup::restored_objects_are_adopted),
    ("a_selected_gateway_still_serves_its_own_traffic", shared_gateways::users_traffic_is_undisturbed),
    ("a_service_is_exposed_by_its_label", labels::labels_expose_a_service),
    ("an_object_that_a_webhook_refuses_does_not_block_others", admission::refused_object_blocks_no_other),
    ("plaintext_is_not_let_in", protections::plaintext_is_refused),
    ("a_pod_labelled_like_a_gateway_gets_no_key", protections::impostor_gets_no_key),
    ("teams_cannot_make_relationships", protections::teams_cannot_create_relationships),
    ("only_allowed_namespaces_use_a_relationship", protections::only_allowed_namespaces),
    ("a_second_replica_takes_over", failover::second_replica_takes_over),
    (
        "an_object_of_others_under_a_generated_name_is_not_overwritten",
        failover::taken_name_is_not_overwritten,
    ),
    ("replicas_that_are_killed_at_random_converge", failover::killed_replicas_converge),
    ("emcee_catches_up_after_an_api_server_outage", failover::api_server_outage),
    ("the_api_server_calls_the_webhook", admission::webhook_is_called),
    ("uninstall_leaves_nothing_generated", installation::uninstall_leaves_nothing),
    ("nothing_is_left_behind", styles::nothing_is_left),
];

fn main() -> ExitCode {
    let common_root = ["m1", "m2"].map(str::to_owned).into();
    let options = Options::new(env!("CARGO_BIN_EXE_emcee-testbed"), &["m1", "m2"]);
    suite::run_with_emcee(&Options { common_root, ..options }, TESTS)
}
