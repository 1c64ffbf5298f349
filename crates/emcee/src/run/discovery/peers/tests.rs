//! Events of peers that arrive late.

use emcee_core::catalogue::CatalogueUpdate;
use emcee_core::mode::Mode;
use emcee_core::protocol::Protocol;

use super::super::tests::updates_for_relationship;
use super::*;

fn announced() -> PeerEvent {
    PeerEvent::Changed(AnnouncementEvent::Announced(Announcement {
        key: ObjectKey::new("default", "reviews"),
        mode: Mode::Flat,
        server_name: "reviews.default.blue.emcee.internal".to_owned(),
        protocol: Protocol::Http,
        port: 9080,
        endpoints: vec!["203.0.113.7:9080".parse().expect("an endpoint")],
        identities: Vec::new(),
        trust_domain: "m2.example".to_owned(),
        root_hash: None,
    }))
}

#[tokio::test]
async fn events_of_an_ended_subscription_are_dropped() {
    let policies = updates_for_relationship("blue").into_iter().filter_map(|update| match update {
        CatalogueUpdate::PeerPolicy(_, policy) => policy,
        CatalogueUpdate::Announcements(..) => None,
    });
    let policy = policies.last().expect("a relationship");
    let peer = PeerKey { fed_config: policy.fed_config.clone(), peer: "m2".into() };
    // Without a certificate, so nothing connects.
    let (_relationships, none) = watch::channel(Arc::default());
    let mut peers = PeerSubscriptions::new(none, AnnouncementBudget::new(1024 * 1024), Arc::default());
    let current_id = |peers: &PeerSubscriptions| SubscriptionId {
        peer: peer.clone(),
        number: peers.subscriptions[&peer].number,
    };
    peers.set_subscriber(true);
    peers.set_policy(&policy.fed_config, Some(Arc::clone(&policy)));
    let first = current_id(&peers);

    let through_gateway = PeerPolicy { egress_pods: Some(Vec::new()), ..(*policy).clone() };
    peers.set_policy(&policy.fed_config, Some(Arc::new(through_gateway)));
    let second = current_id(&peers);
    peers.take_changes();

    peers.apply_events(vec![(first, announced())]);
    assert_eq!(peers.take_changes().len(), 0, "the second subscription would never withdraw it");
    peers.apply_events(vec![(second, announced())]);
    assert_eq!(peers.take_changes().len(), 1);
}
