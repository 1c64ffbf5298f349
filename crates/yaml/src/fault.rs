//! Faults in the text of a file. They do not depend on the kind of object.

use super::{MAX_BYTES, MAX_DEPTH, MAX_NODES};

/// Maximum number of faults to report for a file. It bounds memory and the length of the output.
pub(super) const MAX_FAULTS: usize = 1_000;

/// Reason to refuse a text, a document or a value.
#[derive(Debug, thiserror::Error)]
pub(super) enum DocumentFault {
    #[error("is larger than {} MiB (the most one file may hold)", MAX_BYTES >> 20)]
    TooLarge,
    #[error("is UTF-16 (save it as UTF-8)")]
    Utf16,
    #[error("is not UTF-8 text")]
    NotUtf8,
    #[error("a tab in the indentation (indent with spaces)")]
    TabIndentation,
    #[error("is nested more than {MAX_DEPTH} deep")]
    TooDeep,
    #[error("holds more than {MAX_NODES} values (the most one file may hold)")]
    TooManyValues,
    #[error(
        "the alias repeats too much (a file may hold {MAX_NODES} values, and {} MiB of repeated text)",
        MAX_BYTES >> 20
    )]
    AliasBudgetExceeded,
    #[error("more than {MAX_FAULTS} problems in this file: the rest of it is not read")]
    TooManyFaults,
    #[error("the alias has no anchor before it in this document")]
    UnknownAlias,
    #[error("the alias is inside the value that it repeats")]
    AliasCycle,
    #[error("is given twice (first on line {first})")]
    DuplicateKey { first: u32 },
    #[error("a key must be text, not a list or a mapping")]
    ComplexKey,
    #[error("`{{{{` starts a template (render it first, or quote the text)")]
    UnrenderedTemplate,
    #[error("a key must be text, not null")]
    NullKey,
    #[error("`<<` takes a mapping or a list of mappings")]
    InvalidMerge,
    #[error("`{0}` cannot be written as JSON (quote it if it is text)")]
    NotFinite(String),
    #[error("the tag {0} is not supported (!!str, !!int, !!float, !!bool, !!null, !!map, !!seq)")]
    UnsupportedTag(String),
    #[error("`{text}` is not what its tag {tag} says")]
    TagMismatch { tag: String, text: String },
    #[error("character {0:?} is not allowed here (quote text that contains it)")]
    UnexpectedCharacter(char),
    #[error(
        "is not YAML at column {column}: a second `: ` on the line, or wrong indentation (text with `: ` needs quotes)"
    )]
    UnexpectedColon { column: usize },
    #[error("is not YAML at column {column}: {reason}")]
    Syntax { column: usize, reason: String },
    #[error("is {0}, not a manifest (a mapping with apiVersion, kind and metadata.name)")]
    NotAnObject(&'static str),
    #[error("is missing ({0})")]
    MissingField(&'static str),
    #[error("must be {wanted}, not {found}")]
    WrongType { wanted: &'static str, found: &'static str },
}

/// A [`DocumentFault`] with its line and field.
#[derive(Debug)]
pub(super) struct LocatedFault {
    pub(super) line: u32,
    pub(super) field: Option<String>,
    pub(super) fault: DocumentFault,
}
