//! `emcee`: master of ceremonies for Istio multi-mesh.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

// What thousands of changes leave behind goes back to the system, and the static binary does not wait for musl's one lock.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    emcee::cli::main()
}
