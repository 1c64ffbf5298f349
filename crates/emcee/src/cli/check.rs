//! Reads and translates files, and says everything that is wrong or assumed: what validate, render and diff share.

use std::io;
use std::sync::Arc;

use emcee_api::Reason;
use emcee_core::inputs::Settings;
use emcee_core::key::ObjectRef;
use emcee_core::problem;
use emcee_core::translate::{Translation, Unit};

use crate::console::Console;
use crate::intake::{self, DEFAULT_NAMESPACE, Intake};
use crate::manifest::{Document, Duplicate, Problem, Reading, duplicates};

pub(super) struct Checked {
    pub(super) translation: Translation,
    /// What the user has to mend, in the order of files and lines.
    pub(super) refusals: Vec<Problem>,
    /// Why something is not generated.
    pub(super) failures: Vec<Problem>,
    /// What was assumed for lack of input.
    pub(super) assumptions: Vec<Problem>,
    /// What is worth knowing.
    pub(super) warnings: Vec<Problem>,
    /// Kinds that are not read.
    pub(super) skipped: Vec<Problem>,
}

/// Whether the same object in two files is a mistake.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Duplicates {
    /// It is: the files are one mesh.
    Refused,
    /// Files may be of several meshes; only within one file it is.
    AcrossFiles,
}

/// Reads `reading` as one mesh.
pub(super) fn check(reading: Reading, settings: Settings, policy: Duplicates) -> Checked {
    let Reading { documents, problems, .. } = reading;
    let mut intake = Intake::of(&documents, &settings.cluster_domain);
    let mut refusals = problems;
    let (again, elsewhere): (Vec<_>, Vec<_>) = duplicates(&documents, DEFAULT_NAMESPACE)
        .into_iter()
        .filter(|pair| pair.again.kind != "Namespace")
        .partition(|pair| policy == Duplicates::Refused || pair.first.file == pair.again.file);
    let one_mesh = again.is_empty() && elsewhere.is_empty();
    refusals.extend(again.iter().map(Duplicate::problem));
    refusals.append(&mut intake.refusals);
    refusals.extend(intake.bad_credentials(&[], settings.now).into_iter().map(|(_, problem)| problem));
    let translation = Translation::of(settings, std::mem::take(&mut intake.changes));
    let mut checked = Checked {
        translation,
        refusals,
        failures: Vec::new(),
        assumptions: Vec::new(),
        warnings: Vec::new(),
        skipped: std::mem::take(&mut intake.skipped),
    };
    // Files of several meshes contradict each other; each object by itself was judged above.
    if one_mesh {
        checked.take_verdicts(&intake);
    } else if let Some(Duplicate { first, again }) = elsewhere.first() {
        let message = format!(
            "is in {}:{} too: these are files of several meshes, and each object was judged by itself",
            first.file, first.line
        );
        checked.skipped.push(again.problem(None, message));
    }
    for list in
        [&mut checked.refusals, &mut checked.failures, &mut checked.assumptions, &mut checked.warnings]
    {
        list.sort_by_cached_key(|problem| (Arc::clone(&problem.file), problem.line, problem.to_string()));
        list.dedup();
    }
    checked
}

impl Checked {
    fn take_verdicts(&mut self, intake: &Intake) {
        let Self { translation, refusals, failures, assumptions, warnings, .. } = self;
        for (unit, verdict) in translation.verdicts() {
            let Some(document) = document(intake, translation, unit) else { continue };
            let located = |problem: &problem::Problem| intake::located(document, problem);
            refusals.extend(verdict.refusals.iter().map(located));
            failures.extend(verdict.failures.iter().map(located));
            let (assumed, other): (Vec<_>, Vec<_>) =
                verdict.warnings.iter().partition(|warning| warning.reason == Reason::Assumed);
            assumptions.extend(assumed.into_iter().map(located));
            warnings.extend(other.into_iter().map(located));
        }
    }

    /// Prints all but the refusals, a line each.
    pub(super) fn say(&self, console: &mut Console<'_>) -> io::Result<()> {
        for (what, problems) in [
            ("not generated: ", &self.failures),
            ("assumed: ", &self.assumptions),
            ("warning: ", &self.warnings),
        ] {
            for problem in problems {
                console.warning(format_args!("{what}{problem}"))?;
            }
        }
        self.say_skipped(console)
    }

    /// Prints what will not be generated, and what was not read.
    pub(super) fn say_failures(&self, console: &mut Console<'_>) -> io::Result<()> {
        self.failures
            .iter()
            .try_for_each(|problem| console.warning(format_args!("not generated: {problem}")))?;
        self.say_skipped(console)
    }

    /// Prints what was not read.
    fn say_skipped(&self, console: &mut Console<'_>) -> io::Result<()> {
        self.skipped.iter().try_for_each(|problem| console.note(problem))
    }

    /// Prints the refusals; says whether there are any.
    pub(super) fn say_refusals(&self, console: &mut Console<'_>) -> io::Result<bool> {
        self.refusals.iter().try_for_each(|problem| console.refusal(problem))?;
        Ok(!self.refusals.is_empty())
    }
}

/// Where a resource is written; of one that the labels of a Service ask for, that Service.
fn document<'i>(intake: &'i Intake, translation: &Translation, unit: &Unit) -> Option<&'i Document> {
    let resource = unit.resource()?;
    let asking = || Some(ObjectRef { kind: "Service", key: translation.service_of(&resource.key)?.clone() });
    intake.resources.get(&resource).or_else(|| intake.resources.get(&asking()?))
}
