//! Applies what was read to the translation. Keeps an object that cannot be read. [`LastGood`] keeps the last good
//! version of an object that becomes invalid.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::sync::Arc;

use emcee_core::catalogue::CatalogueUpdate;
use emcee_core::inputs::{InputChange, TranslationSettings};
use emcee_core::key::ObjectRef;
use emcee_core::status::ResourceVerdict;
use emcee_core::translate::{LastGood, Translation, Unit};
use emcee_yaml::{FileProblem, LoadedManifests, ManifestDocument, find_duplicates};
use jiff::Timestamp;

use super::declared::DeclaredResources;
use super::input_id::InputId;
use crate::console::Console;
use crate::inputs::{DEFAULT_NAMESPACE, DocumentInputs};

/// Seconds after which certificates are checked against the time again.
const CERTIFICATE_CHECK_SECONDS: i64 = 3600;

/// Keeps the translation up to date with the input directory and the peers.
pub(super) struct FileReconciler {
    last_good: LastGood,
    /// Each input object of the translation, and the file that it comes from.
    present: BTreeMap<InputId, Arc<str>>,
    /// Whether the whole input has been valid once since the start. Before that, a missing resource may be one that
    /// could not be read, and its objects of an earlier run must stay.
    inputs_complete: bool,
    /// Resources that the input directory named at the last read, valid or not.
    declared: DeclaredResources,
    /// Whether the last read refused anything.
    has_refusals: bool,
    /// Messages that were printed last, so that each is printed once while it stays the same.
    printed: BTreeSet<String>,
    /// Messages of the last read of the input directory.
    input_messages: BTreeSet<String>,
    /// Units that were translated since the last catalogue updates.
    changed_units: Vec<Unit>,
}

impl FileReconciler {
    pub(super) fn new(settings: TranslationSettings) -> Self {
        Self {
            last_good: LastGood::new(settings),
            present: BTreeMap::new(),
            inputs_complete: false,
            declared: DeclaredResources::default(),
            has_refusals: false,
            printed: BTreeSet::new(),
            input_messages: BTreeSet::new(),
            changed_units: Vec::new(),
        }
    }

    pub(super) fn translation(&self) -> &Translation {
        self.last_good.translation()
    }

    fn settings(&self) -> &TranslationSettings {
        self.translation().inputs().settings()
    }

    /// Verdict on each resource, including the problems of newer versions that were refused.
    ///
    /// Leaves out Services that are exposed by labels, as they have no such status, and the imports of a MeshFedConfig,
    /// as they have no status of their own.
    pub(super) fn verdicts(&self) -> Vec<(ObjectRef, ResourceVerdict)> {
        let verdicts = self.last_good.verdicts().into_iter();
        verdicts
            .filter(|(unit, _)| !matches!(unit, Unit::AutomaticExposition(_) | Unit::Imports(_)))
            .filter_map(|(unit, verdict)| Some((unit.resource()?, verdict)))
            .collect()
    }

    /// Whether a resource that is not in the translation is known to be gone. Otherwise it may only be unreadable.
    pub(super) fn has_complete_inputs(&self) -> bool {
        self.inputs_complete
    }

    /// Resources that the input directory names, valid or not.
    pub(super) fn declared_resources(&self) -> &DeclaredResources {
        &self.declared
    }

    pub(super) fn has_refusals(&self) -> bool {
        self.has_refusals
    }

    /// Sets the time, at most once an hour, as it runs the translation again. Returns whether any unit has changed.
    pub(super) fn set_time(&mut self, now: Timestamp) -> bool {
        let mut settings = self.settings().clone();
        // In both directions: the clock may have been corrected.
        if (now.as_second() - settings.now.as_second()).abs() >= CERTIFICATE_CHECK_SECONDS {
            settings.now = now;
            let units = self.last_good.set_settings(settings);
            let changed = !units.is_empty();
            self.changed_units.extend(units);
            return changed;
        }
        false
    }

    /// Takes the catalogue updates for discovery since the last call.
    pub(super) fn take_catalogue_updates(&mut self) -> Vec<CatalogueUpdate> {
        let units = std::mem::take(&mut self.changed_units);
        self.translation().catalogue_updates(&units)
    }

    /// Applies changes of peers, and prints new messages.
    pub(super) fn apply_peer_changes(
        &mut self,
        changes: Vec<InputChange>,
        console: &mut Console<'_>,
    ) -> io::Result<()> {
        self.changed_units.extend(self.last_good.update(changes));
        self.print_new_messages(console)
    }

