//! Real traffic between two real meshes under a common root, with objects written by hand and objects from `emcee
//! render`.

mod traffic {
    pub(crate) mod analysis;
    pub(crate) mod attacks;
    pub(crate) mod boundary;
    pub(crate) mod flat;
    pub(crate) mod local;
    pub(crate) mod missing_objects;
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
use traffic::{analysis, missing_objects, rendered, rules, stranger, tenants};

const TESTS: &[Test] = &[
    ("local_calls_show_the_callers_identity", traffic::local::caller_identity),
    ("local_strict_refuses_plaintext", traffic::local::plaintext_is_refused),
    ("traffic_survives_the_control_plane", traffic::local::control_plane_restarts),
    ("load_balancer_follows_its_pod", traffic::local::load_balancer_follows_its_pod),
    ("passthrough_http_and_tcp_through_the_facade", traffic::passthrough::http_and_tcp),
    ("passthrough_without_its_rule_gives_503", traffic::passthrough::no_rule_no_plaintext),
    ("boundary_http_through_both_gateways", traffic::boundary::through_both_gateways),
    ("flat_every_protocol_through_the_facade", traffic::flat::every_protocol),
    ("rendered_boundary_every_protocol_with_its_identity", |bed| rendered::every_protocol(bed, &BOUNDARY)),
    ("rendered_boundary_subsets_on_either_side", |bed| rendered::subsets(bed, &BOUNDARY)),
    ("rendered_boundary_unexposed_is_refused", |bed| rendered::unexposed_is_refused(bed, &BOUNDARY)),
    ("rendered_boundary_private_to_its_namespace", |bed| rendered::private_to_its_namespace(bed, &BOUNDARY)),
    ("rendered_boundary_egress_is_guarded", |bed| rendered::egress_is_protected(bed, &BOUNDARY)),
    ("rendered_boundary_a_server_name_leads_to_no_other_host", traffic::attacks::domain_fronting_is_refused),
    ("rendered_boundary_gateways_have_no_token_of_the_api_server", traffic::attacks::gateways_have_no_token),
    ("rendered_boundary_sink_sees_nothing_without_a_rule", |bed| rules::sink_sees_nothing(bed, &BOUNDARY)),
    ("rendered_boundary_no_rule_no_answer", |bed| rules::missing_rule_is_an_error(bed, &BOUNDARY)),
    ("rendered_passthrough_every_protocol_with_its_identity", |bed| {
        rendered::every_protocol(bed, &PASSTHROUGH)
    }),
    ("rendered_passthrough_subsets_on_either_side", |bed| rendered::subsets(bed, &PASSTHROUGH)),
    ("rendered_passthrough_unexposed_is_refused", |bed| rendered::unexposed_is_refused(bed, &PASSTHROUGH)),
    ("rendered_passthrough_private_to_its_namespace", |bed| {
        rendered::private_to_its_namespace(bed, &PASSTHROUGH)
    }),
    ("rendered_passthrough_sink_sees_nothing_without_a_rule", |bed| {
        rules::sink_sees_nothing(bed, &PASSTHROUGH)
    }),
    ("rendered_passthrough_no_rule_no_answer", |bed| rules::missing_rule_is_an_error(bed, &PASSTHROUGH)),
    ("rendered_wharf_every_protocol_with_its_identity", |bed| rendered::every_protocol(bed, &WHARF)),
    ("rendered_wharf_subsets_on_either_side", |bed| rendered::subsets(bed, &WHARF)),
    ("rendered_wharf_unexposed_is_refused", |bed| rendered::unexposed_is_refused(bed, &WHARF)),
    ("rendered_wharf_private_to_its_namespace", |bed| rendered::private_to_its_namespace(bed, &WHARF)),
    ("rendered_wharf_sink_sees_nothing_without_a_rule", |bed| rules::sink_sees_nothing(bed, &WHARF)),
    ("rendered_wharf_no_rule_no_answer", |bed| rules::missing_rule_is_an_error(bed, &WHARF)),
    ("rendered_flat_every_protocol_with_its_identity", |bed| rendered::every_protocol(bed, &FLAT)),
    ("rendered_flat_subsets_on_either_side", |bed| rendered::subsets(bed, &FLAT)),
    ("rendered_flat_private_to_its_namespace", |bed| rendered::private_to_its_namespace(bed, &FLAT)),
    ("rendered_flat_sink_sees_nothing_without_a_rule", |bed| rules::sink_sees_nothing(bed, &FLAT)),
    ("rendered_flat_no_rule_no_answer", |bed| rules::missing_rule_is_an_error(bed, &FLAT)),
    ("rendered_boundary_any_object_may_be_missing", |bed| missing_objects::any_object(bed, &BOUNDARY)),
    ("rendered_passthrough_reaches_a_caller_with_a_sidecar_resource", |bed| {
        missing_objects::narrow_sidecar(bed, &PASSTHROUGH)
    }),
    ("rendered_wharf_a_tenants_rule_removes_no_tls", |bed| missing_objects::rules_of_tenants(bed, &WHARF)),
    ("rendered_flat_any_object_may_be_missing_without_auto_mtls", |bed| {
        missing_objects::any_object_without_auto_mtls(bed, &FLAT)
    }),
    ("rendered_boundary_stranger_is_refused", |bed| stranger::stranger_is_refused(bed, &BOUNDARY)),
    ("rendered_passthrough_stranger_is_refused", |bed| stranger::stranger_is_refused(bed, &PASSTHROUGH)),
    ("rendered_wharf_stranger_is_refused", |bed| stranger::stranger_is_refused(bed, &WHARF)),
    ("rendered_flat_stranger_is_refused", |bed| stranger::stranger_is_refused(bed, &FLAT)),
    ("rendered_passthrough_opens_no_port_next_to_the_gateway", |bed| {
        tenants::no_port_next_to_the_gateway(bed, &PASSTHROUGH)
    }),
    ("rendered_wharf_opens_no_port_next_to_the_gateway", |bed| {
        tenants::no_port_next_to_the_gateway(bed, &WHARF)
    }),
    ("rendered_boundary_a_tenants_rule_uses_no_key", tenants::tenants_rule_uses_no_key),
    ("rendered_istioctl_has_no_complaint", analysis::istioctl_has_no_complaint),
];

/// The same as four of [`TESTS`], in the other styles. They take ten minutes, so they run only on request (`--ignored`).
const LONG_TESTS: &[Test] = &[
    ("rendered_boundary_any_object_may_be_missing_without_auto_mtls", |bed| {
        missing_objects::any_object_without_auto_mtls(bed, &BOUNDARY)
    }),
    ("rendered_boundary_reaches_a_caller_with_a_sidecar_resource", |bed| {
        missing_objects::narrow_sidecar(bed, &BOUNDARY)
    }),
    ("rendered_boundary_a_tenants_rule_removes_no_tls", |bed| {
        missing_objects::rules_of_tenants(bed, &BOUNDARY)
    }),
    ("rendered_passthrough_any_object_may_be_missing", |bed| missing_objects::any_object(bed, &PASSTHROUGH)),
    ("rendered_passthrough_any_object_may_be_missing_without_auto_mtls", |bed| {
        missing_objects::any_object_without_auto_mtls(bed, &PASSTHROUGH)
    }),
    ("rendered_passthrough_a_tenants_rule_removes_no_tls", |bed| {
        missing_objects::rules_of_tenants(bed, &PASSTHROUGH)
    }),
    ("rendered_wharf_any_object_may_be_missing", |bed| missing_objects::any_object(bed, &WHARF)),
    ("rendered_wharf_any_object_may_be_missing_without_auto_mtls", |bed| {
        missing_objects::any_object_without_auto_mtls(bed, &WHARF)
    }),
    ("rendered_wharf_reaches_a_caller_with_a_sidecar_resource", |bed| {
        missing_objects::narrow_sidecar(bed, &WHARF)
    }),
    ("rendered_flat_any_object_may_be_missing", |bed| missing_objects::any_object(bed, &FLAT)),
    ("rendered_flat_reaches_a_caller_with_a_sidecar_resource", |bed| {
        missing_objects::narrow_sidecar(bed, &FLAT)
    }),
    ("rendered_flat_a_tenants_rule_removes_no_tls", |bed| missing_objects::rules_of_tenants(bed, &FLAT)),
];

/// m3 is a stranger to the other meshes.
fn main() -> ExitCode {
    let common_root = ["m1", "m2"].map(str::to_owned).into();
    let options = Options::new(env!("CARGO_BIN_EXE_emcee-testbed"), &["m1", "m2", "m3"]);
    suite::run_with_long_tests(&Options { common_root, ..options }, TESTS, LONG_TESTS)
}
