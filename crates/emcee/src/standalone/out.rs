//! The folder of objects and statuses.
//!
//! ```text
//!  OUT/<namespace>/<kind>-<name>.yaml
//!  OUT/status/<namespace>/<kind>-<name>.yaml
//! ```
//! A file is Emcee's if it begins with [`HEADER`]. No other file is ever changed or removed.
//!
//! What fails for one file is that file's matter: it is named and tried again at the next look, and the status of the
//! resource that asks for the object says so. The rest goes on, removals included.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::path::Path;

use emcee_core::plan::Kind;
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

pub(super) struct OutFolder {
    disk: Disk,
    /// Emcee's files.
    files: BTreeMap<Place, Ours>,
    /// Those of an earlier run that this one has not planned yet.
    inherited: HashSet<Place>,
    /// For whom they were written, as far as that was asked.
    owners: HashMap<Place, Option<Owner>>,
    /// Folders that could not be read yet: what an earlier run wrote may be in them.
    unread: BTreeSet<Folder>,
    /// What is to be there, in the order of applying.
    objects: Vec<Wanted>,
    statuses: Vec<Wanted>,
    /// Objects that can have no file.
    unnamed: Vec<NotAName>,
    troubles: Troubles,
}

/// A file that Emcee wrote: its content, and how it looked from outside then.
struct Ours {
    text: String,
    stamp: Option<Stamp>,
}

struct Wanted {
    place: Place,
    text: String,
    secret: bool,
    /// As it is called when it changes; a status is not spoken of.
    name: Option<String>,
}

impl OutFolder {
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

