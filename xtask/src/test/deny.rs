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

/// Bans, licences and sources must hold. Advisories are shown only: they appear without a change of ours.
pub(super) fn check() -> Result<()> {
    let tool = installed()?;
    run(Command::new(&tool).args(["--locked", "--workspace", "check", "bans", "licenses", "sources"]))?;
    let mut advisories = Command::new(&tool);
    advisories.args(["--locked", "--workspace", "check", "advisories"]);
    if let Err(error) = run_within(&mut advisories, TIME_FOR_ADVISORIES) {
        println!("    advisories need a look, or could not be checked: {error} (not a failure)");
    }
    Ok(())
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
