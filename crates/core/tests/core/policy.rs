//! Which endpoints and server names users and peers may use. The administrator's MeshFedConfig decides.

use emcee_api::Reason;
use emcee_core::catalogue::{PeerKey, PeerSyncState};
use emcee_core::inputs::{InputChange, InputCoverage, TranslationSettings};
use emcee_core::key::ObjectKey;
use emcee_core::plan::GeneratedKind;
use emcee_core::problem::ResourceProblem;
use emcee_core::status::ResourceVerdict;
use emcee_core::translate::{Translation, Unit};
use emcee_testkit::objects::emcee::{MeshFedConfig, ServiceBinding};
use emcee_testkit::prelude::*;
use serde_json::{Value, json};

use crate::mesh::input;
use crate::peer_inputs::{peer_announces, peer_connected};
use crate::plan::{find_fields, objects_of_kind, to_json as written};

const PEER_IDENTITY: [&str; 1] = ["spiffe://m2.example/ns/a/sa/b"];

fn m2() -> Peer {
    Peer::new("m2", ["m2.blue.example"])
}

fn m2_with_networks() -> Peer {
    m2().networks(["203.0.113.0/24"])
}

/// Returns a relationship of each style, with everything that consuming needs.
fn styles(peer: &Peer) -> [MeshFedConfig; 4] {
    let secret_free = |config: MeshFedConfig| config.unset("/spec/tls_context_selector").peer(peer.clone());
    let [flat, passthrough, wharf] = [flat("blue"), passthrough("blue"), wharf("blue")].map(secret_free);
    [flat, passthrough, wharf, boundary("blue").peer(peer.clone())]
}

fn wharf_to(peer: Peer) -> MeshFedConfig {
    wharf("blue").unset("/spec/tls_context_selector").peer(peer)
}

fn tenant_binding() -> ServiceBinding {
    binding("mallory", "spy")
        .fed("blue")
        .port(80)
        .endpoints(["203.0.113.12:15443"])
        .subject_alt_names(PEER_IDENTITY)
}

fn translate(objects: &[Value]) -> Translation {
    let settings = TranslationSettings {
        coverage: InputCoverage::Partial,
        cluster_networks: vec!["10.96.0.0/12".parse().expect("a network")],
        ..TranslationSettings::default()
    };
    let pair = valid_pair("m1.blue.example");
    let secret = secret_tls("blue", "blue").label("relationship", "blue").pair(&pair).build();
    let now = "2026-06-01T00:00:00Z".parse().expect("a time");
    let changes = objects.iter().chain([&secret]).map(input::change);
    Translation::from_changes(TranslationSettings { now, ..settings }, changes)
}

fn binding_verdict(translation: &Translation) -> ResourceVerdict {
    let unit = Unit::ServiceBinding(ObjectKey::new("mallory", "spy"));
    translation.verdict(&unit).expect("a verdict")
}

/// Returns the refusal of the only binding. Asserts that nothing is generated for a refused binding.
#[track_caller]
fn refusal(config: &MeshFedConfig, others: &[Value], binding: ServiceBinding) -> Option<ResourceProblem> {
    let mut objects = vec![config.clone().build(), binding.build()];
    objects.extend_from_slice(others);
    let translation = translate(&objects);
    let verdict = binding_verdict(&translation);
    let refusal = verdict.refusals.first().cloned();
    assert_eq!(verdict.is_programmed(), refusal.is_none(), "{verdict:?}");
    let of_binding = |object: &Value| object.to_string().contains("mallory");
    let generated = translation.objects().iter().map(written).any(|object| of_binding(&object));
    assert_eq!(generated, refusal.is_none(), "{refusal:?}");
    refusal
}

#[track_caller]
fn refusal_reason(config: &MeshFedConfig, binding: ServiceBinding) -> Option<Reason> {
    refusal(config, &[], binding).map(|problem| problem.reason)
}

#[test]
fn bindings_cannot_use_server_names_of_emcee() {
    for config in styles(&m2_with_networks()) {
        assert_eq!(refusal_reason(&config, tenant_binding()), None);
        assert_eq!(
            refusal_reason(&config, tenant_binding().server_name("reviews.shop.blue.emcee.internal")),
            None
        );
        for name in [
            "discovery.blue.emcee.internal",
            "discovery.red.emcee.internal",
            "emcee.internal",
            "blue.emcee.internal",
            "binding.emcee.internal",
            "spy.mallory.binding.emcee.internal",
            "relay.reviews.shop.blue.emcee.internal",
            "a.discovery.blue.emcee.internal.",
            "Discovery.blue.emcee.internal",
        ] {
            assert_eq!(
                refusal_reason(&config, tenant_binding().server_name(name)),
                Some(Reason::Invalid),
                "{name}"
            );
        }
        // This also holds if the relationship does not exist here, because it may be created later.
        let red = refusal_reason(&config, tenant_binding().server_name("reviews.shop.red.emcee.internal"));
        assert_eq!(red, Some(Reason::ServerNameNotAllowed));
    }
}

