//! `cargo xtask proof`: experiments that take long.

use std::fs;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::Result;

use crate::bed;
use crate::command::{cargo, output_of, run as run_command};
use crate::fuzz;

/// The proof to run.
#[derive(clap::Subcommand)]
pub(crate) enum ProofCommand {
    /// Attack Emcee from the network: probes, another relationship's changes, memory. Writes docs/proofs/attacks.md.
    Attacks(AttacksArgs),
    /// Run the fuzz targets for longer than the step `fuzz` of `cargo xtask test` does.
    Fuzz(FuzzArgs),
}

#[derive(clap::Args)]
pub(crate) struct FuzzArgs {
    /// Time for new inputs of each target, after its corpus.
    #[arg(long, default_value_t = 600)]
    seconds: u32,
}

#[derive(clap::Args)]
pub(crate) struct AttacksArgs {
    /// Length of each attack, and of the measurement without it. The page is only written for the default, 30.
    #[arg(long, default_value_t = LONG)]
    seconds: u16,
}

const LONG: u16 = 30;

const WHAT: &str = "\
# Under attack from the network

`cargo xtask proof attacks` measures, on loopback, what other clients notice while unauthenticated clients attack the ports
that they can reach. Emcee has one processor: two relationships with `run --dir`, scanned every 20 ms; for admission
reviews, the webhook and the probe port in one process. The attackers and the measuring clients have the other processor.
Each figure is measured for the same time without the attack and with it. Emcee withstands an attack if it answers each
`/live` within 1 s, if the p99 from a change in relationship yellow to its arrival at yellow's peer is less than twice the
value without the attack (or below 50 ms), and if memory stays below 256 MiB.
";

/// Runs the proof. Writes the page if every check holds.
pub(crate) fn run(args: &ProofCommand) -> ExitCode {
    let result = match args {
        ProofCommand::Attacks(attacks) => attacks.run(),
        ProofCommand::Fuzz(args) => fuzz::check(args.seconds),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl AttacksArgs {
    fn run(&self) -> Result<()> {
        let pages = bed::workspace_root()?.join("docs/proofs");
        let table = pages.join("attacks.table");
        fs::create_dir_all(&pages)?;
        let mut command =
            cargo(&["test", "--locked", "--release", "--package", "emcee", "--test", "attacks"]);
        command.args(["--", "--ignored", "--exact", "proof", "--nocapture"]);
        command.env("EMCEE_PROOF_SECONDS", self.seconds.to_string()).env("EMCEE_PROOF_TABLE", &table);
        let begun = Instant::now();
        run_command(&mut command)?;
        let figures = fs::read_to_string(&table)?;
        fs::remove_file(&table)?;
        if self.seconds != LONG {
            return Ok(());
        }
        let commit = output_of(Command::new("git").args(["rev-parse", "--short=12", "HEAD"]))?;
        let date = output_of(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]))?;
        let facts = format!(
            "Commit {}, {}, {} s with and without each attack, {:.0} s in total with the build, {} processors.",
            commit.trim(),
            date.trim(),
            self.seconds,
            begun.elapsed().as_secs_f64(),
            std::thread::available_parallelism()?
        );
        Ok(fs::write(pages.join("attacks.md"), format!("{WHAT}\n{facts}\n\n{figures}"))?)
    }
}
