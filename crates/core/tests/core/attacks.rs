//! Attacks on generated objects. Emcee resists all of them, and these tests make sure that it stays so.
//! [`attacks-that-hold.md`](../../../../docs/proofs/attacks-that-hold.md) lists all attacks.

use std::collections::BTreeMap;

use emcee_api::Reason;
use emcee_core::inputs::{InputCoverage, TranslationSettings};
use emcee_core::key::ObjectKey;
use emcee_core::plan::GeneratedKind;
use emcee_core::translate::{Translation, Unit};
use emcee_testkit::prelude::*;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::cases;
use crate::mesh::{self, input};
use crate::plan::{as_text, object_id, objects_of_kind, text_set, to_json as written};

proptest! {
    #![proptest_config(cases(200))]

    /// A gateway's ServiceAccount can list Secrets because istiod requires that right. Nothing in the pod uses it.
    #[test]
    fn gateway_pods_have_no_api_server_token(mesh in mesh::mesh()) {
        for deployment in objects_of_kind(&mesh.translate(), GeneratedKind::Deployment) {
            let pod = &written(&deployment)["spec"]["template"]["spec"];
            prop_assert_eq!(&pod["automountServiceAccountToken"], &json!(false), "{}", object_id(&deployment));
            let tokens = pod["volumes"].as_array().into_iter().flatten().count();
            prop_assert_eq!(tokens, 0, "{} has volumes of its own", object_id(&deployment));
        }
    }

    /// A request with one name in TLS and another in `Host` matches no route: each server of a Gateway has one host,
    /// and its routes are in a separate table, to which objects of other namespaces cannot add routes.
    #[test]
    fn a_server_name_is_routed_to_its_own_host_only(mesh in mesh::mesh()) {
        let translation = mesh.translate();
        let mut servers = BTreeMap::new();
        for gateway in objects_of_kind(&translation, GeneratedKind::Gateway) {
            let spec = written(&gateway)["spec"].clone();
            let all = spec["servers"].as_array().expect("servers");
            prop_assert_eq!(all.len(), 1, "{}", object_id(&gateway));
            let hosts = text_set(&all[0]["hosts"]);
            prop_assert_eq!(hosts.len(), 1, "{}", object_id(&gateway));
            let host = hosts.first().expect("a host").clone();
            let (namespace, host) = host.split_once('/').expect("a namespace and a host");
            prop_assert_eq!(namespace, &*gateway.namespace, "{}", object_id(&gateway));
            servers.insert(format!("{}/{}", gateway.namespace, gateway.name), host.to_owned());
        }
        for route in objects_of_kind(&translation, GeneratedKind::VirtualService) {
            let spec = written(&route)["spec"].clone();
            let gateways = text_set(&spec["gateways"]);
            let Some(gateway) = gateways.first() else { continue };
            prop_assert_eq!(gateways.len(), 1, "{}", object_id(&route));
            let hosts: Vec<_> = text_set(&spec["hosts"]).into_iter().collect();
            prop_assert_eq!(Some(&hosts[..]), servers.get(gateway).map(std::slice::from_ref), "{}", object_id(&route));
            prop_assert_eq!(text_set(&spec["exportTo"]).into_iter().collect::<Vec<_>>(), ["."], "{}", object_id(&route));
        }
    }
}

/// Returns why a service with these policies is not exposed end to end, or `None` if it is exposed.
fn exposure_failure(policies: &[Value]) -> Option<Reason> {
    let mut objects = vec![
        passthrough("blue").unset("/spec/tls_context_selector").build(),
        service("shop", "reviews").port("http", 80).target_port(8080).selector([("app", "reviews")]).build(),
        exposition("shop", "reviews").port(80).fed("blue").build(),
        deployment("shop", "reviews").pod_labels([("app", "reviews")]).build(),
    ];
    objects.extend_from_slice(policies);
    let settings = TranslationSettings { coverage: InputCoverage::Partial, ..TranslationSettings::default() };
    let translation = Translation::from_changes(settings, objects.iter().map(input::change));
    let unit = Unit::ServiceExposition(ObjectKey::new("shop", "reviews"));
    let verdict = translation.verdict(&unit).expect("a verdict");
    let served = objects_of_kind(&translation, GeneratedKind::Gateway).len();
    assert_eq!(served, usize::from(verdict.is_programmed()), "{policies:?}");
    verdict.failures.first().map(|problem| problem.reason)
}

