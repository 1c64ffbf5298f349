//! Three real meshes that announce their services to each other, each with an Emcee that `emcee manifests` installs.
//!
//! ```text
//!  m2 ──blue (BOUNDARY, through both gateways)──► m1 ◄──yellow (FLAT, pod to pod)── m4
//! ```
//!
//! m2 and m4 have no common network. m2 has its own Istio root and trust domain.

#[path = "controller/resource.rs"]
mod resource;
#[path = "traffic/workloads.rs"]
#[expect(dead_code, reason = "the other suites use the rest")]
mod workloads;

mod discovery {
    pub(crate) mod announcements;
    pub(crate) mod foreign_client;
    pub(crate) mod go_client;
    pub(crate) mod install;
    pub(crate) mod mcp;
    pub(crate) mod moved_ingress;
    pub(crate) mod peer_loss;
    pub(crate) mod traffic;
    pub(crate) mod users;
    pub(crate) mod world;
}

use std::process::ExitCode;

use discovery::{announcements, foreign_client, mcp, moved_ingress, peer_loss};
use emcee_testbed::Options;
use emcee_testbed::suite::{self, Test};

const TESTS: &[Test] = &[
    ("announced_services_answer", announcements::announced_services_answer),
    ("unannounced_services_answer_callers_that_know_them", announcements::unannounced_service_answers),
    ("discovery_goes_through_the_gateways", announcements::discovery_uses_gateways),
    ("a_go_control_plane_client_receives_announcements", foreign_client::go_client_receives_announcements),
    ("strangers_learn_nothing_through_the_gateway", foreign_client::strangers_are_refused),
    ("an_unreachable_peer_breaks_nothing", peer_loss::unreachable_peer_breaks_nothing),
    ("a_new_address_of_an_ingress_is_followed", moved_ingress::moved_ingress_is_followed),
    // Must be the last test: after it, the mesh has another Emcee and another istiod.
    ("istiod_gets_its_objects_by_mcp_only", mcp::istiod_uses_only_mcp),
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
