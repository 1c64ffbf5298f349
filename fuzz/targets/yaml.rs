//! YAML and JSON text: `emcee render`, `validate`, `run --dir` and every other command that reads files.
#![no_main]

use std::path::Path;

use emcee_yaml::{LoadedManifests, MAX_BYTES, find_duplicates, read_text, read_value, to_yaml};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// Documented in ARCHITECTURE.md: 1,000 problems, and the one that says that there are more.
const MAX_PROBLEMS: usize = 1_001;
/// Aliases repeat values. Writing a million of them again and again would only slow the fuzzer down.
const MAX_WRITTEN: usize = 64 * 1024;

fuzz_target!(|text: &[u8]| {
    let loaded = read_text("f.yaml", text);
    check_lines(&loaded, text);
    check_round_trip(&loaded);
    // A document of any type, as `emcee bind --catalogue -` reads it.
    if let Err(problems) = read_value(Path::new("-"), text).expect("a slice can be read") {
        assert!(!problems.is_empty());
    }
});

fn check_lines(loaded: &LoadedManifests, text: &[u8]) {
    let breaks = text.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count();
    let lines = 1..=u32::try_from(breaks + 1).expect("inputs are short");
    assert!(loaded.problems.len() <= MAX_PROBLEMS, "{} problems", loaded.problems.len());
    for problem in &loaded.problems {
        assert!(lines.contains(&problem.line), "{problem}");
        emcee_fuzz::assert_printable(problem, usize::MAX);
    }
    for document in &loaded.documents {
        assert!(document.value.is_object() && !document.name.is_empty() && !document.kind.is_empty());
        for field in ["", "spec", "metadata.name", "spec.a[0].b", "spec[x", "a.b.c"] {
            assert!(lines.contains(&document.line_of(field)), "{field} of {}", document.object_name());
        }
    }
    for duplicate in find_duplicates(&loaded.documents, "default") {
        assert!(lines.contains(&duplicate.to_problem().line));
    }
}

/// What is written reads back equal.
fn check_round_trip(loaded: &LoadedManifests) {
    let values: Vec<Value> = loaded.documents.iter().map(|document| document.value.clone()).collect();
    let yaml = to_yaml(&values).expect("every value can be written");
    if yaml.len() > MAX_WRITTEN.min(MAX_BYTES) {
        return;
    }
    let again = read_text("f.yaml", yaml.as_bytes());
    assert_eq!(again.problems, [], "{yaml}");
    let read: Vec<Value> = again.documents.into_iter().map(|document| document.value).collect();
    assert_eq!(read, values, "{yaml}");
}
