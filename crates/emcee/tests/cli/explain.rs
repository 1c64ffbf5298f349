//! `emcee explain` and `emcee schemas`, which need neither files nor a cluster.

use std::fs;

use emcee_testkit::json_schema::schema_problems;
use serde_json::{Value, json};

use crate::world::{World, root, run_in_repository, snapshot};

#[test]
fn a_reason_is_explained_whatever_its_case() {
    let world = World::new();
    let text = world.run("explain NotStrict").expect_success();
    snapshot!("explain", &text);
    assert_eq!(world.run("explain notstrict").expect_success(), text);
    // A warning and a refusal have the same reason.
    assert_eq!(world.run("explain LimitExceeded").expect_success().matches("Fix: ").count(), 2);
    snapshot!("explain-unknown", world.run("explain NotStrikt"));
}

#[test]
fn all_reasons_are_listed() {
    let text = World::new().run("explain").expect_success();
    assert!(text.lines().count() > 70, "{text}");
    assert!(!text.contains('|') && !text.contains("](") && !text.contains('`'), "{text}");
}

/// The schemas in the repository are those of the program, and users refer to them.
#[test]
fn committed_schemas_are_current() {
    let world = World::new();
    world.run("schemas -o out").expect_success();
    for group in fs::read_dir(root().join("deploy/schemas")).expect("a folder") {
        let group = group.expect("an entry").path();
        for file in fs::read_dir(&group).expect("a folder") {
            let file = file.expect("an entry").path();
            let name = file.strip_prefix(root().join("deploy/schemas")).expect("below it");
            let written = fs::read_to_string(world.path("out").join(name)).unwrap_or_default();
            assert!(
                written == fs::read_to_string(&file).expect("a file"),
                "{} is not current (emcee schemas -o deploy/schemas)",
                name.display()
            );
        }
    }
}

/// An editor that knows the schema marks the mistakes that `emcee validate` refuses, and nothing that it accepts.
#[test]
fn schemas_of_resources_find_misspelt_fields() {
    let schema = run_in_repository(["schemas", "meshfedconfig"]).expect_success();
    let schema: Value = serde_json::from_str(&schema).expect("JSON");
    let config = |spec: Value| {
        json!({
            "apiVersion": "mm.ibm.istio.io/v1", "kind": "MeshFedConfig",
            "metadata": {"name": "blue", "namespace": "blue"}, "spec": spec,
        })
    };
    let good = json!({"mode": "BOUNDARY", "use_egress_gateway": true, "tls_context_selector": {"a": "b"}});
    assert_eq!(schema_problems(&schema, &config(good)), Vec::<String>::new());
    for bad in
        [json!({"mode": "BOUNDARY", "useEgressGateway": true}), json!({"mode": 1}), json!({"peers": "m2"})]
    {
        assert!(!schema_problems(&schema, &config(bad.clone())).is_empty(), "{bad}");
    }
}

#[test]
fn files_need_a_flag() {
    snapshot!("usage-file-without-flag", World::new().run("validate mesh.yaml"));
}

/// `kubectl emcee status` runs a program of this name.
#[test]
fn the_program_works_as_a_plugin_of_kubectl() {
    let world = World::new();
    let plugin = world.path("kubectl-emcee");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_emcee"), &plugin).expect("a link");
    let output = std::process::Command::new(plugin).arg("--version").output().expect("the program runs");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("emcee "), "{output:?}");
}
