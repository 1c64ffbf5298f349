//! The output directory: one file for each object and each status.
//!
//! ```text
//!  OUT/<namespace>/<kind>-<name>.yaml
//!  OUT/status/<namespace>/<kind>-<name>.yaml
//! ```
//! Emcee manages a file if it begins with [`HEADER`]. It never changes or removes another file.
//!
//! An error concerns only its file. It is printed, reported in the status of the resource that owns the object, and the
//! operation is repeated at the next poll. All other files, including those to remove, are processed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::path::Path;

use emcee_core::plan::GeneratedKind;
use emcee_core::status;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::disk::{Disk, Existing, Folder, HEADER, Stamp};
use super::follower::Follower;
use super::given::{Given, Owner};
use super::place::{NotAName, Place};
use super::trouble::{Blocked, Trouble, Troubles};
use crate::console::Console;
use crate::intake;
use crate::manifest::{self, Document, Reading};

const BINDING: &str = "ServiceBinding";

/// Keeps the files of OUT equal to the plan.
pub(super) struct OutFolder {
    disk: Disk,
    /// Managed files, as they were read or written last.
    files: BTreeMap<Place, Ours>,
    /// Files of an earlier run that this run has not planned yet.
    inherited: HashSet<Place>,
    /// Owners of inherited files, cached as each requires parsing the file.
    owners: HashMap<Place, Option<Owner>>,
    /// Directories that could not be read yet. They may contain files of an earlier run.
    unread: BTreeSet<Folder>,
    /// Planned objects, in the order of applying.
    objects: Vec<Wanted>,
    statuses: Vec<Wanted>,
    /// Planned objects without a valid name.
    unnamed: Vec<NotAName>,
    troubles: Troubles,
}

/// A managed file: its content, and its metadata when Emcee wrote or checked it. Without metadata, the file has to be
/// read before it is compared.
struct Ours {
    text: String,
    stamp: Option<Stamp>,
}

/// A file that the plan contains.
struct Wanted {
    place: Place,
    text: String,
    secret: bool,
    /// Name to print when the file changes; `None` for a status, whose changes are not printed.
    name: Option<String>,
}

impl OutFolder {
    /// Opens the directory, and reads the files that an earlier run has written.
    pub(super) fn open(root: &Path) -> Self {
        let mut folder = Self {
            disk: Disk::new(root),
            files: BTreeMap::new(),
            inherited: HashSet::new(),
            owners: HashMap::new(),
            unread: BTreeSet::from([Folder::Root]),
            objects: Vec::new(),
            statuses: Vec::new(),
            unnamed: Vec::new(),
            troubles: Troubles::default(),
        };
        folder.find();
        folder
    }

    /// Reads managed files of an earlier run, in the directories that have not been read yet.
    fn find(&mut self) {
        let mut pending: Vec<Folder> = std::mem::take(&mut self.unread).into_iter().collect();
        while let Some(folder) = pending.pop() {
            match self.disk.look_into(&folder) {
                Ok(contents) => {
                    pending.extend(contents.folders);
                    for (place, text) in contents.files {
                        self.inherited.insert(place.clone());
                        self.files.insert(place, Ours { text, stamp: None });
                    }
                }
                // Removed since its parent was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // Tried again at the next poll. Nothing below it is removed before it has been read.
                Err(error) => {
                    self.troubles.add_folder(&self.disk.folder(&folder), &error);
                    self.unread.insert(folder);
                }
            }
        }
    }

    /// Copies the last known announcement from the status files into the ServiceBindings that were read.
    ///
    /// In a cluster, the status of the resource contains it. Here the user's file has no status.
    pub(super) fn remind(&self, reading: &mut Reading) {
        let of_folder =
            |document: &&mut Document| document.kind == BINDING && document.value.get("status").is_none();
        for document in reading.documents.iter_mut().filter(of_folder) {
            let key = intake::key(document);
            let Ok(place) = Place::of_status(BINDING, &key.namespace, &key.name) else { continue };
            let status = self.files.get(&place).map(|managed| status_of(&managed.text)).unwrap_or_default();
            if let Some(announcement) = status.get("announcement") {
                document.value["status"] = json!({"announcement": announcement});
            }
        }
    }

    /// Whether a file or directory could not be written, removed or read.
    pub(super) fn has_failures(&self) -> bool {
        self.troubles.has_failures()
    }