    /// Finds Emcee's files of an earlier run in the folders that have not been read yet.
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
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    self.troubles.add_folder(&self.disk.folder(&folder), &error);
                    self.unread.insert(folder);
                }
            }
        }
    }

    /// Gives bindings back what their peers announced when that was last known. Their files do not say it.
    pub(super) fn remind(&self, reading: &mut Reading) {
        let of_folder =
            |document: &&mut Document| document.kind == BINDING && document.value.get("status").is_none();
        for document in reading.documents.iter_mut().filter(of_folder) {
            let key = intake::key(document);
            let Ok(place) = Place::of_status(BINDING, &key.namespace, &key.name) else { continue };
            let status = self.files.get(&place).map(|ours| status_of(&ours.text)).unwrap_or_default();
            if let Some(announcement) = status.get("announcement") {
                document.value["status"] = json!({"announcement": announcement});
            }
        }
    }

    /// Whether something could not be written, removed or read.
    pub(super) fn has_failures(&self) -> bool {
        self.troubles.has_failures()
    }

    /// Whether something is somebody else's, or has no name.
    pub(super) fn has_refusals(&self) -> bool {
        self.troubles.has_refusals()
    }

    /// Takes a new plan in.
    pub(super) fn plan(&mut self, follower: &Follower) -> io::Result<()> {
        self.objects.clear();
        self.unnamed.clear();
        for object in follower.translation().objects() {
            let kind = object.kind();
            let name = format!("{} {}/{}", kind.as_str(), object.namespace, object.name);
            match Place::of_object(kind.as_str(), &object.namespace, &object.name) {
                Ok(place) => self.objects.push(Wanted {
                    place,
                    text: text(&serde_json::to_value(&object)?)?,
                    secret: kind == Kind::Secret,
                    name: Some(name),
                }),
                Err(error) => self.unnamed.push(error),
            }
        }
        self.statuses(follower)
    }

    /// Makes the folder equal to the plan: writes the objects in the order of applying, removes what is no longer
    /// planned, and then writes how each resource is. If not all that was read is understood, what an earlier run wrote
    /// stays, unless the resource that asked for it is gone.
    ///
    /// # Errors
    /// Nothing can be printed, or a status cannot be made.
    pub(super) fn write(&mut self, follower: &Follower, console: &mut Console<'_>) -> io::Result<()> {
        let before = self.troubles.begin();
        self.find();
        self.unnamed.iter().for_each(|error| self.troubles.add_unnamed(error));
        let objects = std::mem::take(&mut self.objects);
        let written = self.put_all(&objects, console);
        self.objects = objects;
        written?;
        self.remove_all(follower, console)?;
        if self.troubles.blocking() != before {
            self.statuses(follower)?;
        }
        let statuses = std::mem::take(&mut self.statuses);
        let written = self.put_all(&statuses, console);
        self.statuses = statuses;
        written?;
        self.troubles.end(console)
    }

    fn put_all(&mut self, wanted: &[Wanted], console: &mut Console<'_>) -> io::Result<()> {
        let mut entered = HashMap::new();
        for file in wanted {
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
                Err(trouble) => self.troubles.add(place, trouble, console)?,
            }
        }
        Ok(())
    }

    /// Writes a file if it is not as it should be. Says what was done. One that looks from outside as it did when it was
    /// written is as it was, if its folder is one that may be entered.
    fn put(&mut self, wanted: &Wanted, is_entered: bool) -> Result<Option<&'static str>, Trouble> {
        let place = &wanted.place;
        let path = self.disk.path(place);
        let ours = self.files.get(place).filter(|ours| ours.text == wanted.text);
        let is_as_written = |ours: &Ours| ours.stamp.is_some() && ours.stamp == self.disk.stamp(place);
        if is_entered && ours.is_some_and(is_as_written) {
            return Ok(None);
        }
        let same = match self.disk.existing(place) {
            Ok(Existing::Ours(text)) => text == wanted.text,
            Ok(Existing::Nothing) => false,
            Ok(Existing::Foreign) => {
                self.files.remove(place);
                return Err(Trouble::foreign(&path));
            }
            Err(error) => return Err(Trouble::unwritten(&path, &error)),
        };
        if !same {
            let written = self.disk.write(place, &wanted.text, wanted.secret);
            written.map_err(|error| Trouble::unwritten(&path, &error))?;
        }
        let ours = Ours { text: wanted.text.clone(), stamp: self.disk.stamp(place) };
        Ok(match self.files.insert(place.clone(), ours) {
            _ if same => None,
            None => Some("created"),
            Some(old) if old.text == wanted.text => Some("restored"),
            Some(_) => Some("changed"),
        })
    }

    /// Removes what is not planned, against the order of applying; statuses first.
    fn remove_all(&mut self, follower: &Follower, console: &mut Console<'_>) -> io::Result<()> {
        let keep: HashSet<&Place> =
            self.objects.iter().chain(&self.statuses).map(|wanted| &wanted.place).collect();
        let mut gone: Vec<Place> = self.files.keys().filter(|place| !keep.contains(place)).cloned().collect();
        if !follower.is_sure() {
            gone.retain(|place| !self.inherited.contains(place) || self.is_orphan(place, follower.given()));
        }
        gone.sort_by_key(|place| Reverse(turn(place)));
        for place in &gone {
            match self.disk.remove(place) {
                Err(error) => {
                    let trouble = Trouble::unremoved(&self.disk.path(place), &error);
                    self.troubles.add(place, trouble, console)?;
                }
                Ok(existing) => {
                    let removed = self.files.remove(place);
                    if !place.is_status() && !matches!(existing, Existing::Foreign) {
                        let text = removed.map(|ours| ours.text).unwrap_or_default();
                        console.data(&format!("removed {}\n", spoken(place, &text)))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether the resource that asked for a file of an earlier run is gone. One that Emcee made itself is in no folder.
    fn is_orphan(&mut self, place: &Place, given: &Given) -> bool {
        if !self.owners.contains_key(place) {
            let text = self.files.get(place).map_or("", |ours| ours.text.as_str());
            self.owners.insert(place.clone(), Owner::of(place, text));
        }
        let owner = self.owners.get(place).and_then(Option::as_ref);
        owner.is_some_and(|owner| {
            given.lacks(owner) && owner.place().is_some_and(|own| !self.files.contains_key(&own))
        })
    }

    /// How each resource is, what is in the way of its objects included.
    fn statuses(&mut self, follower: &Follower) -> io::Result<()> {
        let blocked = Blocked::of(follower.translation(), &self.troubles);
        self.statuses.clear();
        for (resource, verdict) in follower.verdicts() {
            // What is no name is refused and said where it is read.
            let Ok(place) = Place::of_status(resource.kind, &resource.key.namespace, &resource.key.name)
            else {
                continue;
            };
            let verdict = blocked.judged(&resource, verdict);
            let before = self.files.get(&place).map(|ours| status_of(&ours.text)).unwrap_or_default();
            let status = status::status(&resource, &verdict, &before, Timestamp::now())?;
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

/// Its turn in the order of applying. Removing goes the other way; statuses go first.
fn turn(place: &Place) -> (bool, Option<usize>) {
    (place.is_status(), Kind::ALL.iter().position(|known| known.as_str() == place.kind()))
}

/// `Kind namespace/name`: as the object says it, for its file may have a shorter name.
fn spoken(place: &Place, text: &str) -> String {
    let documents = manifest::read_text("", text.as_bytes()).documents;
    documents.first().map_or_else(|| place.to_string(), Document::object)
}

fn text(object: &Value) -> io::Result<String> {
    let yaml = manifest::to_yaml(std::slice::from_ref(object)).map_err(io::Error::other)?;
    Ok(format!("{HEADER}{yaml}"))
}

fn status_of(text: &str) -> Value {
    let documents = manifest::read_text("status", text.as_bytes()).documents;
    documents.first().map(|document| document.value["status"].clone()).unwrap_or_default()
}
