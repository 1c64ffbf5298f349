//! Child processes. Each command is printed before it runs, gets no stdin, and is named if it fails.

use std::env;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// `cargo` in the workspace, with these arguments.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args);
    remove_package_variables(&mut command);
    command
}

/// Runs a command, and fails unless it succeeds.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let command_line = print_command(command);
    let status =
        command.stdin(Stdio::null()).status().with_context(|| format!("cannot start `{command_line}`"))?;
    if !status.success() {
        bail!("`{command_line}` failed: {status}");
    }
    Ok(())
}

/// Like [`run`], but passes each line of output to `see` as well. Both streams of the command share one pipe, so the
/// lines come in the order in which they were written.
pub(crate) fn run_with_lines(command: &mut Command, mut see: impl FnMut(&str)) -> Result<()> {
    let command_line = print_command(command);
    let (reader, writer) = std::io::pipe()?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn().with_context(|| format!("cannot start `{command_line}`"))?;
    // The pipe only ends when all its writers are closed, and `command` still holds two of them.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    for line in BufReader::new(reader).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        see(&line);
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("`{command_line}` failed: {status}");
    }
    Ok(())
}

/// Like [`run`], but kills the command after `limit`.
pub(crate) fn run_within(command: &mut Command, limit: Duration) -> Result<()> {
    let command_line = print_command(command);
    let deadline = Instant::now() + limit;
    let mut child =
        command.stdin(Stdio::null()).spawn().with_context(|| format!("cannot start `{command_line}`"))?;
    while Instant::now() < deadline {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => bail!("`{command_line}` failed: {status}"),
            None => sleep(Duration::from_millis(100)),
        }
    }
    child.kill()?;
    child.wait()?;
    bail!("`{command_line}` timed out after {} s", limit.as_secs())
}

/// Returns what a command prints, if it succeeds.
pub(crate) fn output_of(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", output.status);
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The user's cache folder for this project, outside the repository.
pub(crate) fn cache_folder() -> Result<PathBuf> {
    let base = env::var_os("XDG_CACHE_HOME").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let base = base.or_else(|| Some(env::home_dir()?.join(".cache")));
    Ok(base.context("no folder to cache tools in: set XDG_CACHE_HOME or HOME")?.join("emcee"))
}

/// `cargo run` sets variables about xtask's own package. Build scripts that watch these variables would treat every
/// dependency as changed.
fn remove_package_variables(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
}

fn print_command(command: &Command) -> String {
    let program = PathBuf::from(command.get_program());
    let program = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let args = command.get_args().map(|arg| arg.to_string_lossy().into_owned());
    let command_line = std::iter::once(program).chain(args).collect::<Vec<_>>().join(" ");
    println!("    $ {command_line}");
    command_line
}
