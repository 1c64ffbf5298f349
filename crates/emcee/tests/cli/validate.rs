//! Tests of `emcee validate`.

use std::io::Read as _;
use std::process::Stdio;

use emcee_testkit::certs::valid_pair;
use emcee_testkit::prelude::*;

use crate::world::{BLUE, FLAT, World, binding, full_binding, join_documents, snapshot, to_document};

/// All problems of one file are reported, in the order of its lines.
#[test]
fn all_refusals_are_reported() {
    let exposition = "\
apiVersion: mm.ibm.istio.io/v1
kind: ServiceExposition
metadata: {name: reviews, namespace: default}
spec:
  name: Reviews
  port: 0
  protocol: htp
  peers: []
  subject_alt_names: ['*.example']
";
    let fed_config = "\
apiVersion: mm.ibm.istio.io/v1
kind: MeshFedConfig
metadata: {name: blue, namespace: blue}
spec:
  mode: BOUNDERY
  use_egress_gateway: yes please
  egress_gateway_port: 70000
  allowed_namespaces: []
  gateway_replicas: 1000
  peers:
  - {name: m2}
  - {name: m2, subject_alt_names: [a.example], discovery: m2, networks: [10.0.0.1/99]}
  - {name: m3, subject_alt_names: [a.example]}
  discovery: {import: Sometimes, expire_after: soon}
";
    let ends = binding(
        "reviews",
        "blue",
        "  alias: Re.views\n  port: -1\n  endpoints:\n  - a\n  - b:1\n  - b:1\n  export_to: [x]\n  server_name: X\n",
    );
    let world = World::with_mesh(&join_documents(&[exposition, fed_config, &ends]));
    snapshot!("validate-all", world.run("validate -f mesh.yaml"));
}

#[test]
fn invalid_values_of_a_relationship_are_refused() {
    let text = "\
apiVersion: mm.ibm.istio.io/v1
kind: MeshFedConfig
metadata: {name: blue, namespace: blue}
spec:
  mode: boundary
  tls_context_selector: {relationship: blue}
  use_egress_gateway: true
  egress_gateway_selector: {'a b': c}
  ingress_gateway_port: 70000
  allowed_namespaces: []
  gateway_replicas: 1000
  peers:
  - {name: m2, subject_alt_names: []}
  - name: m2
    subject_alt_names: [a.example]
    discovery: m2
    networks: [10.0.0.1/99]
  - {name: m3, subject_alt_names: [a.example]}
  discovery:
    expire_after: soon
    max_imports: -1
";
    snapshot!("validate-values", World::with_mesh(text).run("validate -f mesh.yaml"));
}

#[test]
fn gateways_that_do_not_match_the_style_are_refused() {
    let config = |mode: &str, more: &str| {
        format!(
            "apiVersion: mm.ibm.istio.io/v1\nkind: MeshFedConfig\nmetadata: {{name: {}, namespace: fed}}\n\
             spec:\n  mode: {mode}\n{more}",
            mode.to_lowercase()
        )
    };
    let documents = [
        config("FLAT", "  use_egress_gateway: true\n"),
        config("PASSTHROUGH", "  use_egress_gateway: true\n"),
        config("WHARF", ""),
        config("BOUNDARY", "  use_ingress_gateway: true\n"),
        config("boundary", "  tls_context_selector: {a: b}\n").replace("name: boundary", "name: no-side"),
        config("flattish", "  ingress_gateway_selector: {a: b}\n"),
    ];
    let text = join_documents(&documents.iter().map(String::as_str).collect::<Vec<_>>());
    snapshot!("validate-styles", World::with_mesh(&text).run("validate -f mesh.yaml"));
}

