//! Which identities meshes accept, and what they learn about each other: two real meshes under a common root, with
//! their own trust domains, each with an Emcee.

#[path = "controller/emcee.rs"]
#[expect(dead_code, reason = "the other suite uses the rest")]
mod emcee;
#[path = "controller/resource.rs"]
mod resource;
#[path = "traffic/workloads.rs"]
#[expect(dead_code, reason = "the other suites use the rest")]
mod workloads;

mod trust {
    pub(crate) mod credentials;
    pub(crate) mod domains;
    pub(crate) mod headers;
    pub(crate) mod world;
}

use std::process::ExitCode;

use emcee_testbed::Options;
use emcee_testbed::suite::{self, Test};

use trust::{credentials, domains, headers};

const TESTS: &[Test] = &[
    ("a_peer_does_not_learn_who_calls", headers::callers_are_hidden),
    ("callers_of_another_trust_domain_need_an_alias", domains::callers_need_an_alias),
    ("a_revoked_certificate_is_refused_at_the_gateway", credentials::revoked_certificate_is_refused),
    ("a_bad_crl_changes_nothing_and_is_reported", credentials::bad_crl_is_reported),
    (
        "a_secret_that_replaces_the_ca_closes_the_relationship",
        credentials::shadowing_secret_closes_the_relationship,
    ),
];

fn main() -> ExitCode {
    let options = Options::new(env!("CARGO_BIN_EXE_emcee-testbed"), &["m1", "m2"]).with_common_root();
    let trust_domains = [("m2".to_owned(), "two.example".to_owned())].into();
    suite::run_with_emcee(&Options { trust_domains, ..options }, TESTS)
}
