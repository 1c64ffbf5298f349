//! What is wrong with a manifest, as one line.

use std::{
    fmt::{self, Display, Formatter},
    sync::Arc,
};

/// One thing that is wrong, and where.
///
/// Displayed as `FILE:LINE: Kind namespace/name: spec.field: what is wrong`, always on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file as the user named it.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u32,
    /// `Kind namespace/name`, as far as known.
    pub object: Option<String>,
    /// Path of the field, for example `spec.endpoints[0]`.
    pub field: Option<String>,
    /// What is wrong (what is allowed).
    pub message: String,
}

impl Display for Problem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", Plain(&self.file), self.line)?;
        for part in [&self.object, &self.field].into_iter().flatten() {
            write!(f, "{}: ", Plain(part))?;
        }
        write!(f, "{}", Plain(&self.message))
    }
}

/// Text from outside with its control characters escaped: names and keys are quoted in messages
/// and must neither break the line nor reach the terminal as commands.
pub(super) struct Plain<'a>(pub(super) &'a str);

impl Display for Plain<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.split_inclusive(unprintable).try_for_each(|part| {
            let text = part.trim_end_matches(unprintable);
            f.write_str(text)?;
            write!(f, "{}", part[text.len()..].escape_debug())
        })
    }
}

/// What a reader does not see as a character of its own: controls, separators, marks that reorder text.
pub(crate) fn unprintable(c: char) -> bool {
    !emcee_core::text::is_seen(c)
}
