//! The only writer of progress messages for people.

use std::fmt::Display;
use std::io::Write;

/// Writes one line to stderr; stdout is for data.
pub fn print_progress(line: impl Display) {
    // A closed stderr must not end a bed that others still use.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
