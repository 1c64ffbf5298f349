//! Line protocol between the processes of the benchmark.

use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

/// Wall clock in nanoseconds. All processes on a machine share it.
pub(crate) fn unix_nanos() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos())
}

/// Prints and flushes a line. Errors are ignored: if the reader is gone, stdin ends soon too.
pub(crate) fn print_line(line: std::fmt::Arguments<'_>) {
    let mut stdout = std::io::stdout().lock();
    let _reader_gone = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// Calls `act` with each line of stdin until it ends.
pub(crate) fn run_commands(mut act: impl FnMut(&str) -> Result<()>) -> Result<()> {
    for line in std::io::stdin().lines() {
        act(&line.context("cannot read stdin")?)?;
    }
    Ok(())
}

/// Parses `change NUMBER`.
pub(crate) fn parse_change(line: &str) -> Result<u16> {
    let Some(number) = line.strip_prefix("change ") else { bail!("unknown command {line:?}") };
    number.parse().with_context(|| format!("invalid number of a change: {number:?}"))
}
