//! Bindings follow the announcements of peers. An unreachable peer does not withdraw its services, and no other peer
//! can take over a service.

use std::sync::Arc;

use emcee_api::Reason;
use emcee_core::catalogue::{Announcement, PeerConnection, PeerSyncState, RefusedAnnouncement};
use emcee_core::inputs::{InputChange, TranslationSettings};
use emcee_core::key::ObjectKey;
use emcee_core::plan::GeneratedKind;
use emcee_core::status::{ResourceVerdict, build_status};
use emcee_core::translate::{Translation, Unit};
use emcee_testkit::objects::emcee::{MeshFedConfig, ServiceBinding};
use emcee_testkit::prelude::*;
use serde_json::{Value, json};

use crate::mesh::input;
use crate::peer_inputs::{
    T0, flat_announcement, peer_announces, peer_connected, peer_key, peer_unreachable, peer_withdraws,
    service_key, sync_state, timestamp, with_two_peers,
};
use crate::plan::{objects_of_kind, to_json as written};

const T1: &str = "2026-11-21T00:00:00Z";

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
        let changes = [input::change(&config.build()), input::change(&binding)];
        Self { translation: Translation::from_changes(TranslationSettings::default(), changes), binding }
    }

    fn blue(binding: ServiceBinding) -> Self {
        Self::new(with_two_peers(flat("blue")), binding)
    }

    fn apply_changes(&mut self, changes: impl IntoIterator<Item = InputChange>) -> &mut Self {
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
            self.translation.update([input::change(&self.binding)]);
        }
        unreachable!("the status never becomes stable");
    }

    /// Returns the mesh after a restart: the cluster is known, but no peer has answered yet.
    fn after_restart(&self, config: MeshFedConfig) -> Self {
        let changes = [input::change(&config.build()), input::change(&self.binding)];
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
        build_status(&unit, &self.verdict(), &self.binding["status"], timestamp(T1)).expect("a status")
    }

    fn refusal_reason(&self) -> Option<Reason> {
        let verdict = self.verdict();
        verdict.refusals.iter().chain(&verdict.failures).map(|problem| problem.reason).next()
    }

    fn has_warning(&self, reason: Reason) -> bool {
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

/// The rule of the binding, the entry of its shared host, and the three objects of the facade.
const ALL: [GeneratedKind; 5] = [
    GeneratedKind::DestinationRule,
    GeneratedKind::ServiceEntry,
    GeneratedKind::Service,
    GeneratedKind::VirtualService,
    GeneratedKind::DestinationRule,
];
const M2: &str = "203.0.113.2:9080";
const M3: &str = "203.0.113.3:9080";

#[test]
fn a_binding_follows_announcements() {
    let mut mesh = Mesh::blue(reviews());
    assert_eq!((mesh.refusal_reason(), mesh.kinds().as_slice()), (Some(Reason::NotDiscovered), &[][..]));
    mesh.apply_changes([peer_connected("m2"), peer_announces("m2", M2)]);
    assert_eq!((mesh.refusal_reason(), mesh.endpoints()), (None, vec![M2.to_owned()]));
    assert_eq!(mesh.kinds(), ALL);
    let status = mesh.status();
    assert_eq!((&status["source"], &status["ready"]), (&json!("m2"), &json!(true)));
    let expected = json!({
        "peer": "m2", "protocol": "http", "port": 9080, "endpoints": [M2],
        "subject_alt_names": ["spiffe://m2.example/ns/shop/sa/reviews"],
        "version": flat_announcement(&service_key("shop", "reviews"), M2).content_version(),
        "mode": "FLAT", "trust_domain": "m2.example", "root_hash": "0a1b",
    });
    assert_eq!(status["announcement"], expected);
    mesh.apply_changes([peer_announces("m2", M3)]);
    assert_eq!(mesh.endpoints(), [M3]);
    assert_eq!(mesh.status()["announcement"]["endpoints"], json!([M3]));
}

#[test]
fn the_spec_of_a_binding_overrides_announcements() {
    let mut mesh = Mesh::blue(reviews().endpoints(["198.51.100.1:1"]).peer("m2"));
    mesh.apply_changes([peer_connected("m2"), peer_announces("m2", M2)]);
    assert_eq!(mesh.endpoints(), ["198.51.100.1:1"]);
    assert_eq!(mesh.status()["source"], "spec");
    let service = objects_of_kind(&mesh.translation, GeneratedKind::Service)
        .into_iter()
        .map(written)
        .next()
        .expect("a facade");
    assert_eq!(service["spec"]["ports"][0]["port"], 9080, "the announced port is still used");
    // It does not matter that two peers announce the service: the binding has endpoints of its own.
    let mut mesh = Mesh::blue(reviews().endpoints(["198.51.100.1:1"]));
    mesh.apply_changes([
        peer_announces("m2", M2),
        peer_announces("m3", M3),
        peer_unreachable("m2", T0, true),
    ]);
    assert_eq!((mesh.refusal_reason(), mesh.endpoints()), (None, vec!["198.51.100.1:1".to_owned()]));
    assert!(!mesh.has_warning(Reason::PeerLost));
}

/// The peer announces the root hash `0a1b`.
#[test]
fn different_roots_cause_a_warning_only() {
    for (own, differ) in [(Some("0a1b"), false), (Some("ffff"), true), (None, false)] {
        let config = with_two_peers(flat("blue")).build();
        let settings =
            TranslationSettings { root_hash: own.map(str::to_owned), ..TranslationSettings::default() };
        let given = reviews().endpoints(["198.51.100.1:1"]).build();
        for (binding, differ) in [(reviews().build(), differ), (given, false)] {
            let changes = [input::change(&config), input::change(&binding)];
            let mut mesh =
                Mesh { translation: Translation::from_changes(settings.clone(), changes), binding };
            mesh.apply_changes([peer_connected("m2"), peer_announces("m2", M2)]);
            assert_eq!(
                (mesh.refusal_reason(), mesh.has_warning(Reason::RootsDiffer)),
                (None, differ),
                "{own:?}"
            );
        }
    }
}

#[test]
fn a_withdrawal_keeps_only_the_facade_service() {
    let mut mesh = Mesh::blue(reviews());
    mesh.apply_changes([peer_connected("m2"), peer_announces("m2", M2)])
        .apply_changes([peer_withdraws("m2")]);
    assert_eq!((mesh.refusal_reason(), mesh.endpoints().len()), (Some(Reason::Withdrawn), 0));
    assert_eq!(mesh.kinds(), [GeneratedKind::Service]);
    let facade = written(&objects_of_kind(&mesh.translation, GeneratedKind::Service)[0]);
    assert_eq!(
        (&facade["metadata"]["name"], &facade["spec"]["ports"][0]["port"]),
        (&json!("reviews"), &json!(9080))
    );
    assert_eq!(mesh.status()["announcement"]["withdrawn"], true);
    // This also holds after a restart, before any peer has answered.
    let again = mesh.after_restart(with_two_peers(flat("blue")));
    assert_eq!(
        (again.refusal_reason(), again.kinds()),
        (Some(Reason::Withdrawn), vec![GeneratedKind::Service])
    );
    assert_eq!(again.status(), mesh.status());
    mesh.apply_changes([peer_announces("m2", M2)]);
    assert_eq!((mesh.refusal_reason(), mesh.kinds().as_slice()), (None, &ALL[..]));
    assert_eq!(mesh.status()["announcement"]["withdrawn"], Value::Null);
}

#[test]
fn the_facade_of_a_withdrawn_service_yields_to_a_users_service() {
    let mut mesh = Mesh::blue(reviews());
    let foreign = service("shop", "reviews").port("http", 80).build();
    mesh.apply_changes([peer_connected("m2"), peer_announces("m2", M2)])
        .apply_changes([peer_withdraws("m2"), input::change(&foreign)]);
    assert_eq!(mesh.kinds(), [], "a Service that Emcee does not manage is not changed");
}

#[test]
fn an_unreachable_peer_withdraws_nothing() {
    let mut mesh = Mesh::blue(reviews());
    mesh.apply_changes([peer_connected("m2"), peer_announces("m2", M2)]);
    let before = (mesh.endpoints(), mesh.kinds());
    mesh.apply_changes([peer_unreachable("m2", T0, true)]);
    assert_eq!((mesh.endpoints(), mesh.kinds()), before);
    assert!(mesh.has_warning(Reason::PeerLost));
    assert_eq!((&mesh.status()["stale_since"], &mesh.status()["ready"]), (&json!(T0), &json!(true)));
    mesh.apply_changes([peer_connected("m2")]);
    assert!(!mesh.has_warning(Reason::PeerLost));
    assert_eq!(mesh.status()["stale_since"], Value::Null);
    // Discovery reports expired announcements as removals.
    mesh.apply_changes([peer_unreachable("m2", T0, true), peer_withdraws("m2")]);
    assert_eq!(mesh.refusal_reason(), Some(Reason::Withdrawn));
}

/// This holds in every state of the peer until it has answered.
#[test]
fn a_restart_deletes_nothing_before_the_peer_has_answered() {
    let mut mesh = Mesh::blue(reviews());
    mesh.apply_changes([peer_connected("m2"), peer_announces("m2", M2)])
        .apply_changes([peer_unreachable("m2", T0, true)]);
    let config = || with_two_peers(flat("blue"));
    let (objects, status) = (mesh.translation.objects().len(), mesh.status());
    let mut again = mesh.after_restart(config());
    assert_eq!((again.translation.objects().len(), again.status()), (objects, status.clone()));
    for change in [
        InputChange::Peer(peer_key("m2"), Some(PeerSyncState::PENDING)),
        peer_unreachable("m2", T1, false),
        // Another peer does not replace it.
        peer_connected("m3"),
        peer_announces("m3", M3),
    ] {
        again.apply_changes([change]);
        assert_eq!((again.endpoints(), again.kinds().as_slice()), (vec![M2.to_owned()], &ALL[..]));
        assert_eq!(again.status(), status, "the peer has been unreachable since then, not since the restart");
    }
    let half = sync_state(PeerConnection::Connected(timestamp(T1)), false);
    again.apply_changes([InputChange::Peer(peer_key("m2"), Some(half))]);
    assert_eq!(again.endpoints(), [M2], "the first response of the peer is incomplete");
    again.apply_changes([
        InputChange::Peer(peer_key("m3"), None),
        peer_withdraws("m3"),
        peer_connected("m2"),
    ]);
    assert_eq!(again.refusal_reason(), Some(Reason::Withdrawn));
}

#[test]
fn stored_announcements_are_restored_after_a_restart() {
    let mut mesh = Mesh::blue(reviews());
    mesh.apply_changes([peer_connected("m2"), peer_announces("m2", M2)]);
    let again = mesh.after_restart(with_two_peers(flat("blue")));
    let expected = flat_announcement(&service_key("shop", "reviews"), M2);
    assert_eq!(again.translation.remembered_announcements(), [(peer_key("m2"), expected)]);
    mesh.apply_changes([peer_withdraws("m2")]);
    assert_eq!(mesh.after_restart(with_two_peers(flat("blue"))).translation.remembered_announcements(), []);
}

#[test]
fn two_announcing_peers_are_ambiguous() {
    let mut mesh = Mesh::blue(reviews());
    mesh.apply_changes([
        peer_connected("m2"),
        peer_connected("m3"),
        peer_announces("m2", M2),
        peer_announces("m3", M3),
    ]);
    assert_eq!(mesh.refusal_reason(), Some(Reason::AmbiguousPeer));
    assert!(!mesh.verdict().is_accepted(), "the user must fix it");
    mesh.binding["spec"]["peer"] = "m3".into();
    let change = input::change(&mesh.binding);
    mesh.apply_changes([change]);
    assert_eq!(mesh.endpoints(), [M3]);
}

#[test]
fn a_second_announcing_peer_takes_over_only_after_a_withdrawal() {
    let mut mesh = Mesh::blue(reviews());
    mesh.apply_changes([peer_connected("m2"), peer_connected("m3"), peer_announces("m2", M2)])
        .apply_changes([peer_announces("m3", M3)]);
    assert_eq!((mesh.refusal_reason(), mesh.endpoints()), (None, vec![M2.to_owned()]));
    mesh.apply_changes([peer_unreachable("m2", T0, true)]);
    assert_eq!(mesh.endpoints(), [M2]);
    // A peer that withdraws the service no longer serves it.
    mesh.apply_changes([peer_withdraws("m2")]);
    assert_eq!(mesh.endpoints(), [M3]);
    mesh.apply_changes([peer_announces("m2", M2)]);
    assert_eq!(mesh.endpoints(), [M3]);
}

#[test]
fn a_binding_follows_only_the_peer_that_it_names() {
    let mut mesh = Mesh::blue(reviews().peer("m2"));
    mesh.apply_changes([peer_connected("m2"), peer_connected("m3"), peer_announces("m3", M3)]);
    assert_eq!(mesh.refusal_reason(), Some(Reason::NotDiscovered));
    mesh.apply_changes([peer_announces("m2", M2)]).apply_changes([peer_withdraws("m2")]);
    assert_eq!(mesh.refusal_reason(), Some(Reason::Withdrawn));
}

/// The peer policy may have changed since the announcement was accepted.
#[test]
fn announcements_that_the_peer_policy_forbids_are_not_used() {
    let narrow = || {
        let m2 = Peer::new("m2", ["m2.example"]).networks(["198.51.100.0/24"]);
        flat("blue").unset("/spec/tls_context_selector").peer(m2)
    };
    let mut mesh = Mesh::new(with_two_peers(flat("blue")), reviews());
    mesh.apply_changes([peer_connected("m2"), peer_announces("m2", M2)]);
    let kept = mesh.status()["announcement"].clone();
    mesh.apply_changes([input::change(&narrow().build())]);
    assert_eq!((mesh.refusal_reason(), mesh.kinds().as_slice()), (Some(Reason::AddressNotAllowed), &[][..]));
    assert_eq!(mesh.status()["announcement"], kept);
    assert_eq!(mesh.after_restart(narrow()).refusal_reason(), Some(Reason::AddressNotAllowed));
    // An announcement stored for another style is not restored.
    let other = with_two_peers(passthrough("blue"));
    assert_eq!(mesh.after_restart(other).refusal_reason(), Some(Reason::NotDiscovered));
}

/// Otherwise a service without pods could be impersonated by any workload of the common root.
#[test]
fn an_announcement_without_identities_keeps_the_known_identities() {
    let mut mesh = Mesh::blue(reviews());
    let reviews = service_key("shop", "reviews");
    let anonymous = Announcement { identities: Vec::new(), ..flat_announcement(&reviews, M2) };
    mesh.apply_changes([peer_announces("m2", M2)]).apply_changes([InputChange::Announcement(
        peer_key("m2"),
        reviews,
        Some(anonymous),
    )]);
    assert!(!mesh.has_warning(Reason::AnyIdentity));
    let names = &mesh.status()["announcement"]["subject_alt_names"];
    assert_eq!(*names, json!(["spiffe://m2.example/ns/shop/sa/reviews"]));
}

#[test]
fn an_announcement_without_endpoints_withdraws_nothing() {
    let mut mesh = Mesh::blue(reviews());
    let reviews = service_key("shop", "reviews");
    let nowhere = Announcement { endpoints: Vec::new(), ..flat_announcement(&reviews, M2) };
    mesh.apply_changes([
        peer_connected("m2"),
        InputChange::Announcement(peer_key("m2"), reviews, Some(nowhere)),
    ]);
    assert_eq!((mesh.refusal_reason(), mesh.kinds().as_slice()), (None, &ALL[..]));
    let unready = mesh.verdict().not_ready.expect("not ready");
    assert_eq!(unready.reason, Reason::NoAddress);
}

fn relationship_status(mesh: &Mesh, before: &Value) -> Value {
    let unit = Unit::MeshFedConfig(ObjectKey::new("blue", "blue"));
    let verdict = mesh.translation.verdict(&unit).expect("a verdict");
    build_status(&unit.resource().expect("a resource"), &verdict, before, timestamp(T1)).expect("a status")
}

#[test]
fn a_relationship_reports_the_state_of_its_peers() {
    let mut mesh = Mesh::blue(reviews());
    assert_eq!(relationship_status(&mesh, &Value::Null)["peers"], Value::Null, "no peers are invented");
    mesh.apply_changes([peer_connected("m2"), peer_announces("m2", M2), peer_unreachable("m3", T1, false)]);
    let first = relationship_status(&mesh, &Value::Null);
    let expected = json!([
        {"name": "m2", "connected": true, "last_seen": T0, "announced": 1, "imported": 1},
        {"name": "m3", "connected": false, "last_seen": T1, "announced": 0, "imported": 0, "error": "connection refused"},
    ]);
    assert_eq!(first["peers"], expected);
    // A restart does not change the state of a peer.
    let mut again = mesh.after_restart(with_two_peers(flat("blue")));
    assert_eq!(relationship_status(&again, &first)["peers"], expected);
    again.apply_changes([InputChange::Peer(peer_key("m2"), Some(PeerSyncState::PENDING))]);
    assert_eq!(relationship_status(&again, &first)["peers"], expected);
    let later = PeerConnection::Unreachable {
        since: timestamp("2026-11-22T00:00:00Z"),
        error: Some("connection refused".into()),
    };
    again.apply_changes([InputChange::Peer(peer_key("m3"), Some(sync_state(later, false)))]);
    assert_eq!(relationship_status(&again, &first)["peers"], expected);
}

#[test]
fn a_relationship_reports_refused_announcements() {
    let mut mesh = Mesh::blue(reviews());
    let refused =
        |resource: &str| RefusedAnnouncement { resource: resource.into(), reason: "style: is WHARF".into() };
    let state = PeerSyncState {
        refused: ["shop/a/IPv4", "shop/b/IPv4", "shop/c/IPv4", "shop/d/IPv4"].map(refused).to_vec(),
        refused_by_peer: vec![refused("shop/own/IPv4")],
        ..sync_state(PeerConnection::Connected(timestamp(T0)), true)
    };
    let units = mesh.translation.update([InputChange::Peer(peer_key("m2"), Some(state))]);
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
fn only_bindings_of_changed_announcements_run() {
    let mut mesh = Mesh::blue(reviews());
    let others: Vec<_> = (0..50)
        .map(|n| binding("shop", &format!("b{n}")).to_service("shop", &format!("s{n}")).fed("blue").build())
        .collect();
    mesh.apply_changes(others.iter().map(input::change)).apply_changes([peer_announces("m2", M2)]);
    let units = mesh.translation.update([peer_announces("m2", M3)]);
    let bindings: Vec<_> = units.iter().filter(|unit| matches!(unit, Unit::ServiceBinding(_))).collect();
    assert_eq!(bindings, [&Mesh::unit()]);
}

#[test]
fn the_catalogue_lists_both_directions() {
    let mut mesh = Mesh::blue(reviews());
    let own = [
        exposition("shop", "ratings").port(80).fed("blue").peers(["m3"]).build(),
        service("shop", "ratings").port("http", 80).selector([("app", "ratings")]).build(),
        peer_authentication("istio-system", "default").mode("STRICT").build(),
    ];
    mesh.apply_changes(own.iter().map(input::change))
        .apply_changes([peer_connected("m2"), peer_announces("m2", M2)]);
    let listing = mesh.translation.catalogue_reports();
    let [blue] = listing.as_slice() else { panic!("{listing:?}") };
    assert_eq!((&blue.fed_config, blue.relationship.as_str()), (&ObjectKey::new("blue", "blue"), "blue"));
    let [m2, m3] = blue.peers.as_slice() else { panic!("{blue:?}") };
    assert!(m2.state.as_ref().is_some_and(PeerSyncState::is_connected) && m3.state.is_none());
    let [announced] = m2.announced_by_peer.as_slice() else { panic!("{m2:?}") };
    assert_eq!(announced.announcement, Arc::new(flat_announcement(&service_key("shop", "reviews"), M2)));
    assert_eq!(
        (announced.bindings.as_slice(), &announced.not_imported),
        (&[ObjectKey::new("shop", "reviews")][..], &None)
    );
    assert_eq!((m2.announced_to_peer.len(), m3.announced_by_peer.len()), (0, 0));
    assert_eq!(m3.announced_to_peer[0].key, ObjectKey::new("shop", "ratings"));
}
