//! `emcee`: master of ceremonies for Istio multi-mesh.

use std::process::ExitCode;

fn main() -> ExitCode {
    emcee::cli::main()
}
