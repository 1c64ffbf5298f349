//! Finds out the commit that is built, for `emcee --version`.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=EMCEE_COMMIT");
    let commit = env::var("EMCEE_COMMIT").ok().or_else(current_commit).unwrap_or_default();
    let target = env::var("TARGET").unwrap_or_default();
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let commit = if commit.is_empty() { String::new() } else { format!("commit {commit}, ") };
    println!("cargo::rustc-env=EMCEE_VERSION={version} ({commit}{target})");
}

/// Returns the commit of a checkout. `None` without git, and in an archive of the sources.
fn current_commit() -> Option<String> {
    let head = run_git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    // Changes with each commit and checkout.
    println!("cargo::rerun-if-changed={head}");
    run_git(&["rev-parse", "--short=12", "HEAD"])
}

fn run_git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned()).filter(|text| !text.is_empty())
}
