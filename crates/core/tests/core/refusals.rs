//! The exact text of each parse refusal.

use emcee_core::parse;
use emcee_core::problem::ResourceProblem;
use serde_json::{Value, json};

use crate::hostile::complete_objects;

const LABEL_RULE: &str = "(a DNS label: a-z, 0-9 and `-`, at most 63 characters, no dots or capitals)";

fn refusal_lines<T>(result: Result<T, Vec<ResourceProblem>>) -> Vec<String> {
    result.err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

/// Sets these fields in the complete object of a kind (null: absent), and returns its refusals.
fn refusals_of(kind: usize, fields: &Value) -> Vec<String> {
    let mut object = complete_objects()[kind].clone();
    for (pointer, value) in fields.as_object().expect("pointers and values") {
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        let parent = object.pointer_mut(parent).expect("a pointer into the object");
        match (parent.as_array_mut(), name.parse::<usize>()) {
            (Some(list), Ok(index)) if index >= list.len() => list.push(value.clone()),
            (Some(list), Ok(index)) => list[index] = value.clone(),
            _ => parent[name] = value.clone(),
        }
    }
    match kind {
        0 => refusal_lines(parse::read_fed_config(&object)),
        1 => refusal_lines(parse::read_exposition(&object)),
        _ => refusal_lines(parse::read_binding(&object)),
    }
}

/// Asserts that objects with these fields get these refusals: `fields => lines`.
macro_rules! refused {
    ($kind:literal: $($fields:tt => [$($line:expr),* $(,)?];)+) => {
        $( assert_eq!(refusals_of($kind, &json!($fields)), [$($line.to_string()),*] as [String; _], "{}", json!($fields)); )+
    };
}

#[test]
fn wrong_types_and_unknown_fields_are_refused() {
    refused!(1:
        {"/spec/port": "80"} => [r#"spec.port: is "80", and must be a whole number"#];
        {"/spec/port": null} => ["spec.port: is missing"];
        {"/spec/port": 1.5} => ["spec.port: is 1.5, and must be a whole number"];
        {"/spec/name": 5} => ["spec.name: is 5, and must be a text (in quotes if it looks like a number or true/false)"];
        {"/spec/directory": "no"} => [r#"spec.directory: is "no", and must be true or false"#];
        {"/spec/peers": {"m2": 1}} => ["spec.peers: is an object, and must be a list"];
        {"/spec/prot": 1} => ["spec.prot: unknown field (did you mean `port`?)"];
        {"/spec": null} => ["spec: is missing"];
        {"/spec": []} => ["spec: is a list, and must be an object"];
        {"/specs": {}} => ["specs: unknown field (did you mean `spec`?)"];
    );
    refused!(0:
        {"/spec/discovery/import": "auto"} => [r#"spec.discovery.import: "auto" is unknown (Manual, Automatic)"#];
        {"/spec/peers/0/names": []} => ["spec.peers[0].names: unknown field (did you mean `name`?)"];
    );
    for (value, line) in
        [(json!(5), "is not an object"), (json!([]), "is not an object"), (json!(null), "is not an object")]
    {
        assert_eq!(refusal_lines(parse::read_binding(&value)), [line]);
    }
}

#[test]
fn invalid_names_and_ports_are_refused() {
    let (just_fits, too_long) = ("x".repeat(63), "x".repeat(64));
    refused!(1:
        {"/spec/name": just_fits} => [];
        {"/spec/name": too_long} => [format!("spec.name: {too_long:?} is not a valid name {LABEL_RULE}")];
        {"/spec/name": ""} => [format!(r#"spec.name: "" is not a valid name {LABEL_RULE}"#)];
        {"/spec/alias": "a.b"} => [format!(r#"spec.alias: invalid alias "a.b" {LABEL_RULE}"#)];
        {"/spec/alias": "Reviews"} => [format!(r#"spec.alias: invalid alias "Reviews" {LABEL_RULE}"#)];
        {"/spec/subset": "v_1"} => [format!(r#"spec.subset: "v_1" is not a valid name {LABEL_RULE}"#)];
        {"/spec/port": 0} => ["spec.port: 0 is not a port (1 to 65535)"];
        {"/spec/port": 70000} => ["spec.port: 70000 is not a port (1 to 65535)"];
        {"/spec/port": -1} => ["spec.port: -1 is not a port (1 to 65535)"];
        {"/spec/port": 65535} => [];
        {"/spec/protocol": "udp"} => [r#"spec.protocol: unknown protocol "udp" (http, http2, grpc, tcp or tls)"#];
        {"/spec/protocol": "GRPC"} => [];
        {"/spec/mesh_fed_config_selector": {}} => ["spec.mesh_fed_config_selector: requires mesh_fed_config_selector (labels of a MeshFedConfig, such as {fed-config: NAME})"];
        {"/spec/mesh_fed_config_selector": {"a b": "c"}} => [r#"spec.mesh_fed_config_selector[a b]: "a b" is not a label's key"#];
        {"/spec/mesh_fed_config_selector": {"a": "c d"}} => [r#"spec.mesh_fed_config_selector.a: "c d" is not a label's value (at most 63 of a-z, A-Z, 0-9, `-`, `_` and `.`)"#];
        {"/spec/peers": []} => ["spec.peers: is empty (leave it out to allow all peers, or name some)"];
        {"/spec/peers": ["M2"]} => [format!(r#"spec.peers[0]: "M2" is not a valid name {LABEL_RULE}"#)];
        {"/metadata/name": "a".repeat(63) + "." + &"b".repeat(63)} => [];
        {"/metadata/name": "Reviews"} => [r#"metadata.name: "Reviews" is not a name (a-z, 0-9, `-` and `.`, at most 253)"#];
        {"/metadata/namespace": "a.b"} => [format!(r#"metadata.namespace: "a.b" is not a valid name {LABEL_RULE}"#)];
    );
    assert_eq!(
        refusals_of(1, &json!({"/metadata/name": vec!["a"; 127].join(".")})),
        [] as [String; 0],
        "253 characters"
    );
    assert_eq!(
        refusals_of(1, &json!({"/metadata/name": vec!["a"; 128].join(".")})).len(),
        1,
        "255 characters"
    );
}

#[test]
fn invalid_bindings_are_refused() {
    const SAN: &str = "is not a valid name in a certificate (a DNS name in lower case without wildcard, or spiffe://trust-domain/path)";
    refused!(2:
        {"/spec/endpoints": ["9.1.2.3"]} => [r#"spec.endpoints[0]: "9.1.2.3" has no port (host:port, such as 203.0.113.7:15443)"#];
        {"/spec/endpoints": ["a.example:0"]} => [r#"spec.endpoints[0]: "a.example:0": "0" is not a port (1 to 65535)"#];
        {"/spec/endpoints": ["2001:db8::7:443"]} => [r#"spec.endpoints[0]: "2001:db8::7:443": an IPv6 address needs brackets ([2001:db8::7]:15443)"#];
        {"/spec/endpoints": ["1.2.3.999:1"]} => [r#"spec.endpoints[0]: "1.2.3.999:1": "1.2.3.999" is neither an IP address nor a DNS name (four numbers of 0 to 255 without leading zeros, or labels of a-z, 0-9 and `-`)"#];
        {"/spec/endpoints": ["0.0.0.0:1"]} => [r#"spec.endpoints[0]: "0.0.0.0:1": nothing can be reached at an unspecified or multicast address"#];
        {"/spec/endpoints": ["[2001:db8::7]:443", "[2001:DB8:0::7]:443"]} => ["spec.endpoints[1]: [2001:db8::7]:443 is listed twice"];
        {"/spec/endpoints": ["A.example:1", "a.example:1"]} => ["spec.endpoints[1]: a.example:1 is listed twice"];
        {"/spec/subject_alt_names": ["*.example"]} => [format!(r#"spec.subject_alt_names[0]: "*.example" {SAN}"#)];
        {"/spec/subject_alt_names": ["spiffe://m2"]} => [format!(r#"spec.subject_alt_names[0]: "spiffe://m2" {SAN}"#)];
        {"/spec/server_name": "one"} => [r#"spec.server_name: "one" is not a server name (a DNS name in lower case with at least one dot)"#];
        {"/spec/server_name": "*.example"} => [r#"spec.server_name: "*.example" is not a server name (a DNS name in lower case with at least one dot)"#];
        {"/spec/server_name": vec!["a"; 125].join(".")} => ["spec.server_name: has 249 characters (at most 247)"];
        {"/spec/export_to": ["a"]} => [r#"spec.export_to: is neither ["."] (this namespace) nor ["*"] (the whole mesh, the default)"#];
        {"/spec/export_to": []} => [r#"spec.export_to: is neither ["."] (this namespace) nor ["*"] (the whole mesh, the default)"#];
        {"/spec/subset": null, "/spec/alias": "1st"} => [r#"spec.alias: invalid alias "1st" (a Service's name begins with a letter: set spec.alias)"#];
        {"/metadata/name": "a.b"} => [r#"metadata.name: "a.b" is not a DNS label, and it is the first label of the binding's host (at most 63 characters, no dots)"#];
        {"/spec/port": 0, "/spec/peer": "M"} => [format!(r#"spec.peer: "M" is not a valid name {LABEL_RULE}"#), "spec.port: 0 is not a port (1 to 65535)"];
    );
}

#[test]
fn invalid_relationships_are_refused() {
    const EXPORT: &str = r#"spec.discovery.export_to: is neither ["."] (the import's namespace, the default) nor ["*"] (the whole mesh)"#;
    const NEEDS: &str = "needs the gateway of the side it plays (use_egress_gateway: true to consume, use_ingress_gateway: true to expose)";
    refused!(0:
        {"/spec/mode": "MESH"} => [r#"spec.mode: Unknown Mode "MESH" (BOUNDARY, PASSTHROUGH, WHARF or FLAT)"#];
        {"/spec/mode": "bOUNDARY"} => [];
        {"/spec/mode": "FLAT", "/spec/egress_gateway_selector": null, "/spec/ingress_gateway_selector": null} => [
            "spec.use_egress_gateway: FLAT has no egress gateway (leave it out)",
            "spec.use_ingress_gateway: FLAT has no ingress gateway (leave it out)"];
        {"/spec/mode": "PASSTHROUGH"} => ["spec.use_egress_gateway: PASSTHROUGH has no egress gateway (leave it out)"];
        {"/spec/use_egress_gateway": false} => ["spec.egress_gateway_selector: does not specify egress, but selects one (set use_egress_gateway: true, or leave the selector out)"];
        {"/spec/use_ingress_gateway": null} => ["spec.ingress_gateway_selector: does not specify ingress, but selects one (set use_ingress_gateway: true, or leave the selector out)"];
        {"/spec/use_egress_gateway": null, "/spec/use_ingress_gateway": null, "/spec/egress_gateway_selector": null, "/spec/ingress_gateway_selector": null} =>
            [format!("spec.use_egress_gateway: BOUNDARY {NEEDS}")];
        {"/spec/tls_context_selector": null} => ["spec.tls_context_selector: BOUNDARY needs the relationship's certificate (labels of its kubernetes.io/tls Secret)"];
        {"/spec/mode": "WHARF", "/spec/tls_context_selector": null} => ["spec.tls_context_selector: discovery needs the relationship's certificate (labels of its kubernetes.io/tls Secret)"];
        {"/spec/relationship": "binding"} => ["spec.relationship: `binding` is reserved (set spec.relationship to another name, alike in all meshes)"];
        {"/spec/relationship": "a.b"} => [format!(r#"spec.relationship: "a.b" is not a valid name {LABEL_RULE}"#)];
        {"/spec/relationship": null, "/metadata/name": "a.b"} => [r#"metadata.name: "a.b" cannot be the relationship's name (set spec.relationship to a DNS label)"#];
        {"/spec/allowed_namespaces": []} => [r#"spec.allowed_namespaces: is empty (name some namespaces, or set ["*"] to allow all)"#];
        {"/spec/gateway_replicas": 0} => ["spec.gateway_replicas: 0 is not a number of replicas (1 to 100)"];
        {"/spec/egress_gateway_port": 70000} => ["spec.egress_gateway_port: 70000 is not a port (1 to 65535)"];
        {"/spec/discovery/expire_after": "soon"} => [r#"spec.discovery.expire_after: "soon" is not a duration (such as 90s, 10m or 1h)"#];
        {"/spec/discovery/expire_after": "-1m"} => [r#"spec.discovery.expire_after: "-1m" is not a duration (such as 90s, 10m or 1h)"#];
        {"/spec/discovery/max_imports": -1} => ["spec.discovery.max_imports: is negative (0 or more)"];
        {"/spec/discovery/export_to": ["."]} => [];
        {"/spec/discovery/export_to": ["*"]} => [];
        {"/spec/discovery/export_to": []} => [EXPORT];
        {"/spec/discovery/export_to": ["shop"]} => [EXPORT];
        {"/spec/discovery/export_to": [".", "*"]} => ["spec.discovery.export_to: has 2 entries (at most 1)"];
        {"/spec/ingress_gateway_service_type": "Ingress"} => [r#"spec.ingress_gateway_service_type: "Ingress" is unknown (LoadBalancer, NodePort, ClusterIP)"#];
    );
}

#[test]
fn invalid_peers_are_refused() {
    refused!(0:
        {"/spec/peers/0/subject_alt_names": []} => ["spec.peers[0].subject_alt_names: is missing (the names in this peer's certificate; without them it could not be told from others)"];
        {"/spec/peers/0/networks": ["10.0.0.0/33"]} => [r#"spec.peers[0].networks[0]: "10.0.0.0/33" is not a network (such as 203.0.113.0/24)"#];
        {"/spec/peers/0/networks": ["2001:db8::/32"]} => [];
        {"/spec/allowed_backend_networks": ["10.0.0.7", "fd00::/8"]} => [r#"spec.allowed_backend_networks[0]: "10.0.0.7" is not a network (such as 203.0.113.0/24)"#];
        {"/spec/allowed_backend_domains": ["db.example", "*.example", "A.example"]} => [r#"spec.allowed_backend_domains[1]: "*.example" is not a DNS name in lower case"#, r#"spec.allowed_backend_domains[2]: "A.example" is not a DNS name in lower case"#];
        {"/spec/peers/0/domains": ["*.example"]} => [r#"spec.peers[0].domains[0]: "*.example" is not a DNS name in lower case"#];
        {"/spec/peers/0/discovery": "m2"} => [r#"spec.peers[0].discovery: "m2" has no port (host:port, such as 203.0.113.7:15443)"#];
        {"/spec/peers/1": {"name": "m2", "subject_alt_names": ["m3.example"]}} => [r#"spec.peers[1].name: "m2" is the name of spec.peers[0] too (names are unique)"#];
        {"/spec/peers/1": {"name": "m3", "subject_alt_names": ["m2.example"]}} => [r#"spec.peers[1].subject_alt_names[0]: "m2.example" is a name of peer m2 too (a certificate's name tells one peer from another)"#];
        {"/spec/peers/0/subject_alt_names": ["m2.example", "m2.example"]} => [r#"spec.peers[0].subject_alt_names[1]: "m2.example" is listed twice"#];
        {"/spec/peers/0/name": "m.2"} => [format!(r#"spec.peers[0].name: "m.2" is not a valid name {LABEL_RULE}"#)];
    );
}