    /// Whether an object has no valid name, or a file that Emcee does not manage is at its path.
    pub(super) fn has_refusals(&self) -> bool {
        self.troubles.has_refusals()
    }

    /// Replaces the plan with the current objects and verdicts of the translation.
    ///
    /// # Errors
    /// An object cannot be serialized.
    pub(super) fn plan(&mut self, reconciler: &Follower) -> io::Result<()> {
        self.objects.clear();
        self.unnamed.clear();
        for object in reconciler.translation().objects() {
            let kind = object.kind();
            let name = format!("{} {}/{}", kind.as_str(), object.namespace, object.name);
            match Place::of_object(kind.as_str(), &object.namespace, &object.name) {
                Ok(place) => self.objects.push(Wanted {
                    place,
                    text: text(&serde_json::to_value(&object)?)?,
                    secret: kind == GeneratedKind::Secret,
                    name: Some(name),
                }),
                Err(error) => self.unnamed.push(error),
            }
        }
        self.statuses(reconciler)
    }

    /// Makes the directory equal to the plan: writes the objects in the order of applying, removes files that are no
    /// longer planned, and then writes the statuses.
    ///
    /// Until the whole input has been valid once, files of an earlier run stay, unless the resource that owns them is
    /// gone.
    ///
    /// # Errors
    /// The console cannot be written to, or a status cannot be serialized. Errors of files are collected instead.
    pub(super) fn write(&mut self, reconciler: &Follower, console: &mut Console<'_>) -> io::Result<()> {
        let before = self.troubles.begin();
        self.find();
        self.unnamed.iter().for_each(|error| self.troubles.add_unnamed(error));
        // The lists are moved out while the methods borrow `self`, and moved back before any error is returned.
        let objects = std::mem::take(&mut self.objects);
        let written = self.put_all(&objects, console);
        self.objects = objects;
        written?;
        self.remove_all(reconciler, console)?;
        // The statuses in the plan contain the errors of the previous pass.
        if self.troubles.blocking() != before {
            self.statuses(reconciler)?;
        }
        let statuses = std::mem::take(&mut self.statuses);
        let written = self.put_all(&statuses, console);
        self.statuses = statuses;
        written?;
        self.troubles.end(console)
    }

    /// Writes the files that differ, prints the changes, and collects errors.
    fn put_all(&mut self, planned: &[Wanted], console: &mut Console<'_>) -> io::Result<()> {
        // One check of the parent directories for all files of a namespace in this pass.
        let mut entered = HashMap::new();
        for file in planned {
            let place = &file.place;
            self.inherited.remove(place);
            let is_entered = *entered
                .entry((place.is_status(), place.namespace()))
                .or_insert_with(|| self.disk.has_folder(place));
            match self.put(file, is_entered) {
                Ok(None) => {}
                Ok(Some(verb)) => {
                    file.name.iter().try_for_each(|name| console.data(&format!("{verb} {name}\n")))?;
                }
                Err(failure) => self.troubles.add(place, failure, console)?,
            }
        }
        Ok(())
    }

