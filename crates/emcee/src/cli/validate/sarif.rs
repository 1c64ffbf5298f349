//! Findings as a SARIF 2.1.0 log, which code review tools show next to the lines.
//!
//! Source: <https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use emcee_api::Reason;
use serde_json::{Value, json};

use crate::cli::check::{CheckFinding, FindingLine, FindingSeverity, fold_findings};
use crate::cli::explain;

/// Largest number of results, which is what GitHub reads of one run.
const MAX_RESULTS: usize = 25_000;

/// Builds the log. Skipped objects are no results.
pub(super) fn build_log(findings: &[CheckFinding]) -> Value {
    let mut lines = fold_findings(findings);
    lines.retain(|line| line.severity != FindingSeverity::Skipped);
    lines.truncate(MAX_RESULTS);
    let reasons: BTreeSet<Reason> = lines.iter().filter_map(|line| line.reason).collect();
    let rules: Vec<_> = reasons.into_iter().map(rule_value).collect();
    let results: Vec<_> = lines.iter().map(result_value).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "emcee", "version": env!("CARGO_PKG_VERSION"), "rules": rules}},
            "results": results,
        }],
    })
}

fn rule_value(reason: Reason) -> Value {
    let mut rule = json!({"id": reason.as_str()});
    if let Some(entry) = explain::find_explanations(reason.as_str()).first() {
        rule["shortDescription"] = json!({"text": entry.meaning});
        // SARIF does not allow an empty text.
        if !entry.fix.is_empty() {
            rule["help"] = json!({"text": entry.fix});
        }
    }
    rule
}

fn result_value(line: &FindingLine) -> Value {
    let problem = &line.problem;
    let subject = [&problem.object, &problem.field].into_iter().flatten();
    let text = subject.fold(String::new(), |text, part| format!("{text}{part}: ")) + &problem.message;
    json!({
        "ruleId": line.reason.map_or("Invalid", Reason::as_str),
        "level": level_of(line.severity),
        "message": {"text": text},
        "locations": [{
            "physicalLocation": {
                "artifactLocation": {"uri": file_uri(&problem.file)},
                "region": {"startLine": problem.line.max(1)},
            },
        }],
    })
}

const fn level_of(severity: FindingSeverity) -> &'static str {
    match severity {
        FindingSeverity::Refused => "error",
        FindingSeverity::NotGenerated | FindingSeverity::Warning => "warning",
        FindingSeverity::Assumed | FindingSeverity::Skipped => "note",
    }
}

/// Returns a path as a relative or absolute URI reference. `<stdin>` becomes `stdin`.
fn file_uri(file: &str) -> String {
    let path = if file == "<stdin>" { "stdin" } else { file.strip_prefix("./").unwrap_or(file) };
    let mut uri = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            // Writing to a string never fails.
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::file_uri;

    #[test]
    fn paths_become_uri_references() {
        for (path, uri) in [
            ("mesh/a.yaml", "mesh/a.yaml"),
            ("./mesh/a b.yaml", "mesh/a%20b.yaml"),
            ("<stdin>", "stdin"),
            ("ü.yaml", "%C3%BC.yaml"),
        ] {
            assert_eq!(file_uri(path), uri);
        }
    }
}