#[test]
fn other_server_names_need_the_administrators_permission() {
    for config in styles(&m2_with_networks()) {
        for name in ["api.stripe.com", "kubernetes.default.svc", "exfil.attacker.example"] {
            let binding = tenant_binding().server_name(name);
            let problem = refusal(&config, &[], binding.clone()).expect("a refusal");
            assert_eq!((problem.reason, &*problem.field), (Reason::ServerNameNotAllowed, "spec.server_name"));
            let line = format!("`allowed_server_names: [{name}]`");
            assert!(problem.message.contains(&line) && problem.message.contains("blue/blue"), "{problem}");
            assert_eq!(refusal_reason(&config.clone().allowed_server_names([name]), binding), None);
        }
        let wide = config.allowed_server_names(["*.stripe.com"]);
        assert_eq!(refusal_reason(&wide, tenant_binding().server_name("api.stripe.com")), None);
        assert!(refusal_reason(&wide, tenant_binding().server_name("stripe.com")).is_some());
        assert!(
            refusal_reason(&wide, tenant_binding().server_name("api.stripe.com.attacker.example")).is_some()
        );
    }
}

#[test]
fn endpoints_of_bindings_must_be_in_allowed_networks() {
    let not_allowed = Some(Reason::EndpointNotAllowed);
    let invalid = Some(Reason::Invalid);
    let m3 = || Peer::new("m3", ["m3.example"]).networks(["198.51.100.0/24"]);
    let both = || wharf_to(m2_with_networks()).peer(m3());
    for (config, endpoint, expected) in [
        (wharf_to(m2_with_networks()), "198.51.100.66:443", not_allowed),
        (wharf_to(m2_with_networks()), "203.0.113.66:443", None),
        (wharf_to(m2_with_networks()), "[::ffff:203.0.113.66]:443", None),
        (wharf_to(m2_with_networks()), "ingress.m2.example:443", not_allowed),
        (wharf_to(m2_with_networks().domains(["m2.example"])), "ingress.m2.example:443", None),
        (wharf_to(m2().domains(["m2.example"])), "ingress.m3.example:443", not_allowed),
        (both(), "198.51.100.66:443", None),
        (both(), "192.0.2.66:443", not_allowed),
        // Without networks and domains, everything is allowed that is neither local nor this mesh's own.
        (wharf_to(m2()), "198.51.100.66:443", None),
        (wharf_to(m2()), "ingress.m2.example:443", None),
        (wharf_to(m2()), "127.0.0.1:15443", not_allowed),
        (wharf_to(m2()), "[::1]:15443", not_allowed),
        (wharf_to(m2()), "[2002:7f00:1::1]:15443", not_allowed),
        (wharf_to(m2()), "localhost:15443", not_allowed),
        (wharf_to(m2()), "LOCALHOST:15443", not_allowed),
        (wharf_to(m2()), "a.localhost:15443", not_allowed),
        (wharf_to(m2()), "kubernetes.default.svc:443", not_allowed),
        (wharf_to(m2()), "kubernetes.default.svc.cluster.local:443", not_allowed),
        (wharf_to(m2()), "kubernetes:443", not_allowed),
        (wharf_to(m2()), "10.96.0.1:443", not_allowed),
        (wharf_to(m2().networks(["0.0.0.0/0"])), "127.0.0.1:443", not_allowed),
        (wharf_to(m2().networks(["127.0.0.0/8"])), "127.0.0.1:443", None),
        (wharf_to(m2().networks(["10.0.0.0/8"])), "10.96.0.1:443", not_allowed),
        (wharf_to(m2().networks(["10.96.0.0/16"])), "10.96.0.1:443", None),
        (wharf_to(m2().domains(["local"])), "a.b.svc.cluster.local:443", not_allowed),
        (wharf_to(m2().domains(["svc.cluster.local"])), "a.b.svc.cluster.local:443", None),
        (wharf_to(m2()), "100.100.100.200:80", not_allowed),
        // Never allowed, whatever the MeshFedConfig contains, so the parser refuses it.
        (wharf_to(m2()), "169.254.169.254:443", invalid),
        (wharf_to(m2()), "[64:ff9b::a9fe:a9fe]:443", invalid),
        (wharf_to(m2()), "[2002:a9fe:a9fe::]:443", invalid),
        (wharf_to(m2()), "[::ffff:169.254.169.254]:443", invalid),
        (wharf_to(m2()), "[fe80::1]:443", invalid),
        (wharf_to(m2()), "relay.discovery.blue.emcee.internal:443", invalid),
        (wharf_to(m2().domains(["emcee.internal"])), "spy.mallory.binding.emcee.internal:443", invalid),
    ] {
        let reason = refusal_reason(&config, tenant_binding().endpoints([endpoint]));
        assert_eq!(reason, expected, "{endpoint} {:?}", config.build()["spec"]["peers"]);
    }
    let problem =
        refusal(&wharf_to(m2()), &[], tenant_binding().endpoints(["203.0.113.12:1", "127.0.0.1:1"]))
            .expect("one");
    assert_eq!(
        problem.to_string(),
        "spec.endpoints[1]: 127.0.0.1 lies in 127.0.0.0/8, which is this mesh's own (if the peer is there: name that network, or a part of it, in spec.peers[].networks of MeshFedConfig blue/blue)"
    );
    // The networks of the peer that the binding names apply.
    let at_m3 = || tenant_binding().endpoints(["198.51.100.66:443"]);
    assert_eq!(refusal_reason(&both(), at_m3().peer("m3")), None);
    assert_eq!(refusal_reason(&both(), at_m3().peer("m2")), not_allowed);
    // A relationship without peers allows the same as one without networks and domains.
    let without = || wharf("blue").unset("/spec/tls_context_selector");
    assert_eq!(refusal_reason(&without(), tenant_binding()), None);
    assert_eq!(refusal_reason(&without(), tenant_binding().endpoints(["127.0.0.1:1"])), not_allowed);
}

