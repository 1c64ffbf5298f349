//! What could not be done with the files of OUT, and whose status says so.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::io;
use std::path::Path;

use emcee_api::Reason;
use emcee_core::key::{Key, ObjectRef};
use emcee_core::plan::{Kind, Object};
use emcee_core::problem::Problem;
use emcee_core::status::Verdict;
use emcee_core::translate::{Translation, Unit};

use super::place::{NotAName, Place};
use crate::console::Console;

/// How many objects that could not be written a status names.
const NAMED: usize = 3;

/// Something that could not be done. It is tried again at each look.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Trouble {
    /// `Conflict`: it is somebody else's; `Invalid`: it has no name; `ApplyFailed`: it failed.
    reason: Reason,
    line: String,
}

impl Trouble {
    pub(super) fn foreign(path: &Path) -> Self {
        let line = format!("{} is not Emcee's, and is left alone (move it away)", path.display());
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

/// All that could not be done at one look.
#[derive(Default)]
pub(super) struct Troubles {
    of_places: BTreeMap<Place, Trouble>,
    of_others: BTreeSet<Trouble>,
    /// What was said at the last look and at this one, so that it is not said again.
    said: BTreeSet<String>,
}

impl Troubles {
    /// Forgets all, to look again. Returns what was in the way of objects.
    pub(super) fn begin(&mut self) -> BTreeMap<Place, Trouble> {
        self.of_others.clear();
        let before = self.blocking();
        self.of_places.clear();
        before
    }

    /// Adds what could not be done with the file of a place, and prints it if it is new.
    pub(super) fn add(
        &mut self,
        place: &Place,
        trouble: Trouble,
        console: &mut Console<'_>,
    ) -> io::Result<()> {
        let line = trouble.to_string();
        self.of_places.insert(place.clone(), trouble);
        self.say(line, console)
    }

    /// Adds an object that can have no file.
    pub(super) fn add_unnamed(&mut self, error: &NotAName) {
        self.of_others.insert(Trouble { reason: Reason::Invalid, line: error.to_string() });
    }

    /// Adds a folder that could not be read.
    pub(super) fn add_folder(&mut self, path: &Path, error: &io::Error) {
        self.of_others.insert(Trouble::failed(path, "read", error));
    }

    /// What is in the way of objects.
    pub(super) fn blocking(&self) -> BTreeMap<Place, Trouble> {
        let objects = self.of_places.iter().filter(|(place, _)| !place.is_status());
        objects.map(|(place, trouble)| (place.clone(), trouble.clone())).collect()
    }

    fn all(&self) -> impl Iterator<Item = &Trouble> {
        self.of_places.values().chain(&self.of_others)
    }

    pub(super) fn has_failures(&self) -> bool {
        self.all().any(|trouble| trouble.reason == Reason::ApplyFailed)
    }

    pub(super) fn has_refusals(&self) -> bool {
        self.all().any(|trouble| trouble.reason != Reason::ApplyFailed)
    }

    /// Ends a look: prints what is new, and forgets what is over.
    pub(super) fn end(&mut self, console: &mut Console<'_>) -> io::Result<()> {
        let lines: BTreeSet<_> = self.all().map(ToString::to_string).collect();
        lines.iter().try_for_each(|line| self.say(line.clone(), console))?;
        self.said = lines;
        Ok(())
    }

    fn say(&mut self, line: String, console: &mut Console<'_>) -> io::Result<()> {
        if self.said.contains(&line) {
            return Ok(());
        }
        console.refusal(&line)?;
        self.said.insert(line);
        Ok(())
    }
}

/// What is in the way of the objects of each resource.
pub(super) struct Blocked(HashMap<ObjectRef, Vec<Problem>>);

impl Blocked {
    pub(super) fn of(translation: &Translation, troubles: &Troubles) -> Self {
        let mut blocked = HashMap::new();
        if troubles.of_places.keys().all(Place::is_status) {
            return Self(blocked);
        }
        for unit in translation.units() {
            for object in translation.objects_of(unit) {
                let kind = object.kind().as_str();
                let Ok(place) = Place::of_object(kind, &object.namespace, &object.name) else { continue };
                let Some(trouble) = troubles.of_places.get(&place) else { continue };
                let name = format!("{kind} {}/{}", object.namespace, object.name);
                let problem = Problem::new(trouble.reason, format!("{name}: {}", trouble.line));
                for resource in concerned(translation, unit, &object) {
                    blocked.entry(resource).or_insert_with(Vec::new).push(problem.clone());
                }
            }
        }
        for problems in blocked.values_mut() {
            problems.sort();
        }
        Self(blocked)
    }

    /// The verdict on a resource, with what is in the way of its objects.
    pub(super) fn judged(&self, resource: &ObjectRef, mut verdict: Verdict) -> Verdict {
        let Some(problems) = self.0.get(resource) else { return verdict };
        verdict.failures.extend(problems.iter().take(NAMED).cloned());
        let more = problems.len().saturating_sub(NAMED);
        if let (Some(last), 1..) = (verdict.failures.last_mut(), more) {
            last.message = format!("{}; and {more} more objects", last.message);
        }
        verdict
    }
}

/// The resources whose status says what is in the way of an object: the one that asks for it, or those that share it. A
/// resource that Emcee makes itself has a status of its own.
fn concerned(translation: &Translation, unit: &Unit, object: &Object) -> Vec<ObjectRef> {
    if let kind @ (Kind::ServiceExposition | Kind::ServiceBinding) = object.kind() {
        let key = Key::new(&object.namespace, &object.name);
        return vec![ObjectRef { kind: kind.as_str(), key }];
    }
    match unit.resource() {
        Some(resource) => vec![resource],
        None => translation.sharers(unit).iter().filter_map(Unit::resource).collect(),
    }
}
