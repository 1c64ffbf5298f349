//! Bindings follow the announcements of peers. An unreachable peer does not withdraw its services, and no other peer
//! can take over a service.

use std::sync::Arc;

use emcee_api::Reason;
use emcee_core::catalogue::{Announcement, PeerConnection, PeerKey, PeerSyncState, RefusedAnnouncement};
use emcee_core::inputs::{InputChange, TranslationSettings};
use emcee_core::key::ObjectKey;
use emcee_core::mode::Mode;
use emcee_core::names::server_name;
use emcee_core::plan::GeneratedKind;
use emcee_core::protocol::Protocol;
use emcee_core::status::{ResourceVerdict, build_status};
use emcee_core::translate::{Translation, Unit};
use emcee_testkit::objects::emcee::{MeshFedConfig, ServiceBinding};
use emcee_testkit::prelude::*;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::mesh::intake;
use crate::plan::{json as written, of_kind};

const T0: &str = "2026-11-20T00:00:00Z";
const T1: &str = "2026-11-21T00:00:00Z";

pub(crate) fn at(time: &str) -> Timestamp {
    time.parse().expect("a time")
}

pub(crate) fn source(peer: &str) -> PeerKey {
    PeerKey::new(ObjectKey::new("blue", "blue"), peer)
}

pub(crate) fn service_of(namespace: &str, name: &str) -> ObjectKey {
    ObjectKey::new(namespace, name)
}

/// Builds an announcement as a peer of a FLAT relationship sends it, with one endpoint of that peer.
pub(crate) fn offer(service: &ObjectKey, address: &str) -> Announcement {
    Announcement {
        server_name: server_name(&service.name, &service.namespace, "blue"),
        key: service.clone(),
        mode: Mode::Flat,
        protocol: Protocol::Http,
        port: 9080,
        endpoints: vec![address.parse().expect("an endpoint")],
        identities: vec![format!("spiffe://m2.example/ns/{}/sa/{}", service.namespace, service.name)],
        trust_domain: "m2.example".into(),
        root_hash: Some("0a1b".into()),
    }
}

pub(crate) fn announces(peer: &str, address: &str) -> InputChange {
    let reviews = service_of("shop", "reviews");
    InputChange::Announcement(source(peer), reviews.clone(), Some(offer(&reviews, address)))
}

pub(crate) fn takes_back(peer: &str) -> InputChange {
    InputChange::Announcement(source(peer), service_of("shop", "reviews"), None)
}

pub(crate) fn state(connection: PeerConnection, has_answered: bool) -> PeerSyncState {
    PeerSyncState { connection, is_synced: has_answered, ..PeerSyncState::PENDING }
}

pub(crate) fn connected(peer: &str) -> InputChange {
    InputChange::Peer(source(peer), Some(state(PeerConnection::Connected(at(T0)), true)))
}

fn lost(peer: &str, since: &str, has_answered: bool) -> InputChange {
    let connection =
        PeerConnection::Unreachable { since: at(since), error: Some("connection refused".into()) };
    InputChange::Peer(source(peer), Some(state(connection, has_answered)))
}

pub(crate) fn two_peers(config: MeshFedConfig) -> MeshFedConfig {
    config
        .unset("/spec/tls_context_selector")
        .peer(Peer::new("m2", ["m2.example"]))
        .peer(Peer::new("m3", ["m3.example"]))
}

fn reviews() -> ServiceBinding {
    binding("shop", "reviews").fed("blue")
}

/// A mesh with one binding. Its status is written back into the inputs, as an API server does.
struct Mesh {
    translation: Translation,
    binding: Value,
}

impl Mesh {
    fn new(config: MeshFedConfig, binding: ServiceBinding) -> Self {
        let binding = binding.build();
        let changes = [intake::change(&config.build()), intake::change(&binding)];
        Self { translation: Translation::from_changes(TranslationSettings::default(), changes), binding }
    }

    fn blue(binding: ServiceBinding) -> Self {
        Self::new(two_peers(flat("blue")), binding)
    }

