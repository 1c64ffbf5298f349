//! More than 200 mistakes in files, each with its messages. None is accepted in silence, none has the text of a library
//! in it, and the cause is the first line.

use std::fmt::Write as _;
use std::thread;

use crate::mistaken_files::{MESH, MISTAKES};
use crate::world::{World, snapshot};

/// Texts of libraries, and of Rust values.
const NOISE: [&str; 10] = [
    "Some(",
    "None",
    "Error(",
    "invalid type",
    "missing field",
    "expected one of",
    "panicked",
    "os error",
    "untagged",
    "serde",
];

/// Messages about other resources, which must not come before the cause.
const CONSEQUENCE: &str = "depend";

fn mistaken_mesh(name: &str, from: &str, to: &str) -> String {
    assert!(MESH.contains(from), "{name}: {from:?} is not in the mesh");
    MESH.replacen(from, to, 1)
}

fn check_mistake(&(name, from, to): &(&str, &str, &str)) -> String {
    let ran = World::with_mesh(&mistaken_mesh(name, from, to)).run("validate --strict -f mesh.yaml");
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{name}: {}", ran.stderr);
    for noise in NOISE {
        assert!(!ran.stderr.contains(noise), "{name}: {noise} in {}", ran.stderr);
    }
    // What the mesh without a mistake reports is no message about the mistake.
    let lines: Vec<_> = ran.stderr.lines().filter(|line| !is_expected(line)).collect();
    let (count, messages) = lines.split_last().expect("a line with the count");
    assert!(count.contains(": ") && !messages.is_empty(), "{name} is accepted: {}", ran.stderr);
    assert!(!messages[0].contains(CONSEQUENCE), "{name}: {}", ran.stderr);
    assert!(
        messages.iter().all(|line| line.ends_with(']') || line.contains("skipped")),
        "{name}: {}",
        ran.stderr
    );
    let mut text = format!("{name}\n");
    for line in messages {
        writeln!(text, "    {line}").expect("a string");
    }
    text
}

/// Whether a line is about the Secret and the trust domain, which the files do not have.
fn is_expected(line: &str) -> bool {
    line.starts_with("assumed: ")
        && line.contains("kubernetes.io/tls Secret with the labels {relationship: trade}")
}

#[test]
fn no_mistake_is_accepted_in_silence() {
    assert!(MISTAKES.len() > 200, "{}", MISTAKES.len());
    let ran = World::with_mesh(MESH).run("validate -f mesh.yaml");
    assert_eq!(
        (ran.code, ran.stderr.lines().filter(|line| !is_expected(line)).count()),
        (Some(0), 1),
        "{}",
        ran.stderr
    );
    let texts = thread::scope(|scope| {
        let parts: Vec<_> = MISTAKES
            .chunks(MISTAKES.len().div_ceil(4))
            .map(|part| scope.spawn(move || part.iter().map(check_mistake).collect::<String>()))
            .collect();
        parts.into_iter().map(|part| part.join().expect("all are reported")).collect::<String>()
    });
    snapshot!("mistakes", texts);
}
