//! Folds findings into lines: a cause once, what follows from it in one line with a count, and the same message for
//! many objects as a few lines and a count.

use std::collections::{BTreeMap, HashMap};

use emcee_api::Reason;
use emcee_yaml::FileProblem;

use super::finding::{CheckFinding, FindingCause, FindingSeverity};

/// Number of objects with the same message from which on only the first [`SHOWN`] are listed.
const FOLD_FROM: usize = 5;
/// Number of objects that are listed of many.
const SHOWN: usize = 3;

/// One line of the output, which stands for one or more findings.
#[derive(Clone, Debug)]
pub(crate) struct FindingLine {
    pub(crate) severity: FindingSeverity,
    pub(crate) reason: Option<Reason>,
    /// The problem, with the place of the first finding.
    pub(crate) problem: FileProblem,
    /// Whether the line is about several objects, so that one place in a file would mislead.
    pub(crate) is_folded: bool,
}

/// Folds sorted findings into lines, in the same order.
pub(crate) fn fold_findings(findings: &[CheckFinding]) -> Vec<FindingLine> {
    let mut lines = Vec::new();
    let mut seen: HashMap<MessageKey<'_>, usize> = HashMap::new();
    let totals = count_messages(findings);
    // After all causes, which may be refused or not generated themselves.
    let mut consequences = consequence_lines(findings);
    for finding in findings {
        if finding.severity > FindingSeverity::NotGenerated {
            lines.append(&mut consequences);
        }
        if finding.cause.is_some() {
            continue;
        }
        let key = message_key(finding);
        let total = totals[&key];
        let shown = seen.entry(key).or_default();
        *shown += 1;
        if total < FOLD_FROM || *shown <= SHOWN {
            lines.push(single_line(finding));
        } else if *shown == SHOWN + 1 {
            lines.push(repetition_line(finding, total - SHOWN));
        }
    }
    lines.append(&mut consequences);
    lines
}

/// What makes two findings the same for a reader: everything but the object.
type MessageKey<'f> = (FindingSeverity, Option<Reason>, &'f str, Option<&'f str>, &'f str);

fn message_key(finding: &CheckFinding) -> MessageKey<'_> {
    let problem = &finding.problem;
    (finding.severity, finding.reason, finding.object_kind(), problem.field.as_deref(), &problem.message)
}

fn count_messages(findings: &[CheckFinding]) -> HashMap<MessageKey<'_>, usize> {
    let mut totals = HashMap::new();
    for finding in findings.iter().filter(|finding| finding.cause.is_none()) {
        *totals.entry(message_key(finding)).or_default() += 1;
    }
    totals
}

fn single_line(finding: &CheckFinding) -> FindingLine {
    FindingLine {
        severity: finding.severity,
        reason: finding.reason,
        problem: finding.problem.clone(),
        is_folded: false,
    }
}

fn repetition_line(finding: &CheckFinding, more: usize) -> FindingLine {
    let kind = finding.object_kind();
    let message = format!("and {} more {} with this problem", format_count(more), plural(kind, more));
    FindingLine {
        problem: FileProblem { object: None, field: None, message, ..finding.problem.clone() },
        is_folded: true,
        ..single_line(finding)
    }
}

/// Returns one line for each cause, with the number of objects that depend on it.
fn consequence_lines(findings: &[CheckFinding]) -> Vec<FindingLine> {
    let mut by_cause: BTreeMap<&FindingCause, Vec<&CheckFinding>> = BTreeMap::new();
    for finding in findings {
        if let Some(cause) = &finding.cause {
            by_cause.entry(cause).or_default().push(finding);
        }
    }
    by_cause.into_iter().map(|(cause, dependent)| consequence_line(cause, &dependent)).collect()
}

fn consequence_line(cause: &FindingCause, dependent: &[&CheckFinding]) -> FindingLine {
    let first = dependent[0];
    let (kinds, names) = describe_objects(dependent);
    let Some((kind, 1)) = kinds.first().filter(|_| kinds.len() == 1) else {
        let counted: Vec<_> = kinds
            .iter()
            .map(|(kind, count)| format!("{} {}", format_count(*count), plural(kind, *count)))
            .collect();
        let message =
            format!("{} depend on {}, see {} ({names})", counted.join(" and "), cause.object, cause.place);
        return FindingLine {
            reason: Some(Reason::RelationshipNotReady),
            problem: FileProblem { object: None, field: None, message, ..first.problem.clone() },
            is_folded: true,
            ..single_line(first)
        };
    };
    debug_assert_eq!(*kind, first.object_kind());
    FindingLine { reason: Some(Reason::RelationshipNotReady), ..single_line(first) }
}

/// Counts the objects of each kind, and names the first ones. An object with several findings counts once.
fn describe_objects(dependent: &[&CheckFinding]) -> (Vec<(String, usize)>, String) {
    let mut objects: Vec<&str> =
        dependent.iter().filter_map(|finding| finding.problem.object.as_deref()).collect();
    objects.dedup();
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for object in &objects {
        *kinds.entry(object.split(' ').next().unwrap_or_default()).or_default() += 1;
    }
    let name = |object: &&str| object.split_once(' ').map_or(*object, |(_, name)| name).to_owned();
    let mut names: Vec<_> = objects.iter().take(SHOWN).map(name).collect();
    if objects.len() > SHOWN {
        names.push("…".to_owned());
    }
    (kinds.into_iter().map(|(kind, count)| (kind.to_owned(), count)).collect(), names.join(", "))
}

/// Returns the name of a kind for a number of objects.
pub(crate) fn plural(word: &str, count: usize) -> String {
    match (word, count) {
        ("", _) => "objects".to_owned(),
        (_, 1) => word.to_owned(),
        _ => format!("{word}s"),
    }
}

/// Formats a number with commas: `10,000`.
pub(crate) fn format_count(count: usize) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::format_count;

    #[test]
    fn numbers_have_commas() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1000, "1,000"), (10_001, "10,001"), (1_234_567, "1,234,567")]
        {
            assert_eq!(format_count(number), text);
        }
    }
}