    fn hear(&mut self, changes: impl IntoIterator<Item = InputChange>) -> &mut Self {
        self.translation.update(changes);
        self.write_status();
        self
    }

    /// Writes the status back until it no longer changes.
    fn write_status(&mut self) {
        for _ in 0..3 {
            let after = self.status();
            if self.binding["status"] == after {
                return;
            }
            self.binding["status"] = after;
            self.translation.update([intake::change(&self.binding)]);
        }
        unreachable!("the status never becomes stable");
    }

    /// Returns the mesh after a restart: the cluster is known, but no peer has answered yet.
    fn restarted(&self, config: MeshFedConfig) -> Self {
        let changes = [intake::change(&config.build()), intake::change(&self.binding)];
        Self {
            translation: Translation::from_changes(TranslationSettings::default(), changes),
            binding: self.binding.clone(),
        }
    }

    fn unit() -> Unit {
        Unit::ServiceBinding(ObjectKey::new("shop", "reviews"))
    }

    fn verdict(&self) -> ResourceVerdict {
        self.translation.verdict(&Self::unit()).expect("a verdict")
    }

    fn status(&self) -> Value {
        let unit = Self::unit().resource().expect("a resource");
        build_status(&unit, &self.verdict(), &self.binding["status"], at(T1)).expect("a status")
    }

    fn why(&self) -> Option<Reason> {
        let verdict = self.verdict();
        verdict.refusals.iter().chain(&verdict.failures).map(|problem| problem.reason).next()
    }

    fn warns(&self, reason: Reason) -> bool {
        self.verdict().warnings.iter().any(|problem| problem.reason == reason)
    }

    fn endpoints(&self) -> Vec<String> {
        let status = self.status();
        let texts = status["endpoints"].as_array().into_iter().flatten();
        texts.map(|text| text.as_str().unwrap_or_default().to_owned()).collect()
    }

    fn kinds(&self) -> Vec<GeneratedKind> {
        self.translation.objects().into_iter().map(|object| object.kind()).collect()
    }
}

const ALL: [GeneratedKind; 4] = [
    GeneratedKind::DestinationRule,
    GeneratedKind::ServiceEntry,
    GeneratedKind::Service,
    GeneratedKind::VirtualService,
];
const M2: &str = "203.0.113.2:9080";
const M3: &str = "203.0.113.3:9080";

#[test]
fn a_binding_follows_what_is_announced() {
    let mut mesh = Mesh::blue(reviews());
    assert_eq!((mesh.why(), mesh.kinds().as_slice()), (Some(Reason::NotDiscovered), &[][..]));
    mesh.hear([connected("m2"), announces("m2", M2)]);
    assert_eq!((mesh.why(), mesh.endpoints()), (None, vec![M2.to_owned()]));
    assert_eq!(mesh.kinds(), ALL);
    let status = mesh.status();
    assert_eq!((&status["source"], &status["ready"]), (&json!("m2"), &json!(true)));
    let wanted = json!({
        "peer": "m2", "protocol": "http", "port": 9080, "endpoints": [M2],
        "subject_alt_names": ["spiffe://m2.example/ns/shop/sa/reviews"],
        "version": offer(&service_of("shop", "reviews"), M2).content_version(),
        "mode": "FLAT", "trust_domain": "m2.example", "root_hash": "0a1b",
    });
    assert_eq!(status["announcement"], wanted);
    mesh.hear([announces("m2", M3)]);
    assert_eq!(mesh.endpoints(), [M3]);
    assert_eq!(mesh.status()["announcement"]["endpoints"], json!([M3]));
}