fn node(name: &str, address: &str, pods: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"namespace": "", "name": name}, "spec": {"podCIDR": pods, "podCIDRs": [pods]},
           "status": {"addresses": [{"type": "InternalIP", "address": address}]}})
}

/// Returns a pod, a Service, a node, and the Service of an ingress gateway.
fn cluster() -> Vec<Value> {
    vec![
        pod("shop", "r1").label("app", "reviews").container("app", 80).running("172.16.1.7").build(),
        service("shop", "reviews").port("http", 80).cluster_ip("172.20.0.9").build(),
        node("n1", "192.0.2.10", "172.17.1.0/24"),
        service("edges", "edge").port("tls", 15443).external("198.51.100.9").build(),
        json!({"apiVersion": "networking.istio.io/v1", "kind": "WorkloadEntry",
               "metadata": {"namespace": "mallory", "name": "peer"}, "spec": {"address": "203.0.113.12"}}),
    ]
}

const OWN_ENDPOINTS: [&str; 6] = [
    "172.16.1.7:80",
    "[::ffff:172.16.1.7]:80",
    "172.20.0.9:80",
    "192.0.2.10:80",
    "172.17.1.99:80",
    "198.51.100.9:15443",
];

#[test]
fn own_addresses_of_the_cluster_are_refused_as_endpoints() {
    for endpoint in OWN_ENDPOINTS {
        let binding = || tenant_binding().endpoints([endpoint]);
        assert_eq!(refusal_reason(&wharf_to(m2()), binding()), None, "{endpoint}: the address is unused");
        let problem = refusal(&wharf_to(m2()), &cluster(), binding()).expect("a refusal");
        assert_eq!(problem.reason, Reason::EndpointNotAllowed, "{endpoint}");
        assert!(!problem.message.contains("shop"), "objects of other namespaces are not named: {problem}");
        let wide = wharf_to(m2().networks(["0.0.0.0/0"]));
        assert!(refusal(&wide, &cluster(), binding()).is_some(), "{endpoint}");
    }
    // Two meshes in one cluster: the administrator lists the networks of the peer.
    let named = m2().networks(["172.16.1.7/32", "172.17.1.0/24"]);
    for endpoint in ["172.16.1.7:80", "172.17.1.99:80"] {
        assert_eq!(
            refusal(&wharf_to(named.clone()), &cluster(), tenant_binding().endpoints([endpoint])),
            None
        );
    }
    // A user's WorkloadEntry does not claim the address of a peer.
    assert_eq!(refusal(&wharf_to(m2()), &cluster(), tenant_binding()), None);
}

