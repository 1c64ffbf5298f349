//! Valid and invalid Secrets of a relationship. A message names the line of the Secret, and never contains the key.

use emcee_testkit::certs::{Ca, Leaf, Pair, valid_pair};
use emcee_testkit::prelude::*;

use crate::world::{BLUE, World, written};

fn world(pair: &Pair) -> World {
    let secret = secret_tls("blue", "blue").label("relationship", "blue").pair(pair);
    World::of(BLUE).with("secret.yaml", written(secret))
}

/// Asserts that `validate` and `render` refuse with the same message, which names the file and the field of the Secret.
#[track_caller]
fn refused(world: &World, words: &str) {
    let message = world.emcee("validate -f secret.yaml mesh.yaml").refusal();
    assert_eq!(
        world.emcee("render -f secret.yaml mesh.yaml").refusal().lines().last(),
        message.lines().last()
    );
    assert!(message.contains("secret.yaml:") && message.contains("Secret blue/blue: data."), "{message}");
    assert!(message.contains(words), "{message}");
    assert!(!message.contains("PRIVATE"), "{message}");
}

fn issued(leaf: &Leaf) -> Pair {
    Ca::shared("relationship").issue(leaf)
}

#[test]
fn a_good_one_leaves_nothing_to_say() {
    let ran = world(&valid_pair("m1.blue.example")).emcee("render -f secret.yaml mesh.yaml");
    assert_eq!(ran.stderr, "");
    assert!(ran.fine().contains("kind: Deployment"));
}

#[test]
fn broken_pem() {
    let pair = valid_pair("m1.blue.example");
    refused(&world(&pair.clone().with_broken_certificate()), "data.tls.crt");
    refused(&world(&pair.clone().with_broken_key()), "data.tls.key");
    refused(&world(&pair.with_broken_ca()), "data.ca.crt");
}

#[test]
fn no_names() {
    refused(&world(&issued(&Leaf::common_name_only("m1.blue.example"))), "has no subjectAltName");
}

#[test]
fn a_key_of_another_certificate() {
    refused(&world(&valid_pair("m1.blue.example").with_wrong_key()), "does not belong to the certificate");
}

#[test]
fn out_of_time() {
    refused(&world(&issued(&Leaf::dns("m1.blue.example").expired())), "expired at 2025-06-01T00:00:00Z");
    refused(&world(&issued(&Leaf::dns("m1.blue.example").not_yet_valid())), "is not valid before 2100-01-01");
}

#[test]
fn of_another_authority_or_for_one_side() {
    let stranger = Ca::shared("stranger");
    refused(
        &world(&valid_pair("m1.blue.example").with_ca(stranger)),
        "was not issued by the CA in data.ca.crt",
    );
    refused(
        &world(&issued(&Leaf::dns("m1.blue.example").server_only())),
        "is not valid for both TLS servers and TLS clients",
    );
}

#[test]
fn parts_that_are_missing() {
    for part in ["tls.crt", "tls.key", "ca.crt"] {
        let secret = secret_tls("blue", "blue").label("relationship", "blue").pair(&valid_pair("a.example"));
        let world = World::of(BLUE).with("secret.yaml", written(secret.without(part)));
        refused(&world, &format!("data.{part} is missing"));
    }
}

#[test]
fn not_base64() {
    let secret = secret_tls("blue", "blue").label("relationship", "blue").pair(&valid_pair("a.example"));
    let world = World::of(BLUE).with("secret.yaml", written(secret.set("/data/tls.key", "not base64!")));
    let message = world.emcee("validate -f secret.yaml mesh.yaml").refusal();
    assert!(message.contains("Secret blue/blue: data"), "{message}");
}

/// A Secret that no relationship selects is not checked.
#[test]
fn one_that_is_not_selected_is_not_judged() {
    let secret = secret_tls("blue", "blue").pair(&valid_pair("a.example").with_wrong_key());
    let world = World::of(BLUE).with("secret.yaml", written(secret));
    assert_eq!(world.emcee("validate -f secret.yaml mesh.yaml").code, Some(0));
}

/// A key in the wrong field does not appear in messages, neither as a value of the wrong type nor in part.
#[test]
fn a_misplaced_key_is_not_repeated() {
    let key = valid_pair("m1.blue.example").key;
    for field in ["data", "stringData", "immutable"] {
        let secret =
            secret_tls("blue", "blue").label("relationship", "blue").set(&format!("/{field}"), key.as_str());
        let world = World::of(BLUE).with("secret.yaml", written(secret));
        let message = world.emcee("validate -f secret.yaml mesh.yaml").refusal();
        let body = key.lines().nth(1).expect("a line of the key");
        assert!(
            message.contains(field) && !message.contains("PRIVATE") && !message.contains(&body[..16]),
            "{message}"
        );
    }
}
