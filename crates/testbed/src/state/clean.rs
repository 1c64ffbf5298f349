//! Removes what a bed created, even if the bed was killed.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::{pids_in_namespace, start_time};

const NETNS_FOLDER: &str = "/run/netns";

/// Removes what a killed run has left, and returns what it removed. Fails while a bed is running.
pub fn remove_leftovers() -> Result<Vec<String>> {
    let root = super::root();
    if !root.exists() {
        return Ok(Vec::new());
    }
    let _lock = super::lock_folder(&root)?;
    let mut removed = remove_recorded(&root)?;
    fs::remove_dir_all(&root).with_context(|| format!("cannot remove {}", root.display()))?;
    removed.push(format!("folder {}", root.display()));
    Ok(removed)
}

/// Removes what this process has created, just before it ends. Other threads may still be creating more.
pub fn remove_before_exit() {
    let root = super::root();
    // The first sweep removes the folder of records, so nothing new can start. The second one finds what was being
    // created at that time.
    for _ in 0..2 {
        if let Err(error) = remove_recorded(&root) {
            crate::progress::print_progress(format_args!("error: {error:#}"));
        }
    }
    let _ = fs::remove_dir_all(&root);
}

/// Kills recorded processes, and removes recorded namespaces and all files but the lock.
pub(super) fn remove_recorded(root: &Path) -> Result<Vec<String>> {
    let mut removed = kill_recorded(root);
    for name in entry_names(&root.join("netns")) {
        removed.extend(remove_namespace(&name)?);
    }
    release_netns_folder(root);
    for entry in entry_names(root).iter().filter(|name| *name != "lock") {
        let path = root.join(entry);
        let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
    }
    Ok(removed)
}

fn entry_names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn kill_recorded(root: &Path) -> Vec<String> {
    let mut ended = Vec::new();
    for pid in entry_names(&root.join("processes")).iter().filter_map(|name| name.parse::<u32>().ok()) {
        let record = fs::read_to_string(root.join("processes").join(pid.to_string())).unwrap_or_default();
        let (started, name) = record.split_once(' ').unwrap_or_default();
        if start_time(pid).is_some_and(|now| now.to_string() == started) {
            signal_group(pid, Signal::KILL);
            ended.push(format!("process {pid} {name}"));
        }
    }
    ended
}

/// Sends a signal to a process that we started.
pub(crate) fn signal_process(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // The process may be gone already, which is fine.
        let _ = kill_process(pid, signal);
    }
}

/// Sends a signal to a process group that we created, by its leader's pid.
pub(crate) fn signal_group(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // The group may be gone already, which is fine.
        let _ = kill_process_group(pid, signal);
    }
}

fn remove_namespace(name: &str) -> Result<Option<String>> {
    let path = Path::new(NETNS_FOLDER).join(name);
    if !path.exists() {
        return Ok(None);
    }
    kill_processes_in(&path);
    let done = Command::new("ip").args(["netns", "del", name]).stderr(Stdio::null()).status();
    ensure!(done.is_ok_and(|status| status.success()) || !path.exists(), "cannot remove namespace {name}");
    Ok(Some(format!("namespace {name}")))
}

/// Kills all processes inside a namespace that we created. They are our descendants, even if their parent is gone.
pub(crate) fn kill_processes_in(path: &Path) {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let own = std::process::id();
        let inside: Vec<u32> = pids_in_namespace(path).into_iter().filter(|pid| *pid != own).collect();
        if inside.is_empty() || Instant::now() > deadline {
            return;
        }
        for pid in inside.iter().filter_map(|pid| Pid::from_raw(i32::try_from(*pid).ok()?)) {
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::yield_now();
    }
}

/// `ip netns` mounts its folder on itself at its first use. If that use was ours, this removes the mount.
fn release_netns_folder(root: &Path) {
    let made = root.join("netns-folder");
    if made.exists() && entry_names(Path::new(NETNS_FOLDER)).is_empty() {
        let _ = Command::new("umount").arg(NETNS_FOLDER).stderr(Stdio::null()).status();
        let _ = fs::remove_dir(NETNS_FOLDER);
        let _ = fs::remove_file(made);
    }
}