#[test]
fn what_the_binding_says_wins() {
    let mut mesh = Mesh::blue(reviews().endpoints(["198.51.100.1:1"]).peer("m2"));
    mesh.hear([connected("m2"), announces("m2", M2)]);
    assert_eq!(mesh.endpoints(), ["198.51.100.1:1"]);
    assert_eq!(mesh.status()["source"], "spec");
    let service =
        of_kind(&mesh.translation, GeneratedKind::Service).into_iter().map(written).next().expect("a facade");
    assert_eq!(service["spec"]["ports"][0]["port"], 9080, "the announced port is still used");
    // It does not matter that two peers announce the service: the binding has endpoints of its own.
    let mut mesh = Mesh::blue(reviews().endpoints(["198.51.100.1:1"]));
    mesh.hear([announces("m2", M2), announces("m3", M3), lost("m2", T0, true)]);
    assert_eq!((mesh.why(), mesh.endpoints()), (None, vec!["198.51.100.1:1".to_owned()]));
    assert!(!mesh.warns(Reason::PeerLost));
}

/// The peer announces the root hash `0a1b`.
#[test]
fn other_roots_than_ones_own_are_said_and_hinder_nothing() {
    for (own, differ) in [(Some("0a1b"), false), (Some("ffff"), true), (None, false)] {
        let config = two_peers(flat("blue")).build();
        let settings =
            TranslationSettings { root_hash: own.map(str::to_owned), ..TranslationSettings::default() };
        let given = reviews().endpoints(["198.51.100.1:1"]).build();
        for (binding, differ) in [(reviews().build(), differ), (given, false)] {
            let changes = [intake::change(&config), intake::change(&binding)];
            let mut mesh =
                Mesh { translation: Translation::from_changes(settings.clone(), changes), binding };
            mesh.hear([connected("m2"), announces("m2", M2)]);
            assert_eq!((mesh.why(), mesh.warns(Reason::RootsDiffer)), (None, differ), "{own:?}");
        }
    }
}

#[test]
fn a_withdrawal_leaves_the_name_and_nothing_behind_it() {
    let mut mesh = Mesh::blue(reviews());
    mesh.hear([connected("m2"), announces("m2", M2)]).hear([takes_back("m2")]);
    assert_eq!((mesh.why(), mesh.endpoints().len()), (Some(Reason::Withdrawn), 0));
    assert_eq!(mesh.kinds(), [GeneratedKind::Service]);
    let facade = written(&of_kind(&mesh.translation, GeneratedKind::Service)[0]);
    assert_eq!(
        (&facade["metadata"]["name"], &facade["spec"]["ports"][0]["port"]),
        (&json!("reviews"), &json!(9080))
    );
    assert_eq!(mesh.status()["announcement"]["withdrawn"], true);
    // This also holds after a restart, before any peer has answered.
    let again = mesh.restarted(two_peers(flat("blue")));
    assert_eq!((again.why(), again.kinds()), (Some(Reason::Withdrawn), vec![GeneratedKind::Service]));
    assert_eq!(again.status(), mesh.status());
    mesh.hear([announces("m2", M2)]);
    assert_eq!((mesh.why(), mesh.kinds().as_slice()), (None, &ALL[..]));
    assert_eq!(mesh.status()["announcement"]["withdrawn"], Value::Null);
}

#[test]
fn the_name_of_a_withdrawn_service_is_nobody_elses() {
    let mut mesh = Mesh::blue(reviews());
    let foreign = service("shop", "reviews").port("http", 80).build();
    mesh.hear([connected("m2"), announces("m2", M2)]).hear([takes_back("m2"), intake::change(&foreign)]);
    assert_eq!(mesh.kinds(), [], "a Service that Emcee does not manage is not changed");
}

#[test]
fn a_lost_peer_is_no_withdrawal() {
    let mut mesh = Mesh::blue(reviews());
    mesh.hear([connected("m2"), announces("m2", M2)]);
    let before = (mesh.endpoints(), mesh.kinds());
    mesh.hear([lost("m2", T0, true)]);
    assert_eq!((mesh.endpoints(), mesh.kinds()), before);
    assert!(mesh.warns(Reason::PeerLost));
    assert_eq!((&mesh.status()["stale_since"], &mesh.status()["ready"]), (&json!(T0), &json!(true)));
    mesh.hear([connected("m2")]);
    assert!(!mesh.warns(Reason::PeerLost));
    assert_eq!(mesh.status()["stale_since"], Value::Null);
    // Discovery reports expired announcements as removals.
    mesh.hear([lost("m2", T0, true), takes_back("m2")]);
    assert_eq!(mesh.why(), Some(Reason::Withdrawn));
}