    /// Applies the content of the input directory, and prints new messages.
    ///
    /// An object that is invalid, ambiguous or unreadable keeps its last good version. An object is removed only if it
    /// is certain that no file contains it.
    pub(super) fn reconcile(
        &mut self,
        reading: &LoadedManifests,
        console: &mut Console<'_>,
    ) -> io::Result<()> {
        let (documents, repeated) = without_duplicates(&reading.documents);
        let mut inputs = DocumentInputs::from_documents(&documents, &self.settings().cluster_domain);
        let mut changes = std::mem::take(&mut inputs.changes);
        changes.extend(self.update_present(reading, &changes));
        self.changed_units.extend(self.last_good.update(changes));
        let mut refusals: Vec<FileProblem> = reading.problems.iter().cloned().chain(repeated).collect();
        refusals.append(&mut inputs.refusals);
        refusals.extend(self.credential_refusals(&inputs));
        self.has_refusals = !refusals.is_empty()
            || !reading.unreadable.is_empty()
            || self.last_good.verdicts().iter().any(|(_, verdict)| !verdict.is_accepted());
        self.declared = DeclaredResources::from_reading(reading);
        // Never reset: from then on `present` knows each object, and tells a removed one from an unreadable one.
        self.inputs_complete |= refusals.is_empty() && reading.unreadable.is_empty();
        self.input_messages = read_messages(reading, &refusals);
        self.print_new_messages(console)
    }

    /// Updates the objects that the input directory contains. Returns the changes that remove those that are gone.
    fn update_present(&mut self, reading: &LoadedManifests, changes: &[InputChange]) -> Vec<InputChange> {
        let given: HashSet<InputId> = changes.iter().filter_map(InputId::from_change).collect();
        // Invalid and repeated objects cause no change, but they are not gone if they are in use.
        let is_tracked = |id: &InputId| given.contains(id) || self.present.contains_key(id);
        let mut found = BTreeMap::new();
        for document in &reading.documents {
            let ids = InputId::of_document(document).into_iter().filter(is_tracked);
            found.extend(ids.map(|id| (id, Arc::clone(&document.file))));
        }
        let broken: HashSet<&Arc<str>> = reading.problems.iter().map(|problem| &problem.file).collect();
        let mut removals = Vec::new();
        for (id, file) in std::mem::take(&mut self.present) {
            // The object may be in the part of its file that could not be parsed, or in a file that could not be read.
            if broken.contains(&file) || !reading.unreadable.is_empty() {
                found.entry(id).or_insert(file);
            } else if !found.contains_key(&id) {
                removals.push(id.removal_change());
            }
        }
        self.present = found;
        removals
    }

    /// Problems of the Secrets that relationships select, with file and line. Call it after the update: the
    /// MeshFedConfigs in place count, also one whose newest version is invalid.
    fn credential_refusals(&self, inputs: &DocumentInputs) -> Vec<FileProblem> {
        let configs = self.translation().inputs().fed_configs();
        let in_place: Vec<_> = configs.filter_map(|(_, config)| config.clone().ok()).collect();
        inputs.credential_problems(&in_place, self.settings().now)
    }

    /// Prints those messages that were not printed last time.
    fn print_new_messages(&mut self, console: &mut Console<'_>) -> io::Result<()> {
        let mut messages = self.input_messages.clone();
        for (unit, verdict) in self.last_good.verdicts() {
            // The refusal of a version that is not in place is printed with its file and line, and prevents nothing.
            let refusals = verdict.refusals.iter().filter(|_| !verdict.keeps_last_good);
            let problems = refusals.chain(&verdict.failures);
            messages.extend(problems.map(|problem| format!("not generated: {unit}: {problem}")));
            messages.extend(kept_message(unit, &verdict));
        }
        if !self.inputs_complete {
            messages.insert(
                "emcee: until this is fixed, files that an earlier run wrote are removed only if the resource that owns them is gone".to_owned(),
            );
        }
        for line in messages.difference(&self.printed) {
            console.print_error(line)?;
        }
        self.printed = messages;
        Ok(())
    }
}

/// Messages about a read: unreadable files, and refusals.
fn read_messages(reading: &LoadedManifests, refusals: &[FileProblem]) -> BTreeSet<String> {
    let unreadable = reading.unreadable.iter();
    let unreadable =
        unreadable.map(|unreadable| format!("emcee: {unreadable}: all that was read before stays in place"));
    unreadable.chain(refusals.iter().map(ToString::to_string)).collect()
}

/// Message about a resource whose last good version is used in place of a newer one.
fn kept_message(unit: &Unit, verdict: &ResourceVerdict) -> Option<String> {
    let state =
        if verdict.is_programmed() { "stays in place" } else { "is used, but its objects are not in place" };
    verdict.keeps_last_good.then(|| format!("kept: {unit}: its last good version {state}"))
}

/// Returns the documents without those that describe the same object, and the refusals of these: it is not clear which
/// of them is meant.
fn without_duplicates(documents: &[ManifestDocument]) -> (Vec<ManifestDocument>, Vec<FileProblem>) {
    let again = find_duplicates(documents, DEFAULT_NAMESPACE);
    let pairs =
        again.iter().flat_map(|pair| [std::ptr::from_ref(pair.first), std::ptr::from_ref(pair.second)]);
    let pairs: HashSet<*const ManifestDocument> = pairs.collect();
    let twice = |document: &ManifestDocument| pairs.contains(&std::ptr::from_ref(document));
    let once = documents.iter().filter(|document| !twice(document)).cloned().collect();
    let both = again.iter().flat_map(|pair| {
        let message = format!("is given twice (again at {}:{})", pair.second.file, pair.second.line);
        [pair.first.problem_at(Some("metadata.name"), message), pair.to_problem()]
    });
    (once, both.collect())
}

#[cfg(test)]
mod tests;
