//! Valid and invalid Secrets of a relationship. A message names the line of the Secret, and never contains the key.

use emcee_testkit::certs::{Ca, Leaf, TlsPair, valid_pair};
use emcee_testkit::prelude::*;

use crate::world::{BLUE, World, to_document};

fn world_with_secret(pair: &TlsPair) -> World {
    let secret = secret_tls("blue", "blue").label("relationship", "blue").pair(pair);
    World::with_mesh(BLUE).with_file("secret.yaml", to_document(secret))
}

/// Asserts that `validate` and `render` refuse with the same message, which names the file and the field of the Secret.
#[track_caller]
fn assert_refused(world: &World, words: &str) {
    let message = world.run("validate -f secret.yaml mesh.yaml").expect_refusal();
    assert_eq!(
        world.run("render -f secret.yaml mesh.yaml").expect_refusal().lines().last(),
        message.lines().last()
    );
    assert!(message.contains("secret.yaml:") && message.contains("Secret blue/blue: data."), "{message}");
    assert!(message.contains(words), "{message}");
    assert!(!message.contains("PRIVATE"), "{message}");
}

fn issue_certificate(leaf: &Leaf) -> TlsPair {
    Ca::shared("relationship").issue(leaf)
}

#[test]
fn a_valid_secret_causes_no_message() {
    let ran = world_with_secret(&valid_pair("m1.blue.example")).run("render -f secret.yaml mesh.yaml");
    assert_eq!(ran.stderr, "");
    assert!(ran.expect_success().contains("kind: Deployment"));
}

#[test]
fn invalid_pem_is_refused() {
    let pair = valid_pair("m1.blue.example");
    assert_refused(&world_with_secret(&pair.clone().with_broken_certificate()), "data.tls.crt");
    assert_refused(&world_with_secret(&pair.clone().with_broken_key()), "data.tls.key");
    assert_refused(&world_with_secret(&pair.with_broken_ca()), "data.ca.crt");
}

#[test]
fn a_certificate_without_names_is_refused() {
    assert_refused(
        &world_with_secret(&issue_certificate(&Leaf::common_name_only("m1.blue.example"))),
        "has no subjectAltName",
    );
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    assert_refused(
        &world_with_secret(&valid_pair("m1.blue.example").with_wrong_key()),
        "does not belong to the certificate",
    );
}

#[test]
fn certificates_outside_of_their_validity_are_refused() {
    assert_refused(
        &world_with_secret(&issue_certificate(&Leaf::dns("m1.blue.example").expired())),
        "expired at 2025-06-01T00:00:00Z",
    );
    assert_refused(
        &world_with_secret(&issue_certificate(&Leaf::dns("m1.blue.example").not_yet_valid())),
        "is not valid before 2100-01-01",
    );
}

#[test]
fn certificates_of_another_ca_or_for_servers_only_are_refused() {
    let stranger = Ca::shared("stranger");
    assert_refused(
        &world_with_secret(&valid_pair("m1.blue.example").with_ca(stranger)),
        "was not issued by a CA in data.ca.crt",
    );
    assert_refused(
        &world_with_secret(&issue_certificate(&Leaf::dns("m1.blue.example").server_only())),
        "is not valid for TLS clients (a gateway is both",
    );
}

#[test]
fn missing_fields_are_refused() {
    for part in ["tls.crt", "tls.key", "ca.crt"] {
        let secret = secret_tls("blue", "blue").label("relationship", "blue").pair(&valid_pair("a.example"));
        let world = World::with_mesh(BLUE).with_file("secret.yaml", to_document(secret.without(part)));
        assert_refused(&world, &format!("data.{part}: is missing"));
    }
}

#[test]
fn invalid_base64_is_refused() {
    let secret = secret_tls("blue", "blue").label("relationship", "blue").pair(&valid_pair("a.example"));
    let world = World::with_mesh(BLUE)
        .with_file("secret.yaml", to_document(secret.set("/data/tls.key", "not base64!")));
    let message = world.run("validate -f secret.yaml mesh.yaml").expect_refusal();
    assert!(message.contains("Secret blue/blue: data"), "{message}");
}

/// A Secret that no relationship selects is not checked.
#[test]
fn a_secret_that_is_not_selected_is_not_checked() {
    let secret = secret_tls("blue", "blue").pair(&valid_pair("a.example").with_wrong_key());
    let world = World::with_mesh(BLUE).with_file("secret.yaml", to_document(secret));
    assert_eq!(world.run("validate -f secret.yaml mesh.yaml").code, Some(0));
}

/// A key in the wrong field does not appear in messages, neither as a value of the wrong type nor in part.
#[test]
fn a_misplaced_key_is_not_in_messages() {
    let key = valid_pair("m1.blue.example").key;
    for field in ["data", "stringData", "immutable"] {
        let secret =
            secret_tls("blue", "blue").label("relationship", "blue").set(&format!("/{field}"), key.as_str());
        let world = World::with_mesh(BLUE).with_file("secret.yaml", to_document(secret));
        let message = world.run("validate -f secret.yaml mesh.yaml").expect_refusal();
        let body = key.lines().nth(1).expect("a line of the key");
        assert!(
            message.contains(field) && !message.contains("PRIVATE") && !message.contains(&body[..16]),
            "{message}"
        );
    }
}
