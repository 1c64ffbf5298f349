//! An OpenAPI document for `emcee bind --catalogue`: YAML or JSON from anywhere.
#![no_main]

use std::path::Path;

use emcee_discovery::formats::openapi::{build_document, read};
use libfuzzer_sys::fuzz_target;

/// 100 problems, and the one that counts the others.
const MAX_PROBLEMS: usize = 101;
/// A message quotes at most 80 characters, and escaping makes up to ten characters of one.
const MAX_MESSAGE_CHARS: usize = 4_000;

fuzz_target!(|text: &[u8]| {
    let Ok(document) = emcee_yaml::read_value(Path::new("-"), text).expect("a slice can be read") else {
        return;
    };
    match read(&document.value) {
        Ok(catalogue) => {
            let peer = catalogue.peer.clone().unwrap_or_else(|| "m1".to_owned());
            let built = build_document(&catalogue.relationship, &peer, &catalogue.announcements);
            let built = serde_json::to_value(&built).expect("a document is JSON");
            let again = read(&built).expect("its own document is accepted");
            assert_eq!(again.relationship, catalogue.relationship);
            assert_eq!(again.peer, Some(peer));
            assert_eq!(again.announcements, catalogue.announcements);
        }
        Err(problems) => {
            assert!((1..=MAX_PROBLEMS).contains(&problems.len()), "{} problems", problems.len());
            for problem in problems {
                emcee_fuzz::assert_printable(&problem, MAX_MESSAGE_CHARS);
            }
        }
    }
});
