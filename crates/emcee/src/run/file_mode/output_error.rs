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

use super::output_path::{InvalidObjectName, OutputPath};
use crate::console::Console;

/// Maximum number of objects that a status names as not written.
const MAX_PROBLEMS_PER_STATUS: usize = 3;

/// An operation on a file that failed. It is repeated at each poll.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OutputError {
    /// `Conflict`: the existing file is not managed by Emcee. `Invalid`: the object has no valid name. `ApplyFailed`:
    /// the operation failed.
    reason: Reason,
    message: String,
}

impl OutputError {
    /// A file that Emcee does not manage is at the path of an object.
    pub(super) fn not_managed(path: &Path) -> Self {
        let line =
            format!("{} exists and is not managed by Emcee; not overwritten (move it away)", path.display());
        Self { reason: Reason::Conflict, message: line }
    }

    pub(super) fn write_failed(path: &Path, error: &io::Error) -> Self {
        Self::io_failed(path, "written", error)
    }

    pub(super) fn remove_failed(path: &Path, error: &io::Error) -> Self {
        Self::io_failed(path, "removed", error)
    }

    fn io_failed(path: &Path, done: &str, error: &io::Error) -> Self {
        let line = format!("{} cannot be {done}: {error} (tried again)", path.display());
        Self { reason: Reason::ApplyFailed, message: line }
    }
}

impl fmt::Display for OutputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "emcee: {}", self.message)
    }
}

/// All errors of one pass over the files.
#[derive(Default)]
pub(super) struct OutputErrors {
    /// Errors of single files.
    by_path: BTreeMap<OutputPath, OutputError>,
    /// Errors of directories, and of objects without a path.
    others: BTreeSet<OutputError>,
    /// Messages printed in the last pass and in this one, so that each is printed once while the error lasts.
    printed: BTreeSet<String>,
}

impl OutputErrors {
    /// Starts a pass: clears all errors. Returns the errors of object files in the previous pass.
    pub(super) fn begin_pass(&mut self) -> BTreeMap<OutputPath, OutputError> {
        self.others.clear();
        let before = self.object_errors();
        self.by_path.clear();
        before
    }

    /// Adds the error of a file, and prints it if it is new.
    pub(super) fn add_file(
        &mut self,
        place: &OutputPath,
        error: OutputError,
        console: &mut Console<'_>,
    ) -> io::Result<()> {
        let line = error.to_string();
        self.by_path.insert(place.clone(), error);
        self.print_once(line, console)
    }

    /// Adds an object without a valid name.
    pub(super) fn add_invalid_name(&mut self, error: &InvalidObjectName) {
        self.others.insert(OutputError { reason: Reason::Invalid, message: error.to_string() });
    }

    /// Adds a directory that could not be read.
    pub(super) fn add_dir(&mut self, path: &Path, error: &io::Error) {
        self.others.insert(OutputError::io_failed(path, "read", error));
    }

    /// Errors of the files of objects. Errors of status files do not change a status.
    pub(super) fn object_errors(&self) -> BTreeMap<OutputPath, OutputError> {
        let objects = self.by_path.iter().filter(|(place, _)| !place.is_status());
        objects.map(|(place, error)| (place.clone(), error.clone())).collect()
    }

    /// Iterates over all errors of this pass.
    fn iter_all(&self) -> impl Iterator<Item = &OutputError> {
        self.by_path.values().chain(&self.others)
    }

    pub(super) fn has_failures(&self) -> bool {
        self.iter_all().any(|error| error.reason == Reason::ApplyFailed)
    }

    pub(super) fn has_refusals(&self) -> bool {
        self.iter_all().any(|error| error.reason != Reason::ApplyFailed)
    }

    /// Ends a pass: prints new errors, and forgets those that are over, so that they are printed if they come back.
    pub(super) fn end_pass(&mut self, console: &mut Console<'_>) -> io::Result<()> {
        let lines: BTreeSet<_> = self.iter_all().map(ToString::to_string).collect();
        lines.iter().try_for_each(|line| self.print_once(line.clone(), console))?;
        self.printed = lines;
        Ok(())
    }

    /// Prints a message if it has not been printed in the last pass or in this one.
    fn print_once(&mut self, line: String, console: &mut Console<'_>) -> io::Result<()> {
        if self.printed.contains(&line) {
            return Ok(());
        }
        console.print_error(&line)?;
        self.printed.insert(line);
        Ok(())
    }
}

/// Errors of the files of the objects of each resource.
pub(super) struct BlockedResources(HashMap<ObjectRef, Vec<ResourceProblem>>);

impl BlockedResources {
    /// Assigns the errors to the resources whose status reports them.
    pub(super) fn from_errors(translation: &Translation, errors: &OutputErrors) -> Self {
        let mut blocked = HashMap::new();
        // The usual case: without errors, the objects of all units need not be built.
        if errors.by_path.keys().all(OutputPath::is_status) {
            return Self(blocked);
        }
        for unit in translation.units() {
            for object in translation.objects_of(unit) {
                let kind = object.kind().as_str();
                let Ok(place) = OutputPath::for_object(kind, &object.namespace, &object.name) else {
                    continue;
                };
                let Some(error) = errors.by_path.get(&place) else { continue };
                let name = format!("{kind} {}/{}", object.namespace, object.name);
                let problem = ResourceProblem::new(error.reason, format!("{name}: {}", error.message));
                for resource in affected_resources(translation, unit, &object) {
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
    pub(super) fn add_problems(&self, resource: &ObjectRef, mut verdict: ResourceVerdict) -> ResourceVerdict {
        let Some(problems) = self.0.get(resource) else { return verdict };
        verdict.failures.extend(problems.iter().take(MAX_PROBLEMS_PER_STATUS).cloned());
        let more = problems.len().saturating_sub(MAX_PROBLEMS_PER_STATUS);
        // The last message that is named also gives the number of the others.
        if let (Some(last), 1..) = (verdict.failures.last_mut(), more) {
            last.message = format!("{}; and {more} more objects", last.message);
        }
        verdict
    }
}

/// Resources whose status reports the error of an object: its owner, or all resources that share it. A resource that
/// Emcee generates has a status of its own.
fn affected_resources(translation: &Translation, unit: &Unit, object: &GeneratedObject) -> Vec<ObjectRef> {
    if let kind @ (GeneratedKind::ServiceExposition | GeneratedKind::ServiceBinding) = object.kind() {
        let key = ObjectKey::new(&object.namespace, &object.name);
        return vec![ObjectRef { kind: kind.as_str(), key }];
    }
    match unit.resource() {
        Some(resource) => vec![resource],
        None => translation.bindings_sharing(unit).iter().filter_map(Unit::resource).collect(),
    }
}
