//! A bundle for `emcee import`: EndpointSlices in YAML or JSON from anywhere.
#![no_main]

use emcee_discovery::formats::bundle::{read, write};
use emcee_discovery::formats::endpoint_slice::discovery_announcement_key;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// 100 problems, and the one that counts the others.
const MAX_PROBLEMS: usize = 101;
const MAX_MESSAGE_CHARS: usize = 4_000;

fuzz_target!(|text: &[u8]| {
    let loaded = emcee_yaml::read_text("bundle.yaml", text);
    let objects: Vec<Value> = loaded.documents.into_iter().map(|document| document.value).collect();
    match read(&objects) {
        Ok(bundle) => {
            let announcements = &bundle.announcements;
            assert!(announcements.iter().all(|one| one.key != discovery_announcement_key()));
            let written = write(&bundle).expect("what may be imported can be exported");
            assert_eq!(read(&written).as_ref(), Ok(&bundle));
        }
        Err(problems) => {
            assert!((1..=MAX_PROBLEMS).contains(&problems.len()), "{} problems", problems.len());
            for problem in problems {
                emcee_fuzz::assert_printable(&problem, MAX_MESSAGE_CHARS);
            }
        }
    }
});
