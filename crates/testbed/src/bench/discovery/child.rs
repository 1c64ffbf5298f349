//! A process of the benchmark, and what is said with it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child as Process, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_mins(10);

/// A process that answers lines; dropped, it is ended.
pub(super) struct Child {
    name: &'static str,
    process: Process,
    stdin: ChildStdin,
    lines: Receiver<String>,
}

impl Child {
    /// Starts `program` in a role.
    pub(super) fn start(program: &Path, role: &'static str, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(program);
        command.arg(role).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let stdin = process.stdin.take().context("stdin is a pipe")?;
        let stdout = process.stdout.take().context("stdout is a pipe")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            // What cannot be read is the end; who listens hears of it.
            let all = BufReader::new(stdout).lines().map_while(Result::ok);
            all.map(|line| sender.send(line)).take_while(Result::is_ok).for_each(drop);
        });
        Ok(Self { name: role, process, stdin, lines })
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(super) fn tell(&mut self, line: &str) -> Result<()> {
        let told = writeln!(self.stdin, "{line}").and_then(|()| self.stdin.flush());
        told.with_context(|| format!("{} has ended", self.name))
    }

    /// What follows `word` in the next line.
    pub(super) fn hear(&mut self, word: &str) -> Result<String> {
        let line = match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => bail!("{} does not say {word:?}", self.name),
            Err(RecvTimeoutError::Disconnected) => bail!("{} has ended: see above", self.name),
        };
        let rest = line.strip_prefix(word).with_context(|| format!("{} says {line:?}", self.name))?;
        Ok(rest.trim().to_owned())
    }

    /// The moment that follows `word` in the next line.
    pub(super) fn moment(&mut self, word: &str) -> Result<Moment> {
        self.hear(word)?.parse().map(Moment).with_context(|| format!("{word:?} comes with a moment"))
    }

    /// When the last subscriber had it, and how many resources all got.
    pub(super) fn done(&mut self) -> Result<(Moment, usize)> {
        let said = self.hear("done")?;
        let (at, resources) = said.split_once(' ').context("\"done\" comes with two numbers")?;
        Ok((Moment(at.parse()?), resources.parse()?))
    }

    /// Waits for its own end, which is a good one.
    pub(super) fn end(mut self) -> Result<()> {
        let status = self.process.wait()?;
        ensure!(status.success(), "{} failed: {status}", self.name);
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// Nanoseconds by the clock of the machine, which all its processes share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(u64);

impl Moment {
    /// Fails if somebody has set the clock back.
    pub(super) fn since(self, before: Self) -> Result<Duration> {
        let nanoseconds = self.0.checked_sub(before.0).context("the clock was set back: measure again")?;
        Ok(Duration::from_nanos(nanoseconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_goes_backwards_is_no_measurement() {
        assert_eq!(Moment(7).since(Moment(5)).unwrap(), Duration::from_nanos(2));
        assert!(Moment(5).since(Moment(7)).is_err());
    }
}
