//! Files with mistakes of editors, templates and users.

use crate::world::{FLAT, World, full_binding, join_documents, snapshot};

#[track_caller]
fn refusal_of(text: impl AsRef<[u8]>) -> String {
    let world = World::new().with_file("mesh.yaml", text);
    let message = world.run("validate -f mesh.yaml").expect_refusal();
    assert!(message.lines().all(|line| line.starts_with("mesh.yaml:")), "{message}");
    assert_eq!(world.run("render -f mesh.yaml").expect_refusal(), message);
    message
}

#[test]
fn empty_files_are_nothing_to_check() {
    for text in ["", "\n\n", "# only a comment\n", "---\n---\n", "\u{feff}", "null\n"] {
        let ran = World::with_mesh(text).run("validate -f mesh.yaml");
        assert_eq!((ran.code, ran.stderr.lines().count()), (Some(1), 2), "{text:?}");
        assert!(ran.stderr.contains("no objects found"), "{}", ran.stderr);
    }
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_are_accepted() {
    let text = join_documents(&[FLAT, &full_binding("reviews", "flat")]);
    let plain = World::with_mesh(&text).run("render -f mesh.yaml").expect_success();
    let windows = format!("\u{feff}{}", text.replace('\n', "\r\n"));
    assert_eq!(World::with_mesh(&windows).run("render -f mesh.yaml").expect_success(), plain);
    let wrong = windows.replace("9080", "0");
    assert!(
        World::with_mesh(&wrong).run("validate -f mesh.yaml").expect_refusal().starts_with("mesh.yaml:12: ")
    );
}

#[test]
fn too_large_files_are_refused() {
    let mut text = FLAT.as_bytes().to_vec();
    text.resize(50 << 20, b'#');
    assert_eq!(
        refusal_of(text),
        "mesh.yaml:1: is larger than 16 MiB (the most one file may hold) [Invalid]\n"
    );
}

#[test]
fn too_deep_nesting_is_refused() {
    for text in ["[".repeat(100_000), "{a: ".repeat(100_000), "- ".repeat(100_000)] {
        assert!(refusal_of(text).contains("is nested more than 64 deep"));
    }
}

#[test]
fn anchor_bombs_are_refused() {
    let level = |n: u32| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", "));
    let first = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    let text: String = [first].into_iter().chain((1..12).map(level)).collect();
    assert!(refusal_of(text).contains("the alias repeats too much"));
    assert!(refusal_of("a: &a [*a]\n").contains("the alias is inside the value that it repeats"));
    assert!(refusal_of("a: *b\n").contains("the alias has no anchor before it"));
}

#[test]
fn common_yaml_mistakes_are_explained() {
    let slips = [
        ("tab", FLAT.replace("spec: {mode: FLAT}", "spec:\n\tmode: FLAT")),
        ("double-key", FLAT.replace("{mode: FLAT}", "\n  mode: FLAT\n  mode: BOUNDARY")),
        ("double-block", format!("{FLAT}spec: {{mode: WHARF}}\n")),
        ("colon", FLAT.replace("{mode: FLAT}", "\n  mode: FLAT: yes")),
        ("indent", FLAT.replace("{mode: FLAT}", "\n    mode: FLAT\n  peers: []")),
        ("brace", FLAT.replace("FLAT}", "FLAT")),
        ("quote", FLAT.replace("FLAT", "\"FLAT")),
        ("template", FLAT.replace("FLAT", "{{ .Values.mode }}")),
        ("separator", format!("{FLAT}--\n{FLAT}")),
        ("prose", "Hello, here are my meshes.\n".to_owned()),
        ("list", format!("- {}", FLAT.replace('\n', "\n  "))),
        ("yes", FLAT.replace("name: flat,", "name: yes,")),
        ("number", FLAT.replace("name: flat,", "name: 1234,")),
    ];
    let messages: Vec<_> = slips.map(|(name, text)| format!("{name}: {}", refusal_of(text))).into();
    snapshot!("slips", messages.concat());
}

#[test]
fn bytes_other_than_text_are_refused() {
    assert!(refusal_of(b"\xff\xfea\0b\0").contains("is UTF-16 (save it as UTF-8)"));
    assert!(refusal_of(b"a: b\nc: \xc3\x28\n").starts_with("mesh.yaml:2: is not UTF-8 text"));
    refusal_of([0; 1000]);
    refusal_of((0..=255).collect::<Vec<u8>>());
}

/// An invalid document does not hide problems of the next one.
#[test]
fn the_rest_of_a_stream_is_checked() {
    let text = join_documents(&[
        &FLAT.replace("FLAT", "FLATT"),
        "kind: MeshFedConfig\n",
        &FLAT.replace("FLAT", "BLATT"),
    ]);
    snapshot!("stream", World::with_mesh(&text).run("validate -f mesh.yaml"));
}

#[test]
fn a_folder_can_have_the_name_of_a_file() {
    let world = World::new().with_file("mesh.yaml/inner.yaml", FLAT);
    assert_eq!(world.run("validate -f mesh.yaml").code, Some(0));
}
