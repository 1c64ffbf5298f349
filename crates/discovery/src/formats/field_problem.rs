//! What is wrong with a field of a file.

use std::fmt;

/// A field and what is wrong with it. Displays as `field: what is wrong (what is allowed)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldProblem {
    /// Path of the field, such as `metadata.annotations[emcee.io/style]`. Empty if the problem concerns the whole
    /// object or document.
    pub field: String,
    /// What is wrong, in one line of bounded length.
    pub message: String,
}

impl FieldProblem {
    pub(super) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

impl fmt::Display for FieldProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => f.write_str(&self.message),
            field => write!(f, "{field}: {}", self.message),
        }
    }
}
