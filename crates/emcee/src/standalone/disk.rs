//! The files of OUT: found, read, written and removed, and nothing outside of it.
//!
//! Folders below OUT are looked at each time before they are entered: one that is a link, or becomes one, is somebody
//! else's. A file is written under a temporary name and renamed, so a reader sees the old content or the new.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::place::{self, Place};
use crate::manifest::MAX_BYTES;

pub(super) const HEADER: &str = "# Written by Emcee, and overwritten by it.\n";
const TEMPORARY: &str = ".emcee-";

/// OUT.
pub(super) struct Disk {
    root: PathBuf,
}

/// What stands at a place.
pub(super) enum Existing {
    Nothing,
    /// A file of Emcee's, with its content.
    Ours(String),
    /// A file without [`HEADER`], a link, a folder, or whatever is behind a link.
    Foreign,
}

/// What changes when somebody writes a file.
#[derive(PartialEq)]
pub(super) struct Stamp {
    modified: SystemTime,
    length: u64,
    inode: u64,
}

/// A folder of OUT: the folders that lead to it, and whether there are statuses in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Folder {
    /// OUT itself.
    Root,
    /// The one of all statuses.
    Statuses,
    /// That of a namespace, or of the statuses of a namespace.
    Namespace { is_status: bool, namespace: String },
}

/// What a folder holds.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) folders: Vec<Folder>,
    pub(super) files: Vec<(Place, String)>,
}

impl Disk {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The whole path of a place.
    pub(super) fn path(&self, place: &Place) -> PathBuf {
        place.below(&self.root)
    }

    /// The whole path of a folder.
    pub(super) fn folder(&self, folder: &Folder) -> PathBuf {
        match folder {
            Folder::Root => self.root.clone(),
            Folder::Statuses => self.root.join("status"),
            Folder::Namespace { is_status: true, namespace } => self.root.join("status").join(namespace),
            Folder::Namespace { is_status: false, namespace } => self.root.join(namespace),
        }
    }

