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
use emcee_yaml::{LoadedManifests, ManifestDocument};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::declared::{DeclaredResources, LabelledOwner};
use super::disk::{Disk, ExistingFile, FileStamp, HEADER, OutputSubdir};
use super::output_error::{BlockedResources, OutputError, OutputErrors};
use super::output_path::{InvalidObjectName, OutputPath};
use super::reconcile::FileReconciler;
use crate::console::Console;
use crate::inputs;

const BINDING: &str = "ServiceBinding";

/// Keeps the files of OUT equal to the plan.
pub(super) struct OutputDir {
    disk: Disk,
    /// Managed files, as they were read or written last.
    files: BTreeMap<OutputPath, ManagedFile>,
    /// Files of an earlier run that this run has not planned yet.
    inherited: HashSet<OutputPath>,
    /// Owners of inherited files, cached as each requires parsing the file.
    owners: HashMap<OutputPath, Option<LabelledOwner>>,
    /// Directories that could not be read yet. They may contain files of an earlier run.
    unread: BTreeSet<OutputSubdir>,
    /// Planned objects, in the order of applying.
    objects: Vec<PlannedFile>,
    statuses: Vec<PlannedFile>,
    /// Planned objects without a valid name.
    invalid_names: Vec<InvalidObjectName>,
    errors: OutputErrors,
}

/// A managed file: its content, and its metadata when Emcee wrote or checked it. Without metadata, the file has to be
/// read before it is compared.
struct ManagedFile {
    text: String,
    stamp: Option<FileStamp>,
}

/// A file that the plan contains.
struct PlannedFile {
    place: OutputPath,
    text: String,
    is_secret: bool,
    /// Name to print when the file changes; `None` for a status, whose changes are not printed.
    name: Option<String>,
}

impl OutputDir {
    /// Opens the directory, and reads the files that an earlier run has written.
    pub(super) fn open(root: &Path) -> Self {
        let mut folder = Self {
            disk: Disk::new(root),
            files: BTreeMap::new(),
            inherited: HashSet::new(),
            owners: HashMap::new(),
            unread: BTreeSet::from([OutputSubdir::Root]),
            objects: Vec::new(),
            statuses: Vec::new(),
            invalid_names: Vec::new(),
            errors: OutputErrors::default(),
        };
        folder.find_existing();
        folder
    }

    /// Reads managed files of an earlier run, in the directories that have not been read yet.
    fn find_existing(&mut self) {
        let mut pending: Vec<OutputSubdir> = std::mem::take(&mut self.unread).into_iter().collect();
        while let Some(folder) = pending.pop() {
            match self.disk.list_managed(&folder) {
                Ok(contents) => {
                    pending.extend(contents.subdirs);
                    for (place, text) in contents.files {
                        self.inherited.insert(place.clone());
                        self.files.insert(place, ManagedFile { text, stamp: None });
                    }
                }
                // Removed since its parent was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // Tried again at the next poll. Nothing below it is removed before it has been read.
                Err(error) => {
                    self.errors.add_dir(&self.disk.subdir_path(&folder), &error);
                    self.unread.insert(folder);
                }
            }
        }
    }

    /// Copies the last known announcement from the status files into the ServiceBindings that were read.
    ///
    /// In a cluster, the status of the resource contains it. Here the user's file has no status.
    pub(super) fn restore_status(&self, reading: &mut LoadedManifests) {
        let of_folder = |document: &&mut ManifestDocument| {
            document.kind == BINDING && document.value.get("status").is_none()
        };
        for document in reading.documents.iter_mut().filter(of_folder) {
            let key = inputs::document_key(document);
            let Ok(place) = OutputPath::for_status(BINDING, &key.namespace, &key.name) else { continue };
            let status =
                self.files.get(&place).map(|managed| parse_status(&managed.text)).unwrap_or_default();
            if let Some(announcement) = status.get("announcement") {
                document.value["status"] = json!({"announcement": announcement});
            }
        }
    }

    /// Whether a file or directory could not be written, removed or read.
    pub(super) fn has_failures(&self) -> bool {
        self.errors.has_failures()
    }

    /// Whether an object has no valid name, or a file that Emcee does not manage is at its path.
    pub(super) fn has_refusals(&self) -> bool {
        self.errors.has_refusals()
    }

