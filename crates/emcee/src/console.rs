//! Output of the commands: data goes to stdout, messages go to stderr. Colours are used only on a terminal.

use std::fmt::Display;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

/// Pair of output streams that a command prints to.
pub struct Console<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
}

impl<'a> Console<'a> {
    /// Creates a console that prints data to `out` and messages to `err`.
    pub fn new(out: &'a mut dyn Write, err: &'a mut dyn Write) -> Self {
        Self { out, err }
    }

    /// Prints data to stdout unchanged, and flushes.
    ///
    /// # Errors
    /// The stream cannot be written.
    pub fn print_data(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// Returns the data stream, for commands that write in pieces.
    pub fn data_writer(&mut self) -> &mut dyn Write {
        self.out
    }

    /// Prints a refusal or an error to stderr, in red.
    pub fn print_error(&mut self, line: impl Display) -> io::Result<()> {
        let (on, off) = colour_codes(AnsiColor::Red);
        writeln!(self.err, "{on}{line}{off}")
    }

    /// Prints a warning to stderr, in yellow.
    pub fn print_warning(&mut self, line: impl Display) -> io::Result<()> {
        let (on, off) = colour_codes(AnsiColor::Yellow);
        writeln!(self.err, "{on}{line}{off}")
    }

    /// Prints additional information to stderr.
    pub fn print_note(&mut self, line: impl Display) -> io::Result<()> {
        writeln!(self.err, "{line}")
    }
}

/// Returns the escape sequences that switch a colour on and off. The stream removes them if it is not a terminal.
fn colour_codes(colour: AnsiColor) -> (String, String) {
    let style = Style::new().fg_color(Some(colour.into()));
    (style.render().to_string(), style.render_reset().to_string())
}
