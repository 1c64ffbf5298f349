//! Values at the limits of what is allowed.

use crate::world::{BLUE, FLAT, World, binding, full_binding, join_documents, snapshot};

/// Returns the refusal of a binding with these lines in its spec.
fn refusal_of(more: &str) -> String {
    let text = join_documents(&[FLAT, &binding("reviews", "flat", more)]);
    World::with_mesh(&text).run("validate -f mesh.yaml").expect_refusal()
}

#[test]
fn invalid_ports_are_refused() {
    for port in ["0", "70000", "-1", "65536", "99999999999999999999", "80.5", "'80'", "http"] {
        let message = refusal_of(&format!("  port: {port}\n"));
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(
            message.starts_with("mesh.yaml:12: ServiceBinding default/reviews: spec.port: "),
            "{message}"
        );
    }
    snapshot!("port-words", [refusal_of("  port: 70000\n"), refusal_of("  port: http\n")].concat());
}

#[test]
fn invalid_aliases_are_refused() {
    for alias in ["re.views", "Reviews", "-a", "a-", "a_b", "''", "ü", "9lives"] {
        let message = refusal_of(&format!("  alias: {alias}\n"));
        assert!(message.contains("spec.alias: invalid alias "), "{message}");
    }
}

#[test]
fn endpoints_without_a_valid_port_are_refused() {
    for endpoint in
        ["203.0.113.7", "m2.example", "[2001:db8::7]", "2001:db8::7", "a:0", "a:70000", "a:b", ":80"]
    {
        let message = refusal_of(&format!("  endpoints: ['{endpoint}']\n"));
        assert!(message.contains("spec.endpoints[0]: "), "{message}");
        assert!(message.contains(endpoint), "{message}");
    }
}

#[test]
fn ipv6_endpoints_are_rendered() {
    let text = join_documents(&[
        FLAT,
        &binding("reviews", "flat", "  port: 80\n  endpoints: ['[2001:db8::7]:15443']\n"),
    ]);
    let rendered = World::with_mesh(&text).run("render -f mesh.yaml").expect_success();
    assert!(
        rendered.contains(r#"address: "2001:db8::7""#) || rendered.contains("address: 2001:db8::7"),
        "{rendered}"
    );
    assert!(rendered.contains("resolution: STATIC"), "{rendered}");
}

#[test]
fn names_of_63_characters_are_valid() {
    let name = "n".repeat(63);
    let blue = BLUE.replace("{name: blue, namespace: blue}", &format!("{{name: {name}, namespace: {name}}}"));
    let bound = full_binding(&name, &name).replace("namespace: default", &format!("namespace: {name}"));
    let world = World::with_mesh(&join_documents(&[&blue, &bound]));
    let rendered = world.run("render -f mesh.yaml").expect_success();
    let names = rendered.lines().filter_map(|line| line.strip_prefix("  name: "));
    for name in names {
        assert!(name.len() <= 63, "{name} has {} characters", name.len());
    }
}

#[test]
fn names_of_64_and_253_characters_are_refused_for_bindings_only() {
    let long = format!("{}.{}", "a".repeat(63), "b".repeat(189));
    let longest =
        [&"a".repeat(63), &"b".repeat(63), &"c".repeat(63), &"d".repeat(61)].map(String::as_str).join(".");
    assert_eq!(longest.len(), 253);
    for name in ["a".repeat(64), long, longest.clone()] {
        let message = World::with_mesh(&join_documents(&[FLAT, &full_binding(&name, "flat")]))
            .run("render -f mesh.yaml")
            .expect_refusal();
        assert!(
            message.contains("metadata.name") && message.lines().all(|line| line.len() < 700),
            "{message}"
        );
    }
    // The name of an exposition is not part of any host.
    let exposition = format!(
        "apiVersion: mm.ibm.istio.io/v1\nkind: ServiceExposition\nmetadata: {{name: {longest}, namespace: default}}\n\
         spec: {{name: reviews, port: 80, mesh_fed_config_selector: {{fed-config: blue}}}}\n"
    );
    let rendered =
        World::with_mesh(&join_documents(&[BLUE, &exposition])).run("render -f mesh.yaml").expect_success();
    let label = |line: &str| line.trim().strip_prefix("emcee.io/owner-name: ").map(str::len);
    assert!(rendered.lines().filter_map(label).max().expect("labels") <= 63);
}

/// Messages contain at most a part of long values.
#[test]
fn huge_values_are_truncated_in_messages() {
    let huge = "x".repeat(10 << 20);
    for field in ["alias", "server_name", "protocol", "peer", "subset"] {
        let message = refusal_of(&format!("  {field}: {huge}\n"));
        assert!(
            message.contains(&format!("spec.{field}: ")) && message.len() < 1000,
            "{field}: {}",
            message.len()
        );
    }
}

/// Other alphabets, control characters and escape codes neither break a line nor reach the terminal.
#[test]
fn hostile_text_stays_on_its_line() {
    for alias in [r#""a\nb""#, r#""\u001b[31mred""#, r#""\u202eevil""#, "名前", r#""a\u0000b""#] {
        let message = refusal_of(&format!("  alias: {alias}\n"));
        assert_eq!(message.lines().count(), 1, "{message:?}");
        assert!(!message.contains(['\u{1b}', '\u{202e}', '\0']), "{message:?}");
    }
}