    /// Emcee's files in a folder, and the folders in which there may be more. What a crash left half-written is cleared
    /// away.
    pub(super) fn look_into(&self, folder: &Folder) -> io::Result<Contents> {
        let mut contents = Contents::default();
        for entry in fs::read_dir(self.folder(folder))? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let kind = entry.file_type()?;
            if kind.is_dir() {
                contents.folders.extend(folder.below(&name));
            } else if kind.is_file() && name.starts_with(TEMPORARY) {
                if is_left_over(&entry.path()) {
                    fs::remove_file(entry.path())?;
                }
            } else if kind.is_file()
                && let Some(place) = folder.place(&name)
                && let Existing::Ours(text) = self.existing(&place)?
            {
                contents.files.push((place, text));
            }
        }
        Ok(contents)
    }

    /// Whether the folder of a place is there, and may be entered.
    pub(super) fn has_folder(&self, place: &Place) -> bool {
        matches!(self.innermost(place), Ok(Some(_)))
    }

    /// How a file looks from outside; none of one that is not there.
    pub(super) fn stamp(&self, place: &Place) -> Option<Stamp> {
        let metadata = fs::symlink_metadata(self.path(place)).ok().filter(fs::Metadata::is_file)?;
        Some(Stamp { modified: metadata.modified().ok()?, length: metadata.len(), inode: metadata.ino() })
    }

    /// What stands at a place.
    pub(super) fn existing(&self, place: &Place) -> io::Result<Existing> {
        match self.innermost(place) {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(Existing::Nothing),
            Err(error) if is_in_the_way(&error) => return Ok(Existing::Foreign),
            Err(error) => return Err(error),
        }
        let path = self.path(place);
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Existing::Nothing),
            Err(error) => Err(error),
            Ok(metadata) if metadata.is_file() => read(&path),
            Ok(_) => Ok(Existing::Foreign),
        }
    }

    /// Writes a file whole, or not at all.
    pub(super) fn write(&self, place: &Place, text: &str, secret: bool) -> io::Result<()> {
        let folder = self.make_folders(place)?;
        let path = self.path(place);
        let parent = path.parent().unwrap_or(&self.root);
        let mut file =
            tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(parent).map_err(without_path)?;
        file.as_file_mut().write_all(text.as_bytes())?;
        let mode = if secret { 0o600 } else { 0o644 };
        file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
        // Somebody may have put another folder, or a link, in its place meanwhile.
        if self.innermost(place)? != Some(folder) {
            return Err(io::Error::other("its folder was replaced while it was written"));
        }
        file.persist(&path)?;
        Ok(())
    }

    /// Removes a file of Emcee's, and its folder if nothing else is in it. Says what stood there.
    pub(super) fn remove(&self, place: &Place) -> io::Result<Existing> {
        let existing = self.existing(place)?;
        if let Existing::Ours(_) = existing {
            let path = self.path(place);
            fs::remove_file(&path)?;
            // Only if nothing else is in it.
            let _ = path.parent().map(fs::remove_dir);
        }
        Ok(existing)
    }

    /// The identity of the folder of a place; none if there is none yet.
    ///
    /// # Errors
    /// One of the folders that lead there is a link or a file.
    fn innermost(&self, place: &Place) -> io::Result<Option<(u64, u64)>> {
        let mut path = self.root.clone();
        let mut identity = None;
        for folder in place.folders() {
            path.push(folder);
            match fs::symlink_metadata(&path) {
                Ok(metadata) if metadata.is_dir() => identity = Some((metadata.dev(), metadata.ino())),
                Ok(_) => return Err(in_the_way(&path)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(identity)
    }

    /// Makes the folders of a place, one by one. Says which the innermost is.
    fn make_folders(&self, place: &Place) -> io::Result<(u64, u64)> {
        let mut path = self.root.clone();
        let mut identity = None;
        for folder in place.folders() {
            path.push(folder);
            match fs::create_dir(&path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            let metadata = fs::symlink_metadata(&path)?;
            if !metadata.is_dir() {
                return Err(in_the_way(&path));
            }
            identity = Some((metadata.dev(), metadata.ino()));
        }
        identity.ok_or_else(|| io::Error::other("it lies in no folder"))
    }
}

impl Folder {
    fn below(&self, name: &str) -> Vec<Self> {
        let namespace = |is_status| {
            place::is_folder(name).then(|| Self::Namespace { is_status, namespace: name.to_owned() })
        };
        match self {
            Self::Root if place::is_folder_of_statuses(name) => {
                namespace(false).into_iter().chain([Self::Statuses]).collect()
            }
            Self::Root => namespace(false).into_iter().collect(),
            Self::Statuses => namespace(true).into_iter().collect(),
            Self::Namespace { .. } => Vec::new(),
        }
    }

    fn place(&self, file: &str) -> Option<Place> {
        match self {
            Self::Namespace { is_status, namespace } => Place::found(*is_status, namespace, file),
            Self::Root | Self::Statuses => None,
        }
    }
}

/// A file without the header may be of any size, and is not read further.
fn read(path: &Path) -> io::Result<Existing> {
    let mut bytes = Vec::new();
    let mut file = File::open(path)?;
    (&mut file).take(HEADER.len() as u64).read_to_end(&mut bytes)?;
    if bytes != HEADER.as_bytes() {
        return Ok(Existing::Foreign);
    }
    file.take(MAX_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(Existing::Ours(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Whether a temporary file is one of Emcee's: it begins as they do, however little of it was written.
fn is_left_over(path: &Path) -> bool {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEADER.len() as u64).read_to_end(&mut bytes));
    read.is_ok() && HEADER.as_bytes().starts_with(&bytes)
}

/// The error without the path of a temporary file, which is another one each time.
fn without_path(error: io::Error) -> io::Error {
    if error.raw_os_error().is_some() { error } else { error.kind().into() }
}

fn in_the_way(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotADirectory, format!("{} is a link, or no folder", path.display()))
}

fn is_in_the_way(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotADirectory
}
