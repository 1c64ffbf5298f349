//! The tasks of the project. `cargo xtask test` must pass before a change is merged.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for people: it prints its result")]

mod bed;
mod bench;
mod command;
mod fuzz;
mod proof;
mod test;

use std::process::ExitCode;

use clap::Parser;

/// Tasks of the project
#[derive(Parser)]
#[command(name = "cargo xtask", version)]
enum Xtask {
    /// Run all checks that must pass before a change is merged, step by step.
    Test(test::TestArgs),
    /// Run real meshes on this machine: up, down, exec, logs, doctor, build (crates/testbed).
    Bed(bed::BedArgs),
    /// Run a benchmark that `cargo bench` cannot run.
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Run a proof: an experiment that takes long.
    #[command(subcommand)]
    Proof(proof::ProofCommand),
}

fn main() -> ExitCode {
    match Xtask::parse() {
        Xtask::Test(args) => test::run(&args),
        Xtask::Bed(args) => bed::run(&args),
        Xtask::Bench(args) => bench::run(&args),
        Xtask::Proof(args) => proof::run(&args),
    }
}
