//! A single document of any type. It need not be a Kubernetes object.

use std::sync::Arc;

use serde_json::Value;

use super::document::decode_utf8;
use super::fault::LocatedFault;
use super::line_map::LineMap;
use super::parse::parse;
use super::problem::FileProblem;

/// A value with the line of each of its fields.
#[derive(Clone, Debug)]
pub struct LocatedValue {
    file: Arc<str>,
    /// The complete value of the document.
    pub value: Value,
    lines: LineMap,
}

impl LocatedValue {
    /// Creates a problem at the line of `field`. An empty `field` is the document as a whole.
    pub fn problem_at(&self, field: &str, message: impl Into<String>) -> FileProblem {
        file_problem(&self.file, self.lines.line_of(field), field, message)
    }
}

fn file_problem(file: &Arc<str>, line: u32, field: &str, message: impl Into<String>) -> FileProblem {
    FileProblem {
        file: Arc::clone(file),
        line,
        object: None,
        field: Some(field.to_owned()).filter(|field| !field.is_empty()),
        message: message.into(),
    }
}

/// Parses the only document of a file, or returns all problems in its text.
pub(super) fn parse_single(file: &Arc<str>, bytes: &[u8]) -> Result<LocatedValue, Vec<FileProblem>> {
    let located = |LocatedFault { line, field, fault }: LocatedFault| {
        file_problem(file, line, field.as_deref().unwrap_or_default(), fault.to_string())
    };
    let text = decode_utf8(bytes).map_err(|fault| vec![located(fault)])?;
    let (mut roots, mut problems) = (Vec::new(), Vec::new());
    for parsed in parse(text) {
        // As in kubectl, a document that is null does not count.
        roots.extend(parsed.root.filter(|(value, _)| !value.is_null()));
        problems.extend(parsed.faults.into_iter().map(located));
    }
    if !problems.is_empty() {
        problems.sort_by_key(|problem| problem.line);
        return Err(problems);
    }
    let count = roots.len();
    match roots.pop() {
        Some((value, lines)) if count == 1 => Ok(LocatedValue { file: Arc::clone(file), value, lines }),
        Some((_, lines)) => Err(vec![file_problem(
            file,
            lines.first_line(),
            "",
            format!("is the last of {count} documents (exactly one is allowed)"),
        )]),
        None => Err(vec![file_problem(file, 1, "", "is empty")]),
    }
}