#[test]
fn files_and_folders_are_read_in_the_order_of_names() {
    let world = World::new()
        .with_file("mesh/b.yaml", FLAT)
        .with_file("mesh/deeper/a.yml", "a: 1\n")
        .with_file("mesh/notes.txt", "not a manifest")
        .with_file("mesh/.hidden.yaml", "not: read")
        .with_file("other.json", r#"{"apiVersion": "v1", "kind": "Service"}"#);
    snapshot!("validate-several", world.run("validate -f other.json mesh -f mesh/b.yaml"));
    assert_eq!(world.run("validate -f mesh/b.yaml -f mesh/b.yaml").code, Some(0), "read once");
}

#[test]
fn valid_files_are_counted() {
    let secret =
        secret_tls("blue", "blue").label("relationship", "blue").pair(&valid_pair("m1.blue.example"));
    let world = World::with_mesh(BLUE).with_file("secret.yaml", to_document(secret));
    let ran = world.run("validate --strict -f mesh.yaml secret.yaml");
    assert_eq!(
        (ran.code, ran.stdout.as_str(), ran.stderr.as_str()),
        (Some(0), "", "1 resource: no problems\n")
    );
}

#[test]
fn missing_files_are_reported() {
    let world = World::with_mesh(FLAT);
    snapshot!("validate-missing", world.run("validate -f mesh.yaml nowhere.yaml elsewhere/"));
}

#[test]
fn standard_input_is_read() {
    let world = World::new();
    assert_eq!(world.run_with_stdin("validate -f -", FLAT).code, Some(0));
    let text = FLAT.replace("FLAT", "FLATT");
    snapshot!("validate-stdin", world.run_with_stdin("validate -f -", &text));
}

#[test]
fn lists_of_kubectl_are_read() {
    let world = World::with_mesh(
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: mm.ibm.istio.io/v1\n  kind: MeshFedConfig\n  \
         metadata: {name: a, namespace: b}\n  spec: {mode: X}\n",
    );
    snapshot!("validate-list", world.run("validate -f mesh.yaml"));
}

#[test]
fn other_kinds_are_skipped_with_a_note() {
    let other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: b}\n";
    let same_name = "apiVersion: example.org/v1\nkind: ServiceBinding\nmetadata: {name: c, namespace: d}\n";
    let world = World::with_mesh(&join_documents(&[FLAT, other, same_name]));
    let ran = world.run("validate -f mesh.yaml");
    assert_eq!(ran.code, Some(0));
    snapshot!("validate-skipped", ran);
}

#[test]
fn typing_errors_are_explained() {
    let wrong = [
        ("kind", FLAT.replace("kind: MeshFedConfig", "kind: MeshFedConfg")),
        ("version", FLAT.replace("/v1", "/v1alpha1")),
        ("field", BLUE.replace("use_egress_gateway", "use_egres_gateway")),
        ("camel", BLUE.replace("use_egress_gateway", "useEgressGateway")),
        ("nested", BLUE.replace("{name: m2, subject", "{name: m2, domain: [x], subject")),
        ("top", format!("{FLAT}speck: {{}}\n")),
        ("spec", "apiVersion: mm.ibm.istio.io/v1\nkind: ServiceBinding\nmetadata: {name: a}\n".to_owned()),
        ("spec-empty", FLAT.replace("{mode: FLAT}", "")),
        ("text", FLAT.replace("{mode: FLAT}", "FLAT")),
        ("name", FLAT.replace("name: flat, ", "")),
        ("no-kind", FLAT.replace("kind: MeshFedConfig\n", "")),
    ];
    for (name, text) in wrong {
        snapshot!(format!("typo-{name}"), World::with_mesh(&text).run("validate -f mesh.yaml"));
    }
}

#[test]
fn an_invalid_field_of_an_input_kind_is_refused() {
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  ports:\n  - port: eighty\n";
    snapshot!("validate-service", World::with_mesh(service).run("validate -f mesh.yaml"));
}

#[test]
fn duplicate_names_are_refused() {
    let (first, again) = (full_binding("reviews", "flat"), full_binding("reviews", "flat"));
    let world = World::with_mesh(&join_documents(&[FLAT, &first, &again]));
    snapshot!("twice-in-a-file", world.run("validate -f mesh.yaml"));
    let world = World::new().with_file("m1/a.yaml", FLAT).with_file("m2/a.yaml", FLAT);
    snapshot!("twice-in-files-render", world.run("render -f m1 m2"));
    assert_eq!(world.run("validate -f m1 m2").code, Some(0), "the files may belong to several meshes");
    // A missing namespace is the namespace `default`.
    let [named, unnamed] = ["{name: a, namespace: default}", "{name: a}"]
        .map(|metadata| FLAT.replace("{name: flat, namespace: flat}", metadata));
    let ran = World::with_mesh(&join_documents(&[&named, &unnamed])).run("validate -f mesh.yaml");
    assert!(ran.expect_refusal().contains("is given twice (first at mesh.yaml:1)"));
}