/// This holds in every state of the peer until it has answered.
#[test]
fn a_restart_deletes_nothing_before_the_peer_has_answered() {
    let mut mesh = Mesh::blue(reviews());
    mesh.hear([connected("m2"), announces("m2", M2)]).hear([lost("m2", T0, true)]);
    let config = || two_peers(flat("blue"));
    let (objects, status) = (mesh.translation.objects().len(), mesh.status());
    let mut again = mesh.restarted(config());
    assert_eq!((again.translation.objects().len(), again.status()), (objects, status.clone()));
    for news in [
        InputChange::Peer(source("m2"), Some(PeerSyncState::PENDING)),
        lost("m2", T1, false),
        // Another peer does not replace it.
        connected("m3"),
        announces("m3", M3),
    ] {
        again.hear([news]);
        assert_eq!((again.endpoints(), again.kinds().as_slice()), (vec![M2.to_owned()], &ALL[..]));
        assert_eq!(again.status(), status, "the peer has been unreachable since then, not since the restart");
    }
    let half = state(PeerConnection::Connected(at(T1)), false);
    again.hear([InputChange::Peer(source("m2"), Some(half))]);
    assert_eq!(again.endpoints(), [M2], "the first response of the peer is incomplete");
    again.hear([InputChange::Peer(source("m3"), None), takes_back("m3"), connected("m2")]);
    assert_eq!(again.why(), Some(Reason::Withdrawn));
}

#[test]
fn what_was_announced_is_asked_for_after_a_restart() {
    let mut mesh = Mesh::blue(reviews());
    mesh.hear([connected("m2"), announces("m2", M2)]);
    let again = mesh.restarted(two_peers(flat("blue")));
    let wanted = offer(&service_of("shop", "reviews"), M2);
    assert_eq!(again.translation.remembered_announcements(), [(source("m2"), wanted)]);
    mesh.hear([takes_back("m2")]);
    assert_eq!(mesh.restarted(two_peers(flat("blue"))).translation.remembered_announcements(), []);
}

#[test]
fn of_two_peers_one_has_to_be_named() {
    let mut mesh = Mesh::blue(reviews());
    mesh.hear([connected("m2"), connected("m3"), announces("m2", M2), announces("m3", M3)]);
    assert_eq!(mesh.why(), Some(Reason::AmbiguousPeer));
    assert!(!mesh.verdict().is_accepted(), "the user must fix it");
    mesh.binding["spec"]["peer"] = "m3".into();
    let change = intake::change(&mesh.binding);
    mesh.hear([change]);
    assert_eq!(mesh.endpoints(), [M3]);
}

#[test]
fn nobody_takes_a_service_over_by_announcing_it_too() {
    let mut mesh = Mesh::blue(reviews());
    mesh.hear([connected("m2"), connected("m3"), announces("m2", M2)]).hear([announces("m3", M3)]);
    assert_eq!((mesh.why(), mesh.endpoints()), (None, vec![M2.to_owned()]));
    mesh.hear([lost("m2", T0, true)]);
    assert_eq!(mesh.endpoints(), [M2]);
    // A peer that withdraws the service no longer serves it.
    mesh.hear([takes_back("m2")]);
    assert_eq!(mesh.endpoints(), [M3]);
    mesh.hear([announces("m2", M2)]);
    assert_eq!(mesh.endpoints(), [M3]);
}

#[test]
fn a_named_peer_is_the_only_one() {
    let mut mesh = Mesh::blue(reviews().peer("m2"));
    mesh.hear([connected("m2"), connected("m3"), announces("m3", M3)]);
    assert_eq!(mesh.why(), Some(Reason::NotDiscovered));
    mesh.hear([announces("m2", M2)]).hear([takes_back("m2")]);
    assert_eq!(mesh.why(), Some(Reason::Withdrawn));
}

