//! Tests of `emcee render`.

use emcee_testkit::prelude::*;

use crate::world::{BLUE, FLAT, Ran, World, full_binding, in_repository, snapshot, stream, written};

fn kinds(yaml: &str) -> Vec<&str> {
    yaml.lines().filter_map(|line| line.strip_prefix("kind: ")).collect()
}

fn with_secret() -> World {
    let secret =
        secret_tls("blue", "blue-m1").label("relationship", "blue").pair(&valid_pair("m1.blue.example"));
    let secret = secret.ca_under("example.com.crt").build();
    World::of(BLUE).with("secret.json", secret.to_string())
}

/// The output is a stream of documents. The golden folders test their content.
#[test]
fn a_binding_without_gateways() {
    let world = World::of(&stream(&[FLAT, &full_binding("reviews", "flat")]));
    let ran = world.emcee("render -f mesh.yaml");
    let shown =
        |line: &&str| ["apiVersion: ", "kind: ", "  name: ", "---"].iter().any(|at| line.starts_with(at));
    let lines: Vec<_> = ran.stdout.lines().filter(shown).collect();
    snapshot!("render-flat", Ran { stdout: lines.join("\n") + "\n", ..ran });
}

#[test]
fn json_is_one_list_of_the_same_objects() {
    let world = World::of(&stream(&[FLAT, &full_binding("reviews", "flat")]));
    let yaml = world.emcee("render -f mesh.yaml").fine();
    let json = world.emcee("render -f mesh.yaml -o json").fine();
    let list: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&list["apiVersion"], &list["kind"]), (&"v1".into(), &"List".into()));
    let items = list["items"].as_array().expect("items");
    let names: Vec<_> = items.iter().filter_map(|item| item["kind"].as_str()).collect();
    assert_eq!(names, kinds(&yaml));
    assert!(!names.is_empty());
}

#[test]
fn nothing_to_write_is_an_empty_stream() {
    let ran = World::of(FLAT).emcee("render -f mesh.yaml");
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""));
    assert!(World::of(FLAT).emcee("render -f mesh.yaml -o json").fine().contains(r#""items": []"#));
}

#[test]
fn a_private_key_is_printed_only_on_demand() {
    let world = with_secret();
    let hidden = world.emcee("render -f .");
    assert!(!hidden.stdout.contains("kind: Secret") && !hidden.stdout.contains("tls.key"));
    assert!(hidden.stderr.contains("left out: Secret blue/"), "{}", hidden.stderr);
    assert!(hidden.stderr.contains("(--secrets prints it)"), "{}", hidden.stderr);
    let shown = world.emcee("render -f . --secrets");
    assert_eq!(shown.stderr, "");
    assert!(shown.fine().contains("tls.key: "));
}

/// Objects come after the objects that they need.
#[test]
fn the_order_of_applying() {
    let world = with_secret();
    snapshot!("render-order", kinds(&world.emcee("render -f . --secrets").fine()).join("\n"));
}

#[test]
fn a_refusal_prints_no_objects() {
    let broken = full_binding("reviews", "blue").replace("9080", "0");
    let world = World::of(&stream(&[BLUE, &full_binding("ratings", "blue"), &broken]));
    for format in ["yaml", "json"] {
        let message = world.emcee(&format!("render -f mesh.yaml -o {format}")).refusal();
        assert!(
            message.contains("mesh.yaml:27: ServiceBinding default/reviews: spec.port: 0 is not a port"),
            "{message}"
        );
    }
}

#[test]
fn a_missing_file_is_exit_code_2() {
    let ran = World::of(FLAT).emcee("render -f mesh.yaml nowhere.yaml");
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""));
    assert!(ran.stderr.starts_with("emcee: nowhere.yaml: cannot be read"), "{}", ran.stderr);
}

#[test]
fn what_is_assumed_and_what_is_not_generated() {
    let exposition = written(exposition("default", "ratings").port(9080).fed("flat"));
    let missing = full_binding("details", "green");
    let world = World::of(&stream(&[BLUE, FLAT, &exposition, &missing, &full_binding("reviews", "blue")]));
    snapshot!("render-said", Ran { stdout: String::new(), ..world.emcee("render -f mesh.yaml") });
}

/// The output does not depend on the order of the documents.
#[test]
fn order_of_input_does_not_matter() {
    let [one, two] = [full_binding("reviews", "blue"), full_binding("ratings", "blue")];
    let forth = World::of(&stream(&[BLUE, &one, &two])).emcee("render -f mesh.yaml").fine();
    let back = World::of(&stream(&[&two, &one, BLUE])).emcee("render -f mesh.yaml").fine();
    assert_eq!(forth, back);
}

#[test]
fn surroundings_change_what_is_written() {
    let args =
        ["render", "-f", "examples/blue-yellow/m1", "--trust-domain", "m1.example", "--revision", "canary"];
    let text = in_repository(args).fine();
    assert!(text.contains("m1.example/"), "the trust domain in the AuthorizationPolicy");
    assert!(text.contains("istio.io/rev: canary"));
}
