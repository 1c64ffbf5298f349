//! The folder of objects and statuses.
//!
//! ```text
//!  OUT/<namespace>/<kind>-<name>.yaml
//!  OUT/status/<namespace>/<kind>-<name>.yaml
//! ```
//! A file is Emcee's if it begins with [`HEADER`]. No other file is ever changed or removed. Files are written under
//! a temporary name and renamed, so a reader sees the old content or the new.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use emcee_core::key::ObjectRef;
use emcee_core::plan::Kind;
use emcee_core::status::{self, Verdict};
use emcee_core::translate::Translation;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::console::Console;
use crate::intake;
use crate::manifest::{self, Document, Reading};

const HEADER: &str = "# Written by Emcee, and overwritten by it.\n";
const TEMPORARY: &str = ".emcee-";
const STATUS: &str = "status";
const BINDING: &str = "ServiceBinding";

pub(super) struct OutFolder {
    root: PathBuf,
    /// Emcee's files, by their path below the root.
    files: BTreeMap<PathBuf, Ours>,
    /// Those of an earlier run that this one has not planned yet.
    inherited: HashSet<PathBuf>,
    /// What is to be there, in the order of applying.
    wanted: Vec<Wanted>,
    /// Paths at which somebody else's file stands.
    foreign: BTreeMap<PathBuf, String>,
}

/// A file that Emcee wrote: its content, and how it looked from outside then.
struct Ours {
    text: String,
    stamp: Option<Stamp>,
}

/// What changes when somebody writes a file.
#[derive(PartialEq)]
struct Stamp {
    modified: SystemTime,
    length: u64,
    inode: u64,
}

struct Wanted {
    path: PathBuf,
    text: String,
    secret: bool,
    /// As it is called when it changes; a status is not spoken of.
    name: Option<String>,
}

impl OutFolder {
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let mut folder = Self {
            root: root.to_owned(),
            files: BTreeMap::new(),
            inherited: HashSet::new(),
            wanted: Vec::new(),
            foreign: BTreeMap::new(),
        };
        folder.find(Path::new(""))?;
        folder.inherited = folder.files.keys().cloned().collect();
        Ok(folder)
    }

    /// Finds Emcee's files of an earlier run, and clears away what it left half-written.
    fn find(&mut self, below: &Path) -> io::Result<()> {
        for entry in fs::read_dir(self.root.join(below))? {
            let entry = entry?;
            let path = below.join(entry.file_name());
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.find(&path)?;
            } else if kind.is_file() && entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
                let text = fs::read_to_string(entry.path()).unwrap_or_else(|_| "not text".to_owned());
                if text.starts_with(HEADER) || HEADER.starts_with(&text) {
                    fs::remove_file(entry.path())?;
                }
            } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "yaml") {
                let text = fs::read_to_string(entry.path()).unwrap_or_default();
                if text.starts_with(HEADER) {
                    self.files.insert(path, Ours { text, stamp: None });
                }
            }
        }
        Ok(())
    }

    /// Gives bindings back what their peers announced when that was last known. Their files do not say it.
    pub(super) fn remind(&self, reading: &mut Reading) {
        let of_folder =
            |document: &&mut Document| document.kind == BINDING && document.value.get("status").is_none();
        for document in reading.documents.iter_mut().filter(of_folder) {
            let key = intake::key(document);
            let path = Path::new(STATUS).join(path(BINDING, &key.namespace, &key.name));
            let status = self.files.get(&path).map(|ours| status_of(&ours.text)).unwrap_or_default();
            if let Some(announcement) = status.get("announcement") {
                document.value["status"] = json!({"announcement": announcement});
            }
        }
    }

    /// Takes a new plan in.
    pub(super) fn plan(
        &mut self,
        translation: &Translation,
        verdicts: &[(ObjectRef, Verdict)],
    ) -> io::Result<()> {
        let mut wanted = objects(translation)?;
        wanted.extend(self.statuses(verdicts)?);
        self.wanted = wanted;
        Ok(())
    }

    /// Makes the folder equal to the plan: writes in the order of applying, then removes. If the plan
    /// is not `whole`, what an earlier run wrote stays, as it may be of something that could not be read.
    pub(super) fn write(&mut self, whole: bool, console: &mut Console<'_>) -> io::Result<()> {
        let wanted = std::mem::take(&mut self.wanted);
        let written = self.write_all(&wanted, whole, console);
        self.wanted = wanted;
        written
    }

    fn write_all(&mut self, wanted: &[Wanted], whole: bool, console: &mut Console<'_>) -> io::Result<()> {
        for file in wanted {
            self.inherited.remove(&file.path);
            self.put(file, console)?;
        }
        let keep: HashSet<&PathBuf> = wanted.iter().map(|wanted| &wanted.path).collect();
        let mut gone: Vec<PathBuf> = self.files.keys().filter(|path| !keep.contains(path)).cloned().collect();
        gone.retain(|path| whole || !self.inherited.contains(path));
        gone.sort_by_key(|path| Reverse(place(path)));
        gone.iter().try_for_each(|path| self.remove(path, console))
    }

    fn put(&mut self, wanted: &Wanted, console: &mut Console<'_>) -> io::Result<()> {
        let full = self.root.join(&wanted.path);
        let ours = self.files.get(&wanted.path).filter(|ours| ours.text == wanted.text);
        if ours.is_some_and(|ours| ours.stamp.is_some() && ours.stamp == stamp(&full)) {
            return Ok(());
        }
        let existing = self.existing(&wanted.path)?;
        if existing.as_ref().is_some_and(|text| !text.starts_with(HEADER)) {
            return self.leave_alone(wanted, &full, console);
        }
        let same = existing.as_deref() == Some(&wanted.text);
        if !same {
            write_whole(&full, &wanted.text, wanted.secret)?;
        }
        self.foreign.remove(&wanted.path);
        let ours = Ours { text: wanted.text.clone(), stamp: stamp(&full) };
        let verb = match self.files.insert(wanted.path.clone(), ours) {
            _ if same => return Ok(()),
            None => "created",
            Some(old) if old.text == wanted.text => "restored",
            Some(_) => "changed",
        };
        wanted.name.iter().try_for_each(|name| console.data(&format!("{verb} {name}\n")))
    }

    /// The content of a file, if there is one. A link, a folder, and whatever is behind a link, count as somebody
    /// else's.
    fn existing(&self, path: &Path) -> io::Result<Option<String>> {
        let folders = path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty());
        for folder in folders {
            if fs::symlink_metadata(self.root.join(folder)).is_ok_and(|metadata| !metadata.is_dir()) {
                return Ok(Some(String::new()));
            }
        }
        let full = self.root.join(path);
        match fs::symlink_metadata(&full) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(metadata) if metadata.is_file() => {
                fs::read(&full).map(|bytes| Some(String::from_utf8_lossy(&bytes).into_owned()))
            }
            Ok(_) => Ok(Some(String::new())),
        }
    }

    fn leave_alone(&mut self, wanted: &Wanted, full: &Path, console: &mut Console<'_>) -> io::Result<()> {
        self.files.remove(&wanted.path);
        let line = format!("emcee: {} is not Emcee's, and is left alone (move it away)", full.display());
        if self.foreign.insert(wanted.path.clone(), line.clone()).is_none() {
            console.refusal(line)?;
        }
        Ok(())
    }

    fn remove(&mut self, path: &Path, console: &mut Console<'_>) -> io::Result<()> {
        let full = self.root.join(path);
        if self.existing(path)?.is_some_and(|text| text.starts_with(HEADER)) {
            fs::remove_file(&full)?;
            // Only if nothing else is in it.
            let _ = full.parent().filter(|parent| *parent != self.root).map(fs::remove_dir);
        }
        self.files.remove(path);
        if path.starts_with(STATUS) {
            return Ok(());
        }
        console.data(&format!("removed {}\n", spoken(path)))
    }

    fn statuses(&self, verdicts: &[(ObjectRef, Verdict)]) -> io::Result<Vec<Wanted>> {
        let mut wanted = Vec::new();
        for (resource, verdict) in verdicts {
            let path =
                Path::new(STATUS).join(path(resource.kind, &resource.key.namespace, &resource.key.name));
            let before = self.files.get(&path).map(|ours| status_of(&ours.text)).unwrap_or_default();
            let status = status::status(resource, verdict, &before, Timestamp::now())?;
            let object = json!({
                "apiVersion": format!("{}/{}", emcee_api::GROUP, emcee_api::VERSION),
                "kind": resource.kind,
                "metadata": {"name": &*resource.key.name, "namespace": &*resource.key.namespace},
                "status": status,
            });
            wanted.push(Wanted { path, text: text(&object)?, secret: false, name: None });
        }
        Ok(wanted)
    }
}

