//! File operations in OUT. Never reads, writes or removes anything outside of OUT.
//!
//! Each directory below OUT is checked every time before it is used. If it is a link, or has become one, Emcee does not
//! manage it. A file is written under a temporary name and renamed, so a reader sees either the old or the new content.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use emcee_yaml::MAX_BYTES;

use super::output_path::{self, OutputPath};

/// First line of each file that Emcee manages. Files without it are never changed or removed.
pub(super) const HEADER: &str = "# Written by Emcee, and overwritten by it.\n";
/// Prefix of temporary files.
const TEMPORARY_PREFIX: &str = ".emcee-";

/// Access to the files of OUT.
pub(super) struct Disk {
    root: PathBuf,
}

/// What exists at an output path.
pub(super) enum ExistingFile {
    Absent,
    /// A file that Emcee manages, with its content.
    Managed(String),
    /// A file without [`HEADER`], a link, a directory, or anything behind a link.
    Foreign,
}

/// Metadata that changes when somebody writes or replaces a file.
#[derive(PartialEq)]
pub(super) struct FileStamp {
    modified: SystemTime,
    length: u64,
    inode: u64,
}

/// A directory in OUT, identified by its role.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum OutputSubdir {
    /// OUT itself.
    Root,
    /// `status`, the parent of all directories of statuses.
    Statuses,
    /// Directory of the objects, or of the statuses, of a namespace.
    Namespace { is_status: bool, namespace: String },
}

/// Content of a directory: subdirectories that may contain more, and managed files with their text.
#[derive(Default)]
pub(super) struct SubdirContents {
    pub(super) subdirs: Vec<OutputSubdir>,
    pub(super) files: Vec<(OutputPath, String)>,
}

impl Disk {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Path of a file, below OUT as given.
    pub(super) fn path_of(&self, place: &OutputPath) -> PathBuf {
        place.full_path(&self.root)
    }

    /// Path of a directory, below OUT as given.
    pub(super) fn subdir_path(&self, folder: &OutputSubdir) -> PathBuf {
        match folder {
            OutputSubdir::Root => self.root.clone(),
            OutputSubdir::Statuses => self.root.join("status"),
            OutputSubdir::Namespace { is_status: true, namespace } => {
                self.root.join("status").join(namespace)
            }
            OutputSubdir::Namespace { is_status: false, namespace } => self.root.join(namespace),
        }
    }

    /// Lists the managed files of a directory, and the subdirectories that may contain more. Removes temporary files
    /// that a crash has left.
    pub(super) fn list_managed(&self, folder: &OutputSubdir) -> io::Result<SubdirContents> {
        let mut contents = SubdirContents::default();
        for entry in fs::read_dir(self.subdir_path(folder))? {
            let entry = entry?;
            // Emcee writes ASCII names only.
            let Ok(name) = entry.file_name().into_string() else { continue };
            // Does not follow links: a link is neither a directory nor a file here.
            let kind = entry.file_type()?;
            if kind.is_dir() {
                contents.subdirs.extend(folder.children_named(&name));
            } else if kind.is_file() && name.starts_with(TEMPORARY_PREFIX) {
                if is_leftover(&entry.path()) {
                    fs::remove_file(entry.path())?;
                }
            } else if kind.is_file()
                && let Some(place) = folder.output_path(&name)
                && let ExistingFile::Managed(text) = self.read_existing(&place)?
            {
                contents.files.push((place, text));
            }
        }
        Ok(contents)
    }

    /// Whether the parent directories of a file exist, and none of them is a link or a file.
    pub(super) fn has_parent_dir(&self, place: &OutputPath) -> bool {
        matches!(self.parent_identity(place), Ok(Some(_)))
    }

    /// Metadata of a file; `None` if there is no regular file.
    pub(super) fn file_stamp(&self, place: &OutputPath) -> Option<FileStamp> {
        let metadata = fs::symlink_metadata(self.path_of(place)).ok().filter(fs::Metadata::is_file)?;
        Some(FileStamp { modified: metadata.modified().ok()?, length: metadata.len(), inode: metadata.ino() })
    }