    /// Replaces the plan with the current objects and verdicts of the translation.
    ///
    /// # Errors
    /// An object cannot be serialized.
    pub(super) fn update_plan(&mut self, reconciler: &FileReconciler) -> io::Result<()> {
        self.objects.clear();
        self.invalid_names.clear();
        for object in reconciler.translation().objects() {
            let kind = object.kind();
            let name = format!("{} {}/{}", kind.as_str(), object.namespace, object.name);
            match OutputPath::for_object(kind.as_str(), &object.namespace, &object.name) {
                Ok(place) => self.objects.push(PlannedFile {
                    place,
                    text: file_text(&serde_json::to_value(&object)?)?,
                    is_secret: kind == GeneratedKind::Secret,
                    name: Some(name),
                }),
                Err(error) => self.invalid_names.push(error),
            }
        }
        self.plan_statuses(reconciler)
    }

    /// Makes the directory equal to the plan: writes the objects in the order of applying, removes files that are no
    /// longer planned, and then writes the statuses.
    ///
    /// Until the whole input has been valid once, files of an earlier run stay, unless the resource that owns them is
    /// gone.
    ///
    /// # Errors
    /// The console cannot be written to, or a status cannot be serialized. Errors of files are collected instead.
    pub(super) fn apply(&mut self, reconciler: &FileReconciler, console: &mut Console<'_>) -> io::Result<()> {
        let before = self.errors.begin_pass();
        self.find_existing();
        self.invalid_names.iter().for_each(|error| self.errors.add_invalid_name(error));
        // The lists are moved out while the methods borrow `self`, and moved back before any error is returned.
        let objects = std::mem::take(&mut self.objects);
        let written = self.write_files(&objects, console);
        self.objects = objects;
        written?;
        self.remove_unplanned(reconciler, console)?;
        // The statuses in the plan contain the errors of the previous pass.
        if self.errors.object_errors() != before {
            self.plan_statuses(reconciler)?;
        }
        let statuses = std::mem::take(&mut self.statuses);
        let written = self.write_files(&statuses, console);
        self.statuses = statuses;
        written?;
        self.errors.end_pass(console)
    }

    /// Writes the files that differ, prints the changes, and collects errors.
    fn write_files(&mut self, planned: &[PlannedFile], console: &mut Console<'_>) -> io::Result<()> {
        // One check of the parent directories for all files of a namespace in this pass.
        let mut entered = HashMap::new();
        for file in planned {
            let place = &file.place;
            self.inherited.remove(place);
            let is_entered = *entered
                .entry((place.is_status(), place.namespace()))
                .or_insert_with(|| self.disk.has_parent_dir(place));
            match self.write_if_changed(file, is_entered) {
                Ok(None) => {}
                Ok(Some(verb)) => {
                    file.name.iter().try_for_each(|name| console.print_data(&format!("{verb} {name}\n")))?;
                }
                Err(failure) => self.errors.add_file(place, failure, console)?,
            }
        }
        Ok(())
    }

