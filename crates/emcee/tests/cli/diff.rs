//! Tests of `emcee diff`.

use emcee_testkit::prelude::*;

use crate::world::{BLUE, FLAT, World, full_binding, snapshot, stream, written as document};

/// Returns a folder with one binding, and `now.yaml` with the objects that Emcee generates for it.
fn written() -> World {
    let world = World::of(&stream(&[FLAT, &full_binding("reviews", "flat")]));
    let now = world.emcee("render -f mesh.yaml").fine();
    world.with("now.yaml", now)
}

#[test]
fn no_difference_is_exit_code_0_and_says_nothing_on_stdout() {
    let ran = written().emcee("diff -f mesh.yaml --against now.yaml");
    assert_eq!(ran.fine(), "");
}

/// Fields that the API server adds, and the order of fields, are not differences.
#[test]
fn what_the_cluster_adds_is_no_difference() {
    let world = written();
    let json = world.emcee("render -f mesh.yaml -o json").fine();
    let mut list: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    for item in list["items"].as_array_mut().expect("a list of items") {
        item["metadata"]["uid"] = "0c4b3b1e".into();
        item["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
        item["metadata"]["managedFields"] = serde_json::json!([]);
        item["status"] = serde_json::json!({"loadBalancer": {}});
    }
    let world = world.with("now.json", list.to_string());
    assert_eq!(world.emcee("diff -f mesh.yaml --against now.json").fine(), "");
}

#[test]
fn created_changed_and_removed() {
    let world = written();
    let later = stream(&[FLAT, &full_binding("ratings", "flat"), &full_binding("reviews", "flat")]);
    let later = later.replacen("203.0.113.12:15443", "203.0.113.99:15443", 2);
    let ran = world.with("mesh.yaml", later).emcee("diff -f mesh.yaml --against now.yaml");
    assert_eq!(ran.code, Some(1));
    snapshot!("diff-changed", ran.stdout);
    let gone = World::of(FLAT).with("now.yaml", written().emcee("render -f mesh.yaml").fine());
    let ran = gone.emcee("diff -f mesh.yaml --against now.yaml");
    assert_eq!(ran.code, Some(1));
    snapshot!("diff-removed", ran.stdout);
}

#[test]
fn against_nothing_everything_is_new() {
    let world = written().with("empty/notes.txt", "");
    let ran = world.emcee("diff -f mesh.yaml --against empty");
    assert_eq!(ran.code, Some(1));
    snapshot!("diff-new", ran.stdout);
}

#[test]
fn objects_of_others_are_not_removed() {
    let foreign = document(service("default", "theirs").port("http", 80));
    let world = written().with("theirs.yaml", foreign);
    assert_eq!(world.emcee("diff -f mesh.yaml --against now.yaml theirs.yaml").fine(), "");
}

#[test]
fn the_content_of_a_secret_is_never_shown() {
    let secret = |name| {
        let secret = secret_tls("blue", "source").label("relationship", "blue").pair(&valid_pair(name));
        document(secret.ca_under("example.com.crt"))
    };
    let world = World::of(BLUE).with("secret.yaml", secret("m1.blue.example"));
    let now = world.emcee("render -f mesh.yaml secret.yaml --secrets").fine();
    let world = world.with("now.yaml", now).with("secret.yaml", secret("m1.blue.example"));
    let ran = world.emcee("diff -f mesh.yaml secret.yaml --against now.yaml");
    assert_eq!(ran.code, Some(1), "a new pair with the same name differs: {}", ran.stderr);
    assert!(ran.stdout.contains("~ Secret blue/"), "{}", ran.stdout);
    assert!(ran.stdout.contains("\n    data.[tls.key]: changes\n"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("LS0t"), "{}", ran.stdout);
}

#[test]
fn errors_are_exit_code_2() {
    let world = written().with("bad.yaml", FLAT.replace("FLAT", "FLATT")).with("broken.yaml", "a: b: c\n");
    for (name, args) in [
        ("refused", "diff -f bad.yaml --against now.yaml"),
        ("unreadable", "diff -f nowhere.yaml --against now.yaml"),
        ("against-missing", "diff -f mesh.yaml --against nowhere"),
        ("against-broken", "diff -f mesh.yaml --against broken.yaml"),
    ] {
        let ran = world.emcee(args);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{args}: {}", ran.stderr);
        snapshot!(format!("diff-{name}"), ran);
    }
}