/// The peer policy may have changed since the announcement was accepted.
#[test]
fn what_the_terms_forbid_leads_nowhere() {
    let narrow = || {
        let m2 = Peer::new("m2", ["m2.example"]).networks(["198.51.100.0/24"]);
        flat("blue").unset("/spec/tls_context_selector").peer(m2)
    };
    let mut mesh = Mesh::new(two_peers(flat("blue")), reviews());
    mesh.hear([connected("m2"), announces("m2", M2)]);
    let kept = mesh.status()["announcement"].clone();
    mesh.hear([intake::change(&narrow().build())]);
    assert_eq!((mesh.why(), mesh.kinds().as_slice()), (Some(Reason::AddressNotAllowed), &[][..]));
    assert_eq!(mesh.status()["announcement"], kept);
    assert_eq!(mesh.restarted(narrow()).why(), Some(Reason::AddressNotAllowed));
    // An announcement stored for another style is not restored.
    let other = two_peers(passthrough("blue"));
    assert_eq!(mesh.restarted(other).why(), Some(Reason::NotDiscovered));
}

/// Otherwise a service without pods could be impersonated by any workload of the common root.
#[test]
fn an_announcement_without_identities_widens_nothing() {
    let mut mesh = Mesh::blue(reviews());
    let reviews = service_of("shop", "reviews");
    let anonymous = Announcement { identities: Vec::new(), ..offer(&reviews, M2) };
    mesh.hear([announces("m2", M2)]).hear([InputChange::Announcement(
        source("m2"),
        reviews,
        Some(anonymous),
    )]);
    assert!(!mesh.warns(Reason::AnyIdentity));
    let names = &mesh.status()["announcement"]["subject_alt_names"];
    assert_eq!(*names, json!(["spiffe://m2.example/ns/shop/sa/reviews"]));
}

#[test]
fn no_endpoints_are_no_withdrawal() {
    let mut mesh = Mesh::blue(reviews());
    let reviews = service_of("shop", "reviews");
    let nowhere = Announcement { endpoints: Vec::new(), ..offer(&reviews, M2) };
    mesh.hear([connected("m2"), InputChange::Announcement(source("m2"), reviews, Some(nowhere))]);
    assert_eq!((mesh.why(), mesh.kinds().as_slice()), (None, &ALL[..]));
    let unready = mesh.verdict().not_ready.expect("not ready");
    assert_eq!(unready.reason, Reason::NoAddress);
}

fn fed_status(mesh: &Mesh, before: &Value) -> Value {
    let unit = Unit::MeshFedConfig(ObjectKey::new("blue", "blue"));
    let verdict = mesh.translation.verdict(&unit).expect("a verdict");
    build_status(&unit.resource().expect("a resource"), &verdict, before, at(T1)).expect("a status")
}

#[test]
fn a_relationship_says_how_it_stands_with_its_peers() {
    let mut mesh = Mesh::blue(reviews());
    assert_eq!(fed_status(&mesh, &Value::Null)["peers"], Value::Null, "no peers are invented");
    mesh.hear([connected("m2"), announces("m2", M2), lost("m3", T1, false)]);
    let first = fed_status(&mesh, &Value::Null);
    let wanted = json!([
        {"name": "m2", "connected": true, "last_seen": T0, "announced": 1, "imported": 1},
        {"name": "m3", "connected": false, "last_seen": T1, "announced": 0, "imported": 0, "error": "connection refused"},
    ]);
    assert_eq!(first["peers"], wanted);
    // A restart does not change the state of a peer.
    let mut again = mesh.restarted(two_peers(flat("blue")));
    assert_eq!(fed_status(&again, &first)["peers"], wanted);
    again.hear([InputChange::Peer(source("m2"), Some(PeerSyncState::PENDING))]);
    assert_eq!(fed_status(&again, &first)["peers"], wanted);
    let later = PeerConnection::Unreachable {
        since: at("2026-11-22T00:00:00Z"),
        error: Some("connection refused".into()),
    };
    again.hear([InputChange::Peer(source("m3"), Some(state(later, false)))]);
    assert_eq!(fed_status(&again, &first)["peers"], wanted);
}

