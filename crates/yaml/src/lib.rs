//! Reads Kubernetes objects from YAML and JSON files, and records the line of every field.
//!
//! ```
//! let text = "\
//! apiVersion: v1
//! kind: Service
//! metadata: {name: web, labels: {debug: no}}
//! spec:
//!   type: ClusterIP
//! ---
//! kind: [broken
//! ---
//! apiVersion: v1
//! kind: ConfigMap
//! ";
//! let loaded = emcee_yaml::read_text("web.yaml", text.as_bytes());
//!
//! // The valid document, with the line of each field and the types of kubectl.
//! let service = &loaded.documents[0];
//! assert_eq!(service.object_name(), "Service web");
//! assert_eq!(service.line_of("spec.type"), 5);
//! assert_eq!(service.value["metadata"]["labels"]["debug"], false);
//!
//! // Every problem of the others. The broken document does not hide the one after it.
//! let problems: Vec<_> = loaded.problems.iter().map(ToString::to_string).collect();
//! assert!(problems[0].starts_with("web.yaml:"));
//! assert_eq!(problems[1], "web.yaml:9: ConfigMap: metadata.name: is missing (every object needs a name)");
//! ```
//!
//! # How it works
//!
//! ```text
//! paths ── files ──► text ── parse ──► nodes with lines ── document ──► ManifestDocument | FileProblem
//!          (sorted)          (limits, kubectl's typing)      (Lists expanded, identity checked)
//! ```
//!
//! The reader reports every problem, not only the first: a broken document does not hide the next
//! one in its stream. Scalars have the same type as in kubectl (module `scalar`). A check that
//! reads `yes` differently from the tool that applies it would be worse than no check.
//!
//! These limits apply to each file: [`MAX_BYTES`], [`MAX_NODES`], [`MAX_DEPTH`].

mod document;
mod fault;
mod files;
mod line_map;
mod located_value;
mod node;
mod parse;
mod problem;
mod scalar;
mod write;

#[cfg(test)]
mod tests;

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

pub use document::{DuplicateObject, ManifestDocument, find_duplicates};
pub use files::UnreadableFile;
pub use located_value::LocatedValue;
pub use problem::FileProblem;
pub use write::{YamlWriteError, to_yaml};

/// Size of the largest file that is read, in bytes. The API server refuses objects of a tenth of this size.
pub const MAX_BYTES: usize = 16 << 20;

/// Maximum number of values in one file, including the values that aliases repeat.
///
/// Ordinary manifests have one value for every 20 to 30 bytes, so a file of [`MAX_BYTES`] fits.
/// A file that reaches the limit takes 260 MB of memory (measured), a quarter of a kilobyte for each value.
pub const MAX_NODES: u64 = 1_000_000;

/// Maximum nesting depth. CustomResourceDefinitions, the most deeply nested objects in use, stay under 45.
pub const MAX_DEPTH: usize = 64;

/// Documents and problems that [`read_paths`] found.
#[derive(Debug, Default)]
pub struct LoadedManifests {
    /// The valid documents, ordered by path, by name within a folder, and by line.
    pub documents: Vec<ManifestDocument>,
    /// All problems in the text, in the same order. A document with a problem is not in `documents`,
    /// so a caller that removes absent resources must not do so for the files named here.
    pub problems: Vec<FileProblem>,
    /// Files and folders that could not be read.
    pub unreadable: Vec<UnreadableFile>,
    /// Names of the files that were read, as they appear in documents and problems.
    pub files: Vec<Arc<str>>,
}

impl LoadedManifests {
    fn add_file(&mut self, file: Arc<str>, bytes: &[u8]) {
        let (documents, problems) = document::read_documents(&file, bytes);
        self.documents.extend(documents);
        self.problems.extend(problems);
        self.files.push(file);
    }
}

/// Reads files, folders (recursively: `*.yaml`, `*.yml`, `*.json`) and `-`, which means `stdin`.
///
/// A file that is reached twice is read once. A file in `paths` is read whatever its extension is.
pub fn read_paths(paths: &[PathBuf], mut stdin: impl Read) -> LoadedManifests {
    let mut reading = LoadedManifests::default();
    for found in files::find_files(paths) {
        let read =
            found.and_then(|source| source.read_bytes(&mut stdin).map(|bytes| (source.display_name, bytes)));
        match read {
            Ok((file, bytes)) => reading.add_file(file, &bytes),
            Err(unreadable) => reading.unreadable.push(unreadable),
        }
    }
    reading
}

/// Reads a file, or `stdin` for `-`, that contains exactly one YAML or JSON document of any type.
///
/// # Errors
/// The outer error means that the file cannot be read. The inner error lists all problems in its text.
pub fn read_value(
    path: &Path,
    mut stdin: impl Read,
) -> Result<Result<LocatedValue, Vec<FileProblem>>, UnreadableFile> {
    let source = files::single_input(path);
    let bytes = source.read_bytes(&mut stdin)?;
    Ok(located_value::parse_single(&source.display_name, &bytes))
}

/// Hashes the names and contents of the files that [`read_paths`] would read. The caller uses the hash to skip
/// parsing when nothing has changed.
pub fn fingerprint(paths: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for found in files::find_files(paths) {
        // `stdin` can be read only once, so `-` counts as empty here.
        match found
            .and_then(|source| source.read_bytes(&mut io::empty()).map(|bytes| (source.display_name, bytes)))
        {
            // The name is part of the hash, so a rename counts as a change.
            Ok(content) => content.hash(&mut hasher),
            Err(unreadable) => unreadable.to_string().hash(&mut hasher),
        }
    }
    hasher.finish()
}

/// Reads a text that is already in memory. Documents and problems name it `file`.
pub fn read_text(file: &str, text: &[u8]) -> LoadedManifests {
    let mut reading = LoadedManifests::default();
    reading.add_file(file.into(), text);
    reading
}
