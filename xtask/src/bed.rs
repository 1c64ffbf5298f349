//! `cargo xtask bed`: the command of the test bed, and what must be built before its tests run.

use std::env;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::command::{cargo, output_of, run as run_command};

/// Arguments of the test bed's command.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct BedArgs {
    /// Passed to `emcee-testbed` unchanged; `--help` shows its commands.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Replaces this process by the test bed's, so that Ctrl-C reaches only that one.
pub(crate) fn run(args: &BedArgs) -> ExitCode {
    let mut command = cargo(&["run", "--locked", "--quiet", "--package", "emcee-testbed", "--"]);
    let error = command.args(&args.arguments).exec();
    eprintln!("error: cannot start cargo: {error}");
    ExitCode::FAILURE
}

/// Builds everything that the tests need: the workspace as `cargo test` wants it, then the binaries of a bed, if this
/// machine can run one.
pub(crate) fn build_for_tests() -> Result<()> {
    run_command(&mut cargo(&["test", "--locked", "--workspace", "--no-run"]))?;
    let bed = debug_program("emcee-testbed")?;
    if run_command(Command::new(&bed).args(["doctor", "--install"])).is_err() {
        if env::var("CI").is_ok_and(|value| value == "true") {
            bail!("this machine cannot run the end-to-end tests: see above for what is missing");
        }
        println!("    the end-to-end tests will be ignored: see above for what is missing");
        return Ok(());
    }
    run_command(Command::new(bed).arg("build"))
}

/// Path of a program of the workspace that `cargo test` builds.
pub(crate) fn debug_program(name: &str) -> Result<PathBuf> {
    Ok(metadata_folder("target_directory")?.join("debug").join(name))
}

/// Path of a program of the workspace that `cargo build --release` builds.
pub(crate) fn release_program(name: &str) -> Result<PathBuf> {
    Ok(metadata_folder("target_directory")?.join("release").join(name))
}

/// The root folder of the workspace.
pub(crate) fn workspace_root() -> Result<PathBuf> {
    metadata_folder("workspace_root")
}

fn metadata_folder(which: &str) -> Result<PathBuf> {
    let json = output_of(&mut cargo(&["metadata", "--locked", "--no-deps", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&json)?;
    let folder = metadata[which].as_str().with_context(|| format!("cargo metadata has no {which}"))?;
    Ok(PathBuf::from(folder))
}
