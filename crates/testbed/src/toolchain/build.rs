//! Builds the binaries into the cache.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};

use super::{Binaries, CACHE_VARIABLE, doctor, envoy, golang};
use crate::progress::print_progress;

/// Builds missing binaries; a second run finds all of them and does nothing.
pub fn build() -> Result<Binaries> {
    let binaries = Binaries::expected()?;
    if binaries.missing().is_empty() {
        return Ok(binaries);
    }
    doctor::require_builders()?;
    let folder = binaries.folder();
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let lock = File::create(folder.join("lock"))?;
    print_progress(format_args!(
        "building into {} (minutes when cold; the next run builds nothing)",
        folder.display()
    ));
    flock(&lock, FlockOperation::LockExclusive).context("cannot lock the cache")?;
    remove_abandoned(folder);
    // In the cache's own file system, so that a rename is atomic: a file appears complete or not at all.
    let work = tempfile::Builder::new().prefix("building-").tempdir_in(folder)?;
    fill_cache(&binaries, work.path()).map_err(|error| explain_full_disk(error, folder))?;
    Ok(binaries)
}

/// Adds a hint to errors about a full disk. They may only appear in the output of Python or Go.
fn explain_full_disk(error: anyhow::Error, folder: &Path) -> anyhow::Error {
    if !format!("{error:#}").contains("No space left on device") {
        return error;
    }
    let folder = folder.display();
    error
        .context(format!("the disk is full: free 3 GB for {folder} and Go's caches, or set {CACHE_VARIABLE}"))
}

/// Removes what a killed build has left. The lock guarantees that no build is running.
fn remove_abandoned(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("building-")) {
        let _ = fs::remove_dir_all(entry.path());
    }
}

fn fill_cache(binaries: &Binaries, work: &Path) -> Result<()> {
    let started = Instant::now();
    for module in golang::MODULES {
        fill_module(binaries, work, module)?;
    }
    if !binaries.path(envoy::NAME).exists() {
        time_step(envoy::NAME, || move_into_cache(&envoy::fetch(work)?, binaries, envoy::NAME))?;
    }
    print_progress(format_args!("all binaries built in {} s", started.elapsed().as_secs()));
    Ok(())
}

fn fill_module(binaries: &Binaries, work: &Path, module: &golang::GoModule) -> Result<()> {
    // In a separate folder, because a binary may have the same name as its module.
    let folder = work.join("modules").join(module.name);
    module.write_sources(&folder)?;
    for command in module.commands.iter().filter(|command| !binaries.path(command.name()).exists()) {
        let target = work.join(command.name());
        time_step(command.name(), || {
            command.build(&folder, &target).and_then(|()| move_into_cache(&target, binaries, command.name()))
        })?;
    }
    for name in module.files().filter(|name| !binaries.path(name).exists()) {
        let source =
            module.data_path(&folder, name)?.with_context(|| format!("no module provides {name}"))?;
        let copy = work.join(name);
        fs::copy(&source, &copy).with_context(|| format!("cannot copy {}", source.display()))?;
        move_into_cache(&copy, binaries, name)?;
    }
    Ok(())
}

fn time_step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    print_progress(format_args!("  {name} …"));
    let started = Instant::now();
    work()?;
    print_progress(format_args!("  {name}: {} s", started.elapsed().as_secs()));
    Ok(())
}

fn move_into_cache(source: &Path, binaries: &Binaries, name: &str) -> Result<()> {
    let mode = if name.contains('.') { 0o644 } else { 0o755 };
    fs::set_permissions(source, Permissions::from_mode(mode))?;
    fs::rename(source, binaries.path(name)).with_context(|| format!("cannot place {name} in the cache"))
}
