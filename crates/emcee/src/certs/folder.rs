//! The folder: read whole, then written whole. All of the input and output of `emcee certs` is here.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, DirBuilder, File, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use super::{CertsError, secret::MeshSecret};

/// More than Kubernetes stores in a Secret; a bigger file is something else.
const LARGEST: u64 = 2 << 20;

/// A folder with a relationship's CA and Secrets.
pub(super) struct Folder {
    path: PathBuf,
}

/// What is in it.
#[derive(Default)]
pub(super) struct Found {
    pub(super) ca_certificate: Option<String>,
    pub(super) ca_key: Option<String>,
    /// Mode bits of ca.key when others than its owner may read it.
    pub(super) ca_key_open: Option<u32>,
    /// By mesh name: the file's name without `.yaml`.
    pub(super) secrets: BTreeMap<String, MeshSecret>,
    /// YAML files that are not Secrets of this command.
    pub(super) others: BTreeSet<String>,
}

/// A file to write. Only its owner may read it, unless it is `public`.
pub(super) struct NewFile {
    pub(super) name: String,
    pub(super) content: String,
    pub(super) public: bool,
    pub(super) replaces: bool,
}

impl Folder {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(super) fn secret(&self, mesh: &str) -> PathBuf {
        self.file(&format!("{mesh}.yaml"))
    }

    /// A folder that does not exist yet is an empty one.
    pub(super) fn read(&self) -> Result<Found, CertsError> {
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::default()),
            entries => entries.map_err(|source| failed("read", &self.path, source))?,
        };
        let mut found = Found::default();
        for entry in entries {
            let entry = entry.map_err(|source| failed("read", &self.path, source))?;
            let name = entry.file_name();
            found.add(&entry.path(), &name.to_string_lossy())?;
        }
        Ok(found)
    }

    /// Every file is complete under a temporary name before the first gets its own. New ones come before
    /// replaced ones and are taken back if a later one fails, so that a rerun starts from where this one did.
    pub(super) fn write(&self, files: &[NewFile]) -> Result<(), CertsError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path)
            .map_err(|source| failed("create", &self.path, source))?;
        let mut staged =
            files.iter().map(|file| Ok((file, self.stage(file)?))).collect::<Result<Vec<_>, CertsError>>()?;
        staged.sort_by_key(|(file, _)| file.replaces);
        let mut placed = Vec::new();
        for (file, temporary) in staged {
            let path = self.file(&file.name);
            if let Err(error) = place(temporary, &path, file.replaces) {
                take_back(&placed);
                return Err(failed("write", &path, error));
            }
            placed.extend((!file.replaces).then_some(path));
        }
        File::open(&self.path)
            .and_then(|folder| folder.sync_all())
            .map_err(|source| failed("write", &self.path, source))
    }

    fn stage(&self, file: &NewFile) -> Result<NamedTempFile, CertsError> {
        let mode = if file.public { 0o644 } else { 0o600 };
        let staged = tempfile::Builder::new()
            .prefix(".emcee-")
            .suffix(".tmp")
            .permissions(Permissions::from_mode(mode))
            .tempfile_in(&self.path)
            .and_then(|mut temporary| {
                temporary.write_all(file.content.as_bytes())?;
                temporary.as_file().sync_all()?;
                Ok(temporary)
            });
        staged.map_err(|source| failed("write", &self.file(&file.name), source))
    }
}

impl Found {
    fn add(&mut self, path: &Path, name: &str) -> Result<(), CertsError> {
        match name {
            "ca.crt" => self.ca_certificate = Some(read(path)?),
            "ca.key" => {
                self.ca_key = Some(read(path)?);
                let mode =
                    fs::metadata(path).map_err(|source| failed("read", path, source))?.permissions().mode();
                self.ca_key_open = Some(mode & 0o777).filter(|mode| mode & 0o077 != 0);
            }
            _ => {
                // A pipe or a device would block the read.
                if let Some(mesh) = name.strip_suffix(".yaml").filter(|_| path.is_file()) {
                    self.add_mesh(mesh, read(path).ok().as_deref().and_then(MeshSecret::from_yaml));
                }
            }
        }
        Ok(())
    }

    fn add_mesh(&mut self, mesh: &str, secret: Option<MeshSecret>) {
        match secret {
            Some(secret) => drop(self.secrets.insert(mesh.to_owned(), secret)),
            None => drop(self.others.insert(mesh.to_owned())),
        }
    }
}

fn place(temporary: NamedTempFile, path: &Path, replaces: bool) -> io::Result<()> {
    let placed = if replaces { temporary.persist(path) } else { temporary.persist_noclobber(path) };
    placed.map(drop).map_err(|failure| failure.error)
}

/// Best effort: the failure that led here is the one to report.
fn take_back(placed: &[PathBuf]) {
    for path in placed {
        drop(fs::remove_file(path));
    }
}

fn read(path: &Path) -> Result<String, CertsError> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(LARGEST).read_to_string(&mut text));
    read.map(|_| text).map_err(|source| failed("read", path, source))
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> CertsError {
    CertsError::Io { action, path: path.to_owned(), source }
}