/// The workload's policy overrides that of its namespace, which overrides that of the mesh. A port's mode overrides the
/// policy's mode. UNSET inherits. The port is that of the pod, not that of the Service.
#[test]
fn the_most_specific_peer_authentication_applies() {
    let of_mesh = |mode| peer_authentication("istio-system", "mesh").mode(mode);
    let of_namespace = |mode| peer_authentication("shop", "wide").mode(mode);
    let of_pods = |mode| peer_authentication("shop", "narrow").selector([("app", "reviews")]).mode(mode);
    let of_others = |mode| peer_authentication("shop", "others").selector([("app", "ratings")]).mode(mode);
    let elsewhere = |mode| peer_authentication("bank", "wide").mode(mode);
    let (open, shut) = (Some(Reason::NotStrict), None);
    for (policies, expected) in [
        (vec![of_mesh("STRICT")], shut),
        (vec![of_mesh("PERMISSIVE")], open),
        (vec![of_mesh("DISABLE")], open),
        (vec![of_mesh("STRICT"), of_namespace("PERMISSIVE")], open),
        (vec![of_mesh("PERMISSIVE"), of_namespace("STRICT")], shut),
        (vec![of_mesh("STRICT"), of_namespace("UNSET")], shut),
        (vec![of_namespace("STRICT"), of_pods("PERMISSIVE")], open),
        (vec![of_namespace("STRICT"), of_pods("DISABLE")], open),
        (vec![of_namespace("PERMISSIVE"), of_pods("STRICT")], shut),
        (vec![of_namespace("STRICT"), of_pods("UNSET")], shut),
        (vec![of_namespace("PERMISSIVE"), of_pods("UNSET")], open),
        (vec![of_namespace("STRICT"), of_others("PERMISSIVE")], shut),
        (vec![of_namespace("PERMISSIVE"), of_others("STRICT")], open),
        (vec![of_mesh("PERMISSIVE"), elsewhere("STRICT")], open),
        (vec![of_mesh("STRICT"), elsewhere("PERMISSIVE")], shut),
        (vec![of_pods("STRICT").port_mode(8080, "PERMISSIVE")], open),
        (vec![of_pods("STRICT").port_mode(80, "PERMISSIVE")], shut),
        (vec![of_pods("PERMISSIVE").port_mode(8080, "STRICT")], shut),
        (vec![of_pods("PERMISSIVE").port_mode(80, "STRICT")], open),
        (vec![of_namespace("STRICT"), of_pods("UNSET").port_mode(8080, "DISABLE")], open),
    ] {
        let policies: Vec<_> = policies.into_iter().map(Builder::build).collect();
        assert_eq!(exposure_failure(&policies), expected, "{policies:?}");
    }
    assert_eq!(as_text(&of_mesh("STRICT").build()["spec"]["mtls"]["mode"]), "STRICT");
}

/// Returns the endpoints of a binding's ServiceEntries if its status claims that a peer announced this.
fn binding_endpoints(announcement: &Value) -> Vec<Value> {
    let config = flat("blue").unset("/spec/tls_context_selector").peer(Peer::new("m2", ["m2.example"]));
    let mut binding = binding("shop", "reviews").fed("blue").build();
    binding["status"] = json!({"announcement": announcement});
    let settings =
        TranslationSettings { trust_domain: "m1.example".into(), ..TranslationSettings::default() };
    let translation =
        Translation::from_changes(settings, [input::change(&config.build()), input::change(&binding)]);
    let entries = objects_of_kind(&translation, GeneratedKind::ServiceEntry);
    entries
        .iter()
        .flat_map(|entry| written(entry)["spec"]["endpoints"].as_array().cloned().unwrap_or_default())
        .collect()
}

/// In files, anyone who can write a binding can write its status. A stored announcement is validated like a new one.
#[test]
fn a_forged_status_creates_no_endpoints() {
    let claim = |endpoint: &str, identity: &str| {
        json!({
            "peer": "m2", "protocol": "http", "port": 80, "mode": "FLAT", "trust_domain": "m2.example",
            "endpoints": [endpoint], "subject_alt_names": [identity],
        })
    };
    let theirs = "spiffe://m2.example/ns/shop/sa/reviews";
    assert_eq!(binding_endpoints(&claim("203.0.113.7:80", theirs)).len(), 1, "a valid announcement is used");
    for endpoint in [
        "127.0.0.1:80",
        "[::1]:80",
        "[::ffff:127.0.0.1]:80",
        "169.254.169.254:80",
        "[::ffff:169.254.169.254]:80",
        "[64:ff9b::a9fe:a9fe]:80",
        "224.0.0.1:80",
        "kubernetes.default.svc:443",
    ] {
        assert!(binding_endpoints(&claim(endpoint, theirs)).is_empty(), "{endpoint}");
    }
    assert!(binding_endpoints(&claim("203.0.113.7:80", "spiffe://m1.example/ns/bank/sa/vault")).is_empty());
    let stranger = json!({"peer": "m9", "port": 80, "protocol": "http", "mode": "FLAT", "endpoints": ["203.0.113.7:80"]});
    assert!(binding_endpoints(&stranger).is_empty(), "m9 is not a peer of the relationship");
}

/// Returns whether a binding of relationship blue may request this server name in a mesh that also has a relationship
/// red.
fn may_request_server_name(server_name: &str) -> bool {
    let mut objects: Vec<_> =
        ["blue", "red"].map(|name| wharf(name).unset("/spec/tls_context_selector").build()).into();
    let asks = binding("shop", "reviews").fed("blue").port(80).endpoints(["203.0.113.7:15443"]);
    let asks = asks.subject_alt_names(["spiffe://m2.example/ns/shop/sa/reviews"]).server_name(server_name);
    objects.push(asks.build());
    let translation =
        Translation::from_changes(TranslationSettings::default(), objects.iter().map(input::change));
    let unit = Unit::ServiceBinding(ObjectKey::new("shop", "reviews"));
    let accepted = translation.verdict(&unit).expect("a verdict").is_accepted();
    let relays = objects_of_kind(&translation, GeneratedKind::Gateway);
    let is_relayed = relays.iter().any(|gateway| written(gateway).to_string().contains(server_name));
    assert_eq!(is_relayed, accepted, "{server_name}");
    accepted
}

/// On a gateway that several relationships use, it would receive the traffic of another relationship. The hosts of
/// bindings belong to Emcee.
#[test]
fn a_binding_cannot_request_a_server_name_of_another_relationship() {
    assert!(
        may_request_server_name("reviews.shop.blue.emcee.internal"),
        "a server name of its own relationship"
    );
    for name in [
        "reviews.shop.red.emcee.internal",
        "discovery.red.emcee.internal",
        "reviews.shop.binding.emcee.internal",
        "a.b.c.red.emcee.internal",
    ] {
        assert!(!may_request_server_name(name), "{name}");
    }
}
