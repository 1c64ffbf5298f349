//! Reads and writes the folder of a relationship. All file access of `emcee certs` is in this module.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, DirBuilder, File, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use super::{CertsError, secret::MeshSecret};

/// Maximum number of bytes to read from a file. Kubernetes stores less than this in a Secret.
const MAX_FILE_BYTES: u64 = 2 << 20;

/// A folder that contains the CA and the Secrets of one relationship.
pub(super) struct CertsFolder {
    path: PathBuf,
}

/// Contents of a folder.
#[derive(Default)]
pub(super) struct FolderContents {
    pub(super) ca_certificate: Option<String>,
    pub(super) ca_key: Option<String>,
    /// Mode bits of ca.key, if group or others have access to it.
    pub(super) ca_key_open_mode: Option<u32>,
    /// Secrets by mesh, which is the file name without `.yaml`.
    pub(super) secrets: BTreeMap<String, MeshSecret>,
    /// Names, without `.yaml`, of files that `emcee certs` did not write.
    pub(super) foreign_files: BTreeSet<String>,
}

/// A file to write. Only its owner can read it, unless it is `public`.
pub(super) struct NewFile {
    pub(super) name: String,
    pub(super) content: String,
    pub(super) public: bool,
    pub(super) replaces: bool,
}

impl CertsFolder {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    pub(super) fn file_path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(super) fn secret_path(&self, mesh: &str) -> PathBuf {
        self.file_path(&format!("{mesh}.yaml"))
    }

    /// Reads the folder. A folder that does not exist counts as empty.
    pub(super) fn read_contents(&self) -> Result<FolderContents, CertsError> {
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(FolderContents::default()),
            entries => entries.map_err(|source| io_error("read", &self.path, source))?,
        };
        let mut found = FolderContents::default();
        for entry in entries {
            let entry = entry.map_err(|source| io_error("read", &self.path, source))?;
            let name = entry.file_name();
            found.add_file(&entry.path(), &name.to_string_lossy())?;
        }
        Ok(found)
    }

    /// Writes all files under temporary names before the first one gets its final name.
    ///
    /// New files are placed before replaced ones. If placing a file fails, the new ones are removed, so a later run
    /// starts from the same state. Files that were replaced before the failure keep their new content.
    pub(super) fn write_files(&self, files: &[NewFile]) -> Result<(), CertsError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path)
            .map_err(|source| io_error("create", &self.path, source))?;
        let mut staged =
            files.iter().map(|file| Ok((file, self.stage(file)?))).collect::<Result<Vec<_>, CertsError>>()?;
        // New files can be removed again, replaced ones cannot be restored.
        staged.sort_by_key(|(file, _)| file.replaces);
        let mut placed = Vec::new();
        for (file, temporary) in staged {
            let path = self.file_path(&file.name);
            if let Err(error) = move_into_place(temporary, &path, file.replaces) {
                remove_placed(&placed);
                return Err(io_error("write", &path, error));
            }
            placed.extend((!file.replaces).then_some(path));
        }
        // A rename is durable only after a sync of the folder.
        File::open(&self.path)
            .and_then(|folder| folder.sync_all())
            .map_err(|source| io_error("write", &self.path, source))
    }

    fn stage(&self, file: &NewFile) -> Result<NamedTempFile, CertsError> {
        let mode = if file.public { 0o644 } else { 0o600 };
        // In the target folder: a rename does not work across file systems.
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
        staged.map_err(|source| io_error("write", &self.file_path(&file.name), source))
    }
}

impl FolderContents {
    fn add_file(&mut self, path: &Path, name: &str) -> Result<(), CertsError> {
        match name {
            "ca.crt" => self.ca_certificate = Some(read_file(path)?),
            "ca.key" => {
                self.ca_key = Some(read_file(path)?);
                let mode =
                    fs::metadata(path).map_err(|source| io_error("read", path, source))?.permissions().mode();
                self.ca_key_open_mode = Some(mode & 0o777).filter(|mode| mode & 0o077 != 0);
            }
            _ => {
                // Reading from a pipe or a device could block.
                if let Some(mesh) = name.strip_suffix(".yaml").filter(|_| path.is_file()) {
                    self.add_mesh(mesh, read_file(path).ok().as_deref().and_then(MeshSecret::from_yaml));
                }
            }
        }
        Ok(())
    }

    fn add_mesh(&mut self, mesh: &str, secret: Option<MeshSecret>) {
        match secret {
            Some(secret) => drop(self.secrets.insert(mesh.to_owned(), secret)),
            None => drop(self.foreign_files.insert(mesh.to_owned())),
        }
    }
}

/// Gives a temporary file its final name. A new file never replaces one that another process has created meanwhile.
fn move_into_place(temporary: NamedTempFile, path: &Path, replaces: bool) -> io::Result<()> {
    let placed = if replaces { temporary.persist(path) } else { temporary.persist_noclobber(path) };
    placed.map(drop).map_err(|failure| failure.error)
}

/// Removes new files after a failure. Ignores errors: the caller reports the failure itself.
fn remove_placed(placed: &[PathBuf]) {
    for path in placed {
        drop(fs::remove_file(path));
    }
}

fn read_file(path: &Path) -> Result<String, CertsError> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE_BYTES).read_to_string(&mut text));
    read.map(|_| text).map_err(|source| io_error("read", path, source))
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> CertsError {
    CertsError::Io { action, path: path.to_owned(), source }
}
