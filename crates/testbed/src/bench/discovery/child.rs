//! A process of the benchmark, and the line protocol that it speaks.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child as Process, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// Time limit for each reply.
const PATIENCE: Duration = Duration::from_mins(10);

/// A process that answers lines. Dropping it kills it.
pub(super) struct BenchProcess {
    name: &'static str,
    process: Process,
    stdin: ChildStdin,
    lines: Receiver<String>,
}

impl BenchProcess {
    /// Starts `program` in a role.
    pub(super) fn start(program: &Path, role: &'static str, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(program);
        command.arg(role).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let stdin = process.stdin.take().context("stdin is not piped")?;
        let stdout = process.stdout.take().context("stdout is not piped")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            // A read error ends the lines; the receiver sees the closed channel.
            let all = BufReader::new(stdout).lines().map_while(Result::ok);
            all.map(|line| sender.send(line)).take_while(Result::is_ok).for_each(drop);
        });
        Ok(Self { name: role, process, stdin, lines })
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(super) fn send_line(&mut self, line: &str) -> Result<()> {
        let sent = writeln!(self.stdin, "{line}").and_then(|()| self.stdin.flush());
        sent.with_context(|| format!("{} has exited", self.name))
    }

    /// Reads the next line, which must start with `word`; returns the rest of it.
    pub(super) fn read_reply(&mut self, word: &str) -> Result<String> {
        let line = match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => bail!("{} did not answer with {word:?} in time", self.name),
            Err(RecvTimeoutError::Disconnected) => bail!("{} has exited: see above", self.name),
        };
        let rest = line
            .strip_prefix(word)
            .with_context(|| format!("{} answered {line:?}, not {word:?}", self.name))?;
        Ok(rest.trim().to_owned())
    }

    /// Reads the next line, which must be `word` and a moment.
    pub(super) fn read_moment(&mut self, word: &str) -> Result<Moment> {
        self.read_reply(word)?
            .parse()
            .map(Moment)
            .with_context(|| format!("{word:?} must be followed by a number"))
    }

    /// Reads when the last subscriber was done, and how many resources all of them received.
    pub(super) fn read_done(&mut self) -> Result<(Moment, usize)> {
        let reply = self.read_reply("done")?;
        let (at, resources) = reply.split_once(' ').context("\"done\" must be followed by two numbers")?;
        Ok((Moment(at.parse()?), resources.parse()?))
    }

    /// Waits for the process to exit, which must be successful.
    pub(super) fn wait_for_exit(mut self) -> Result<()> {
        let status = self.process.wait()?;
        ensure!(status.success(), "{} failed: {status}", self.name);
        Ok(())
    }
}

impl Drop for BenchProcess {
    fn drop(&mut self) {
        // The process may have exited already.
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// Nanoseconds of the machine's clock, which all its processes share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(u64);

impl Moment {
    /// Time that passed since `before`; fails if the clock was set back.
    pub(super) fn since(self, before: Self) -> Result<Duration> {
        let nanoseconds = self.0.checked_sub(before.0).context("the clock was set back: measure again")?;
        Ok(Duration::from_nanos(nanoseconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_goes_backwards_is_an_error() {
        assert_eq!(Moment(7).since(Moment(5)).unwrap(), Duration::from_nanos(2));
        assert!(Moment(5).since(Moment(7)).is_err());
    }
}
