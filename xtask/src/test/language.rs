//! The rules of names and prose that can be counted: CONTRIBUTING lists them.
//!
//! Numbers that must be zero list the places that break them. Shares have a limit and are always printed.

mod production;
mod retired;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use self::production::Production;
use self::retired::Retired;
use crate::bed;
use crate::command::output_of;

/// These crates are tools for tests: their names are not counted, but retired words are refused there too.
const NOT_PRODUCT: [&str; 2] = ["crates/testkit/", "crates/testbed/"];
/// Files that are compared word by word with what another program wrote, or that quote retired words on purpose.
const EXEMPT_FROM_WORDS: [&str; 2] = ["xtask/language/", "xtask/src/test/language"];
const TEXT_FILES: [&str; 6] = ["rs", "md", "yaml", "yml", "toml", "json"];

/// Percent of all functions in production code whose name is one word. The shortest names are the least specific.
const MAX_ONE_WORD_FUNCTIONS: f64 = 45.0;
/// Percent of all types whose name another type of the product has too.
const MAX_SHARED_TYPE_NAMES: f64 = 10.0;
/// Comment lines inside function bodies, as percent of the lines of production code.
const COMMENTS_IN_FUNCTIONS: std::ops::RangeInclusive<f64> = 2.0..=5.0;

/// Counts, prints, and fails with every place that breaks a rule.
pub(super) fn check() -> Result<()> {
    let workspace = bed::workspace_root()?;
    let files = tracked_files(&workspace)?;
    let production = Production::read(&workspace, files.iter().filter(|file| is_production(file)))?;
    let retired = Retired::read(&workspace.join("xtask/language"))?;
    let mut faults = production.faults();
    for file in files.iter().filter(|file| !is_exempt(file)) {
        let text =
            std::fs::read_to_string(workspace.join(file)).with_context(|| format!("cannot read {file}"))?;
        faults.extend(retired.faults(file, &text));
    }
    let shares = production.shares();
    println!("    {shares}");
    faults.extend(shares.faults());
    if faults.is_empty() {
        return Ok(());
    }
    for fault in &faults {
        println!("    {fault}");
    }
    bail!("{} places break the rules of CONTRIBUTING, \"Names and prose\"", faults.len())
}

/// Of git, so that build output and a developer's own files are not judged. Files that are deleted but not committed yet
/// are left out.
fn tracked_files(workspace: &Path) -> Result<Vec<String>> {
    let listed = output_of(Command::new("git").current_dir(workspace).args(["ls-files", "-z"]))?;
    let is_text = |file: &str| {
        let extension = Path::new(file).extension().and_then(|extension| extension.to_str());
        extension.is_some_and(|extension| TEXT_FILES.contains(&extension))
    };
    let files = listed.split('\0').filter(|file| is_text(file) && workspace.join(file).is_file());
    Ok(files.map(str::to_owned).collect())
}

fn is_exempt(file: &str) -> bool {
    EXEMPT_FROM_WORDS.iter().any(|prefix| file.starts_with(prefix))
}

/// Rust of a product crate that is not a test, benchmark or example.
fn is_production(file: &str) -> bool {
    let path = PathBuf::from(file);
    let in_folder = |name: &str| path.parent().is_some_and(|parent| parent.iter().any(|part| part == name));
    file.starts_with("crates/")
        && path.extension().is_some_and(|extension| extension == "rs")
        && !NOT_PRODUCT.iter().any(|prefix| file.starts_with(prefix))
        && !["tests", "benches", "examples"].into_iter().any(in_folder)
        && path.file_name().is_none_or(|name| name != "tests.rs")
}

/// The figures with a limit that is not zero.
#[derive(Debug, Default, Clone, Copy)]
struct Shares {
    functions: usize,
    one_word: usize,
    types: usize,
    shared_types: usize,
    code_lines: usize,
    comment_lines: usize,
}

impl Shares {
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let one_word = percent(self.one_word, self.functions);
        if one_word > MAX_ONE_WORD_FUNCTIONS {
            faults.push(format!(
                "{one_word:.1} % of the functions have a name of one word, at most {MAX_ONE_WORD_FUNCTIONS} % are allowed"
            ));
        }
        let shared = percent(self.shared_types, self.types);
        if shared > MAX_SHARED_TYPE_NAMES {
            faults.push(format!(
                "{shared:.1} % of the types share their name with another, at most {MAX_SHARED_TYPE_NAMES} % are allowed"
            ));
        }
        let comments = percent(self.comment_lines, self.code_lines);
        if !COMMENTS_IN_FUNCTIONS.contains(&comments) {
            faults.push(format!(
                "{comments:.1} comment lines inside functions for 100 lines of code, {} to {} are allowed",
                COMMENTS_IN_FUNCTIONS.start(),
                COMMENTS_IN_FUNCTIONS.end()
            ));
        }
        faults
    }
}

impl std::fmt::Display for Shares {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "one-word names {:.1} % of {} functions; shared names {:.1} % of {} types; comment lines inside functions \
             {:.1} % of {} lines",
            percent(self.one_word, self.functions),
            self.functions,
            percent(self.shared_types, self.types),
            self.types,
            percent(self.comment_lines, self.code_lines),
            self.code_lines,
        )
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of lines and names are far below 2^52")]
fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Shares = Shares {
        functions: 100,
        one_word: 45,
        types: 100,
        shared_types: 10,
        code_lines: 1000,
        comment_lines: 20,
    };

    #[test]
    fn each_share_has_a_limit() {
        assert_eq!(GOOD.faults(), Vec::<String>::new());
        let broken = [
            Shares { one_word: 46, ..GOOD },
            Shares { shared_types: 11, ..GOOD },
            Shares { comment_lines: 19, ..GOOD },
            Shares { comment_lines: 51, ..GOOD },
        ];
        assert!(broken.iter().all(|shares| shares.faults().len() == 1), "{broken:?}");
    }

    #[test]
    fn tests_and_tools_for_tests_are_no_production_code() {
        assert!(is_production("crates/core/src/plan/kind.rs"));
        let others = [
            "crates/core/tests/core/main.rs",
            "crates/controller/src/tests.rs",
            "crates/controller/src/tests/fair.rs",
            "crates/core/benches/translate.rs",
            "crates/testkit/src/lib.rs",
            "crates/core/Cargo.toml",
            "xtask/src/main.rs",
        ];
        assert!(!others.into_iter().any(is_production));
    }
}
