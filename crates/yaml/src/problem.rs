//! Problems in a file, each displayed on one line.

use std::{
    fmt::{self, Display, Formatter},
    sync::Arc,
};

/// A problem in a file, with its line, object and field.
///
/// `Display` writes `FILE:LINE: Kind namespace/name: spec.field: message`, always on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileProblem {
    /// The file as the user named it.
    pub file: Arc<str>,
    /// Line in the file, counted from 1.
    pub line: u32,
    /// `Kind namespace/name`, or the parts of it that are known.
    pub object: Option<String>,
    /// Path of the field, for example `spec.endpoints[0]`.
    pub field: Option<String>,
    /// What is wrong, and in parentheses what is allowed.
    pub message: String,
}

impl Display for FileProblem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", EscapedText(&self.file), self.line)?;
        for part in [&self.object, &self.field].into_iter().flatten() {
            write!(f, "{}: ", EscapedText(part))?;
        }
        write!(f, "{}", EscapedText(&self.message))
    }
}

/// Untrusted text with its control characters escaped. Messages quote names and keys, which must not break the line
/// or reach the terminal as commands.
pub(super) struct EscapedText<'a>(pub(super) &'a str);

impl Display for EscapedText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.split_inclusive(is_unprintable).try_for_each(|part| {
            // `part` ends with at most one unprintable character, which is escaped.
            let text = part.trim_end_matches(is_unprintable);
            f.write_str(text)?;
            write!(f, "{}", part[text.len()..].escape_debug())
        })
    }
}

/// Returns whether a reader cannot see the character: control characters, separators, marks that reorder text.
fn is_unprintable(c: char) -> bool {
    // `escape_debug` gives a backslash and the character for quotes, and `\u{…}` for characters that are not
    // printable.
    c.is_control() || c.escape_debug().len() > 2
}