    /// Writes a file if its content differs; returns the verb for what was done.
    ///
    /// A file is not read if its metadata has not changed since Emcee wrote it, and its parent directories
    /// (`is_entered`) are not links.
    fn write_if_changed(
        &mut self,
        planned: &PlannedFile,
        is_entered: bool,
    ) -> Result<Option<&'static str>, OutputError> {
        let place = &planned.place;
        let path = self.disk.path_of(place);
        let managed = self.files.get(place).filter(|managed| managed.text == planned.text);
        let is_as_written =
            |managed: &ManagedFile| managed.stamp.is_some() && managed.stamp == self.disk.file_stamp(place);
        if is_entered && managed.is_some_and(is_as_written) {
            return Ok(None);
        }
        let same = match self.disk.read_existing(place) {
            Ok(ExistingFile::Managed(text)) => text == planned.text,
            Ok(ExistingFile::Absent) => false,
            // Forget what was there: after the file is moved away, ours is "created", not "restored".
            Ok(ExistingFile::Foreign) => {
                self.files.remove(place);
                return Err(OutputError::not_managed(&path));
            }
            Err(error) => return Err(OutputError::write_failed(&path, &error)),
        };
        if !same {
            let written = self.disk.write_atomically(place, &planned.text, planned.is_secret);
            written.map_err(|error| OutputError::write_failed(&path, &error))?;
        }
        let managed = ManagedFile { text: planned.text.clone(), stamp: self.disk.file_stamp(place) };
        // Decided by the file that this process knew, not by the one that it found.
        Ok(match self.files.insert(place.clone(), managed) {
            _ if same => None,
            None => Some("created"),
            Some(old) if old.text == planned.text => Some("restored"),
            Some(_) => Some("changed"),
        })
    }

    /// Removes files that are not planned, in the reverse order of applying, statuses first.
    fn remove_unplanned(&mut self, reconciler: &FileReconciler, console: &mut Console<'_>) -> io::Result<()> {
        let keep: HashSet<&OutputPath> =
            self.objects.iter().chain(&self.statuses).map(|planned| &planned.place).collect();
        let mut gone: Vec<OutputPath> =
            self.files.keys().filter(|place| !keep.contains(place)).cloned().collect();
        // A resource that could not be read yet may own an inherited file.
        if !reconciler.has_complete_inputs() {
            gone.retain(|place| {
                !self.inherited.contains(place) || self.check_orphaned(place, reconciler.declared_resources())
            });
        }
        gone.sort_by_key(|place| Reverse(apply_order(place)));
        for place in &gone {
            match self.disk.remove_managed(place) {
                Err(error) => {
                    let failure = OutputError::remove_failed(&self.disk.path_of(place), &error);
                    self.errors.add_file(place, failure, console)?;
                }
                // Also if the file was gone already, or is not managed any more: Emcee forgets it.
                Ok(existing) => {
                    let removed = self.files.remove(place);
                    if !place.is_status() && !matches!(existing, ExistingFile::Foreign) {
                        let text = removed.map(|managed| managed.text).unwrap_or_default();
                        console.print_data(&format!("removed {}\n", object_name(place, &text)))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether it is certain that the resource that owns an inherited file is gone.
    ///
    /// A resource that Emcee has generated is never in the input directory: it is gone when its file in OUT is.
    fn check_orphaned(&mut self, place: &OutputPath, declared: &DeclaredResources) -> bool {
        if !self.owners.contains_key(place) {
            let text = self.files.get(place).map_or("", |managed| managed.text.as_str());
            self.owners.insert(place.clone(), LabelledOwner::from_file(place, text));
        }
        let owner = self.owners.get(place).and_then(Option::as_ref);
        owner.is_some_and(|owner| {
            declared.lacks_owner(owner)
                && owner.resource_path().is_some_and(|own| !self.files.contains_key(&own))
        })
    }

    /// Plans the status of each resource, including errors of the files of its objects.
    fn plan_statuses(&mut self, reconciler: &FileReconciler) -> io::Result<()> {
        let blocked = BlockedResources::from_errors(reconciler.translation(), &self.errors);
        self.statuses.clear();
        for (resource, verdict) in reconciler.verdicts() {
            // A resource with an invalid name has been refused, and reported, when it was read.
            let Ok(place) =
                OutputPath::for_status(resource.kind, &resource.key.namespace, &resource.key.name)
            else {
                continue;
            };
            let verdict = blocked.add_problems(&resource, verdict);
            // The previous status provides the times of the conditions that have not changed.
            let before =
                self.files.get(&place).map(|managed| parse_status(&managed.text)).unwrap_or_default();
            let status = status::build_status(&resource, &verdict, &before, Timestamp::now())?;
            let object = json!({
                "apiVersion": format!("{}/{}", emcee_api::GROUP, emcee_api::VERSION),
                "kind": resource.kind,
                "metadata": {"name": &*resource.key.name, "namespace": &*resource.key.namespace},
                "status": status,
            });
            self.statuses.push(PlannedFile {
                place,
                text: file_text(&object)?,
                is_secret: false,
                name: None,
            });
        }
        Ok(())
    }
}

/// Key of a file in the order of applying. Removals sort by it in reverse, so that statuses come first.
fn apply_order(place: &OutputPath) -> (bool, Option<usize>) {
    (place.is_status(), GeneratedKind::ALL.iter().position(|known| known.as_str() == place.kind()))
}

/// `Kind namespace/name` from the object itself, as the name of its file may be shortened.
fn object_name(place: &OutputPath, text: &str) -> String {
    let documents = emcee_yaml::read_text("", text.as_bytes()).documents;
    documents.first().map_or_else(|| place.to_string(), ManifestDocument::object_name)
}

/// Content of the file of an object: header and YAML.
fn file_text(object: &Value) -> io::Result<String> {
    let yaml = emcee_yaml::to_yaml(std::slice::from_ref(object)).map_err(io::Error::other)?;
    Ok(format!("{HEADER}{yaml}"))
}

/// The `status` in the text of a status file; null without one.
fn parse_status(text: &str) -> Value {
    let documents = emcee_yaml::read_text("status", text.as_bytes()).documents;
    documents.first().map(|document| document.value["status"].clone()).unwrap_or_default()
}
