//! What the processes tell each other.

use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

/// Nanoseconds by the clock that all processes of a machine share.
pub(crate) fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos())
}

/// Says a line at once. When nobody listens any more, the end of stdin is near.
pub(crate) fn say(line: std::fmt::Arguments<'_>) {
    let mut stdout = std::io::stdout().lock();
    let _nobody_listens = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// Does what each line of stdin says, to its end.
pub(crate) fn obey(mut act: impl FnMut(&str) -> Result<()>) -> Result<()> {
    for line in std::io::stdin().lines() {
        act(&line.context("cannot read stdin")?)?;
    }
    Ok(())
}

/// The number of the change in `change NUMBER`.
pub(crate) fn change(line: &str) -> Result<u16> {
    let Some(number) = line.strip_prefix("change ") else { bail!("what is {line:?}?") };
    number.parse().with_context(|| format!("no number of a change: {number:?}"))
}
