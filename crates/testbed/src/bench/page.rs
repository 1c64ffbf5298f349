//! The page of all benchmarks: each replaces its own section and leaves the others unchanged.

use std::collections::BTreeMap;
use std::fmt::Write as _;

const TITLE: &str = "# Benchmarks";
const HEAD: &str = "\
The command that a section names writes that section. Do not edit it by hand. Compare the ratios: the absolute numbers
are those of one machine, on which all processes share the cores.";
/// Owner of a page without sections: this benchmark existed before sections did.
const DEFAULT_SECTION: &str = "controller";

/// Returns the page with this text as the section of `benchmark`, in place of the previous one.
#[must_use]
pub fn with_section(page: &str, benchmark: &str, text: &str) -> String {
    let mut sections = parse_sections(page);
    sections.insert(benchmark, text.trim());
    let mut page = format!("{TITLE}\n\n{HEAD}\n");
    for (name, text) in sections {
        // Writing to a String cannot fail.
        let _ = write!(page, "\n{}\n\n{text}\n\n{}\n", begin_marker(name), end_marker(name));
    }
    page
}

fn begin_marker(name: &str) -> String {
    format!("<!-- {name} -->")
}

fn end_marker(name: &str) -> String {
    format!("<!-- /{name} -->")
}

/// The sections by name.
fn parse_sections(page: &str) -> BTreeMap<&str, &str> {
    let mut found = BTreeMap::new();
    let mut rest = page;
    while let Some((name, text, after)) = next_section(rest) {
        found.insert(name, text.trim());
        rest = after;
    }
    let unmarked = page.trim().strip_prefix(TITLE).unwrap_or(page).trim();
    if found.is_empty() && !unmarked.is_empty() {
        found.insert(DEFAULT_SECTION, unmarked);
    }
    found
}

/// The first section: its name, its text, and the rest of the page.
fn next_section(page: &str) -> Option<(&str, &str, &str)> {
    let (_, rest) = page.split_once("<!-- ")?;
    let (name, rest) = rest.split_once(" -->")?;
    match rest.split_once(&*end_marker(name)) {
        Some((text, after)) => Some((name, text, after)),
        None => next_section(rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_benchmark_replaces_its_own_section_only() {
        let page = with_section("", "discovery", "## Discovery\n\nfast\n");
        let page = with_section(&page, "controller", "## Controller\n\nslow");
        let both = with_section(&page, "controller", "## Controller\n\nfast");
        let sections = "\n<!-- controller -->\n\n## Controller\n\nfast\n\n<!-- /controller -->\n\
                        \n<!-- discovery -->\n\n## Discovery\n\nfast\n\n<!-- /discovery -->\n";
        assert_eq!(both, format!("{TITLE}\n\n{HEAD}\n{sections}"));
        assert_eq!(with_section(&both, "discovery", "## Discovery\n\nfast"), both);
    }

    #[test]
    fn a_page_without_sections_is_the_controllers() {
        let old = "# Benchmarks\n\nof the controller\n\n| a |\n";
        let page = with_section(old, "discovery", "new");
        let sections = "\n<!-- controller -->\n\nof the controller\n\n| a |\n\n<!-- /controller -->\n\
                        \n<!-- discovery -->\n\nnew\n\n<!-- /discovery -->\n";
        assert_eq!(page, format!("{TITLE}\n\n{HEAD}\n{sections}"));
        assert!(!with_section(old, "controller", "new").contains("| a |"));
    }

    #[test]
    fn a_comment_that_begins_no_section_is_ignored() {
        let page =
            format!("<!-- a note -->\n{}\nfast\n{}", begin_marker("discovery"), end_marker("discovery"));
        assert_eq!(parse_sections(&page), BTreeMap::from([("discovery", "fast")]));
    }
}
