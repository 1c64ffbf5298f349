//! The project's own chores: `cargo xtask test` is what has to pass before a change lands.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for people: it prints its result")]

mod bed;
mod bench;
mod command;
mod proof;
mod test;

use std::process::ExitCode;

use clap::Parser;

/// The project's own chores.
#[derive(Parser)]
#[command(name = "cargo xtask", version)]
enum Xtask {
    /// Run everything that has to pass before a change lands, step by step.
    Test(test::Args),
    /// Real meshes on this machine: up, down, exec, logs, doctor, build (crates/testbed).
    Bed(bed::Args),
    /// Measure what needs a cluster.
    #[command(subcommand)]
    Bench(bench::Args),
    /// Show what only a long run can.
    #[command(subcommand)]
    Proof(proof::Args),
}

fn main() -> ExitCode {
    match Xtask::parse() {
        Xtask::Test(args) => test::run(&args),
        Xtask::Bed(args) => bed::run(&args),
        Xtask::Bench(args) => bench::run(&args),
        Xtask::Proof(args) => proof::run(&args),
    }
}
