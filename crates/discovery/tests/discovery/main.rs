//! Delta xDS as whole conversations, without sockets and without a clock.
//!
//! `PROPTEST_CASES=5000 cargo test -p emcee-discovery --test discovery` looks longer.

mod conversation;
mod hostile;
mod judged;
mod link;
mod model;
mod session;
mod shelf;
mod subscription;
mod trace;

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
