//! Hostile input: no panics, bounded memory, bounded time.

use std::{fmt::Write, iter};

use proptest::prelude::*;

use super::{
    super::{MAX_BYTES, MAX_DEPTH, read_text},
    VALID_OBJECT, problems,
};

/// Texts that can make a parser recurse, backtrack or allocate without bound if they are repeated.
const PATHOLOGICAL: [&str; 34] = [
    "a",
    "- ",
    "? ",
    ": ",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "'",
    "&a ",
    "*a ",
    "!",
    "|\n",
    ">\n",
    "\n",
    "\r",
    "\t",
    " ",
    "#",
    "%",
    "---\n",
    "...\n",
    "a: ",
    "a:\n",
    "- a\n",
    "a b\n",
    "\u{feff}",
    "é",
    "\0",
    "{}",
    "{\"a\":1}\n",
    "\n\n a",
    "x: |\n",
];

const SAMPLE: &str = include_str!("everything.yaml");

#[test]
fn bombs_are_refused() {
    let expected = "the alias repeats too much (a file may hold 1000000 values, and 16 MiB of repeated text)";
    let mut lists = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    let mut merges = String::from("a0: &a0 {k: x}\n");
    for level in 1..50 {
        let below = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(lists, "a{level}: &a{level} [{below}]").unwrap();
        writeln!(merges, "a{level}: &a{level}\n  k{level}: [{below}]\n  <<: *a{}", level - 1).unwrap();
    }
    let text = format!("a: &a {}\nb:\n{}", "x".repeat(1 << 20), "- *a\n".repeat(100_000));
    let keys = format!("a: &a {}\nb:\n{}", "x".repeat(1 << 20), "- *a : 1\n".repeat(100_000));
    for bomb in [lists, merges, text, keys] {
        let reported = problems(&bomb);
        assert!(reported.len() == 1 && reported[0].ends_with(expected), "{reported:.300?}");
    }
}

#[test]
fn many_values_are_refused() {
    let reported = problems(format!("a: [{}]\n---\n{VALID_OBJECT}", "1,".repeat(1_100_000)));
    assert_eq!(reported.len(), 1);
    assert!(
        reported[0].ends_with("holds more than 1000000 values (the most one file may hold)"),
        "{reported:?}"
    );
    assert_eq!(problems("{}".repeat(5_000)).len(), 1_001);
}

#[test]
fn depth_is_limited_however_it_is_reached() {
    let reported = |text: String| problems(text).join("\n");
    let message = format!("is nested more than {MAX_DEPTH} deep");
    let lists = |deep| format!("{VALID_OBJECT}a: {}{}\n", "[".repeat(deep), "]".repeat(deep));
    assert_eq!(reported(lists(MAX_DEPTH - 1)), "");
    assert!(reported(lists(MAX_DEPTH)).ends_with(&message));
    assert!(reported(lists(100_000)).ends_with(&message));
    assert!(reported("- ".repeat(100_000)).ends_with(&message));
    assert!(reported("{a: ".repeat(100_000)).ends_with(&message));
    assert!(reported("{\"a\": ".repeat(100_000) + &"}".repeat(100_000)).ends_with(&message));
    let block = (0..100).fold(String::new(), |text, deep| text + &" ".repeat(deep) + "a:\n");
    assert!(reported(block).ends_with(&message));
    let aliases = (1..9).fold(String::from("a0: &a0 [[[[[[[[[[1]]]]]]]]]]\n"), |text, level| {
        text + &format!("a{level}: &a{level} [[[[[[[[[[*a{}]]]]]]]]]]\n", level - 1)
    });
    assert!(reported(aliases).starts_with("f.yaml:7: a6"));
}

#[test]
fn problems_in_a_file_are_limited() {
    for line in ["---\na: 1\n", "---\n@\n", "a: !x 1\n", "- a: 1\n  a: 2\n", "---\na: [\n"] {
        let reported = problems(line.repeat(20_000));
        assert!((1..=1_001).contains(&reported.len()), "{line}: {}", reported.len());
    }
    assert!(
        problems("---\n@\n".repeat(2_000)).last().unwrap().contains("more than 1000 problems in this file")
    );
}

#[test]
fn pathological_texts_are_read_quickly() {
    // Long enough that quadratic behavior would take minutes.
    let long = |text: &str| text.repeat((1 << 17) / text.len());
    for text in PATHOLOGICAL {
        read_text("f.yaml", long(text).as_bytes());
        read_text("f.yaml", format!("a:\n  b: {}", long(text)).as_bytes());
        read_text("f.yaml", format!("a: [\"{}", long(text)).as_bytes());
        read_text("f.yaml", format!("a: |\n  {}", long(text)).as_bytes());
    }
}