    /// Writes a file if its content differs; returns the verb for what was done.
    ///
    /// A file is not read if its metadata has not changed since Emcee wrote it, and its parent directories
    /// (`is_entered`) are not links.
    fn put(&mut self, planned: &Wanted, is_entered: bool) -> Result<Option<&'static str>, Trouble> {
        let place = &planned.place;
        let path = self.disk.path(place);
        let managed = self.files.get(place).filter(|managed| managed.text == planned.text);
        let is_as_written =
            |managed: &Ours| managed.stamp.is_some() && managed.stamp == self.disk.stamp(place);
        if is_entered && managed.is_some_and(is_as_written) {
            return Ok(None);
        }
        let same = match self.disk.existing(place) {
            Ok(Existing::Ours(text)) => text == planned.text,
            Ok(Existing::Nothing) => false,
            // Forget what was there: after the file is moved away, ours is "created", not "restored".
            Ok(Existing::Foreign) => {
                self.files.remove(place);
                return Err(Trouble::foreign(&path));
            }
            Err(error) => return Err(Trouble::unwritten(&path, &error)),
        };
        if !same {
            let written = self.disk.write(place, &planned.text, planned.secret);
            written.map_err(|error| Trouble::unwritten(&path, &error))?;
        }
        let managed = Ours { text: planned.text.clone(), stamp: self.disk.stamp(place) };
        // Decided by the file that this process knew, not by the one that it found.
        Ok(match self.files.insert(place.clone(), managed) {
            _ if same => None,
            None => Some("created"),
            Some(old) if old.text == planned.text => Some("restored"),
            Some(_) => Some("changed"),
        })
    }

    /// Removes files that are not planned, in the reverse order of applying, statuses first.
    fn remove_all(&mut self, reconciler: &Follower, console: &mut Console<'_>) -> io::Result<()> {
        let keep: HashSet<&Place> =
            self.objects.iter().chain(&self.statuses).map(|planned| &planned.place).collect();
        let mut gone: Vec<Place> = self.files.keys().filter(|place| !keep.contains(place)).cloned().collect();
        // A resource that could not be read yet may own an inherited file.
        if !reconciler.is_sure() {
            gone.retain(|place| !self.inherited.contains(place) || self.is_orphan(place, reconciler.given()));
        }
        gone.sort_by_key(|place| Reverse(turn(place)));
        for place in &gone {
            match self.disk.remove(place) {
                Err(error) => {
                    let failure = Trouble::unremoved(&self.disk.path(place), &error);
                    self.troubles.add(place, failure, console)?;
                }
                // Also if the file was gone already, or is not managed any more: Emcee forgets it.
                Ok(existing) => {
                    let removed = self.files.remove(place);
                    if !place.is_status() && !matches!(existing, Existing::Foreign) {
                        let text = removed.map(|managed| managed.text).unwrap_or_default();
                        console.data(&format!("removed {}\n", spoken(place, &text)))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether it is certain that the resource that owns an inherited file is gone.
    ///
    /// A resource that Emcee has generated is never in the input directory: it is gone when its file in OUT is.
    fn is_orphan(&mut self, place: &Place, declared: &Given) -> bool {
        if !self.owners.contains_key(place) {
            let text = self.files.get(place).map_or("", |managed| managed.text.as_str());
            self.owners.insert(place.clone(), Owner::of(place, text));
        }
        let owner = self.owners.get(place).and_then(Option::as_ref);
        owner.is_some_and(|owner| {
            declared.lacks(owner) && owner.place().is_some_and(|own| !self.files.contains_key(&own))
        })
    }

    /// Plans the status of each resource, including errors of the files of its objects.
    fn statuses(&mut self, reconciler: &Follower) -> io::Result<()> {
        let blocked = Blocked::of(reconciler.translation(), &self.troubles);
        self.statuses.clear();
        for (resource, verdict) in reconciler.verdicts() {
            // A resource with an invalid name has been refused, and reported, when it was read.
            let Ok(place) = Place::of_status(resource.kind, &resource.key.namespace, &resource.key.name)
            else {
                continue;
            };
            let verdict = blocked.judged(&resource, verdict);
            // The previous status provides the times of the conditions that have not changed.
            let before = self.files.get(&place).map(|managed| status_of(&managed.text)).unwrap_or_default();
            let status = status::build_status(&resource, &verdict, &before, Timestamp::now())?;
            let object = json!({
                "apiVersion": format!("{}/{}", emcee_api::GROUP, emcee_api::VERSION),
                "kind": resource.kind,
                "metadata": {"name": &*resource.key.name, "namespace": &*resource.key.namespace},
                "status": status,
            });
            self.statuses.push(Wanted { place, text: text(&object)?, secret: false, name: None });
        }
        Ok(())
    }
}

/// Key of a file in the order of applying. Removals sort by it in reverse, so that statuses come first.
fn turn(place: &Place) -> (bool, Option<usize>) {
    (place.is_status(), GeneratedKind::ALL.iter().position(|known| known.as_str() == place.kind()))
}

/// `Kind namespace/name` from the object itself, as the name of its file may be shortened.
fn spoken(place: &Place, text: &str) -> String {
    let documents = manifest::read_text("", text.as_bytes()).documents;
    documents.first().map_or_else(|| place.to_string(), Document::object)
}

/// Content of the file of an object: header and YAML.
fn text(object: &Value) -> io::Result<String> {
    let yaml = manifest::to_yaml(std::slice::from_ref(object)).map_err(io::Error::other)?;
    Ok(format!("{HEADER}{yaml}"))
}

/// The `status` in the text of a status file; null without one.
fn status_of(text: &str) -> Value {
    let documents = manifest::read_text("status", text.as_bytes()).documents;
    documents.first().map(|document| document.value["status"].clone()).unwrap_or_default()
}
