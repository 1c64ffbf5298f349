//! Generates objects of Emcee's own kinds.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

use super::{
    ALIASES, APPS, FEDS, GeneratedInput, SERVICES, build_object, optional, select_one, set_field, with_age,
};

const API_VERSION: &str = "mm.ibm.istio.io/v1";
const ENDPOINTS: [&str; 4] =
    ["203.0.113.7:15443", "203.0.113.8:15443", "[2001:db8::7]:443", "ingress.example.com:15443"];

pub(super) fn fed_config() -> BoxedStrategy<GeneratedInput> {
    let who = (select(&FEDS[..]), select(&FEDS[..]), optional(0.2, select_one(&["blue", "red"])));
    let style = (
        select_one(&["BOUNDARY", "PASSTHROUGH", "WHARF", "FLAT"]),
        any::<(bool, bool)>(),
        any::<[bool; 8]>(),
    );
    let gateways = (selector(), selector(), port(), port());
    let whom = (
        optional(0.2, subsequence(&APPS[..], 0..=2)),
        subsequence(&[0_usize, 1][..], 0..=2),
        optional(0.3, Just("gold")),
        optional(0.5, automatic_discovery()),
        optional(0.7, allowed_server_names()),
    );
    let object = (who, style, gateways, whom, select_one(&["blue", "red"])).prop_map(
        |(
            (namespace, name, relationship),
            style,
            gateways,
            (allowed, peers, tier, discovery, names),
            secret,
        )| {
            let mut spec = json!({"mode": style.0, "tls_context_selector": {"relationship": secret}});
            set_field(&mut spec, "/relationship", relationship);
            set_gateway_sides(&mut spec, style, gateways);
            set_field(&mut spec, "/allowed_namespaces", allowed);
            set_field(&mut spec, "/discovery", discovery);
            set_field(&mut spec, "/allowed_server_names", names);
            spec["peers"] = peers.into_iter().map(peer).collect();
            let mut object = build_object(API_VERSION, "MeshFedConfig", namespace, name, &spec);
            object["metadata"]["labels"] = tier.map_or(json!({}), |tier| json!({"tier": tier}));
            object
        },
    );
    with_age(object)
}

fn automatic_discovery() -> impl Strategy<Value = Value> {
    let limit = optional(0.3, select(vec![0_u16, 1]));
    (subsequence(&APPS[..], 1..=2), limit, any::<bool>()).prop_map(|(namespaces, limit, announce)| {
        let mut discovery = json!({"import": "Automatic", "namespaces": namespaces, "announce": announce});
        set_field(&mut discovery, "/max_imports", limit);
        if announce {
            discovery["export_to"] = json!(["*"]);
        }
        discovery
    })
}

