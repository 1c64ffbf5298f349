//! Warnings, assumptions and counts of `emcee validate`, its formats for programs, and how it folds what follows from
//! one mistake.

use std::fs;

use emcee_testkit::certs::valid_pair;
use emcee_testkit::json_schema::schema_problems;
use emcee_testkit::prelude::*;
use serde_json::Value;

use crate::world::{BLUE, FLAT, World, binding, full_binding, join_documents, root, snapshot, to_document};

const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata: {name: payments-api, namespace: payments}
spec: {ports: [{port: 8080}]}
";

fn exposition(namespace: &str, name: &str) -> String {
    format!(
        "apiVersion: mm.ibm.istio.io/v1\nkind: ServiceExposition\nmetadata: {{name: e, namespace: {namespace}}}\n\
         spec: {{name: {name}, port: 8080, mesh_fed_config_selector: {{fed-config: blue}}}}\n"
    )
}

/// Parses the stdout of `emcee validate -o json`, and checks it with the committed schema.
#[track_caller]
fn validate_json(world: &World, args: &str) -> Value {
    let ran = world.run(&format!("validate -o json {args}"));
    assert_eq!(ran.stderr, "", "everything is in the document");
    let report: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let schema = fs::read(root().join("deploy/schemas/cli.emcee.io/validatereport_v1.json")).expect("a file");
    let schema: Value = serde_json::from_slice(&schema).expect("JSON");
    let wrong = schema_problems(&schema, &report);
    assert!(wrong.is_empty(), "{wrong:?} in {report}");
    report
}

/// Each of these was accepted in silence.
#[test]
fn what_matters_is_reported() {
    let anybody = BLUE.replace("  peers:\n  - {name: m2, subject_alt_names: [m2.blue.example]}\n", "");
    let everywhere = BLUE.replace("  allowed_namespaces: ['*']\n", "");
    let nowhere = format!("{BLUE}  discovery: {{import: Automatic}}\n");
    let subset = exposition("payments", "payments-api").replace("port: 8080,", "port: 8080, subset: v3,");
    let cases = [
        ("any certificate", anybody, "[AnyPeer]"),
        ("any namespace", everywhere, "[AnyNamespace]"),
        ("imports nothing", nowhere, "[NoImportNamespace]"),
        (
            "misspelt Service",
            join_documents(&[BLUE, SERVICE, &exposition("payments", "payment-api")]),
            "(did you mean payments-api?) [Assumed]",
        ),
        (
            "misspelt namespace",
            join_documents(&[BLUE, SERVICE, &exposition("paymets", "payments-api")]),
            "(Service payments/payments-api is in another namespace) [Assumed]",
        ),
        (
            "no namespace",
            join_documents(&[BLUE, &exposition("payments", "x").replace(", namespace: payments", "")]),
            "metadata.namespace: is missing: assumed to be default",
        ),
        ("unknown subset", join_documents(&[BLUE, SERVICE, &subset]), "[Assumed]"),
        (
            "misspelt label",
            join_documents(&[
                BLUE,
                &SERVICE.replace("payments}", "payments, labels: {emcee.io/exposed: blue}}"),
            ]),
            "metadata.labels[emcee.io/exposed]: is ignored",
        ),
    ];
    for (what, text, words) in cases {
        let world = World::with_mesh(&text);
        let ran = world.run("validate -f mesh.yaml");
        assert!(ran.stderr.contains(words), "{what}: {}", ran.stderr);
        assert_eq!(ran.code, Some(0), "{what}: {}", ran.stderr);
        assert_eq!(world.run("validate --strict -f mesh.yaml").code, Some(1), "{what}");
    }
}

#[test]
fn secrets_that_do_not_fit_are_reported() {
    let own = valid_pair("m1.blue.example");
    let secret = || secret_tls("blue", "trade").label("relationship", "blue");
    let cases = [
        ("of the peer", secret().pair(&valid_pair("m2.blue.example")), "[PeerCertificate]"),
        (
            "in another namespace",
            secret_tls("other", "trade").label("relationship", "blue").pair(&own),
            "(Secret other/trade has these labels, but must be in namespace blue) [Assumed]",
        ),
        (
            "with another label",
            secret_tls("blue", "trade").label("relation", "blue").pair(&own),
            "(Secret blue/trade is there, but does not have these labels) [Assumed]",
        ),
    ];
    for (what, secret, words) in cases {
        let world = World::with_mesh(BLUE).with_file("secret.yaml", to_document(secret));
        let ran = world.run("validate -f .");
        assert!(ran.stderr.contains(words), "{what}: {}", ran.stderr);
    }
    let opaque = to_document(secret().pair(&own)).replace("kubernetes.io/tls", "Opaque");
    let ran = World::with_mesh(BLUE).with_file("secret.yaml", opaque).run("validate -f .");
    assert!(ran.stderr.contains("has these labels, but not the type kubernetes.io/tls"), "{}", ran.stderr);
}

