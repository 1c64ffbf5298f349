//! Emcee in two real clusters, under the rights that `emcee manifests rbac` gives it and no others.

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

/// In this order: the last one takes everything down again, and compares with what was there at first.
const TESTS: &[Test] = &[
    ("boundary_carries_traffic", |bed| styles::carries(bed, &BOUNDARY)),
    ("passthrough_carries_traffic", |bed| styles::carries(bed, &PASSTHROUGH)),
    ("wharf_carries_traffic", |bed| styles::carries(bed, &WHARF)),
    ("flat_carries_traffic", |bed| styles::carries(bed, &FLAT)),
    ("what_is_changed_by_hand_is_restored", hands::restored),
    ("labels_that_are_taken_off_come_back", hands::stripped),
    ("what_is_somebody_elses_stays_theirs", hands::foreign),
    ("a_gateway_of_a_generated_name_stays_as_it_is", hands::squatted),
    ("what_comes_from_a_backup_is_taken_over", backup::restored),
    ("a_gateway_that_is_selected_serves_its_own_as_before", neighbours::undisturbed),
    ("a_service_is_exposed_by_its_label", labels::exposed),
    ("one_object_that_a_webhook_refuses_stops_no_other", admission::refused),
    ("plaintext_is_not_let_in", guards::strict),
    ("a_pod_labelled_like_a_gateway_gets_no_key", guards::impostor),
    ("teams_cannot_make_relationships", guards::teams),
    ("a_relationship_is_for_whom_it_allows", guards::allowed),
    ("a_second_replica_takes_over", survival::takeover),
    ("a_name_that_was_taken_meanwhile_stays_taken", survival::meanwhile),
    ("killed_at_random_it_converges", survival::killed),
    ("an_api_server_that_was_away_is_caught_up_with", survival::away),
    ("the_api_server_asks_the_webhook", admission::asked),
    ("uninstalled_nothing_generated_is_left", installed::uninstalled),
    ("nothing_is_left_behind", styles::nothing_left),
];

fn main() -> ExitCode {
    let common_root = ["m1", "m2"].map(str::to_owned).into();
    let options = Options::new(env!("CARGO_BIN_EXE_emcee-testbed"), &["m1", "m2"]);
    suite::run_with_emcee(&Options { common_root, ..options }, TESTS)
}
