//! What holds of every translation, whatever the mesh; and of every input, however hostile.
//!
//! `PROPTEST_CASES=5000 cargo test -p emcee-core --test core` looks longer.

mod announcements;
mod attacks;
mod automatic;
mod backends;
mod bounds;
mod catalogue;
mod client_tls;
mod credentials;
mod discovery_ways;
mod exposure;
mod fairness;
mod following;
mod guards;
mod hostile;
mod imports;
mod last_good;
mod mesh;
mod names;
mod naming;
mod plan;
mod policy;
mod references;
mod refusals;
mod rivals;
mod second_judge;
mod secrecy;
mod sharing;
mod slicing;
mod status;
mod terms;
mod trust_domains;
mod variety;

use proptest::test_runner::Config;

/// As many cases as `PROPTEST_CASES` says, else this many.
fn cases(usual: u32) -> Config {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    Config {
        cases: asked.unwrap_or(usual),
        max_shrink_iters: 2_000,
        failure_persistence: None,
        ..Config::default()
    }
}
