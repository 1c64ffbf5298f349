//! All that is printed: data to stdout, everything else to stderr, in colour only on a terminal.

use std::fmt::Display;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

/// Where a command prints to.
pub struct Console<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
}

impl<'a> Console<'a> {
    /// A console over two streams.
    pub fn new(out: &'a mut dyn Write, err: &'a mut dyn Write) -> Self {
        Self { out, err }
    }

    /// Prints data as it is.
    pub fn data(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// The stream for data.
    pub fn out(&mut self) -> &mut dyn Write {
        self.out
    }

    /// Prints what was refused, or failed.
    pub fn refusal(&mut self, line: impl Display) -> io::Result<()> {
        let (on, off) = styled(AnsiColor::Red);
        writeln!(self.err, "{on}{line}{off}")
    }

    /// Prints what should be looked at.
    pub fn warning(&mut self, line: impl Display) -> io::Result<()> {
        let (on, off) = styled(AnsiColor::Yellow);
        writeln!(self.err, "{on}{line}{off}")
    }

    /// Prints what is good to know.
    pub fn note(&mut self, line: impl Display) -> io::Result<()> {
        writeln!(self.err, "{line}")
    }
}

/// The stream takes the colour off again where it is no terminal.
fn styled(colour: AnsiColor) -> (String, String) {
    let style = Style::new().fg_color(Some(colour.into()));
    (style.render().to_string(), style.render_reset().to_string())
}