type StyleInput = (&'static str, (bool, bool), [bool; 8]);
type GatewayInput = (Option<Value>, Option<Value>, Option<u16>, Option<u16>);

/// Sets the gateway sides that the style allows, or, in 1 of 256 cases, sides that it does not allow.
fn set_gateway_sides(
    spec: &mut Value,
    (mode, (egress, ingress), chance): StyleInput,
    gateways: GatewayInput,
) {
    let any_style = chance == [true; 8];
    let has_egress = any_style || matches!(mode, "BOUNDARY" | "WHARF");
    let has_ingress = any_style || mode != "FLAT";
    let (egress, ingress) = (has_egress && (egress || !ingress), has_ingress && (ingress || !has_egress));
    if egress {
        spec["use_egress_gateway"] = true.into();
        set_field(spec, "/egress_gateway_selector", gateways.0);
        set_field(spec, "/egress_gateway_port", gateways.2);
    }
    if ingress {
        spec["use_ingress_gateway"] = true.into();
        set_field(spec, "/ingress_gateway_selector", gateways.1);
        set_field(spec, "/ingress_gateway_port", gateways.3);
    }
}

fn selector() -> impl Strategy<Value = Option<Value>> {
    optional(0.6, select_one(&["edge", "edge", "gate"]).prop_map(|value| json!({"istio": value})))
}

fn port() -> impl Strategy<Value = Option<u16>> {
    optional(0.3, select(vec![15443_u16, 443]))
}

fn peer(index: usize) -> Value {
    [
        json!({"name": "m2", "subject_alt_names": ["m2.example"], "discovery": "203.0.113.12:15443"}),
        json!({"name": "m3", "subject_alt_names": ["m3.example", "spiffe://m3.example/ns/blue/sa/gateway"],
               "discovery": "203.0.113.13:15443"}),
    ][index]
        .clone()
}

pub(super) fn exposition() -> BoxedStrategy<GeneratedInput> {
    let who = (select(&APPS[..]), select_one(&["e1", "e2", "e3"]));
    let what = (
        select(&SERVICES[..]),
        select(vec![80_u16, 80, 80, 9090]),
        fed_selector(),
        optional(0.4, select(&ALIASES[..])),
    );
    let how = (
        optional(0.2, select_one(&["v1", "v2"])),
        optional(0.3, protocol()),
        optional(0.2, peers()),
        optional(0.2, any::<bool>()),
    );
    let object = (who, what, how).prop_map(
        |((namespace, name), (service, port, feds, alias), (subset, protocol, peers, directory))| {
            let mut spec = json!({"name": service, "port": port, "mesh_fed_config_selector": feds});
            set_field(&mut spec, "/alias", alias);
            set_field(&mut spec, "/subset", subset);
            set_field(&mut spec, "/protocol", protocol);
            set_field(&mut spec, "/peers", peers);
            set_field(&mut spec, "/directory", directory);
            // The first prototype wrote this field.
            set_field(&mut spec, "/endpoints", directory.map(|_| vec!["203.0.113.7:15443"]));
            build_object(API_VERSION, "ServiceExposition", namespace, name, &spec)
        },
    );
    with_age(object)
}

fn peers() -> impl Strategy<Value = Vec<&'static str>> {
    select(vec![vec!["m2"], vec!["m2", "m3"], vec!["m9"]])
}

fn fed_selector() -> impl Strategy<Value = Value> {
    let by_name = select(&FEDS[..]).prop_map(|name| json!({"fed-config": name}));
    prop_oneof![6 => by_name, 1 => Just(json!({"tier": "gold"}))]
}

fn protocol() -> impl Strategy<Value = &'static str> {
    select_one(&["http", "http2", "grpc", "tcp", "tls"])
}

pub(super) fn binding() -> BoxedStrategy<GeneratedInput> {
    prop_oneof![5 => users_binding(), 1 => import()].boxed()
}

/// Generates a binding that Emcee created from an announcement.
fn import() -> BoxedStrategy<GeneratedInput> {
    let who = (select(&APPS[..]), select(&SERVICES[..]));
    let whose = (select(&FEDS[..]), select(&FEDS[..]), select_one(&["m2", "m2", "m3", "m9"]));
    let port = optional(0.5, select(vec![80_u16, 5000]));
    let object = (who, whose, port, optional(0.5, announcement())).prop_map(
        |((namespace, name), whose, port, announcement)| {
            let (fed_namespace, fed, peer) = whose;
            let mut spec =
                json!({"name": name, "mesh_fed_config_selector": {"fed-config": fed}, "peer": peer});
            set_field(&mut spec, "/port", port);
            let mut object = build_object(API_VERSION, "ServiceBinding", namespace, name, &spec);
            object["metadata"]["labels"] = json!({
                "app.kubernetes.io/managed-by": "emcee",
                "emcee.io/owner-kind": "MeshFedConfig",
                "emcee.io/owner-namespace": fed_namespace,
                "emcee.io/owner-name": fed,
            });
            let status = announcement.map(|announcement| json!({"announcement": announcement}));
            set_field(&mut object, "/status", status);
            object
        },
    );
    with_age(object)
}

