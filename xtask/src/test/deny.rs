//! Runs `cargo-deny` with the rules of `deny.toml`.

use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::bed;
use crate::command::{cache_folder, cargo, output_of, run, run_within};

/// Pinned, so that a new release cannot make an old commit fail.
const VERSION: &str = "0.20.2";

/// The tool's release profile spends minutes on optimizing a program that runs for a second here.
const FAST_BUILD: [(&str, &str); 3] = [
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
];

/// Time limit for the advisory database, a git repository that is not reachable from every network.
const FETCH_TIMEOUT: Duration = Duration::from_mins(2);

/// Checks bans, licences and sources. If the advisory database can be fetched, also checks that no dependency has an
/// advisory that `deny.toml` does not list.
pub(super) fn check() -> Result<()> {
    let tool = install_pinned()?;
    let deny = |args: &[&str]| {
        let mut command = Command::new(&tool);
        command.args(["--locked", "--workspace"]).args(args);
        command
    };
    run(&mut deny(&["check", "bans", "licenses", "sources"]))?;
    // The fuzz targets are another workspace, with a lock file of its own.
    let root = bed::workspace_root()?;
    let mut deny_fuzz = Command::new(&tool);
    deny_fuzz.arg("--locked").arg("--manifest-path").arg(root.join("fuzz/Cargo.toml"));
    deny_fuzz.arg("--config").arg(root.join("deny.toml"));
    run(deny_fuzz.args(["check", "bans", "licenses", "sources"]))?;
    check_if_fetched(
        || run_within(&mut deny(&["fetch", "db"]), FETCH_TIMEOUT),
        || run(&mut deny(&["check", "--disable-fetch", "advisories"])),
    )
}

/// The fetch and the check are separate, because both fail with the same exit code. If the fetch fails, nothing can be
/// checked: that is reported, but is not an error.
fn check_if_fetched(fetch: impl FnOnce() -> Result<()>, check: impl FnOnce() -> Result<()>) -> Result<()> {
    match fetch() {
        Ok(()) => check(),
        Err(error) => {
            println!("    advisories are NOT checked, because their database cannot be fetched: {error:#}");
            Ok(())
        }
    }
}

/// The pinned version: the one in `PATH`, or else the one in the cache folder, which is installed if it is missing.
fn install_pinned() -> Result<PathBuf> {
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
        // Otherwise, the build of the tool's dependencies would stay in our target folder.
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
    fn an_advisory_fails_the_step_if_the_database_was_fetched() {
        let found = || bail!("an advisory");
        assert!(check_if_fetched(|| Ok(()), found).is_err());
        assert!(check_if_fetched(|| Ok(()), || Ok(())).is_ok());
        // Nothing is checked against a database that may be outdated or incomplete.
        let never = || panic!("checked without a database");
        assert!(check_if_fetched(|| bail!("no network"), never).is_ok());
    }
}
