//! Child processes: each is recorded on disk, and has its own process group and log.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use tokio::process::{Child, Command};

use crate::state;

/// Parameters of a process to start.
#[derive(Debug, Clone)]
pub struct ProcessSpec {
    /// The name in records and messages.
    pub name: String,
    /// Program and its arguments.
    pub command: Vec<String>,
    /// The whole environment except PATH.
    pub env: Vec<(String, String)>,
    /// The working directory of the process.
    pub folder: PathBuf,
    /// Where stdout and stderr go.
    pub log: PathBuf,
}

/// A running process. Dropping it kills its group.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    pid: u32,
    record: PathBuf,
    log: PathBuf,
}

impl Process {
    /// Starts a process in the caller's network namespace.
    pub fn start(root: &Path, spec: &ProcessSpec) -> Result<Self> {
        let (program, arguments) = spec.command.split_first().context("a process needs a program")?;
        let log = File::options().create(true).append(true).open(&spec.log);
        let log = log.with_context(|| format!("cannot write {}", spec.log.display()))?;
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&spec.folder).env_clear().process_group(0);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).envs(spec.env.iter().cloned());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // If the process cannot be recorded, because the bed is being removed, it must not outlive the bed.
        command.kill_on_drop(true);
        let child =
            command.spawn().with_context(|| format!("cannot start {program}; see `emcee-testbed doctor`"))?;
        let pid = child.id().context("the new process has no pid")?;
        let record = state::record_process(root, pid, &spec.name)?;
        Ok(Self { name: spec.name.clone(), child, pid, record, log: spec.log.clone() })
    }

    /// The process id, which is also the id of its group.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for the process to exit; returns its exit code, -1 after a signal.
    pub async fn wait(&mut self) -> Result<i32> {
        let status = self.child.wait().await?;
        Ok(status.code().unwrap_or(-1))
    }

    /// Fails, with the last lines of the log, if the process has exited.
    pub fn check_alive(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} exited with {status}:\n{}", self.name, last_lines(&self.log, 15));
        }
        Ok(())
    }

    /// Waits for a killed process: it exits in a moment, but stays as a zombie until its parent has waited for it.
    fn reap(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(2);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::yield_now();
        }
    }

    /// Kills the group, and waits until the process has exited.
    pub async fn kill(&mut self) -> Result<()> {
        if self.child.id().is_some() {
            state::signal_group(self.pid, Signal::KILL);
        }
        self.wait().await.map(drop)
    }

    /// Sends SIGTERM to the process, and kills its group after `grace`. Only the first process of a container gets the
    /// signal, and passes it on to its children: a proxy that gets it at the same time as its agent would not drain.
    pub async fn terminate(mut self, grace: Duration) {
        if self.child.id().is_some() {
            state::signal_process(self.pid, Signal::TERM);
        }
        let _ = tokio::time::timeout(grace, self.child.wait()).await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // After the process is reaped, another process may have its pid. A child that is left ends with its namespace.
        if self.child.id().is_some() {
            state::signal_group(self.pid, Signal::KILL);
            self.reap();
        }
        let _ = std::fs::remove_file(&self.record);
    }
}

/// Runs a program to its end and returns its stdout. If it fails, its stderr is the error.
pub async fn run_output(program: &str, arguments: &[&str]) -> Result<String> {
    let done = Command::new(program).args(arguments).stdin(Stdio::null()).output().await;
    let done = done.with_context(|| format!("cannot start {program}; see `emcee-testbed doctor`"))?;
    let stderr = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "`{program} {}` failed: {}", arguments.join(" "), stderr.trim());
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// The last lines of a log, for an error message.
#[must_use]
pub fn last_lines(log: &Path, lines: usize) -> String {
    let text =
        std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::net::unix::pipe;

    use super::*;

    #[tokio::test]
    async fn a_process_that_cannot_be_recorded_does_not_run() {
        let folder = tempfile::tempdir().expect("a folder");
        let fifo = folder.path().join("fifo");
        run_output("mkfifo", &[fifo.to_str().expect("text")]).await.expect("a pipe");
        let mut reader = pipe::OpenOptions::new().open_receiver(&fifo).expect("the pipe opens");
        let spec = ProcessSpec {
            name: "unrecorded".to_owned(),
            command: ["sleep", "60"].map(str::to_owned).to_vec(),
            env: Vec::new(),
            folder: folder.path().to_owned(),
            log: fifo,
        };
        Process::start(&folder.path().join("gone"), &spec).expect_err("there is no folder for records");
        // The pipe ends with the last process that has it.
        let read = tokio::time::timeout(Duration::from_secs(30), reader.read_u8()).await;
        assert!(read.expect("it has ended").is_err(), "it wrote nothing");
    }
}
