//! Properties of every translation for any mesh, and of parsing for any input, even hostile input.
//!
//! To run more cases: `PROPTEST_CASES=5000 cargo test -p emcee-core --test core`.

mod announcements;
mod attacks;
mod auto_exposition;
mod backend_addresses;
mod backends;
mod batched_work;
mod catalogue;
mod client_tls;
mod credentials;
mod discovery_routes;
mod exposure;
mod fairness;
mod hostile;
mod import_ports;
mod imports;
mod incremental;
mod last_good;
mod limits;
mod mesh;
mod names;
mod naming;
mod peer_inputs;
mod peer_policy;
mod plan;
mod policy;
mod protection;
mod reference_policy;
mod references;
mod refusals;
mod rivals;
mod secrecy;
mod sharing;
mod status;
mod trust_domains;
mod variety;

use proptest::test_runner::Config;

/// Returns a configuration with the number of cases in `PROPTEST_CASES`, or with `usual` cases.
fn cases(usual: u32) -> Config {
    let requested = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    Config {
        cases: requested.unwrap_or(usual),
        max_shrink_iters: 2_000,
        failure_persistence: None,
        ..Config::default()
    }
}