fn users_binding() -> BoxedStrategy<GeneratedInput> {
    let who = (select(&APPS[..]), select_one(&["b1", "b2", "b3"]));
    let what = (
        select(&SERVICES[..]),
        optional(0.4, select(&APPS[..])),
        fed_selector(),
        optional(0.2, server_name()),
    );
    let facade = (
        optional(0.3, select(&ALIASES[..])),
        optional(0.6, select(vec![80_u16, 5000])),
        optional(0.1, Just("v1")),
        optional(0.3, export_to()),
    );
    let remote = (
        (
            subsequence(&ENDPOINTS[..], 0..=3),
            optional(0.05, select_one(&["127.0.0.1:80", "localhost:443", "edge.edges:443"])),
        ),
        optional(0.4, protocol()),
        optional(0.2, select_one(&["m2", "m3", "m9"])),
        optional(0.6, identities()),
    );
    let object = (who, what, facade, remote, optional(0.3, announcement())).prop_map(
        |((namespace, name), what, facade, remote, announcement)| {
            let endpoints: Vec<_> = remote.0.0.into_iter().chain(remote.0.1).collect();
            let mut spec =
                json!({"name": what.0, "mesh_fed_config_selector": what.2, "endpoints": endpoints});
            set_field(&mut spec, "/namespace", what.1);
            set_field(&mut spec, "/server_name", what.3);
            set_field(&mut spec, "/alias", facade.0);
            set_field(&mut spec, "/port", facade.1);
            set_field(&mut spec, "/subset", facade.2);
            set_field(&mut spec, "/export_to", facade.3);
            set_field(&mut spec, "/protocol", remote.1);
            set_field(&mut spec, "/peer", remote.2);
            set_field(&mut spec, "/subject_alt_names", remote.3);
            let mut object = build_object(API_VERSION, "ServiceBinding", namespace, name, &spec);
            set_field(
                &mut object,
                "/status",
                announcement.map(|announcement| json!({"ready": true, "announcement": announcement})),
            );
            object
        },
    );
    with_age(object)
}

/// Generates a server name: outside of `emcee.internal`, of a relationship, of discovery, or of another binding.
fn server_name() -> impl Strategy<Value = &'static str> {
    select_one(&[
        "one.example.com",
        "one.example.com",
        "other.example.com",
        "reviews.shop.blue.emcee.internal",
        "discovery.blue.emcee.internal",
        "b1.shop.binding.emcee.internal",
    ])
}

fn allowed_server_names() -> impl Strategy<Value = Vec<&'static str>> {
    select(vec![vec!["one.example.com"], vec!["*.example.com"], vec!["kubernetes.default.svc"]])
}

fn export_to() -> impl Strategy<Value = Vec<&'static str>> {
    select(vec![vec!["."], vec!["*"]])
}

fn identities() -> impl Strategy<Value = Vec<&'static str>> {
    let theirs = vec!["spiffe://m2.example/ns/shop/sa/reviews"];
    select(vec![theirs.clone(), theirs, vec!["spiffe://cluster.local/ns/shop/sa/reviews"]])
}

fn announcement() -> impl Strategy<Value = Value> {
    (
        select_one(&["m2", "m3", "m9"]),
        subsequence(&ENDPOINTS[..3], 0..=2),
        optional(0.5, protocol()),
        optional(0.5, identities()),
        optional(0.2, Just(true)),
    )
        .prop_map(|(peer, endpoints, protocol, identities, withdrawn)| {
            let mut announcement = json!({"peer": peer, "endpoints": endpoints, "port": 80});
            set_field(&mut announcement, "/withdrawn", withdrawn);
            set_field(&mut announcement, "/protocol", protocol);
            set_field(&mut announcement, "/subject_alt_names", identities);
            announcement
        })
}