    /// Reads what exists at a path, without following links.
    pub(super) fn read_existing(&self, place: &OutputPath) -> io::Result<ExistingFile> {
        match self.parent_identity(place) {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(ExistingFile::Absent),
            Err(error) if is_not_a_directory(&error) => return Ok(ExistingFile::Foreign),
            Err(error) => return Err(error),
        }
        let path = self.path_of(place);
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(ExistingFile::Absent),
            Err(error) => Err(error),
            Ok(metadata) if metadata.is_file() => read_managed(&path),
            Ok(_) => Ok(ExistingFile::Foreign),
        }
    }

    /// Writes a file completely or not at all. Secrets are readable by the owner only.
    pub(super) fn write_atomically(&self, place: &OutputPath, text: &str, secret: bool) -> io::Result<()> {
        let folder = self.create_parents(place)?;
        let path = self.path_of(place);
        let parent = path.parent().unwrap_or(&self.root);
        // In the same directory, as a rename is atomic only within a file system. Created with mode 0600.
        let mut file =
            tempfile::Builder::new().prefix(TEMPORARY_PREFIX).tempfile_in(parent).map_err(without_path)?;
        file.as_file_mut().write_all(text.as_bytes())?;
        let mode = if secret { 0o600 } else { 0o644 };
        file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
        // Somebody may have replaced a parent directory in the meantime, perhaps by a link. This narrows the race but
        // does not close it: see docs/guides/security.md.
        if self.parent_identity(place)? != Some(folder) {
            return Err(io::Error::other("its folder was replaced while it was written"));
        }
        file.persist(&path)?;
        Ok(())
    }

    /// Removes a managed file, and its directory if that is empty then. Returns what existed before.
    pub(super) fn remove_managed(&self, place: &OutputPath) -> io::Result<ExistingFile> {
        let existing = self.read_existing(place)?;
        if let ExistingFile::Managed(_) = existing {
            let path = self.path_of(place);
            fs::remove_file(&path)?;
            // Fails if the directory is not empty, which is fine.
            let _ = path.parent().map(fs::remove_dir);
        }
        Ok(existing)
    }

    /// Device and inode of the parent directory of a file; `None` if it does not exist yet.
    ///
    /// # Errors
    /// A parent directory is a link or a file (`NotADirectory`), or cannot be examined.
    fn parent_identity(&self, place: &OutputPath) -> io::Result<Option<(u64, u64)>> {
        let mut path = self.root.clone();
        let mut identity = None;
        for folder in place.parent_dirs() {
            path.push(folder);
            // From the outermost to the innermost, so that no link is followed on the way.
            match fs::symlink_metadata(&path) {
                Ok(metadata) if metadata.is_dir() => identity = Some((metadata.dev(), metadata.ino())),
                Ok(_) => return Err(not_a_directory(&path)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(identity)
    }

    /// Creates the parent directories of a file. Returns device and inode of the innermost.
    fn create_parents(&self, place: &OutputPath) -> io::Result<(u64, u64)> {
        let mut path = self.root.clone();
        let mut identity = None;
        for folder in place.parent_dirs() {
            path.push(folder);
            // Not `create_dir_all`, which would follow links.
            match fs::create_dir(&path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            let metadata = fs::symlink_metadata(&path)?;
            if !metadata.is_dir() {
                return Err(not_a_directory(&path));
            }
            identity = Some((metadata.dev(), metadata.ino()));
        }
        identity.ok_or_else(|| io::Error::other("it has no parent folder"))
    }
}

impl OutputSubdir {
    /// The directories that a subdirectory of this name stands for. `status` in OUT is two: that of all statuses, and
    /// that of a namespace which is called `status`.
    fn children_named(&self, name: &str) -> Vec<Self> {
        let namespace = |is_status| {
            output_path::is_namespace_dir(name)
                .then(|| Self::Namespace { is_status, namespace: name.to_owned() })
        };
        match self {
            Self::Root if output_path::is_status_dir(name) => {
                namespace(false).into_iter().chain([Self::Statuses]).collect()
            }
            Self::Root => namespace(false).into_iter().collect(),
            Self::Statuses => namespace(true).into_iter().collect(),
            Self::Namespace { .. } => Vec::new(),
        }
    }

    /// Path of a file in this directory; `None` if Emcee does not write files of such a name there.
    fn output_path(&self, file: &str) -> Option<OutputPath> {
        match self {
            Self::Namespace { is_status, namespace } => {
                OutputPath::from_file_name(*is_status, namespace, file)
            }
            Self::Root | Self::Statuses => None,
        }
    }
}

/// Reads a file. One without the header may be of any size, so only as many bytes as the header has are read of it.
fn read_managed(path: &Path) -> io::Result<ExistingFile> {
    let mut bytes = Vec::new();
    let mut file = File::open(path)?;
    (&mut file).take(HEADER.len() as u64).read_to_end(&mut bytes)?;
    if bytes != HEADER.as_bytes() {
        return Ok(ExistingFile::Foreign);
    }
    // Continues behind the header, as the first read has advanced the file.
    file.take(MAX_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(ExistingFile::Managed(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Whether Emcee has left this temporary file: it contains a part of the header, from its start, or all of it.
fn is_leftover(path: &Path) -> bool {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEADER.len() as u64).read_to_end(&mut bytes));
    read.is_ok() && HEADER.as_bytes().starts_with(&bytes)
}

/// Removes the path of a temporary file from an error. It differs each time, so the message would be printed each time.
fn without_path(error: io::Error) -> io::Error {
    if error.raw_os_error().is_some() { error } else { error.kind().into() }
}

/// Error for a link or a file where a directory must be.
fn not_a_directory(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotADirectory, format!("{} is a link, or not a folder", path.display()))
}

fn is_not_a_directory(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotADirectory
}
