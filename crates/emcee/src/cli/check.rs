//! Translates the files of a mesh and collects everything that is wrong or assumed. Used by `validate`, `render` and
//! `diff`.

mod causes;
mod finding;
mod fold;
mod hints;

use std::fmt::{self, Display, Formatter};
use std::io;
use std::sync::Arc;

use emcee_api::{GROUP, Reason};
use emcee_core::inputs::TranslationSettings;
use emcee_core::key::ObjectRef;
use emcee_core::problem;
use emcee_core::text::escape_text;
use emcee_core::translate::{Translation, Unit};
use emcee_yaml::{DuplicateObject, LoadedManifests, ManifestDocument, find_duplicates};

use crate::console::Console;
use crate::inputs::{self, DEFAULT_NAMESPACE, DocumentInputs};

pub(crate) use finding::{CheckFinding, FindingSeverity};
pub(crate) use fold::{FindingLine, fold_findings, format_count, plural};

/// Result of translating files, with all messages for the user.
pub(super) struct CheckReport {
    pub(super) translation: Translation,
    /// Everything that is wrong or assumed: the causes first, then by file and line.
    pub(super) findings: Vec<CheckFinding>,
    /// Number of the users' resources, and of Services that are exposed by labels.
    pub(super) resources: usize,
    /// Number of all objects.
    pub(super) objects: usize,
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
    // Several files of one mesh may contain the same Namespace.
    let (again, elsewhere): (Vec<_>, Vec<_>) = find_duplicates(&documents, DEFAULT_NAMESPACE)
        .into_iter()
        .filter(|pair| pair.second.kind != "Namespace")
        .partition(|pair| policy == DuplicatePolicy::Refused || pair.first.file == pair.second.file);
    let one_mesh = again.is_empty() && elsewhere.is_empty();
    let refused = |reason| move |problem| CheckFinding::new(FindingSeverity::Refused, reason, problem);
    let mut findings: Vec<_> = problems.into_iter().map(refused(Reason::Invalid)).collect();
    findings.extend(again.iter().map(DuplicateObject::to_problem).map(refused(Reason::Invalid)));
    findings.extend(inputs.refusals.drain(..).map(refused(Reason::Invalid)));
    findings.extend(
        inputs.credential_problems(&[], settings.now).into_iter().map(refused(Reason::CertificateInvalid)),
    );
    findings.extend(inputs.skipped.drain(..).map(CheckFinding::skipped));
    findings.extend(documents.iter().flat_map(hints::document_findings));
    let translation = Translation::from_changes(settings, std::mem::take(&mut inputs.changes));
    // Resources of different meshes conflict with each other, so their verdicts mean nothing. Each object has been
    // checked on its own above.
    if one_mesh {
        collect_verdicts(&mut findings, &translation, &inputs);
        causes::link_causes(&mut findings, &documents);
        hints::add_hints(&mut findings, &documents);
    } else if let Some(DuplicateObject { first, second: again }) = elsewhere.first() {
        let message = format!(
            "is also in {}:{}: these files belong to several meshes, so each object was checked only on its own",
            first.file, first.line
        );
        findings.push(CheckFinding::skipped(again.problem_at(None, message)));
    }
    sort_findings(&mut findings);
    CheckReport { translation, findings, resources: inputs.resources.len(), objects: documents.len() }
}

/// Adds the verdicts of the translation, with the file and line of each resource.
fn collect_verdicts(findings: &mut Vec<CheckFinding>, translation: &Translation, inputs: &DocumentInputs) {
    for (unit, verdict) in translation.verdicts() {
        // Units that several bindings share have no document; the bindings report their problems.
        let Some(document) = source_document(inputs, translation, unit) else { continue };
        let mut add = |severity, problem: &problem::ResourceProblem| {
            let located = inputs::locate_problem(document, problem);
            findings.push(CheckFinding::new(severity, problem.reason, located));
        };
        verdict.refusals.iter().for_each(|problem| add(FindingSeverity::Refused, problem));
        verdict.failures.iter().for_each(|problem| add(FindingSeverity::NotGenerated, problem));
        for warning in &verdict.warnings {
            let is_assumed = warning.reason == Reason::Assumed;
            add(if is_assumed { FindingSeverity::Assumed } else { FindingSeverity::Warning }, warning);
        }
    }
}

fn sort_findings(findings: &mut Vec<CheckFinding>) {
    findings.sort_by_cached_key(|finding| {
        let problem = &finding.problem;
        (finding.severity, Arc::clone(&problem.file), problem.line, problem.to_string(), finding.reason)
    });
    // Several units may report the same problem.
    findings.dedup();
}

impl CheckReport {
    /// Prints all findings, one line each, the causes first. Returns whether anything is refused.
    ///
    /// # Errors
    /// The console cannot be written.
    pub(super) fn print_findings(&self, console: &mut Console<'_>) -> io::Result<bool> {
        for line in fold_findings(&self.findings) {
            match line.severity {
                FindingSeverity::Refused => console.print_error(&line)?,
                FindingSeverity::Skipped => console.print_note(&line)?,
                _ => console.print_warning(&line)?,
            }
        }
        Ok(self.has_refusals())
    }

    /// Returns whether anything is refused.
    pub(super) fn has_refusals(&self) -> bool {
        self.count_findings(FindingSeverity::Refused) > 0
    }

    /// Returns the number of findings of one severity.
    pub(super) fn count_findings(&self, severity: FindingSeverity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// Returns whether there is anything that `--strict` does not accept.
    pub(super) fn has_strict_findings(&self) -> bool {
        self.resources == 0 || self.findings.iter().any(|finding| finding.severity < FindingSeverity::Skipped)
    }

    /// Returns the last line of the output: how much was checked, and how much was found.
    pub(super) fn summary_line(&self) -> String {
        if self.resources == 0 {
            let objects = format!("{} {}", format_count(self.objects), plural("object", self.objects));
            return format!(
                "nothing to check: no resource of {GROUP} and no exposed Service among {objects}"
            );
        }
        let counted = format!("{} {}", format_count(self.resources), plural("resource", self.resources));
        let counts: Vec<_> = SUMMARY_WORDS
            .iter()
            .map(|(severity, one, many)| (self.count_findings(*severity), one, many))
            .filter(|(count, ..)| *count > 0)
            .map(|(count, one, many)| {
                format!("{} {}", format_count(count), if count == 1 { one } else { many })
            })
            .collect();
        let found = if counts.is_empty() { "no problems".to_owned() } else { counts.join(", ") };
        format!("{counted}: {found}")
    }
}

/// Words for one and for several findings of each severity.
const SUMMARY_WORDS: [(FindingSeverity, &str, &str); 4] = [
    (FindingSeverity::Refused, "refusal", "refusals"),
    (FindingSeverity::NotGenerated, "not generated", "not generated"),
    (FindingSeverity::Assumed, "assumption", "assumptions"),
    (FindingSeverity::Warning, "warning", "warnings"),
];

impl Display for FindingLine {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.severity.line_prefix())?;
        // A folded line is about several places.
        if self.is_folded {
            f.write_str(&escape_text(&self.problem.message, usize::MAX))?;
        } else {
            write!(f, "{}", self.problem)?;
        }
        self.reason.map_or(Ok(()), |reason| write!(f, " [{}]", reason.as_str()))
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
