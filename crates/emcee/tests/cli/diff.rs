//! Tests of `emcee diff`.

use emcee_testkit::prelude::*;

use crate::world::{BLUE, FLAT, World, full_binding, join_documents, snapshot, to_document as document};

/// Returns a folder with one binding, and `now.yaml` with the objects that Emcee generates for it.
fn world_with_objects() -> World {
    let world = World::with_mesh(&join_documents(&[FLAT, &full_binding("reviews", "flat")]));
    let now = world.run("render -f mesh.yaml").expect_success();
    world.with_file("now.yaml", now)
}

#[test]
fn no_difference_is_exit_code_0_without_output() {
    let ran = world_with_objects().run("diff -f mesh.yaml --against now.yaml");
    assert_eq!(ran.expect_success(), "");
}

/// Fields that the API server adds, and the order of fields, are not differences.
#[test]
fn fields_of_the_api_server_are_not_differences() {
    let world = world_with_objects();
    let json = world.run("render -f mesh.yaml -o json").expect_success();
    let mut list: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    for item in list["items"].as_array_mut().expect("a list of items") {
        item["metadata"]["uid"] = "0c4b3b1e".into();
        item["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
        item["metadata"]["managedFields"] = serde_json::json!([]);
        item["status"] = serde_json::json!({"loadBalancer": {}});
    }
    let world = world.with_file("now.json", list.to_string());
    assert_eq!(world.run("diff -f mesh.yaml --against now.json").expect_success(), "");
}

#[test]
fn created_changed_and_removed_objects_are_shown() {
    let world = world_with_objects();
    let later = join_documents(&[FLAT, &full_binding("ratings", "flat"), &full_binding("reviews", "flat")]);
    let later = later.replacen("203.0.113.12:15443", "203.0.113.99:15443", 2);
    let ran = world.with_file("mesh.yaml", later).run("diff -f mesh.yaml --against now.yaml");
    assert_eq!(ran.code, Some(1));
    snapshot!("diff-changed", ran.stdout);
    let gone = World::with_mesh(FLAT)
        .with_file("now.yaml", world_with_objects().run("render -f mesh.yaml").expect_success());
    let ran = gone.run("diff -f mesh.yaml --against now.yaml");
    assert_eq!(ran.code, Some(1));
    snapshot!("diff-removed", ran.stdout);
}

#[test]
fn against_an_empty_folder_everything_is_new() {
    let world = world_with_objects().with_file("empty/notes.txt", "");
    let ran = world.run("diff -f mesh.yaml --against empty");
    assert_eq!(ran.code, Some(1));
    snapshot!("diff-new", ran.stdout);
}

#[test]
fn objects_of_others_are_not_removed() {
    let foreign = document(service("default", "theirs").port("http", 80));
    let world = world_with_objects().with_file("theirs.yaml", foreign);
    assert_eq!(world.run("diff -f mesh.yaml --against now.yaml theirs.yaml").expect_success(), "");
}

#[test]
fn the_content_of_a_secret_is_never_shown() {
    let secret = |name| {
        let secret = secret_tls("blue", "source").label("relationship", "blue").pair(&valid_pair(name));
        document(secret.ca_under("example.com.crt"))
    };
    let world = World::with_mesh(BLUE).with_file("secret.yaml", secret("m1.blue.example"));
    let now = world.run("render -f mesh.yaml secret.yaml --secrets").expect_success();
    let world = world.with_file("now.yaml", now).with_file("secret.yaml", secret("m1.blue.example"));
    let ran = world.run("diff -f mesh.yaml secret.yaml --against now.yaml");
    assert_eq!(ran.code, Some(1), "a new pair with the same name differs: {}", ran.stderr);
    assert!(ran.stdout.contains("~ Secret blue/"), "{}", ran.stdout);
    assert!(ran.stdout.contains("\n    data.[tls.key]: changes\n"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("LS0t"), "{}", ran.stdout);
}

#[test]
fn errors_are_exit_code_2() {
    let world = world_with_objects()
        .with_file("bad.yaml", FLAT.replace("FLAT", "FLATT"))
        .with_file("broken.yaml", "a: b: c\n");
    for (name, args) in [
        ("refused", "diff -f bad.yaml --against now.yaml"),
        ("unreadable", "diff -f nowhere.yaml --against now.yaml"),
        ("against-missing", "diff -f mesh.yaml --against nowhere"),
        ("against-broken", "diff -f mesh.yaml --against broken.yaml"),
    ] {
        let ran = world.run(args);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{args}: {}", ran.stderr);
        snapshot!(format!("diff-{name}"), ran);
    }
}