fn objects(translation: &Translation) -> io::Result<Vec<Wanted>> {
    let wanted = translation.objects().into_iter().map(|object| {
        let kind = object.kind();
        Ok(Wanted {
            path: path(kind.as_str(), &object.namespace, &object.name),
            text: text(&serde_json::to_value(&object)?)?,
            secret: kind == Kind::Secret,
            name: Some(format!("{} {}/{}", kind.as_str(), object.namespace, object.name)),
        })
    });
    wanted.collect()
}

fn path(kind: &str, namespace: &str, name: &str) -> PathBuf {
    Path::new(namespace).join(format!("{kind}-{name}.yaml"))
}

/// Place in the order of applying, from a path. Removing goes the other way; statuses go first.
fn place(path: &Path) -> Option<(bool, Option<usize>)> {
    let kind = path.file_name()?.to_str()?.split('-').next()?;
    Some((path.starts_with(STATUS), Kind::ALL.iter().position(|known| known.as_str() == kind)))
}

/// `Kind namespace/name`, from a path.
fn spoken(path: &Path) -> String {
    let namespace = path.parent().map(|parent| parent.display().to_string()).unwrap_or_default();
    let file = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let (kind, name) = file.split_once('-').unwrap_or((&file, ""));
    format!("{kind} {namespace}/{name}")
}

fn text(object: &Value) -> io::Result<String> {
    let yaml = manifest::to_yaml(std::slice::from_ref(object)).map_err(io::Error::other)?;
    Ok(format!("{HEADER}{yaml}"))
}

fn status_of(text: &str) -> Value {
    let documents = manifest::read_text("status", text.as_bytes()).documents;
    documents.first().map(|document| document.value["status"].clone()).unwrap_or_default()
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::symlink_metadata(path).ok()?;
    Some(Stamp { modified: metadata.modified().ok()?, length: metadata.len(), inode: metadata.ino() })
}

fn write_whole(path: &Path, text: &str, secret: bool) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut file = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    let mode = if secret { 0o600 } else { 0o644 };
    file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    file.persist(path)?;
    Ok(())
}
