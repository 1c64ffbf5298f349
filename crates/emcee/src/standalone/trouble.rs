//! Errors of the files of OUT, and the resources whose status reports them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::io;
use std::path::Path;

use emcee_api::Reason;
use emcee_core::key::{ObjectKey, ObjectRef};
use emcee_core::plan::{GeneratedKind, GeneratedObject};
use emcee_core::problem::ResourceProblem;
use emcee_core::status::ResourceVerdict;
use emcee_core::translate::{Translation, Unit};

use super::place::{NotAName, Place};
use crate::console::Console;

/// Maximum number of objects that a status names as not written.
const NAMED: usize = 3;

/// An operation on a file that failed. It is repeated at each poll.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Trouble {
    /// `Conflict`: the existing file is not managed by Emcee. `Invalid`: the object has no valid name. `ApplyFailed`:
    /// the operation failed.
    reason: Reason,
    line: String,
}

impl Trouble {
    /// A file that Emcee does not manage is at the path of an object.
    pub(super) fn foreign(path: &Path) -> Self {
        let line =
            format!("{} exists and is not managed by Emcee; not overwritten (move it away)", path.display());
        Self { reason: Reason::Conflict, line }
    }

    pub(super) fn unwritten(path: &Path, error: &io::Error) -> Self {
        Self::failed(path, "written", error)
    }

    pub(super) fn unremoved(path: &Path, error: &io::Error) -> Self {
        Self::failed(path, "removed", error)
    }

    fn failed(path: &Path, done: &str, error: &io::Error) -> Self {
        let line = format!("{} cannot be {done}: {error} (tried again)", path.display());
        Self { reason: Reason::ApplyFailed, line }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "emcee: {}", self.line)
    }
}

/// All errors of one pass over the files.
#[derive(Default)]
pub(super) struct Troubles {
    /// Errors of single files.
    of_places: BTreeMap<Place, Trouble>,
    /// Errors of directories, and of objects without a path.
    of_others: BTreeSet<Trouble>,
    /// Messages printed in the last pass and in this one, so that each is printed once while the error lasts.
    said: BTreeSet<String>,
}

impl Troubles {
    /// Starts a pass: clears all errors. Returns the errors of object files in the previous pass.
    pub(super) fn begin(&mut self) -> BTreeMap<Place, Trouble> {
        self.of_others.clear();
        let before = self.blocking();
        self.of_places.clear();
        before
    }

    /// Adds the error of a file, and prints it if it is new.
    pub(super) fn add(&mut self, place: &Place, error: Trouble, console: &mut Console<'_>) -> io::Result<()> {
        let line = error.to_string();
        self.of_places.insert(place.clone(), error);
        self.say(line, console)
    }

    /// Adds an object without a valid name.
    pub(super) fn add_unnamed(&mut self, error: &NotAName) {
        self.of_others.insert(Trouble { reason: Reason::Invalid, line: error.to_string() });
    }

    /// Adds a directory that could not be read.
    pub(super) fn add_folder(&mut self, path: &Path, error: &io::Error) {
        self.of_others.insert(Trouble::failed(path, "read", error));
    }

    /// Errors of the files of objects. Errors of status files do not change a status.
    pub(super) fn blocking(&self) -> BTreeMap<Place, Trouble> {
        let objects = self.of_places.iter().filter(|(place, _)| !place.is_status());
        objects.map(|(place, error)| (place.clone(), error.clone())).collect()
    }

    /// Iterates over all errors of this pass.
    fn all(&self) -> impl Iterator<Item = &Trouble> {
        self.of_places.values().chain(&self.of_others)
    }

    pub(super) fn has_failures(&self) -> bool {
        self.all().any(|error| error.reason == Reason::ApplyFailed)
    }

    pub(super) fn has_refusals(&self) -> bool {
        self.all().any(|error| error.reason != Reason::ApplyFailed)
    }

    /// Ends a pass: prints new errors, and forgets those that are over, so that they are printed if they come back.
    pub(super) fn end(&mut self, console: &mut Console<'_>) -> io::Result<()> {
        let lines: BTreeSet<_> = self.all().map(ToString::to_string).collect();
        lines.iter().try_for_each(|line| self.say(line.clone(), console))?;
        self.said = lines;
        Ok(())
    }

    /// Prints a message if it has not been printed in the last pass or in this one.
    fn say(&mut self, line: String, console: &mut Console<'_>) -> io::Result<()> {
        if self.said.contains(&line) {
            return Ok(());
        }
        console.refusal(&line)?;
        self.said.insert(line);
        Ok(())
    }
}

/// Errors of the files of the objects of each resource.
pub(super) struct Blocked(HashMap<ObjectRef, Vec<ResourceProblem>>);

impl Blocked {
    /// Assigns the errors to the resources whose status reports them.
    pub(super) fn of(translation: &Translation, errors: &Troubles) -> Self {
        let mut blocked = HashMap::new();
        // The usual case: without errors, the objects of all units need not be built.
        if errors.of_places.keys().all(Place::is_status) {
            return Self(blocked);
        }
        for unit in translation.units() {
            for object in translation.objects_of(unit) {
                let kind = object.kind().as_str();
                let Ok(place) = Place::of_object(kind, &object.namespace, &object.name) else { continue };
                let Some(error) = errors.of_places.get(&place) else { continue };
                let name = format!("{kind} {}/{}", object.namespace, object.name);
                let problem = ResourceProblem::new(error.reason, format!("{name}: {}", error.line));
                for resource in concerned(translation, unit, &object) {
                    blocked.entry(resource).or_insert_with(Vec::new).push(problem.clone());
                }
            }
        }
        for problems in blocked.values_mut() {
            // The order of units is not defined, and a status must not change without reason.
            problems.sort();
        }
        Self(blocked)
    }

    /// Adds the errors of a resource's objects to its verdict, so that it is not Programmed.
    pub(super) fn judged(&self, resource: &ObjectRef, mut verdict: ResourceVerdict) -> ResourceVerdict {
        let Some(problems) = self.0.get(resource) else { return verdict };
        verdict.failures.extend(problems.iter().take(NAMED).cloned());
        let more = problems.len().saturating_sub(NAMED);
        // The last message that is named also gives the number of the others.
        if let (Some(last), 1..) = (verdict.failures.last_mut(), more) {
            last.message = format!("{}; and {more} more objects", last.message);
        }
        verdict
    }
}

/// Resources whose status reports the error of an object: its owner, or all resources that share it. A resource that
/// Emcee generates has a status of its own.
fn concerned(translation: &Translation, unit: &Unit, object: &GeneratedObject) -> Vec<ObjectRef> {
    if let kind @ (GeneratedKind::ServiceExposition | GeneratedKind::ServiceBinding) = object.kind() {
        let key = ObjectKey::new(&object.namespace, &object.name);
        return vec![ObjectRef { kind: kind.as_str(), key }];
    }
    match unit.resource() {
        Some(resource) => vec![resource],
        None => translation.bindings_sharing(unit).iter().filter_map(Unit::resource).collect(),
    }
}
