//! What a bed has made, on disk, so that it can be removed after a crash.
//!
//! ```text
//! <root>/lock            held for as long as the bed's process lives
//! <root>/bed.pid         who holds it
//! <root>/processes/PID   "<start time> <name>", written as soon as the process runs
//! <root>/netns/NAME      written before the namespace is made
//! <root>/<mesh>/         certificates, kubeconfigs, data, logs
//! ```

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{FlockOperation, flock};

mod clean;
mod proc;

pub use clean::{abandon, clean};
pub(crate) use clean::{empty_namespace, signal, signal_group};
pub use proc::{in_namespace, start_time};

/// Names the folder that holds a bed's state.
pub const STATE_VARIABLE: &str = "EMCEE_TESTBED_STATE";

/// The folder of the bed that runs, or ran, on this machine.
#[must_use]
pub fn root() -> PathBuf {
    std::env::var_os(STATE_VARIABLE).map_or_else(|| PathBuf::from("/run/emcee-testbed"), PathBuf::from)
}

/// The state folder, held by this process alone.
#[derive(Debug)]
pub struct State {
    root: PathBuf,
    _lock: File,
}

impl State {
    /// Takes the state folder; what a killed run left there is removed first.
    pub fn take() -> Result<Self> {
        let root = root();
        let lock = lock(&root)?;
        clean::sweep(&root)?;
        for folder in ["processes", "netns"] {
            fs::create_dir_all(root.join(folder))
                .with_context(|| format!("cannot write to {}", root.display()))?;
        }
        fs::write(root.join("bed.pid"), std::process::id().to_string())?;
        Ok(Self { root, _lock: lock })
    }

    /// Fails where the folder's disk has no room for that many meshes: etcd alone would end without a word of it.
    pub fn require_room(&self, meshes: usize) -> Result<()> {
        let disk = rustix::fs::statvfs(&self.root)?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize) >> 20;
        let needed = 200 * meshes as u64;
        ensure!(
            free >= needed,
            "{} has {free} MiB free, and {meshes} meshes need {needed}: free some, or name another folder in {STATE_VARIABLE}",
            self.root.display()
        );
        Ok(())
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A mesh's own folder.
    pub fn mesh(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Ends every recorded process and removes every recorded namespace and file.
    pub fn remove(self) -> Result<()> {
        clean::sweep(&self.root)?;
        fs::remove_dir_all(&self.root).with_context(|| format!("cannot remove {}", self.root.display()))
    }
}

/// Notes a namespace before it is made.
pub fn record_namespace(root: &Path, name: &str) -> Result<()> {
    fs::write(root.join("netns").join(name), "").with_context(|| format!("cannot record namespace {name}"))
}

/// Notes a process that runs; its start time tells it from a later process with the same pid.
pub fn record_process(root: &Path, pid: u32, name: &str) -> Result<PathBuf> {
    let path = root.join("processes").join(pid.to_string());
    let started = start_time(pid).unwrap_or_default();
    fs::write(&path, format!("{started} {name}")).with_context(|| format!("cannot record process {name}"))?;
    Ok(path)
}

/// What is swept later has to be a bed's own.
fn refuse_foreign(root: &Path) -> Result<()> {
    let is_empty = fs::read_dir(root)?.next().is_none();
    if !is_empty && !root.join("lock").exists() {
        bail!("{} holds something else: name an empty folder in {STATE_VARIABLE}", root.display());
    }
    Ok(())
}

fn lock(root: &Path) -> Result<File> {
    fs::create_dir_all(root).with_context(|| format!("cannot make {} (are you root?)", root.display()))?;
    refuse_foreign(root)?;
    let file =
        File::create(root.join("lock")).with_context(|| format!("cannot write to {}", root.display()))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let pid = fs::read_to_string(root.join("bed.pid")).unwrap_or_default();
        bail!("a bed is already up (pid {pid}); end it with `emcee-testbed down`");
    }
    Ok(file)
}

/// Whether a bed is up.
#[must_use]
pub fn is_held() -> bool {
    let lock = File::open(root().join("lock"));
    lock.is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err())
}
