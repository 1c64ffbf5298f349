//! The examples in the repository, and the samples next to the checkout, if there are any.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::world::{root, run_in_repository, snapshot};

const MESHES: [&str; 6] = [
    "blue-yellow/m1",
    "blue-yellow/m2",
    "blue-yellow/m4",
    "limited-trust/as-documented",
    "limited-trust/c1",
    "limited-trust/c2",
];

#[test]
fn each_mesh_renders_with_expected_messages_only() {
    for mesh in MESHES {
        let folder = format!("examples/{mesh}");
        let ran = run_in_repository(["render", "-f", &folder]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert!(!ran.stderr.contains("not generated"), "{}", ran.stderr);
        let kinds: BTreeSet<_> = ran.stdout.lines().filter_map(|line| line.strip_prefix("kind: ")).collect();
        let kinds: Vec<_> = kinds.into_iter().collect();
        let output = format!("{}\n--- stderr\n{}", kinds.join("\n"), ran.stderr);
        snapshot!(format!("example-{}", mesh.replace('/', "-")), output);
    }
}

#[test]
fn valid_examples_are_accepted_together_and_one_by_one() {
    let ran = run_in_repository(["validate", "-f", "examples/blue-yellow", "examples/limited-trust"]);
    assert_eq!((ran.code, ran.stderr.lines().count()), (Some(0), 2));
    assert!(ran.stderr.contains("these files belong to several meshes"), "{}", ran.stderr);
    for file in manifest_files(&root().join("examples")).iter().filter(|file| !is_invalid(file)) {
        let ran = run_in_repository(["validate".as_ref(), "-f".as_ref(), file.as_os_str()]);
        assert_eq!(ran.code, Some(0), "{}: {}", file.display(), ran.stderr);
    }
}

#[test]
fn invalid_examples_are_refused_with_the_message_in_their_first_line() {
    let invalid = manifest_files(&root().join("examples/invalid"));
    assert!(invalid.len() >= 4);
    for file in &invalid {
        assert_refused_as_documented(file);
    }
}

/// Each mesh is in the list above, so all of them are tested.
#[test]
fn every_example_is_tested() {
    let of = |file: &PathBuf| {
        let below = file.strip_prefix(root().join("examples")).expect("an example").to_owned();
        below.parent().map(|folder| folder.to_string_lossy().into_owned())
    };
    for mesh in
        manifest_files(&root().join("examples")).iter().filter(|file| !is_invalid(file)).filter_map(of)
    {
        assert!(MESHES.contains(&mesh.as_str()), "{mesh} is not tested");
    }
}

#[test]
fn samples_next_to_the_checkout_are_accepted() {
    let samples = root().join("../shared/samples");
    if !samples.exists() {
        return; // There are no samples next to this checkout.
    }
    for file in manifest_files(&samples) {
        if is_invalid(&file) {
            assert_refused_as_documented(&file);
            continue;
        }
        for command in ["validate", "render"] {
            let ran = run_in_repository([command.as_ref(), "-f".as_ref(), file.as_os_str()]);
            assert_eq!(ran.code, Some(0), "{}: {}", file.display(), ran.stderr);
        }
    }
}

#[track_caller]
fn assert_refused_as_documented(file: &Path) {
    let text = fs::read_to_string(file).expect("a readable example");
    let words = text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("# "))
        .expect("a first line with the expected message");
    let message = run_in_repository(["validate".as_ref(), "-f".as_ref(), file.as_os_str()]).expect_refusal();
    assert!(message.contains(words), "{}: {message}", file.display());
}

fn is_invalid(file: &Path) -> bool {
    file.parent().is_some_and(|folder| folder.ends_with("invalid"))
}

/// Returns all manifests below a folder.
fn manifest_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of examples") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(manifest_files(&path));
        } else if path.extension().is_some_and(|ending| ending == "yaml") {
            found.push(path);
        }
    }
    found.sort();
    found
}
