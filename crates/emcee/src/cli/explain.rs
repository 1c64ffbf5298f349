//! `emcee explain`: explains a reason, without a cluster or a network.

use clap::Args;
use clap::builder::PossibleValuesParser;
use emcee_api::Reason;

use super::ExitStatus;
use crate::console::Console;
use crate::text_table::format_table;

/// The reference documentation, which is the only place that explains the reasons.
const CONDITIONS: &str = include_str!("../../../../docs/reference/conditions.md");

const EXAMPLES: &str = "\
Examples:
  emcee explain NotStrict
  emcee explain";

/// Explain a reason: what it means, and how to fix it.
///
/// Reasons are in the conditions of a resource, at the end of each line of `emcee validate`, and in Events. Without an
/// argument, lists all reasons. Needs neither a cluster nor a network.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct ExplainArgs {
    /// The reason
    #[arg(value_name = "REASON", ignore_case = true, hide_possible_values = true, value_parser = PossibleValuesParser::new(Reason::ALL.iter().map(|reason| reason.as_str())))]
    reason: Option<String>,
}

/// What the documentation says about one reason, as plain text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReasonExplanation {
    /// Heading of the table, such as `Accepted is False: change the resource`.
    pub(super) group: String,
    pub(super) reason: String,
    pub(super) meaning: String,
    /// Empty if nothing has to be fixed.
    pub(super) fix: String,
}

pub(super) fn run(args: &ExplainArgs, console: &mut Console<'_>) -> anyhow::Result<ExitStatus> {
    let text = match &args.reason {
        Some(reason) => {
            let found = find_explanations(reason);
            found.iter().map(format_explanation).collect::<Vec<_>>().join("\n")
        }
        None => list_reasons(),
    };
    console.print_data(&text)?;
    Ok(ExitStatus::Success)
}

/// Returns the explanations of a reason: one for each group that has it. The case does not matter.
pub(super) fn find_explanations(reason: &str) -> Vec<ReasonExplanation> {
    let mut all = parse_explanations(CONDITIONS);
    all.retain(|entry| entry.reason.eq_ignore_ascii_case(reason));
    all
}

fn format_explanation(entry: &ReasonExplanation) -> String {
    let ReasonExplanation { group, reason, meaning, fix } = entry;
    let fix = if fix.is_empty() { String::new() } else { format!("Fix: {fix}\n") };
    format!("{reason} ({group})\n\n{meaning}\n{fix}")
}

fn list_reasons() -> String {
    let first_clause =
        |text: &str| text.split_once(['.', ';', ':']).map_or(text, |(first, _)| first).to_owned();
    let rows = parse_explanations(CONDITIONS)
        .into_iter()
        .map(|entry| vec![entry.reason, first_clause(&entry.group), first_clause(&entry.meaning)]);
    format_table(&["REASON", "CONDITION", "MEANING"], rows)
}

/// Reads the tables of the documentation: a line `**Heading.**`, then rows `` | `Reason` | meaning | fix | ``.
fn parse_explanations(markdown: &str) -> Vec<ReasonExplanation> {
    let mut group = String::new();
    let mut entries = Vec::new();
    for line in markdown.lines() {
        if let Some((heading, _)) = line.strip_prefix("**").and_then(|rest| rest.split_once("**")) {
            group = plain_text(heading.trim_end_matches(['.', ':']));
            continue;
        }
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let ["", name, meaning, fix, ""] = cells.as_slice() else { continue };
        let reason = name.trim_matches('`');
        if Reason::ALL.iter().any(|known| known.as_str() == reason) && *name != reason {
            entries.push(ReasonExplanation {
                group: group.clone(),
                reason: reason.to_owned(),
                meaning: plain_sentence(meaning),
                fix: plain_sentence(fix),
            });
        }
    }
    entries
}

/// Removes the marks of Markdown: links keep their text.
fn plain_text(markdown: &str) -> String {
    let mut text = String::new();
    let mut rest = markdown;
    while let Some((before, link)) = rest.split_once('[') {
        text.push_str(before);
        // Brackets without an address, as in `peers[].networks`, are text.
        let label = link.split_once("](").filter(|(label, _)| !label.contains(['[', ']']));
        match label.and_then(|(label, after)| Some((label, after.split_once(')')?.1))) {
            Some((label, after)) => {
                text.push_str(label);
                rest = after;
            }
            None => {
                text.push('[');
                rest = link;
            }
        }
    }
    text.push_str(rest);
    // Every second part is code, which has no marks: `["*"]` is a value.
    let parts = text.split('`').enumerate();
    parts
        .map(
            |(at, part)| {
                if at % 2 == 0 { part.replace("**", "").replace("† ", "") } else { part.to_owned() }
            },
        )
        .collect()
}

/// Returns the plain text with a capital at its beginning, unless that is code: names of fields do not change.
fn plain_sentence(markdown: &str) -> String {
    let text = plain_text(markdown);
    if markdown.starts_with('`') {
        return text;
    }
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_explained() {
        for reason in Reason::ALL {
            let found = find_explanations(reason.as_str());
            assert!(!found.is_empty(), "{} has no row in conditions.md", reason.as_str());
            assert!(found.iter().all(|entry| entry.meaning.len() > 10), "{found:?}");
            assert!(found.iter().all(|entry| !entry.group.is_empty()), "{found:?}");
        }
    }

    #[test]
    fn code_stays_as_it_is() {
        assert_eq!(
            plain_text("**list** `a`, or set `[\"*\"]` or `*.example`"),
            "list a, or set [\"*\"] or *.example"
        );
        assert_eq!(plain_sentence("`allowed_namespaces` is not set"), "allowed_namespaces is not set");
        assert_eq!(plain_sentence("the Service"), "The Service");
    }

    #[test]
    fn links_become_their_text() {
        assert_eq!(
            plain_text("peers [may be](../a.md#b), or `peers[].networks`"),
            "peers may be, or peers[].networks"
        );
        assert_eq!(plain_text("`peers[].x`, see [y](z)"), "peers[].x, see y");
    }
}