/// A resolver in a pod appends the cluster's domain to short names.
#[test]
fn short_names_of_services_are_refused_as_endpoints() {
    for endpoint in ["reviews.shop:80", "pod-0.reviews.shop:80"] {
        let binding = || tenant_binding().endpoints([endpoint]);
        assert_eq!(refusal_reason(&wharf_to(m2()), binding()), None, "{endpoint}");
        let problem = refusal(&wharf_to(m2()), &cluster(), binding()).expect("a refusal");
        assert_eq!(problem.reason, Reason::EndpointNotAllowed, "{endpoint}");
    }
}

/// Translates a binding that follows an announcement of m2, without limits and without known ranges of the cluster.
fn translation_following(config: MeshFedConfig, address: &str) -> Translation {
    let reviews = binding("shop", "reviews").fed("blue").alias("far").build();
    let mut changes = vec![peer_connected("m2"), peer_announces("m2", address)];
    changes.extend([config.build(), reviews].iter().chain(&cluster()).map(input::change));
    Translation::from_changes(TranslationSettings::default(), changes)
}

#[test]
fn announcements_with_addresses_of_this_cluster_are_refused_by_default() {
    let unit = Unit::ServiceBinding(ObjectKey::new("shop", "reviews"));
    let config = |peer: Peer| flat("blue").unset("/spec/tls_context_selector").peer(peer);
    for address in OWN_ENDPOINTS {
        let translation = translation_following(config(m2()), address);
        let verdict = translation.verdict(&unit).expect("a verdict");
        let reasons: Vec<_> = verdict.failures.iter().map(|problem| problem.reason).collect();
        assert_eq!(reasons, [Reason::AddressNotAllowed], "{address}");
        assert_eq!(objects_of_kind(&translation, GeneratedKind::ServiceEntry), [], "{address}");
    }
    let elsewhere = translation_following(config(m2()), "203.0.113.7:80");
    assert!(elsewhere.verdict(&unit).is_some_and(|verdict| verdict.is_programmed()));
    let named = translation_following(config(m2().networks(["172.16.1.7/32"])), "172.16.1.7:80");
    assert!(named.verdict(&unit).is_some_and(|verdict| verdict.is_programmed()));
}

/// The pod is created after the announcement, and is deleted again.
#[test]
fn an_announcement_is_validated_again_when_a_pod_gets_its_address() {
    let unit = Unit::ServiceBinding(ObjectKey::new("shop", "reviews"));
    let config = flat("blue").unset("/spec/tls_context_selector").peer(m2());
    let mut translation = translation_following(config, "172.16.1.8:80");
    let is_programmed =
        |translation: &Translation| translation.verdict(&unit).is_some_and(|it| it.is_programmed());
    assert!(is_programmed(&translation));
    let late = pod("bank", "late").container("app", 80).running("172.16.1.8").build();
    translation.update([input::change(&late)]);
    assert!(!is_programmed(&translation));
    translation.update([input::removal(&late)]);
    assert!(is_programmed(&translation));
}

#[test]
fn unknown_cluster_networks_cause_a_warning() {
    let warns = |settings: TranslationSettings, config: MeshFedConfig, objects: &[Value]| {
        let config = config.unset("/spec/tls_context_selector").build();
        let changes = objects.iter().chain([&config]).map(input::change);
        let translation = Translation::from_changes(settings, changes);
        let verdict =
            translation.verdict(&Unit::MeshFedConfig(ObjectKey::new("blue", "blue"))).expect("a verdict");
        verdict.warnings.iter().any(|warning| warning.reason == Reason::OwnNetworksUnknown)
    };
    let configured = TranslationSettings {
        cluster_networks: vec!["10.0.0.0/8".parse().expect("one")],
        ..TranslationSettings::default()
    };
    let files = TranslationSettings { coverage: InputCoverage::Partial, ..TranslationSettings::default() };
    assert!(warns(TranslationSettings::default(), flat("blue").peer(m2()), &[]));
    assert!(!warns(configured, flat("blue").peer(m2()), &[]));
    assert!(!warns(files, flat("blue").peer(m2()), &[]));
    assert!(!warns(TranslationSettings::default(), flat("blue").peer(m2()), &cluster()));
    assert!(!warns(TranslationSettings::default(), flat("blue"), &[]), "there is no peer");
}

