//! Complete delta xDS streams, without sockets and without a clock.
//!
//! To run more cases: `PROPTEST_CASES=5000 cargo test -p emcee-discovery --test discovery`.

mod cache;
mod client_stream;
mod client_timers;
mod conversation;
mod hostile;
mod link;
mod model;
mod revalidation;
mod server_limits;
mod server_stream;
mod trace;

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
