//! Entry point of the `emcee` binary: master of ceremonies for Istio multi-mesh.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

// jemalloc returns memory to the system after thousands of changes. The static binary also avoids musl's allocator,
// which has a single global lock.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    emcee::cli::main()
}
