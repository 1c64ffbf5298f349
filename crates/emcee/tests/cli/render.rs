//! Tests of `emcee render`.

use emcee_testkit::prelude::*;

use crate::world::{
    BLUE, FLAT, RunResult, World, full_binding, join_documents, run_in_repository, snapshot, to_document,
};

fn kinds(yaml: &str) -> Vec<&str> {
    yaml.lines().filter_map(|line| line.strip_prefix("kind: ")).collect()
}

fn world_with_secret() -> World {
    let secret =
        secret_tls("blue", "blue-m1").label("relationship", "blue").pair(&valid_pair("m1.blue.example"));
    let secret = secret.ca_under("example.com.crt").build();
    World::with_mesh(BLUE).with_file("secret.json", secret.to_string())
}

/// The output is a stream of documents. The golden folders test their content.
#[test]
fn a_binding_without_gateways_is_rendered() {
    let world = World::with_mesh(&join_documents(&[FLAT, &full_binding("reviews", "flat")]));
    let ran = world.run("render -f mesh.yaml");
    let is_kept =
        |line: &&str| ["apiVersion: ", "kind: ", "  name: ", "---"].iter().any(|at| line.starts_with(at));
    let lines: Vec<_> = ran.stdout.lines().filter(is_kept).collect();
    snapshot!("render-flat", RunResult { stdout: lines.join("\n") + "\n", ..ran });
}

#[test]
fn json_output_is_a_list_of_the_same_objects() {
    let world = World::with_mesh(&join_documents(&[FLAT, &full_binding("reviews", "flat")]));
    let yaml = world.run("render -f mesh.yaml").expect_success();
    let json = world.run("render -f mesh.yaml -o json").expect_success();
    let list: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&list["apiVersion"], &list["kind"]), (&"v1".into(), &"List".into()));
    let items = list["items"].as_array().expect("items");
    let names: Vec<_> = items.iter().filter_map(|item| item["kind"].as_str()).collect();
    assert_eq!(names, kinds(&yaml));
    assert!(!names.is_empty());
}

#[test]
fn no_objects_are_an_empty_stream() {
    let ran = World::with_mesh(FLAT).run("render -f mesh.yaml");
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""));
    assert!(
        World::with_mesh(FLAT).run("render -f mesh.yaml -o json").expect_success().contains(r#""items": []"#)
    );
}

#[test]
fn a_private_key_is_printed_only_on_demand() {
    let world = world_with_secret();
    let hidden = world.run("render -f .");
    assert!(!hidden.stdout.contains("kind: Secret") && !hidden.stdout.contains("tls.key"));
    assert!(hidden.stderr.contains("left out: Secret blue/"), "{}", hidden.stderr);
    assert!(hidden.stderr.contains("(--secrets prints it)"), "{}", hidden.stderr);
    let shown = world.run("render -f . --secrets");
    assert_eq!(shown.stderr, "");
    assert!(shown.expect_success().contains("tls.key: "));
}

/// Objects come after the objects that they need.
#[test]
fn objects_are_in_the_order_of_applying() {
    let world = world_with_secret();
    snapshot!("render-order", kinds(&world.run("render -f . --secrets").expect_success()).join("\n"));
}

#[test]
fn a_refusal_prints_no_objects() {
    let broken = full_binding("reviews", "blue").replace("9080", "0");
    let world = World::with_mesh(&join_documents(&[BLUE, &full_binding("ratings", "blue"), &broken]));
    for format in ["yaml", "json"] {
        let message = world.run(&format!("render -f mesh.yaml -o {format}")).expect_refusal();
        assert!(
            message.contains("mesh.yaml:28: ServiceBinding default/reviews: spec.port: 0 is not a port"),
            "{message}"
        );
    }
}

#[test]
fn a_missing_file_is_exit_code_2() {
    let ran = World::with_mesh(FLAT).run("render -f mesh.yaml nowhere.yaml");
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""));
    assert!(ran.stderr.starts_with("emcee: nowhere.yaml: cannot be read"), "{}", ran.stderr);
}

#[test]
fn assumptions_and_missing_objects_are_reported() {
    let exposition = to_document(exposition("default", "ratings").port(9080).fed("flat"));
    let missing = full_binding("details", "green");
    let world = World::with_mesh(&join_documents(&[
        BLUE,
        FLAT,
        &exposition,
        &missing,
        &full_binding("reviews", "blue"),
    ]));
    snapshot!("render-said", RunResult { stdout: String::new(), ..world.run("render -f mesh.yaml") });
}

/// The output does not depend on the order of the documents.
#[test]
fn order_of_input_does_not_matter() {
    let [one, two] = [full_binding("reviews", "blue"), full_binding("ratings", "blue")];
    let forth =
        World::with_mesh(&join_documents(&[BLUE, &one, &two])).run("render -f mesh.yaml").expect_success();
    let back =
        World::with_mesh(&join_documents(&[&two, &one, BLUE])).run("render -f mesh.yaml").expect_success();
    assert_eq!(forth, back);
}

#[test]
fn mesh_settings_change_the_objects() {
    let args =
        ["render", "-f", "examples/blue-yellow/m1", "--trust-domain", "m1.example", "--revision", "canary"];
    let text = run_in_repository(args).expect_success();
    assert!(text.contains("m1.example/"), "the trust domain in the AuthorizationPolicy");
    assert!(text.contains("istio.io/rev: canary"));
}
