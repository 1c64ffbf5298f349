//! `cargo xtask bed`: the test bed's own command, and what has to be there before its tests run.

use std::env;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::command::{cargo, output_of, run as run_command};

/// What the test bed is asked to do.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// Handed to `emcee-testbed` as they are; `--help` shows what it can do.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Becomes the test bed's process, so that Ctrl-C reaches that one alone.
pub(crate) fn run(args: &Args) -> ExitCode {
    let mut command = cargo(&["run", "--locked", "--quiet", "--package", "emcee-testbed", "--"]);
    let error = command.args(&args.arguments).exec();
    eprintln!("error: cannot start cargo: {error}");
    ExitCode::FAILURE
}

/// Builds all that the tests are and run: the workspace as `cargo test` wants it, then, where this machine can run
/// a bed, what that consists of.
pub(crate) fn prepare() -> Result<()> {
    run_command(&mut cargo(&["test", "--locked", "--workspace", "--no-run"]))?;
    let bed = program("emcee-testbed")?;
    if run_command(Command::new(&bed).args(["doctor", "--install"])).is_err() {
        if env::var("CI").is_ok_and(|value| value == "true") {
            bail!("this machine cannot run the end-to-end tests: see above for what is missing");
        }
        println!("    the end-to-end tests will be ignored: see above for what is missing");
        return Ok(());
    }
    run_command(Command::new(bed).arg("build"))
}

/// A program of the workspace, where `cargo test` puts it.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    Ok(folder("target_directory")?.join("debug").join(name))
}

/// A program of the workspace, where `cargo build --release` puts it.
pub(crate) fn released(name: &str) -> Result<PathBuf> {
    Ok(folder("target_directory")?.join("release").join(name))
}

/// The workspace's own folder.
pub(crate) fn workspace() -> Result<PathBuf> {
    folder("workspace_root")
}

fn folder(which: &str) -> Result<PathBuf> {
    let json = output_of(&mut cargo(&["metadata", "--locked", "--no-deps", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&json)?;
    let folder = metadata[which].as_str().with_context(|| format!("cargo metadata names no {which}"))?;
    Ok(PathBuf::from(folder))
}
