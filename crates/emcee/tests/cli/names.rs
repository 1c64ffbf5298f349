//! Server names and endpoints that a binding is not allowed to use.

use crate::world::{World, join_documents};

/// A relationship whose administrator lists the network of its only peer.
const BLUE: &str = "\
apiVersion: mm.ibm.istio.io/v1
kind: MeshFedConfig
metadata: {name: blue, namespace: blue}
spec:
  mode: STYLE
  tls_context_selector: {relationship: blue}
  use_egress_gateway: true
  peers:
  - {name: m2, subject_alt_names: [m2.blue.example], discovery: \"203.0.113.12:15443\", networks: [203.0.113.0/24]}
";

/// Returns the refusal of a user's binding with these lines in its spec. Asserts that nothing is generated for it.
#[track_caller]
fn refusal_of(style: &str, more: &str) -> String {
    let spy = format!(
        "apiVersion: mm.ibm.istio.io/v1\nkind: ServiceBinding\nmetadata: {{name: spy, namespace: mallory}}\nspec:\n  \
         name: spy\n  port: 80\n  mesh_fed_config_selector: {{fed-config: blue}}\n  \
         subject_alt_names: [\"spiffe://m2/ns/a/sa/b\"]\n{more}"
    );
    let world = World::with_mesh(&join_documents(&[&BLUE.replace("STYLE", style), &spy]));
    let message = world.run("validate -f mesh.yaml").expect_refusal();
    let rendered = world.run("render -f mesh.yaml");
    assert!(!rendered.stdout.contains("mallory"), "{}", rendered.stdout);
    message
}

const PEER_ENDPOINT: &str = "  endpoints: [\"203.0.113.12:15443\"]\n";

#[test]
fn a_peers_emcee_cannot_be_bound() {
    for style in ["BOUNDARY", "WHARF"] {
        let message =
            refusal_of(style, &format!("  server_name: discovery.blue.emcee.internal\n{PEER_ENDPOINT}"));
        let expected = "ServiceBinding mallory/spy: spec.server_name: discovery.blue.emcee.internal is a name of Emcee's own (below emcee.internal a binding asks for <name>.<namespace>.<relationship>.emcee.internal only; leave server_name out for the computed one)";
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn other_server_names_need_the_administrators_permission() {
    for name in ["api.stripe.com", "kubernetes.default.svc", "exfil.attacker.example"] {
        let message = refusal_of("WHARF", &format!("  server_name: {name}\n{PEER_ENDPOINT}"));
        let expected = format!("`allowed_server_names: [{name}]`");
        assert!(message.contains(&expected) && message.contains("MeshFedConfig blue/blue"), "{message}");
    }
}

#[test]
fn addresses_of_the_gateway_and_of_the_cluster_are_refused_as_endpoints() {
    for endpoint in [
        "127.0.0.1:15443",
        "198.51.100.66:443",
        "10.96.0.1:443",
        "169.254.169.254:443",
        "kubernetes.default.svc:443",
        "emcee-blue-egress.blue.svc.cluster.local:15443",
        "exfil.attacker.example:443",
    ] {
        let message =
            refusal_of("WHARF", &format!("  endpoints: [\"203.0.113.12:15443\", \"{endpoint}\"]\n"));
        assert!(message.contains("ServiceBinding mallory/spy: spec.endpoints[1]: "), "{message}");
    }
}