#[test]
#[ignore = "measures only: cargo test --release -- --ignored --nocapture largest"]
fn measure_largest_files() {
    let clock = |what: &str, text: &str| {
        let start = std::time::Instant::now();
        let reading = read_text("f.yaml", text.as_bytes());
        let (documents, problems) = (reading.documents.len(), reading.problems.len());
        println!(
            "{what}: {} bytes, {:?}, {documents} documents, {problems} problems",
            text.len(),
            start.elapsed()
        );
    };
    let sample = format!("---\n{SAMPLE}");
    clock("manifests", &sample.repeat(MAX_BYTES / sample.len()));
    clock("text", &format!("{VALID_OBJECT}a: {}\n", "x".repeat(MAX_BYTES - 100)));
    clock("numbers", &format!("a: [{}1]", "1,".repeat(MAX_BYTES / 2 - 10)));
    clock("too large", &" ".repeat(MAX_BYTES + 1));
    let items = iter::repeat_n(
        r#"{"apiVersion":"v1","kind":"A","metadata":{"name":"x"},"spec":{"text":"some text here"}}"#,
        MAX_BYTES / 90,
    );
    clock(
        "JSON list",
        &format!(r#"{{"kind":"List","items":[{}]}}"#, items.clone().collect::<Vec<_>>().join(",\n")),
    );
    clock("JSON stream", &items.collect::<String>());
    clock("many mappings", &format!("a: [{}]", "{a: 1},".repeat(MAX_BYTES / 8)));
    clock("many lists", &format!("a: [{}]", "[[1]],".repeat(MAX_BYTES / 8)));
    for text in PATHOLOGICAL {
        clock(&format!("{text:?}"), &text.repeat(MAX_BYTES / text.len()));
    }
    let mut bomb = String::from("a0: &a0 [x]\n");
    for level in 1..1000 {
        writeln!(bomb, "a{level}: &a{level} [{}]", vec![format!("*a{}", level - 1); 20].join(", ")).unwrap();
    }
    clock("bomb", &bomb);
}

/// Pieces of text that often break parsers, to insert into a valid text.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let pieces = [
        "\t", "\r", "\n", "\u{feff}", "---\n", "...\n", ": ", "- ", "? ", "[", "]", "{", "}", ",", "\"", "'",
        "&a ", "*a ", "<<: ", "!!int ", "!", "%", "@", "|", ">", "#", "~", "0x", ".nan", "  ", "\\",
    ];
    prop_oneof![
        prop::sample::select(pieces.to_vec()).prop_map(|piece| piece.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..4),
    ]
}

fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), 0..20_usize, piece());
    prop::collection::vec(change, 1..8).prop_map(|changes| {
        let mut bytes = SAMPLE.as_bytes().to_vec();
        for (at, removed, piece) in changes {
            let start = at.index(bytes.len() + 1);
            let end = (start + removed).min(bytes.len());
            bytes.splice(start..end, piece);
        }
        bytes
    })
}

/// Reads a text and checks the invariants of every result.
fn check(bytes: &[u8]) {
    let reading = read_text("f.yaml", bytes);
    let lines = u32::try_from(bytes.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count()).unwrap() + 1;
    for problem in &reading.problems {
        assert!((1..=lines).contains(&problem.line), "{problem}");
        assert!(!problem.to_string().contains(char::is_control), "{problem}");
    }
    for document in &reading.documents {
        assert!(document.value.is_object() && !document.name.is_empty());
        for field in ["", "spec", "metadata.name", "spec.endpoints[0]", "spec.a.b.c[1]"] {
            assert!((1..=lines).contains(&document.line_of(field)));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&bytes);
    }

    #[test]
    fn arbitrary_text(text in "[-a-c:?\\[\\]{},&*!|>'\"%@#~<\t\r\n 0-9.]{0,60}") {
        check(text.as_bytes());
    }

    #[test]
    fn mutated_samples(bytes in mutated()) {
        check(&bytes);
    }
}

#[test]
fn the_sample_is_valid() {
    let reading = read_text("f.yaml", SAMPLE.as_bytes());
    assert_eq!((reading.documents.len(), reading.problems.as_slice()), (4, &[][..]));
}
