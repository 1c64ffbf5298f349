//! Translates the files of a mesh and collects everything that is wrong or assumed. Used by `validate`, `render` and
//! `diff`.

use std::io;
use std::sync::Arc;

use emcee_api::Reason;
use emcee_core::inputs::TranslationSettings;
use emcee_core::key::ObjectRef;
use emcee_core::problem;
use emcee_core::translate::{Translation, Unit};
use emcee_yaml::{DuplicateObject, FileProblem, LoadedManifests, ManifestDocument, find_duplicates};

use crate::console::Console;
use crate::inputs::{self, DEFAULT_NAMESPACE, DocumentInputs};

/// Result of translating files, with all messages for the user.
pub(super) struct CheckReport {
    pub(super) translation: Translation,
    /// Problems that the user has to fix, in the order of files and lines.
    pub(super) refusals: Vec<FileProblem>,
    /// Reasons why objects are not generated.
    pub(super) failures: Vec<FileProblem>,
    /// Assumptions made because an input is missing.
    pub(super) assumptions: Vec<FileProblem>,
    /// Warnings about valid resources.
    pub(super) warnings: Vec<FileProblem>,
    /// Objects of kinds that Emcee does not read.
    pub(super) skipped: Vec<FileProblem>,
}

/// Whether the same object may occur in two files.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum DuplicatePolicy {
    /// Refused: the files belong to one mesh.
    Refused,
    /// Allowed, as the files may belong to several meshes. Within one file it is refused.
    AcrossFiles,
}

/// Translates `reading` as the files of one mesh.
pub(super) fn check_documents(
    reading: LoadedManifests,
    settings: TranslationSettings,
    policy: DuplicatePolicy,
) -> CheckReport {
    let LoadedManifests { documents, problems, .. } = reading;
    let mut inputs = DocumentInputs::from_documents(&documents, &settings.cluster_domain);
    let mut refusals = problems;
    // Several files of one mesh may contain the same Namespace.
    let (again, elsewhere): (Vec<_>, Vec<_>) = find_duplicates(&documents, DEFAULT_NAMESPACE)
        .into_iter()
        .filter(|pair| pair.second.kind != "Namespace")
        .partition(|pair| policy == DuplicatePolicy::Refused || pair.first.file == pair.second.file);
    let one_mesh = again.is_empty() && elsewhere.is_empty();
    refusals.extend(again.iter().map(DuplicateObject::to_problem));
    refusals.append(&mut inputs.refusals);
    refusals.extend(inputs.credential_problems(&[], settings.now));
    let translation = Translation::from_changes(settings, std::mem::take(&mut inputs.changes));
    let mut checked = CheckReport {
        translation,
        refusals,
        failures: Vec::new(),
        assumptions: Vec::new(),
        warnings: Vec::new(),
        skipped: std::mem::take(&mut inputs.skipped),
    };
    // Resources of different meshes conflict with each other, so their verdicts mean nothing. Each object has been
    // checked on its own above.
    if one_mesh {
        checked.collect_verdicts(&inputs);
    } else if let Some(DuplicateObject { first, second: again }) = elsewhere.first() {
        let message = format!(
            "is also in {}:{}: these files belong to several meshes, so each object was checked only on its own",
            first.file, first.line
        );
        checked.skipped.push(again.problem_at(None, message));
    }
    for list in
        [&mut checked.refusals, &mut checked.failures, &mut checked.assumptions, &mut checked.warnings]
    {
        list.sort_by_cached_key(|problem| (Arc::clone(&problem.file), problem.line, problem.to_string()));
        // Several units may report the same problem.
        list.dedup();
    }
    checked
}

impl CheckReport {
    /// Adds the verdicts of the translation, with the file and line of each resource.
    fn collect_verdicts(&mut self, inputs: &DocumentInputs) {
        let Self { translation, refusals, failures, assumptions, warnings, .. } = self;
        for (unit, verdict) in translation.verdicts() {
            // Units that several bindings share have no document; the bindings report their problems.
            let Some(document) = source_document(inputs, translation, unit) else { continue };
            let located = |problem: &problem::ResourceProblem| inputs::locate_problem(document, problem);
            refusals.extend(verdict.refusals.iter().map(located));
            failures.extend(verdict.failures.iter().map(located));
            let (assumed, other): (Vec<_>, Vec<_>) =
                verdict.warnings.iter().partition(|warning| warning.reason == Reason::Assumed);
            assumptions.extend(assumed.into_iter().map(located));
            warnings.extend(other.into_iter().map(located));
        }
    }

    /// Prints everything except the refusals, one line each.
    ///
    /// # Errors
    /// The console cannot be written.
    pub(super) fn print_findings(&self, console: &mut Console<'_>) -> io::Result<()> {
        for (what, problems) in [
            ("not generated: ", &self.failures),
            ("assumed: ", &self.assumptions),
            ("warning: ", &self.warnings),
        ] {
            for problem in problems {
                console.print_warning(format_args!("{what}{problem}"))?;
            }
        }
        self.print_skipped(console)
    }

    /// Prints what is not generated, and what was skipped.
    ///
    /// # Errors
    /// The console cannot be written.
    pub(super) fn print_failures(&self, console: &mut Console<'_>) -> io::Result<()> {
        self.failures
            .iter()
            .try_for_each(|problem| console.print_warning(format_args!("not generated: {problem}")))?;
        self.print_skipped(console)
    }

    /// Prints the objects that were skipped.
    fn print_skipped(&self, console: &mut Console<'_>) -> io::Result<()> {
        self.skipped.iter().try_for_each(|problem| console.print_note(problem))
    }

    /// Prints the refusals; returns whether there are any.
    ///
    /// # Errors
    /// The console cannot be written.
    pub(super) fn print_refusals(&self, console: &mut Console<'_>) -> io::Result<bool> {
        self.refusals.iter().try_for_each(|problem| console.print_error(problem))?;
        Ok(!self.refusals.is_empty())
    }
}

/// Returns the document of a resource. For a resource that Emcee generates because of labels on a Service, returns that
/// Service.
fn source_document<'i>(
    inputs: &'i DocumentInputs,
    translation: &Translation,
    unit: &Unit,
) -> Option<&'i ManifestDocument> {
    let resource = unit.resource()?;
    let asking =
        || Some(ObjectRef { kind: "Service", key: translation.exposing_service(&resource.key)?.clone() });
    inputs.resources.get(&resource).or_else(|| inputs.resources.get(&asking()?))
}
