//! Three real meshes that tell each other what they offer, each with its Emcee as `emcee manifests` installs it.
//!
//! ```text
//!  m2 ──blue (BOUNDARY, by both gateways)──► m1 ◄──yellow (FLAT, pod to pod)── m4
//! ```
//!
//! m2 and m4 are on no common network, and m2 has an Istio root and a trust domain of its own.

#[path = "controller/resource.rs"]
mod resource;
#[path = "traffic/workloads.rs"]
#[expect(dead_code, reason = "the other suites use the rest")]
mod workloads;

mod discovery {
    pub(crate) mod foreign;
    pub(crate) mod go_client;
    pub(crate) mod install;
    pub(crate) mod loss;
    pub(crate) mod mcp;
    pub(crate) mod moves;
    pub(crate) mod story;
    pub(crate) mod traffic;
    pub(crate) mod users;
    pub(crate) mod world;
}

use std::process::ExitCode;

use discovery::{foreign, loss, mcp, moves, story};
use emcee_testbed::Options;
use emcee_testbed::suite::{self, Test};

const TESTS: &[Test] = &[
    ("what_peers_announce_answers", story::answers),
    ("what_is_not_announced_answers_who_knows_of_it", story::unannounced),
    ("discovery_goes_through_the_gateways", story::through_gateways),
    ("a_client_of_others_follows", foreign::go_client),
    ("strangers_are_told_nothing_by_the_gateway_either", foreign::strangers),
    ("a_lost_peer_breaks_nothing", loss::held),
    ("an_ingress_that_moves_is_followed", moves::followed),
    // The last: the mesh has another Emcee and another istiod from then on.
    ("istiod_is_fed_by_mcp_alone", mcp::alone),
];

fn main() -> ExitCode {
    let members = |names: [&str; 2]| names.map(str::to_owned).to_vec();
    let options = Options::new(env!("CARGO_BIN_EXE_emcee-testbed"), &["m1", "m2", "m4"]);
    let options = Options {
        networks: vec![
            ("blue".to_owned(), members(["m1", "m2"])),
            ("yellow".to_owned(), members(["m1", "m4"])),
        ],
        common_root: members(["m1", "m4"]),
        trust_domains: [("m2".to_owned(), "two.example".to_owned())].into(),
        ..options
    };
    suite::run_with_emcee(&options, TESTS)
}
