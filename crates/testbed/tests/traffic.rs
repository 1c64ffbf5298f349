//! Real traffic between two real meshes under a common root, with objects written by hand and objects from `emcee
//! render`.

mod traffic {
    pub(crate) mod attacks;
    pub(crate) mod boundary;
    pub(crate) mod flat;
    pub(crate) mod judged;
    pub(crate) mod local;
    pub(crate) mod objects;
    pub(crate) mod passthrough;
    pub(crate) mod rendered;
    pub(crate) mod rules;
    pub(crate) mod stranger;
    pub(crate) mod tenants;
    pub(crate) mod users;
    pub(crate) mod workloads;
    pub(crate) mod world;
}

use std::process::ExitCode;

use emcee_testbed::Options;
use emcee_testbed::suite::{self, Test};

use traffic::users::{BOUNDARY, FLAT, PASSTHROUGH, WHARF};
use traffic::{judged, rendered, rules, stranger, tenants};

const TESTS: &[Test] = &[
    ("local_calls_show_the_callers_identity", traffic::local::identity),
    ("local_strict_refuses_plaintext", traffic::local::strict),
    ("traffic_survives_the_control_plane", traffic::local::control_plane_restarts),
    ("load_balancer_follows_its_pod", traffic::local::load_balancer),
    ("passthrough_http_and_tcp_through_the_facade", traffic::passthrough::http_and_tcp),
    ("passthrough_without_its_rule_gives_503", traffic::passthrough::no_rule_no_plaintext),
    ("boundary_http_through_both_gateways", traffic::boundary::through_both_gateways),
    ("flat_every_protocol_through_the_facade", traffic::flat::every_protocol),
    ("rendered_boundary_every_protocol_with_its_identity", |bed| rendered::protocols(bed, &BOUNDARY)),
    ("rendered_boundary_subsets_on_either_side", |bed| rendered::subsets(bed, &BOUNDARY)),
    ("rendered_boundary_unexposed_is_refused", |bed| rendered::hidden(bed, &BOUNDARY)),
    ("rendered_boundary_private_to_its_namespace", |bed| rendered::private(bed, &BOUNDARY)),
    ("rendered_boundary_egress_is_guarded", |bed| rendered::guarded(bed, &BOUNDARY)),
    ("rendered_boundary_a_server_name_leads_to_no_other_host", traffic::attacks::fronted),
    ("rendered_boundary_gateways_have_no_token_of_the_api_server", traffic::attacks::no_token),
    ("rendered_boundary_sink_sees_nothing_without_a_rule", |bed| rules::sunk(bed, &BOUNDARY)),
    ("rendered_boundary_no_rule_no_answer", |bed| rules::frail(bed, &BOUNDARY)),
    ("rendered_passthrough_every_protocol_with_its_identity", |bed| rendered::protocols(bed, &PASSTHROUGH)),
    ("rendered_passthrough_subsets_on_either_side", |bed| rendered::subsets(bed, &PASSTHROUGH)),
    ("rendered_passthrough_unexposed_is_refused", |bed| rendered::hidden(bed, &PASSTHROUGH)),
    ("rendered_passthrough_private_to_its_namespace", |bed| rendered::private(bed, &PASSTHROUGH)),
    ("rendered_passthrough_sink_sees_nothing_without_a_rule", |bed| rules::sunk(bed, &PASSTHROUGH)),
    ("rendered_passthrough_no_rule_no_answer", |bed| rules::frail(bed, &PASSTHROUGH)),
    ("rendered_wharf_every_protocol_with_its_identity", |bed| rendered::protocols(bed, &WHARF)),
    ("rendered_wharf_subsets_on_either_side", |bed| rendered::subsets(bed, &WHARF)),
    ("rendered_wharf_unexposed_is_refused", |bed| rendered::hidden(bed, &WHARF)),
    ("rendered_wharf_private_to_its_namespace", |bed| rendered::private(bed, &WHARF)),
    ("rendered_wharf_sink_sees_nothing_without_a_rule", |bed| rules::sunk(bed, &WHARF)),
    ("rendered_wharf_no_rule_no_answer", |bed| rules::frail(bed, &WHARF)),
    ("rendered_flat_every_protocol_with_its_identity", |bed| rendered::protocols(bed, &FLAT)),
    ("rendered_flat_subsets_on_either_side", |bed| rendered::subsets(bed, &FLAT)),
    ("rendered_flat_private_to_its_namespace", |bed| rendered::private(bed, &FLAT)),
    ("rendered_flat_sink_sees_nothing_without_a_rule", |bed| rules::sunk(bed, &FLAT)),
    ("rendered_flat_no_rule_no_answer", |bed| rules::frail(bed, &FLAT)),
    ("rendered_boundary_stranger_is_refused", |bed| stranger::refused(bed, &BOUNDARY)),
    ("rendered_passthrough_stranger_is_refused", |bed| stranger::refused(bed, &PASSTHROUGH)),
    ("rendered_wharf_stranger_is_refused", |bed| stranger::refused(bed, &WHARF)),
    ("rendered_flat_stranger_is_refused", |bed| stranger::refused(bed, &FLAT)),
    ("rendered_passthrough_opens_no_port_next_to_the_gateway", |bed| {
        tenants::beside_the_gateway(bed, &PASSTHROUGH)
    }),
    ("rendered_wharf_opens_no_port_next_to_the_gateway", |bed| tenants::beside_the_gateway(bed, &WHARF)),
    ("rendered_boundary_a_tenants_rule_uses_no_key", tenants::spends_no_key),
    ("rendered_istioctl_has_no_complaint", judged::clean),
];

/// m3 is a stranger to the other meshes.
fn main() -> ExitCode {
    let common_root = ["m1", "m2"].map(str::to_owned).into();
    let options = Options::new(env!("CARGO_BIN_EXE_emcee-testbed"), &["m1", "m2", "m3"]);
    suite::run(&Options { common_root, ..options }, TESTS)
}
