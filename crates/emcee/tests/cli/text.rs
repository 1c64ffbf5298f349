//! Files with mistakes of editors, templates and users.

use crate::world::{FLAT, World, full_binding, snapshot, stream};

#[track_caller]
fn refused(text: impl AsRef<[u8]>) -> String {
    let world = World::new().with("mesh.yaml", text);
    let message = world.emcee("validate -f mesh.yaml").refusal();
    assert!(message.lines().all(|line| line.starts_with("mesh.yaml:")), "{message}");
    assert_eq!(world.emcee("render -f mesh.yaml").refusal(), message);
    message
}

#[test]
fn nothing_in_it() {
    for text in ["", "\n\n", "# only a comment\n", "---\n---\n", "\u{feff}", "null\n"] {
        let ran = World::of(text).emcee("validate -f mesh.yaml");
        assert_eq!((ran.code, ran.stderr.lines().count()), (Some(0), 1), "{text:?}");
        assert!(ran.stderr.contains("no objects found"), "{}", ran.stderr);
    }
}

#[test]
fn line_ends_of_windows_and_a_byte_order_mark() {
    let text = stream(&[FLAT, &full_binding("reviews", "flat")]);
    let plain = World::of(&text).emcee("render -f mesh.yaml").fine();
    let windows = format!("\u{feff}{}", text.replace('\n', "\r\n"));
    assert_eq!(World::of(&windows).emcee("render -f mesh.yaml").fine(), plain);
    let wrong = windows.replace("9080", "0");
    assert!(World::of(&wrong).emcee("validate -f mesh.yaml").refusal().starts_with("mesh.yaml:12: "));
}

#[test]
fn too_large() {
    let mut text = FLAT.as_bytes().to_vec();
    text.resize(50 << 20, b'#');
    assert_eq!(refused(text), "mesh.yaml:1: is larger than 16 MiB (the most one file may hold)\n");
}

#[test]
fn too_deep() {
    for text in ["[".repeat(100_000), "{a: ".repeat(100_000), "- ".repeat(100_000)] {
        assert!(refused(text).contains("is nested more than 64 deep"));
    }
}

#[test]
fn anchor_bombs() {
    let level = |n: u32| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", "));
    let first = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    let text: String = [first].into_iter().chain((1..12).map(level)).collect();
    assert!(refused(text).contains("the alias repeats too much"));
    assert!(refused("a: &a [*a]\n").contains("the alias is inside the value that it repeats"));
    assert!(refused("a: *b\n").contains("the alias has no anchor before it"));
}

#[test]
fn tabs_and_double_keys_and_other_slips() {
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
    let messages: Vec<_> = slips.map(|(name, text)| format!("{name}: {}", refused(text))).into();
    snapshot!("slips", messages.concat());
}

#[test]
fn bytes_that_are_no_text() {
    assert!(refused(b"\xff\xfea\0b\0").contains("is UTF-16 (save it as UTF-8)"));
    assert!(refused(b"a: b\nc: \xc3\x28\n").starts_with("mesh.yaml:2: is not UTF-8 text"));
    refused([0; 1000]);
    refused((0..=255).collect::<Vec<u8>>());
}

/// An invalid document does not hide problems of the next one.
#[test]
fn the_rest_of_a_stream_is_read() {
    let text =
        stream(&[&FLAT.replace("FLAT", "FLATT"), "kind: MeshFedConfig\n", &FLAT.replace("FLAT", "BLATT")]);
    snapshot!("stream", World::of(&text).emcee("validate -f mesh.yaml"));
}

#[test]
fn a_folder_called_like_a_file() {
    let world = World::new().with("mesh.yaml/inner.yaml", FLAT);
    assert_eq!(world.emcee("validate -f mesh.yaml").code, Some(0));
}
