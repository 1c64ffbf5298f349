//! Announcements in files: catalogue, documents, bundles, and the resources that Emcee creates from them.

use std::fs;

use crate::world::{BLUE, FLAT, RunResult, World, root, snapshot};

/// Returns a folder with a link to the examples.
fn world_with_examples() -> World {
    let world = World::new();
    std::os::unix::fs::symlink(root().join("examples"), world.path("examples"))
        .expect("a link to the examples");
    world
}

const C1: &str = "examples/limited-trust/c1";
const C2: &str = "examples/limited-trust/c2";

/// Writes the output of a command into a file, and returns it.
fn write_output(world: &World, name: &str, ran: RunResult) -> String {
    let text = ran.expect_success();
    fs::write(world.path(name), &text).expect("a writable file");
    text
}

/// Replaces the time of the export, which is the only time in the text.
fn without_export_time(text: &str) -> String {
    let line = |line: &str| match line.split_once("exported-at: ") {
        Some((start, _)) => format!("{start}exported-at: TIME\n"),
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[test]
fn announcements_are_exchanged_as_a_document() {
    let world = world_with_examples();
    snapshot!("catalogue", world.run(&format!("catalogue -f {C2}")));
    let document = write_output(&world, "document.json", world.run(&format!("openapi -f {C2}")));
    snapshot!("openapi", document);
    snapshot!("bind-catalogue", world.run("bind --catalogue document.json --peer c2 -n shop --dry-run"));
    let wrong = document.replace("15443", "154430").replace("\"http\"", "\"htpp\"");
    fs::write(world.path("wrong.json"), wrong).expect("a writable file");
    snapshot!("bind-catalogue-wrong", world.run("bind --catalogue wrong.json --dry-run"));
}

#[test]
fn announcements_are_exchanged_as_a_bundle() {
    let world = world_with_examples();
    let bundle = write_output(&world, "bundle.yaml", world.run(&format!("export -f {C2} --mesh c2")));
    snapshot!("export", without_export_time(&bundle));
    let import = format!("import bundle.yaml --relationship limited-trust --peer c2 -f {C1} --dry-run");
    let bindings = write_output(&world, "bindings/all.yaml", {
        fs::create_dir(world.path("bindings")).expect("a new folder");
        world.run(&import)
    });
    snapshot!("import", without_export_time(&bindings));
    world.run("validate -f bindings").expect_success();
}

/// An imported binding does not need an announcement.
#[test]
fn imported_bindings_are_rendered() {
    let world = world_with_examples();
    let flat = |peers: &str| FLAT.replace("mode: FLAT", &format!("mode: FLAT, peers: [{peers}]"));
    let c2 = "{name: c2, subject_alt_names: [c2.example], networks: [203.0.113.0/24], trust_domains: [c2.example]}";
    let world = world.with_file("mesh/flat.yaml", flat(c2));
    let bundle = "\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: reviews-ipv4
  namespace: default
  labels: {emcee.io/service-name: reviews}
  annotations:
    emcee.io/exported-at: 2026-11-25T08:00:00Z
    emcee.io/relationship: flat
    emcee.io/server-name: reviews.default.flat.emcee.internal
    emcee.io/service-port: '9080'
    emcee.io/style: FLAT
    emcee.io/subject-alt-names: spiffe://c2.example/ns/default/sa/reviews
    emcee.io/trust-domain: c2.example
addressType: IPv4
endpoints:
- addresses: [203.0.113.7]
ports:
- {name: http, appProtocol: http, protocol: TCP, port: 80}
";
    let world = world.with_file("bundle.yaml", bundle);
    let import = "import bundle.yaml --relationship flat --peer c2 -f mesh --dry-run";
    write_output(&world, "mesh/bindings.yaml", world.run(import));
    let rendered = world.run("render -f mesh --trust-domain c1.example").expect_success();
    assert!(rendered.contains("address: \"203.0.113.7\""), "{rendered}");
    assert!(rendered.contains("spiffe://c2.example/ns/default/sa/reviews"), "{rendered}");

    let world = world.with_file("elsewhere.yaml", bundle.replace("203.0.113.7", "198.51.100.7"));
    snapshot!("import-elsewhere", world.run(&import.replace("bundle", "elsewhere")));
    let world = world.with_file("green.yaml", bundle.replace("relationship: flat", "relationship: green"));
    snapshot!("import-other", world.run(&import.replace("bundle", "green")));
    snapshot!("import-nothing", world.with_file("none.yaml", "").run(&import.replace("bundle", "none")));
    let folder = World::new().with_file("mesh/flat.yaml", flat(c2)).with_file("bundle.yaml", bundle);
    snapshot!("import-mistyped", folder.run(&import.replace("--peer c2", "--peer c3")));
}

#[test]
fn dry_run_prints_the_resources() {
    let world = World::new();
    snapshot!("bind", world.run("bind blue/m2/default/reviews -n shop --alias critics --port 80 --dry-run"));
    snapshot!("bind-refused", world.run("bind blue/m2/default/reviews --alias 1st --dry-run"));
    let expose = "expose default/reviews:9080 --to blue --peers m1 --no-directory --dry-run";
    snapshot!("expose", world.run(expose));
    snapshot!("expose-refused", world.run(&expose.replace("m1", "m1,m1")));
}

#[test]
fn an_ambiguous_relationship_or_peer_is_refused() {
    let other = BLUE.replace("peers:", "peers:\n  - {name: m3, subject_alt_names: [m3.blue.example]}");
    let world = World::with_mesh(&BLUE.replace("blue", "red")).with_file("blue.yaml", other);
    for (name, args) in [
        ("relationship", "openapi -f mesh.yaml blue.yaml"),
        ("mistyped", "openapi -f mesh.yaml blue.yaml --relationship bleu"),
        ("peer", "export -f mesh.yaml blue.yaml --relationship blue"),
        ("nothing", "export -f mesh.yaml blue.yaml --relationship red"),
    ] {
        snapshot!(format!("meant-{name}"), world.run(args));
    }
}

#[test]
fn an_unusable_secret_is_reported_before_connecting() {
    let world = World::with_mesh(BLUE).with_file(
        "secret.yaml",
        "\
apiVersion: v1
kind: Secret
metadata: {name: blue, namespace: blue}
type: kubernetes.io/tls
stringData: {tls.crt: x, ca.crt: x}
",
    );
    let from = "catalogue --from 203.0.113.12:15443 --relationship blue --secret";
    for (name, secret) in [("missing", "nowhere.yaml"), ("none", "mesh.yaml"), ("broken", "secret.yaml")] {
        snapshot!(format!("secret-{name}"), world.run(&format!("{from} {secret}")));
    }
}