#[test]
fn a_relationship_says_what_is_refused() {
    let mut mesh = Mesh::blue(reviews());
    let refused =
        |resource: &str| RefusedAnnouncement { resource: resource.into(), reason: "style: is WHARF".into() };
    let state = PeerSyncState {
        refused: ["shop/a/IPv4", "shop/b/IPv4", "shop/c/IPv4", "shop/d/IPv4"].map(refused).to_vec(),
        refused_by_peer: vec![refused("shop/own/IPv4")],
        ..state(PeerConnection::Connected(at(T0)), true)
    };
    let units = mesh.translation.update([InputChange::Peer(source("m2"), Some(state))]);
    let unit = Unit::MeshFedConfig(ObjectKey::new("blue", "blue"));
    assert_eq!(units, std::slice::from_ref(&unit), "bindings are not affected");
    let verdict = mesh.translation.verdict(&unit).expect("a verdict");
    let words = |reason| {
        let found = verdict.warnings.iter().find(|problem| problem.reason == reason);
        found.map(|problem| problem.message.clone()).unwrap_or_default()
    };
    let here = words(Reason::AnnouncementRefused);
    assert!(here.contains("m2") && here.contains("shop/a/IPv4: style: is WHARF"), "{here}");
    assert!(here.ends_with("and 1 more") && !here.contains("shop/d"), "{here}");
    assert!(words(Reason::RefusedByPeer).contains("shop/own/IPv4"));
}

#[test]
fn only_the_bindings_of_what_changed_run() {
    let mut mesh = Mesh::blue(reviews());
    let others: Vec<_> = (0..50)
        .map(|n| binding("shop", &format!("b{n}")).to("shop", &format!("s{n}")).fed("blue").build())
        .collect();
    mesh.hear(others.iter().map(intake::change)).hear([announces("m2", M2)]);
    let units = mesh.translation.update([announces("m2", M3)]);
    let bindings: Vec<_> = units.iter().filter(|unit| matches!(unit, Unit::ServiceBinding(_))).collect();
    assert_eq!(bindings, [&Mesh::unit()]);
}

#[test]
fn the_catalogue_lists_both_ways() {
    let mut mesh = Mesh::blue(reviews());
    let own = [
        exposition("shop", "ratings").port(80).fed("blue").peers(["m3"]).build(),
        service("shop", "ratings").port("http", 80).selector([("app", "ratings")]).build(),
        peer_authentication("istio-system", "default").mode("STRICT").build(),
    ];
    mesh.hear(own.iter().map(intake::change)).hear([connected("m2"), announces("m2", M2)]);
    let listing = mesh.translation.catalogue_reports();
    let [blue] = listing.as_slice() else { panic!("{listing:?}") };
    assert_eq!((&blue.fed_config, blue.relationship.as_str()), (&ObjectKey::new("blue", "blue"), "blue"));
    let [m2, m3] = blue.peers.as_slice() else { panic!("{blue:?}") };
    assert!(m2.state.as_ref().is_some_and(PeerSyncState::is_connected) && m3.state.is_none());
    let [announced] = m2.announced_by_peer.as_slice() else { panic!("{m2:?}") };
    assert_eq!(announced.announcement, Arc::new(offer(&service_of("shop", "reviews"), M2)));
    assert_eq!(
        (announced.bindings.as_slice(), &announced.not_imported),
        (&[ObjectKey::new("shop", "reviews")][..], &None)
    );
    assert_eq!((m2.announced_to_peer.len(), m3.announced_by_peer.len()), (0, 0));
    assert_eq!(m3.announced_to_peer[0].key, ObjectKey::new("shop", "ratings"));
}