/// The addresses of a peer's Emcee come from a Service in the fed namespace and from the peer itself.
#[test]
fn discovery_ignores_addresses_of_this_mesh() {
    let config = || wharf("blue").peer(m2().discovery("203.0.113.12:15443"));
    let server = |address: &str| {
        let mut service = service("blue", "peer").port("discovery", 15443).build();
        service["metadata"]["labels"] = json!({"emcee": "discovery"});
        service["spec"]["externalIPs"] = json!([address]);
        service
    };
    let led = |service: Value, address: &str| {
        let mut objects = cluster();
        objects.extend([config().build(), service]);
        let mut translation = translate(&objects);
        let state =
            PeerSyncState { addresses: vec![address.parse().expect("one")], ..PeerSyncState::PENDING };
        translation
            .update([InputChange::Peer(PeerKey::new(ObjectKey::new("blue", "blue"), "m2"), Some(state))]);
        let key = ObjectKey::new("blue", "blue");
        let verdict = translation.verdict(&Unit::MeshFedConfig(key.clone())).expect("a verdict");
        let ignored = verdict.warnings.iter().any(|warning| warning.reason == Reason::DiscoveryIgnored);
        let policy = translation.peer_policy_of(&key).expect("terms");
        let led = policy.egress_targets.iter().map(|endpoint| endpoint.host.to_string()).collect::<Vec<_>>();
        (led, ignored)
    };
    let texts = |hosts: &[&str]| hosts.iter().map(|&host| host.to_owned()).collect::<Vec<_>>();
    let good = (texts(&["203.0.113.12", "203.0.113.13", "203.0.113.14"]), false);
    assert_eq!(led(server("203.0.113.13"), "203.0.113.14:15443"), good);
    for bad in ["127.0.0.1", "172.16.1.7", "10.96.0.1", "169.254.169.254"] {
        let only = texts(&["203.0.113.12"]);
        assert_eq!(led(server(bad), &format!("{bad}:15443")), (only, true), "{bad}");
    }
}

/// Otherwise a user could block a name or a service for others.
#[test]
fn refused_bindings_claim_nothing() {
    let edge = |name: &str| {
        let config = wharf(name).unset("/spec/tls_context_selector").peer(m2_with_networks());
        config.egress_gateway_selector([("istio", "edge")])
    };
    let gateway = [
        pod("edges", "edge").label("istio", "edge").container("istio-proxy", 15443).build(),
        service("edges", "edge").port("tls", 15443).selector([("istio", "edge")]).build(),
    ];
    let aged =
        |binding: ServiceBinding, day: u8| binding.created(&format!("2026-01-0{day}T00:00:00Z")).build();
    let honest = binding("shop", "reviews").port(80).subject_alt_names(PEER_IDENTITY);
    let honest = || honest.clone().endpoints(["203.0.113.12:15443"]);
    let programmed = |objects: Vec<Value>| {
        let settings = TranslationSettings {
            gateway_namespaces: vec!["edges".into()],
            ..TranslationSettings::default()
        };
        let changes = gateway.iter().chain(&objects).map(input::change);
        let translation = Translation::from_changes(settings, changes);
        let honest = Unit::ServiceBinding(ObjectKey::new("shop", "reviews"));
        [binding_verdict(&translation), translation.verdict(&honest).expect("a verdict")]
            .map(|it| it.is_programmed())
    };
    let named = programmed(vec![
        edge("blue").build(),
        edge("red").allowed_server_names(["api.stripe.com"]).build(),
        aged(tenant_binding().server_name("api.stripe.com"), 1),
        aged(honest().fed("red").server_name("api.stripe.com"), 2),
    ]);
    assert_eq!(named, [false, true]);
    let led = programmed(vec![
        edge("blue").build(),
        aged(tenant_binding().to_service("shop", "reviews").endpoints(["198.51.100.66:443"]), 1),
        aged(honest().fed("blue"), 2),
    ]);
    assert_eq!(led, [false, true]);
}

#[test]
fn a_binding_cannot_redirect_the_route_of_discovery() {
    let config = wharf("blue").peer(m2_with_networks().discovery("203.0.113.12:15443"));
    let binding =
        tenant_binding().server_name("discovery.blue.emcee.internal").endpoints(["203.0.113.66:443"]);
    let translation = translate(&[config.build(), binding.build()]);
    let hosts: Vec<_> = objects_of_kind(&translation, GeneratedKind::ServiceEntry)
        .iter()
        .flat_map(|entry| find_fields(&written(entry), "hosts").into_iter().cloned().collect::<Vec<_>>())
        .collect();
    assert_eq!(hosts, [json!(["relay.discovery.blue.emcee.internal"])]);
}
