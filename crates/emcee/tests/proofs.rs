//! The pages in `docs/proofs` name existing tests: each test that a row names is in the file that the row links.

use std::fs;
use std::path::{Path, PathBuf};

/// A row of a table: its claim, and the tests that it names with their files.
#[derive(Debug, PartialEq)]
struct Row {
    claim: String,
    tests: Vec<(String, String)>,
}

fn proofs_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/proofs")
}

/// Returns the rows of all tables whose second column is `tests`. Other tables are ignored.
fn parse_rows(page: &str) -> Vec<Row> {
    let mut is_of_tests = false;
    let mut found = Vec::new();
    for line in page.lines() {
        let cells = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |")?.split_once(" | "));
        match cells {
            Some((_, "tests")) => is_of_tests = true,
            Some((claim, tests)) if is_of_tests => found.push(parse_row(claim, tests)),
            _ => is_of_tests &= line.starts_with('|'),
        }
    }
    found
}

/// Parses a row whose tests are in the form `[file](path) `a`, `b`; [another](path) `c``.
fn parse_row(claim: &str, text: &str) -> Row {
    let mut tests = Vec::new();
    for file in text.split('[').skip(1) {
        let Some((_, rest)) = file.split_once("](") else { continue };
        let Some((path, names)) = rest.split_once(')') else { continue };
        let names = names.split('`').skip(1).step_by(2).filter(|name| !name.contains('/'));
        tests.extend(names.map(|name| (path.to_owned(), name.to_owned())));
    }
    Row { claim: claim.to_owned(), tests }
}

/// Returns whether a file has a test of this name: a function with a test attribute, or an entry in a list of the test
/// bed.
fn has_test(source: &str, name: &str) -> bool {
    if source.contains("suite::run") && source.contains(&format!("(\"{name}\", ")) {
        return true;
    }
    let lines: Vec<_> = source.lines().map(str::trim_start).collect();
    let is_start = |line: &str| {
        let line = line.strip_prefix("async ").unwrap_or(line);
        line.strip_prefix("fn ")
            .and_then(|line| line.strip_prefix(name))
            .is_some_and(|rest| rest.starts_with('('))
    };
    let before = |index: usize| lines[..index].iter().rev().take_while(|line| line.starts_with(['#', '/']));
    let is_test = |line: &&str| line.starts_with("#[test]") || line.starts_with("#[tokio::test");
    lines.iter().enumerate().any(|(index, line)| is_start(line) && before(index).any(is_test))
}

#[test]
fn every_named_test_exists() {
    let mut count = 0;
    for entry in fs::read_dir(proofs_folder()).expect("docs/proofs") {
        let path = entry.expect("an entry").path();
        for row in parse_rows(&fs::read_to_string(&path).expect("a page")) {
            assert!(!row.tests.is_empty(), "{}: no test for: {}", path.display(), row.claim);
            for (file, name) in &row.tests {
                let file = proofs_folder().join(file);
                let source =
                    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
                assert!(has_test(&source, name), "{}: {} has no test {name}", path.display(), file.display());
                count += 1;
            }
        }
    }
    assert!(count >= 90, "only {count} tests are named");
}

#[test]
fn only_functions_with_a_test_attribute_are_tests() {
    let source = "#[test]\n#[ignore = \"slow\"]\nfn ignored() {}\n#[tokio::test]\nasync fn awaits() {}\nfn helper() {}\n";
    assert!(has_test(source, "ignored") && has_test(source, "awaits"));
    for name in ["helper", "missing", "await", "awaitsx"] {
        assert!(!has_test(source, name), "{name}");
    }
    let bed = "suite::run(&options, &[(\"on_a_bed\", on_a_bed)])";
    assert!(has_test(bed, "on_a_bed") && !has_test("(\"on_a_bed\", 1)", "on_a_bed"));
    let table = "| attack | tests |\n|---|---|\n| a | [x.rs](../x.rs) `one`, `two`; [y](../y.rs) `three` (`a/b`) |\n| b | none |\n\n| other | value |\n|---|---|\n| c | 1 |\n";
    let test = |file: &str, name: &str| (file.to_owned(), name.to_owned());
    let named = vec![test("../x.rs", "one"), test("../x.rs", "two"), test("../y.rs", "three")];
    let found = parse_rows(table);
    assert_eq!(found, [Row { claim: "a".into(), tests: named }, Row { claim: "b".into(), tests: vec![] }]);
}
