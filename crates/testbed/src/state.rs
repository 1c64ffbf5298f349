//! What a bed has created, recorded on disk, so that it can be removed after a crash.
//!
//! ```text
//! <root>/lock            locked while the bed's process runs
//! <root>/bed.pid         pid of that process
//! <root>/processes/PID   "<start time> <name>", written as soon as the process runs
//! <root>/netns/NAME      written before the namespace is created
//! <root>/<mesh>/         certificates, kubeconfigs, data, logs
//! ```

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{FlockOperation, flock};

mod clean;
mod proc;

pub(crate) use clean::{kill_processes_in, signal_group, signal_process};
pub use clean::{remove_before_exit, remove_leftovers};
pub use proc::{pids_in_namespace, start_time};

/// Environment variable with the folder for a bed's state.
pub const STATE_VARIABLE: &str = "EMCEE_TESTBED_STATE";

/// The folder of the bed that runs, or last ran, on this machine.
#[must_use]
pub fn root() -> PathBuf {
    std::env::var_os(STATE_VARIABLE).map_or_else(|| PathBuf::from("/run/emcee-testbed"), PathBuf::from)
}

/// The state folder, locked by this process.
#[derive(Debug)]
pub struct StateFolder {
    root: PathBuf,
    _lock: File,
}

impl StateFolder {
    /// Locks the state folder; first removes what a killed run left there.
    pub fn acquire() -> Result<Self> {
        let root = root();
        let lock = lock_folder(&root)?;
        clean::remove_recorded(&root)?;
        for folder in ["processes", "netns"] {
            fs::create_dir_all(root.join(folder))
                .with_context(|| format!("cannot write to {}", root.display()))?;
        }
        fs::write(root.join("bed.pid"), std::process::id().to_string())?;
        Ok(Self { root, _lock: lock })
    }

    /// Fails if the disk has no room for that many meshes: etcd would exit without saying that the disk is full.
    pub fn require_room(&self, meshes: usize) -> Result<()> {
        let disk = rustix::fs::statvfs(&self.root)?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize) >> 20;
        let needed = 200 * meshes as u64;
        ensure!(
            free >= needed,
            "{} has {free} MiB free, but {meshes} meshes need {needed}: free some, or set {STATE_VARIABLE} to another folder",
            self.root.display()
        );
        Ok(())
    }

    /// Path of the state folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Path of a mesh's own folder.
    pub fn mesh_folder(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Kills every recorded process, and removes every recorded namespace and file.
    pub fn remove(self) -> Result<()> {
        clean::remove_recorded(&self.root)?;
        fs::remove_dir_all(&self.root).with_context(|| format!("cannot remove {}", self.root.display()))
    }
}

/// Records a namespace before it is created.
pub fn record_namespace(root: &Path, name: &str) -> Result<()> {
    fs::write(root.join("netns").join(name), "").with_context(|| format!("cannot record namespace {name}"))
}

/// Records a running process. The start time distinguishes it from a later process with the same pid.
pub fn record_process(root: &Path, pid: u32, name: &str) -> Result<PathBuf> {
    let path = root.join("processes").join(pid.to_string());
    let started = start_time(pid).unwrap_or_default();
    fs::write(&path, format!("{started} {name}")).with_context(|| format!("cannot record process {name}"))?;
    Ok(path)
}

/// Fails if the folder is not a bed's: everything in it will be removed later.
fn require_own_folder(root: &Path) -> Result<()> {
    let is_empty = fs::read_dir(root)?.next().is_none();
    if !is_empty && !root.join("lock").exists() {
        bail!("{} is not empty: set {STATE_VARIABLE} to an empty folder", root.display());
    }
    Ok(())
}

fn lock_folder(root: &Path) -> Result<File> {
    fs::create_dir_all(root).with_context(|| format!("cannot create {} (are you root?)", root.display()))?;
    require_own_folder(root)?;
    let file =
        File::create(root.join("lock")).with_context(|| format!("cannot write to {}", root.display()))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let pid = fs::read_to_string(root.join("bed.pid")).unwrap_or_default();
        bail!("a bed is already up (pid {pid}); stop it with `emcee-testbed down`");
    }
    Ok(file)
}

/// Whether a bed is running.
#[must_use]
pub fn is_bed_up() -> bool {
    let lock = File::open(root().join("lock"));
    lock.is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err())
}
