//! `cargo xtask proof`: what only a long run with the released program can show.

use std::fs;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::Result;

use crate::bed;
use crate::command::{cargo, output_of, run as run_command};

/// What to show.
#[derive(clap::Subcommand)]
pub(crate) enum Args {
    /// Emcee under attacks from the network: probes, another relationship's changes, memory. Writes docs/proofs/attacks.md.
    Attacks(Attacks),
}

#[derive(clap::Args)]
pub(crate) struct Attacks {
    /// How long each attack lasts, and how long is measured without it. With another than 30 the page stays as it is.
    #[arg(long, default_value_t = LONG)]
    seconds: u16,
}

const LONG: u16 = 30;

const WHAT: &str = "\
# Under attack from the network

What others notice while strangers attack the ports that they reach: `cargo xtask proof attacks`, on loopback. Emcee (two
relationships, `run --dir`, looked at each 20 ms; for reviews the webhook and the probe port in one process) has one
processor, attackers and those who measure the other. Each figure is of the same time without the attack and with it. It
holds when each `/live` is answered within 1 s, the p99 from a change of yellow to its arrival at yellow's peer is below
twice that without the attack (or 50 ms), and memory stays below 256 MiB.
";

/// Runs it, and writes the page if all of it holds.
pub(crate) fn run(args: &Args) -> ExitCode {
    let Args::Attacks(attacks) = args;
    match attacks.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Attacks {
    fn run(&self) -> Result<()> {
        let pages = bed::workspace()?.join("docs/proofs");
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
            "Commit {}, {}, {} s for each attack and without it, {:.0} s in all with the build, {} processors.",
            commit.trim(),
            date.trim(),
            self.seconds,
            begun.elapsed().as_secs_f64(),
            std::thread::available_parallelism()?
        );
        Ok(fs::write(pages.join("attacks.md"), format!("{WHAT}\n{facts}\n\n{figures}"))?)
    }
}
