//! Tests of `emcee validate`.

use std::io::Read as _;
use std::process::Stdio;

use crate::world::{BLUE, FLAT, World, binding, full_binding, snapshot, stream};

/// All problems of one file are reported, in the order of its lines.
#[test]
fn all_refusals() {
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
    let world = World::of(&stream(&[exposition, fed_config, &ends]));
    snapshot!("validate-all", world.emcee("validate -f mesh.yaml"));
}

#[test]
fn values_of_a_relationship() {
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
    snapshot!("validate-values", World::of(text).emcee("validate -f mesh.yaml"));
}

#[test]
fn styles_and_their_gateways() {
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
    let text = stream(&documents.iter().map(String::as_str).collect::<Vec<_>>());
    snapshot!("validate-styles", World::of(&text).emcee("validate -f mesh.yaml"));
}

#[test]
fn several_files_and_folders_in_the_order_of_names() {
    let world = World::new()
        .with("mesh/b.yaml", FLAT)
        .with("mesh/deeper/a.yml", "a: 1\n")
        .with("mesh/notes.txt", "not a manifest")
        .with("mesh/.hidden.yaml", "not: read")
        .with("other.json", r#"{"apiVersion": "v1", "kind": "Service"}"#);
    snapshot!("validate-several", world.emcee("validate -f other.json mesh -f mesh/b.yaml"));
    assert_eq!(world.emcee("validate -f mesh/b.yaml -f mesh/b.yaml").code, Some(0), "read once");
}

#[test]
fn fine_says_nothing() {
    let ran = World::of(FLAT).emcee("validate -f mesh.yaml");
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(0), "", ""));
}

#[test]
fn what_is_not_there() {
    let world = World::of(FLAT);
    snapshot!("validate-missing", world.emcee("validate -f mesh.yaml nowhere.yaml elsewhere/"));
}

#[test]
fn standard_input() {
    let world = World::new();
    assert_eq!(world.emcee_reading("validate -f -", FLAT).code, Some(0));
    let text = FLAT.replace("FLAT", "FLATT");
    snapshot!("validate-stdin", world.emcee_reading("validate -f -", &text));
}

#[test]
fn lists_as_kubectl_prints_them() {
    let world = World::of(
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: mm.ibm.istio.io/v1\n  kind: MeshFedConfig\n  \
         metadata: {name: a, namespace: b}\n  spec: {mode: X}\n",
    );
    snapshot!("validate-list", world.emcee("validate -f mesh.yaml"));
}

#[test]
fn other_kinds_are_skipped_and_said() {
    let other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: b}\n";
    let same_name = "apiVersion: example.org/v1\nkind: ServiceBinding\nmetadata: {name: c, namespace: d}\n";
    let world = World::of(&stream(&[FLAT, other, same_name]));
    let ran = world.emcee("validate -f mesh.yaml");
    assert_eq!(ran.code, Some(0));
    snapshot!("validate-skipped", ran);
}

#[test]
fn typing_errors() {
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
        snapshot!(format!("typo-{name}"), World::of(&text).emcee("validate -f mesh.yaml"));
    }
}

#[test]
fn a_field_of_a_kind_that_is_only_read() {
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  ports:\n  - port: eighty\n";
    snapshot!("validate-service", World::of(service).emcee("validate -f mesh.yaml"));
}

#[test]
fn the_same_name_twice() {
    let (first, again) = (full_binding("reviews", "flat"), full_binding("reviews", "flat"));
    let world = World::of(&stream(&[FLAT, &first, &again]));
    snapshot!("twice-in-a-file", world.emcee("validate -f mesh.yaml"));
    let world = World::new().with("m1/a.yaml", FLAT).with("m2/a.yaml", FLAT);
    snapshot!("twice-in-files-render", world.emcee("render -f m1 m2"));
    assert_eq!(world.emcee("validate -f m1 m2").code, Some(0), "the files may belong to several meshes");
    // A missing namespace is the namespace `default`.
    let [named, unnamed] = ["{name: a, namespace: default}", "{name: a}"]
        .map(|metadata| FLAT.replace("{name: flat, namespace: flat}", metadata));
    let ran = World::of(&stream(&[&named, &unnamed])).emcee("validate -f mesh.yaml");
    assert!(ran.refusal().contains("is given twice (first at mesh.yaml:1)"));
}

/// Two refusals in one line are reported twice, not four times.
#[test]
fn each_refusal_is_said_once() {
    let bad = full_binding("reviews", "flat").replace("9080\n  endpoints", "9080\n  alias: A\n  endpoints");
    let bad = bad.replace("[\"203.0.113.12:15443\"]", "[a, b]");
    let message = World::of(&stream(&[FLAT, &bad])).emcee("validate -f mesh.yaml").refusal();
    assert_eq!(message.lines().count(), 3, "{message}");
}

/// Files of several meshes can be checked together, with a note.
#[test]
fn the_same_name_in_two_files_is_noted() {
    let world = World::new().with("m1/a.yaml", FLAT).with("m2/a.yaml", FLAT);
    let ran = world.emcee("validate -f m1 m2");
    assert_eq!(ran.code, Some(0));
    assert!(
        ran.stderr.contains("is also in m1/a.yaml:1: these files belong to several meshes"),
        "{}",
        ran.stderr
    );
}

/// A wrong type in one field does not hide a wrong value in another.
#[test]
fn types_and_values_together() {
    let text =
        BLUE.replace("BOUNDARY", "BOUNDERY").replace("use_egress_gateway: true", "use_egress_gateway: 1");
    let message = World::of(&text).emcee("validate -f mesh.yaml").refusal();
    assert!(message.contains("spec.use_egress_gateway") && message.contains("Unknown Mode"), "{message}");
}

#[test]
fn a_typing_error_in_a_selector_is_told() {
    let ran = World::of(&stream(&[FLAT, &full_binding("reviews", "flatt")])).emcee("validate -f mesh.yaml");
    assert!(ran.stderr.contains("no MeshFedConfig has the labels {fed-config: flatt}"), "{}", ran.stderr);
}

#[test]
fn a_typing_error_in_the_group_is_refused() {
    let text = FLAT.replace("mm.ibm.istio.io/v1", "mm.ibm.istio/v1");
    assert!(World::of(&text).emcee("validate -f mesh.yaml").refusal().contains("mm.ibm.istio.io/v1"));
}

/// A reader that closes the pipe early, such as `head`, causes no error.
#[test]
fn a_reader_that_ends_early() {
    let world = World::of(BLUE);
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
fn colour_only_on_a_terminal_or_when_asked_for() {
    let world = World::of(&FLAT.replace("FLAT", "FLATT"));
    let plain = world.emcee("validate -f mesh.yaml");
    assert!(!plain.stderr.contains('\u{1b}'), "{}", plain.stderr);
    let stderr = |variables: &[(&str, &str)]| {
        let mut command = world.command("validate -f mesh.yaml");
        let output = command.envs(variables.iter().copied()).output().expect("the program runs");
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    let forced = stderr(&[("CLICOLOR_FORCE", "1")]);
    assert_eq!(forced, format!("\u{1b}[31m{}\u{1b}[0m\n", plain.stderr.trim_end()));
    assert!(!stderr(&[("NO_COLOR", "1")]).contains('\u{1b}'));
}
