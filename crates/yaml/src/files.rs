//! Finds the files of the given paths and reads their bytes.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{MAX_BYTES, problem::EscapedText};

/// A file or folder that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot be read: {source}", EscapedText(.file))]
pub struct UnreadableFile {
    /// The file as the user named it.
    pub file: Arc<str>,
    /// The error of the operating system.
    pub source: io::Error,
}

/// A file or the standard input, with its name for messages.
pub(super) struct InputFile {
    pub(super) display_name: Arc<str>,
    /// `None` for the standard input.
    path: Option<PathBuf>,
}

impl InputFile {
    fn new(path: PathBuf) -> Self {
        Self { display_name: display_path(&path), path: Some(path) }
    }

    fn stdin() -> Self {
        Self { display_name: "<stdin>".into(), path: None }
    }

    /// Reads at most one byte more than [`MAX_BYTES`]. The extra byte shows that the file is too large.
    pub(super) fn read_bytes(&self, stdin: &mut impl Read) -> Result<Vec<u8>, UnreadableFile> {
        let read = match &self.path {
            Some(path) => File::open(path).and_then(read_limited),
            None => read_limited(stdin),
        };
        read.map_err(|source| UnreadableFile { file: Arc::clone(&self.display_name), source })
    }
}

fn read_limited(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn display_path(path: &Path) -> Arc<str> {
    path.to_string_lossy().into()
}

/// Returns the input for one path. It may be `-`.
pub(super) fn single_input(path: &Path) -> InputFile {
    if path.as_os_str() == "-" { InputFile::stdin() } else { InputFile::new(path.to_owned()) }
}

/// Returns each file of the paths once, in the order of the paths, and by name within a folder.
pub(super) fn find_files(paths: &[PathBuf]) -> Vec<Result<InputFile, UnreadableFile>> {
    let mut walk = FileFinder::default();
    for path in paths {
        if path.as_os_str() == "-" {
            walk.add_stdin();
        } else {
            walk.add_path(path);
        }
    }
    walk.found
}

/// Walks paths and folders. It records visited files and folders by their real path, so symlink loops end.
#[derive(Default)]
struct FileFinder {
    found: Vec<Result<InputFile, UnreadableFile>>,
    visited: HashSet<PathBuf>,
}

impl FileFinder {
    fn add_stdin(&mut self) {
        if self.visited.insert("-".into()) {
            self.found.push(Ok(InputFile::stdin()));
        }
    }

    fn add_path(&mut self, path: &Path) {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => self.walk_folder(path.to_owned()),
            Ok(_) => self.add_file(path.to_owned()),
            Err(error) => self.add_unreadable(path, error),
        }
    }

    fn add_file(&mut self, path: PathBuf) {
        if self.mark_visited(&path) {
            self.found.push(Ok(InputFile::new(path)));
        }
    }

    /// Walks a folder depth first. Each list of entries is in reverse order, so `pop` returns the next name.
    fn walk_folder(&mut self, path: PathBuf) {
        let mut pending = vec![path];
        while let Some(path) = pending.pop() {
            // `metadata` follows symlinks: mounted ConfigMaps consist of them.
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => pending.extend(self.list_folder(&path)),
                Ok(metadata) if metadata.is_file() && is_manifest(&path) => self.add_file(path),
                Err(error) if is_manifest(&path) => self.add_unreadable(&path, error),
                // Other files, pipes and sockets, and dangling links to other files.
                Ok(_) | Err(_) => {}
            }
        }
    }

    fn list_folder(&mut self, folder: &Path) -> Vec<PathBuf> {
        if !self.mark_visited(folder) {
            return Vec::new();
        }
        let paths = |entries: fs::ReadDir| entries.map(|entry| Ok(entry?.path())).collect();
        let mut entries: Vec<_> = fs::read_dir(folder).and_then(paths).unwrap_or_else(|error| {
            self.add_unreadable(folder, error);
            Vec::new()
        });
        entries.retain(|path| !path.file_name().is_none_or(is_skipped));
        entries.sort_unstable_by(|left, right| right.cmp(left));
        entries
    }

    /// Marks a path as visited and returns whether it is new. A pipe such as `/dev/fd/63` has no real path, so the
    /// path itself is recorded.
    fn mark_visited(&mut self, path: &Path) -> bool {
        self.visited.insert(fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()))
    }

    fn add_unreadable(&mut self, path: &Path, source: io::Error) {
        self.found.push(Err(UnreadableFile { file: display_path(path), source }));
    }
}

/// Returns whether a file is hidden (such as `..data` in mounted volumes) or an editor's backup.
fn is_skipped(name: &OsStr) -> bool {
    matches!(name.as_encoded_bytes(), [b'.' | b'#' | b'~', ..] | [.., b'~'])
}

fn is_manifest(path: &Path) -> bool {
    let is = |ending: &str| path.extension().is_some_and(|given| given.eq_ignore_ascii_case(ending));
    is("yaml") || is("yml") || is("json")
}