#[test]
fn nothing_to_check_is_no_success() {
    let ran = World::new().run_with_stdin("validate -f -", "");
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("no objects found"), "{}", ran.stderr);
    let others = World::with_mesh("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n");
    let ran = others.run("validate -f mesh.yaml");
    assert!(ran.stderr.ends_with("no exposed Service among 1 object\n"), "{}", ran.stderr);
    assert_eq!(ran.code, Some(0), "a folder of Deployments is valid");
    assert_eq!(others.run("validate --strict -f mesh.yaml").code, Some(1));
}

/// One wrong MeshFedConfig, and everything that depends on it: the cause first, the rest counted.
#[test]
fn consequences_of_one_mistake_are_counted() {
    let bindings: String = (0..10_000)
        .flat_map(|number| ["---\n".to_owned(), full_binding(&format!("stock-{number}"), "blue")])
        .collect();
    let text = format!("{bindings}---\n{}", BLUE.replace("BOUNDARY", "BOUNDRY"));
    let world = World::with_mesh(&text);
    let ran = world.run("validate -f mesh.yaml");
    snapshot!("fold-mesh-fed-config", &ran);
    assert!(ran.stderr.lines().count() < 20);
    let report = validate_json(&world, "-f mesh.yaml");
    assert_eq!(report["counts"]["notGenerated"], 10_000);
    assert_eq!(report["findings"][1]["causedBy"], "MeshFedConfig blue/blue");
}

#[test]
fn a_broken_secret_is_the_cause_of_everything_behind_it() {
    let secret = secret_tls("blue", "blue").label("relationship", "blue");
    let secret = to_document(secret.pair(&valid_pair("m1.blue.example").with_wrong_key()));
    let mesh = join_documents(&[BLUE, &full_binding("a", "blue"), &full_binding("b", "blue")]);
    let world = World::with_mesh(&mesh).with_file("secret.yaml", secret);
    snapshot!("fold-secret", world.run("validate -f ."));
}

#[test]
fn one_mistake_in_many_files_is_listed_three_times() {
    let bindings: Vec<_> =
        (0..50).map(|number| binding(&format!("b{number}"), "bleu", "  port: 80\n")).collect();
    let mut documents = vec![BLUE];
    documents.extend(bindings.iter().map(String::as_str));
    let world = World::with_mesh(&join_documents(&documents));
    snapshot!("fold-same", world.run("validate -f mesh.yaml"));
}

#[test]
fn json_contains_everything() {
    let text =
        join_documents(&[FLAT, &binding("b", "flat", "  port: 0\n"), &full_binding("c", "nothing"), SERVICE]);
    let world = World::with_mesh(&text);
    snapshot!(
        "validate-json",
        serde_json::to_string_pretty(&validate_json(&world, "-f mesh.yaml")).expect("JSON")
    );
    assert_eq!(world.run("validate -o json -f mesh.yaml").code, Some(1));
    let empty = validate_json(&World::with_mesh("a: 1\n"), "-f mesh.yaml");
    assert_eq!(empty["findings"][0]["severity"], "refused");
}

/// What GitHub and other readers of SARIF 2.1.0 require.
#[test]
fn sarif_has_a_rule_and_a_line_for_each_result() {
    let text = join_documents(&[FLAT, &binding("b", "flat", "  port: 0\n"), &full_binding("c", "nothing")]);
    let ran = World::with_mesh(&text).run("validate -o sarif -f mesh.yaml");
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""));
    let log: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let rules: Vec<_> = run["tool"]["driver"]["rules"].as_array().expect("rules").iter().collect();
    assert!(
        rules
            .iter()
            .all(|rule| rule["shortDescription"]["text"].as_str().is_some_and(|text| !text.is_empty()))
    );
    let results = run["results"].as_array().expect("results");
    assert_eq!(results[0]["level"], "error");
    for result in results {
        assert!(rules.iter().any(|rule| rule["id"] == result["ruleId"]), "{result}");
        assert!(result["message"]["text"].as_str().is_some_and(|text| !text.is_empty()), "{result}");
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "mesh.yaml");
        assert!(place["region"]["startLine"].as_u64().is_some_and(|line| line > 0), "{result}");
    }
}
