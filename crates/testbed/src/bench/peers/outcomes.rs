//! Calls without a pause from a pod, with the time of each change of the outcome.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::Mesh;
use crate::mesh::{PodTarget, nsenter_command};
use crate::workload::OutcomeChange;

/// The calling process. Dropping it ends it.
pub(super) struct OutcomeStream {
    child: Child,
    hosts: ChildStdin,
    changes: Receiver<OutcomeChange>,
}

impl OutcomeStream {
    /// Starts the process in a pod. It connects to `to`, whatever host it calls.
    pub(super) fn start(mesh: &Mesh, pod: &str, program: &Path, to: &str) -> Result<Self> {
        let pid = pod.parse::<PodTarget>()?.pid(mesh.folder())?;
        let program = program.to_str().context("the program's path is not UTF-8")?;
        let mut command = nsenter_command(pid, &[program, "workload", "outcomes", "--to", to]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let hosts = child.stdin.take().context("the process has no stdin")?;
        let lines = BufReader::new(child.stdout.take().context("the process has no stdout")?).lines();
        let (tell, changes) = channel();
        std::thread::spawn(move || {
            let parsed = lines.map_while(Result::ok).filter_map(|line| serde_json::from_str(&line).ok());
            parsed.map_while(|change| tell.send(change).ok()).for_each(drop);
        });
        Ok(Self { child, hosts, changes })
    }

    /// Calls this host from now on.
    pub(super) fn call_host(&mut self, host: &str) -> Result<()> {
        Ok(writeln!(self.hosts, "{host}")?)
    }

    /// Waits for the next such change of the outcome of this host.
    pub(super) fn wait_for(
        &self,
        host: &str,
        patience: Duration,
        is: impl Fn(&OutcomeChange) -> bool,
    ) -> Result<OutcomeChange> {
        let deadline = Instant::now() + patience;
        let mut last = None;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "{host}: after {} s the last outcome is {last:?}", patience.as_secs());
            let Some(change) = self.next_change(left)? else { continue };
            if change.host == host && is(&change) {
                return Ok(change);
            }
            last = Some(change);
        }
    }

    /// The changes of this host's outcome, until calls are answered for `quiet` without a change.
    pub(super) fn collect_until_quiet(
        &self,
        host: &str,
        quiet: Duration,
        patience: Duration,
    ) -> Result<Vec<OutcomeChange>> {
        let deadline = Instant::now() + patience;
        let mut changes: Vec<OutcomeChange> = Vec::new();
        loop {
            ensure!(Instant::now() < deadline, "{host}: calls still fail: {:?}", changes.last());
            match self.next_change(quiet)? {
                Some(change) if change.host == host => changes.push(change),
                // Without a change, the outcome is still that of the last one.
                None if changes.last().is_none_or(|last| last.answer.is_some()) => return Ok(changes),
                _ => {}
            }
        }
    }

    /// The next change of any host, if there is one within this time.
    fn next_change(&self, patience: Duration) -> Result<Option<OutcomeChange>> {
        match self.changes.recv_timeout(patience) {
            Ok(change) => Ok(Some(change)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => bail!("the calling process has ended"),
        }
    }
}

impl Drop for OutcomeStream {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
