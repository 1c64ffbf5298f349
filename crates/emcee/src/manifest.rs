//! Users' manifests, read with the line of every field.
//!
//! ```text
//! paths ── files ──► text ── parse ──► nodes with lines ── document ──► Document | Problem
//!          (sorted)          (limits, kubectl's typing)      (Lists opened, identity checked)
//! ```
//!
//! Everything that is wrong is told, not the first thing only: a broken document does not hide
//! the next one in its stream. Text means here what it means to kubectl (module `scalar`), because
//! a check that reads `yes` differently from the tool that applies it is worse than none.
//!
//! Limits, all per file: [`MAX_BYTES`], [`MAX_NODES`], [`MAX_DEPTH`].

mod document;
mod fault;
mod files;
mod lines;
mod node;
mod parse;
mod problem;
mod scalar;
mod tree;
mod write;

#[cfg(test)]
mod tests;

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

pub use document::{Document, Duplicate, duplicates};
pub use files::Unreadable;
pub use problem::Problem;
pub(crate) use problem::unprintable;
pub use tree::Tree;
pub use write::{WriteError, to_yaml};

/// The largest file that is read; the API server refuses objects of a tenth of this.
pub const MAX_BYTES: usize = 16 << 20;

/// The most values in one file, those that aliases repeat included.
///
/// Ordinary manifests have one value for each 20 to 30 bytes, so a file of [`MAX_BYTES`] fits.
/// Measured, a file that uses this up takes 260 MB, a quarter of a kilobyte for each value.
pub const MAX_NODES: u64 = 1_000_000;

/// The deepest nesting; `CustomResourceDefinitions`, the deepest in use, stay under 45.
pub const MAX_DEPTH: usize = 64;

/// What [`read`] found.
#[derive(Debug, Default)]
pub struct Reading {
    /// The sound documents, in the order of the paths, of names within a folder, of lines.
    pub documents: Vec<Document>,
    /// Everything wrong with the text, in the same order. A document with a problem is not in
    /// `documents`, so who removes what is no longer given must spare the files named here.
    pub problems: Vec<Problem>,
    /// Files and folders that could not be read at all.
    pub unreadable: Vec<Unreadable>,
    /// The files that were read, as they are called in documents and problems.
    pub files: Vec<Arc<str>>,
}

impl Reading {
    fn add(&mut self, file: Arc<str>, bytes: &[u8]) {
        let (documents, problems) = document::read(&file, bytes);
        self.documents.extend(documents);
        self.problems.extend(problems);
        self.files.push(file);
    }
}

/// Reads files, folders (recursively: `*.yaml`, `*.yml`, `*.json`) and `-`, which is `stdin`.
///
/// A file that is reached twice is read once. A file that is named is read whatever its ending.
pub fn read(paths: &[PathBuf], mut stdin: impl Read) -> Reading {
    let mut reading = Reading::default();
    for found in files::find(paths) {
        let read = found.and_then(|source| source.read(&mut stdin).map(|bytes| (source.shown, bytes)));
        match read {
            Ok((file, bytes)) => reading.add(file, &bytes),
            Err(unreadable) => reading.unreadable.push(unreadable),
        }
    }
    reading
}

/// Reads the one document of a file, or of `-`, which is `stdin`: any value, in YAML or JSON.
///
/// # Errors
/// The file cannot be read. Within: all that is wrong with its text.
pub fn read_tree(path: &Path, mut stdin: impl Read) -> Result<Result<Tree, Vec<Problem>>, Unreadable> {
    let source = files::single(path);
    let bytes = source.read(&mut stdin)?;
    Ok(tree::read(&source.shown, &bytes))
}

/// A hash of what [`read`] would read, to tell whether it is worth reading again.
pub fn fingerprint(paths: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for found in files::find(paths) {
        match found.and_then(|source| source.read(&mut io::empty()).map(|bytes| (source.shown, bytes))) {
            Ok(content) => content.hash(&mut hasher),
            Err(unreadable) => unreadable.to_string().hash(&mut hasher),
        }
    }
    hasher.finish()
}

/// Reads one text that is already in memory, called `file` in documents and problems.
pub fn read_text(file: &str, text: &[u8]) -> Reading {
    let mut reading = Reading::default();
    reading.add(file.into(), text);
    reading
}