/// Two refusals in one line are reported twice, not four times.
#[test]
fn each_refusal_is_reported_once() {
    let bad = full_binding("reviews", "flat").replace("9080\n  endpoints", "9080\n  alias: A\n  endpoints");
    let bad = bad.replace("[\"203.0.113.12:15443\"]", "[a, b]");
    let message =
        World::with_mesh(&join_documents(&[FLAT, &bad])).run("validate -f mesh.yaml").expect_refusal();
    assert_eq!(message.lines().count(), 3, "{message}");
}

/// Files of several meshes can be checked together, with a note.
#[test]
fn the_same_name_in_two_files_causes_a_note() {
    let world = World::new().with_file("m1/a.yaml", FLAT).with_file("m2/a.yaml", FLAT);
    let ran = world.run("validate -f m1 m2");
    assert_eq!(ran.code, Some(0));
    assert!(
        ran.stderr.contains("is also in m1/a.yaml:1: these files belong to several meshes"),
        "{}",
        ran.stderr
    );
}

/// A wrong type in one field does not hide a wrong value in another.
#[test]
fn wrong_types_and_wrong_values_are_reported_together() {
    let text =
        BLUE.replace("BOUNDARY", "BOUNDERY").replace("use_egress_gateway: true", "use_egress_gateway: 1");
    let message = World::with_mesh(&text).run("validate -f mesh.yaml").expect_refusal();
    assert!(message.contains("spec.use_egress_gateway") && message.contains("Unknown Mode"), "{message}");
}

#[test]
fn a_typing_error_in_a_selector_is_reported() {
    let ran = World::with_mesh(&join_documents(&[FLAT, &full_binding("reviews", "flatt")]))
        .run("validate -f mesh.yaml");
    assert!(ran.stderr.contains("no MeshFedConfig has the labels {fed-config: flatt}"), "{}", ran.stderr);
}

#[test]
fn a_typing_error_in_the_group_is_refused() {
    let text = FLAT.replace("mm.ibm.istio.io/v1", "mm.ibm.istio/v1");
    assert!(
        World::with_mesh(&text).run("validate -f mesh.yaml").expect_refusal().contains("mm.ibm.istio.io/v1")
    );
}

/// A reader that closes the pipe early, such as `head`, causes no error.
#[test]
fn a_closed_pipe_is_no_error() {
    let world = World::with_mesh(BLUE);
    let mut child = world
        .command("render -f mesh.yaml")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program runs");
    let mut first = [0];
    child.stdout.take().expect("a pipe").read_exact(&mut first).expect("some output");
    assert_eq!(child.wait().expect("the program ends").code(), Some(0));
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = world.command("crds");
    assert_eq!(command.stdout(writer).status().expect("the program runs").code(), Some(0));
}

#[test]
fn colour_is_used_only_on_a_terminal_or_on_request() {
    let world = World::with_mesh(&FLAT.replace("FLAT", "FLATT"));
    let plain = world.run("validate -f mesh.yaml");
    assert!(!plain.stderr.contains('\u{1b}'), "{}", plain.stderr);
    let stderr = |variables: &[(&str, &str)]| {
        let mut command = world.command("validate -f mesh.yaml");
        let output = command.envs(variables.iter().copied()).output().expect("the program runs");
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    let forced = stderr(&[("CLICOLOR_FORCE", "1")]);
    let (refusal, count) = plain.stderr.split_once('\n').expect("two lines");
    assert_eq!(forced, format!("\u{1b}[31m{refusal}\u{1b}[0m\n{count}"));
    assert!(!stderr(&[("NO_COLOR", "1")]).contains('\u{1b}'));
}
