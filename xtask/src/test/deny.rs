//! `cargo-deny` with the rules of `deny.toml`.

use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::command::{cache_folder, cargo, output_of, run, run_within};

/// Pinned, so that a new release cannot fail an old commit.
const VERSION: &str = "0.20.2";

/// The tool's release profile takes minutes to optimize what runs for a second here.
const FAST_BUILD: [(&str, &str); 3] = [
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
];

/// The database of advisories is a git repository, and not every network lets us reach it.
const TIME_FOR_ADVISORIES: Duration = Duration::from_mins(2);

/// Bans, licences and sources must hold; and no dependency may have an advisory that `deny.toml` does not name, wherever
/// the database of advisories can be fetched.
pub(super) fn check() -> Result<()> {
    let tool = installed()?;
    let deny = |args: &[&str]| {
        let mut command = Command::new(&tool);
        command.args(["--locked", "--workspace"]).args(args);
        command
    };
    run(&mut deny(&["check", "bans", "licenses", "sources"]))?;
    enforce(
        || run_within(&mut deny(&["fetch", "db"]), TIME_FOR_ADVISORIES),
        || run(&mut deny(&["check", "--disable-fetch", "advisories"])),
    )
}

/// Apart from each other, as both fail with the same exit code: without the database nothing can be checked, which is
/// said and is no failure.
fn enforce(fetch: impl FnOnce() -> Result<()>, check: impl FnOnce() -> Result<()>) -> Result<()> {
    match fetch() {
        Ok(()) => check(),
        Err(error) => {
            println!("    advisories are NOT checked, as their database cannot be fetched: {error:#}");
            Ok(())
        }
    }
}

/// The pinned version: the one in `PATH`, or the one in the cache folder, installed there if need be.
fn installed() -> Result<PathBuf> {
    let tool = PathBuf::from("cargo-deny");
    if is_pinned(tool.as_os_str()) {
        return Ok(tool);
    }
    let root = cache_folder()?.join(format!("cargo-deny-{VERSION}"));
    let tool = root.join("bin").join("cargo-deny").with_extension(env::consts::EXE_EXTENSION);
    if !is_pinned(tool.as_os_str()) {
        let mut install =
            cargo(&["install", "--locked", "--force", "--version", VERSION, "cargo-deny", "--root"]);
        install.arg(root).envs(FAST_BUILD);
        // Otherwise the tool's dependencies would be kept in our target folder.
        run(install.env_remove("CARGO_TARGET_DIR"))?;
    }
    Ok(tool)
}

fn is_pinned(tool: &OsStr) -> bool {
    let version = output_of(Command::new(tool).arg("--version"));
    version.is_ok_and(|version| version.trim() == format!("cargo-deny {VERSION}"))
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn an_advisory_fails_the_step_wherever_there_is_a_database() {
        let found = || bail!("an advisory");
        assert!(enforce(|| Ok(()), found).is_err());
        assert!(enforce(|| Ok(()), || Ok(())).is_ok());
        // Nothing is checked against a database that may be old or half there.
        let never = || panic!("checked without a database");
        assert!(enforce(|| bail!("no network"), never).is_ok());
    }
}
