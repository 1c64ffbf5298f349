//! Reads processes from `/proc`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Start time of a process, in clock ticks after boot; `None` if the process does not exist.
#[must_use]
pub fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name may contain spaces and brackets; after its last bracket, fields are counted from 3.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

/// The processes whose network namespace is the one bound to `path`.
#[must_use]
pub fn pids_in_namespace(path: &Path) -> Vec<u32> {
    let Ok(inode) = fs::metadata(path).map(|meta| meta.ino()) else { return Vec::new() };
    pids().filter(|pid| netns_inode(*pid) == Some(inode)).collect()
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn netns_inode(pid: u32) -> Option<u64> {
    fs::metadata(format!("/proc/{pid}/ns/net")).ok().map(|meta| meta.ino())
}
