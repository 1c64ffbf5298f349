use emcee_api::ImportMode;
use emcee_core::catalogue::{AnnouncementQuota, LocalMesh, PolicyPeer};
use emcee_core::mode::Mode;
use emcee_discovery::PeerRef;

use super::*;

fn terms(relationship: &str, peers: &[&str]) -> Arc<PeerPolicy> {
    let peer = |name: &&str| PolicyPeer {
        name: (*name).into(),
        subject_alt_names: vec![format!("{name}.example")],
        discovery: Vec::new(),
        networks: Vec::new(),
        domains: Vec::new(),
        trust_domains: Vec::new(),
    };
    Arc::new(PeerPolicy {
        fed_config: ObjectKey::new(relationship, relationship),
        relationship: relationship.to_owned(),
        mode: Mode::Boundary,
        announce: true,
        certificate: None,
        peers: peers.iter().map(peer).collect(),
        egress_pods: None,
        egress_targets: Vec::new(),
        own_addresses: Vec::new(),
        expire_after: None,
        import: ImportMode::Manual,
        quota: AnnouncementQuota::default(),
        local_mesh: LocalMesh {
            trust_domain: "m1.example".to_owned(),
            shared_trust_domain: false,
            networks: Vec::new(),
            cluster_domain: "cluster.local".to_owned(),
        },
    })
}

fn offer_of(relationship: &str, name: &str, peers: &[&str]) -> AddressedAnnouncement {
    let offer = Announcement {
        key: ObjectKey::new("shop", name),
        mode: Mode::Boundary,
        server_name: names::server_name(name, "shop", relationship),
        protocol: Protocol::Http,
        port: 80,
        endpoints: vec!["203.0.113.7:15443".parse().unwrap()],
        identities: Vec::new(),
        trust_domain: "m1.example".to_owned(),
        root_hash: None,
    };
    let peers = peers.iter().map(|peer| (*peer).to_owned()).collect();
    AddressedAnnouncement {
        fed_config: ObjectKey::new(relationship, relationship),
        peers,
        announcement: offer,
    }
}

struct Room {
    board: Board,
    announcer: Arc<SharedCache>,
}

impl Room {
    fn of(relationships: &[&str]) -> Self {
        let announcer = Arc::new(SharedCache::new());
        let mut board = Board::new(Arc::clone(&announcer), Vec::new());
        for name in relationships {
            board.set_terms(&ObjectKey::new(name, name), Some(terms(name, &["m2", "m3"])));
        }
        Self { board, announcer }
    }

    /// Number of announcements that a peer may see.
    fn seen_by(&self, relationship: &str, peer: &str) -> usize {
        let mut count = 0;
        self.announcer.update(|cache| {
            count = cache.visible_count(&PeerRef::new(relationship, peer));
            ChangedViews::default()
        });
        count
    }
}

fn exposition(name: &str) -> ObjectKey {
    ObjectKey::new("shop", name)
}

#[test]
fn an_offer_is_for_the_peers_that_it_names_and_for_nobody_of_another_relationship() {
    let mut fixture = Room::of(&["blue", "yellow"]);
    fixture.board.set_offers(vec![(exposition("a"), vec![offer_of("blue", "a", &["m2"])])]);
    assert_eq!([fixture.seen_by("blue", "m2"), fixture.seen_by("blue", "m3")], [1, 0]);
    assert_eq!(fixture.seen_by("yellow", "m2"), 0);
}

#[test]
fn what_an_exposition_no_longer_offers_is_withdrawn() {
    let mut fixture = Room::of(&["blue"]);
    fixture.board.set_offers(vec![(exposition("a"), vec![offer_of("blue", "a", &["m2", "m3"])])]);
    fixture.board.set_offers(vec![(exposition("a"), vec![offer_of("blue", "b", &["m2", "m3"])])]);
    assert_eq!(fixture.seen_by("blue", "m3"), 1);
    fixture.board.set_offers(vec![(exposition("a"), Vec::new())]);
    assert_eq!(fixture.seen_by("blue", "m3"), 0);
}

/// The order of the two updates is not defined.
#[test]
fn a_name_that_changes_hands_stays_announced() {
    for new_owner_first in [true, false] {
        let mut fixture = Room::of(&["blue"]);
        fixture.board.set_offers(vec![(exposition("old"), vec![offer_of("blue", "front", &["m2"])])]);
        let mut batch = vec![
            (exposition("new"), vec![offer_of("blue", "front", &["m2"])]),
            (exposition("old"), Vec::new()),
        ];
        if !new_owner_first {
            batch.reverse();
        }
        fixture.board.set_offers(batch);
        assert_eq!(fixture.seen_by("blue", "m2"), 1, "{new_owner_first}");
        fixture.board.set_offers(vec![(exposition("new"), Vec::new())]);
        assert_eq!(fixture.seen_by("blue", "m2"), 0);
    }
}

#[test]
fn a_relationship_that_closes_takes_its_own_offers_along_and_no_others() {
    let mut fixture = Room::of(&["blue", "yellow"]);
    for relationship in ["blue", "yellow"] {
        let offered = vec![offer_of(relationship, "a", &["m2", "m3"])];
        fixture.board.set_offers(vec![(exposition(relationship), offered)]);
    }
    fixture.board.set_terms(&ObjectKey::new("blue", "blue"), None);
    assert_eq!([fixture.seen_by("blue", "m2"), fixture.seen_by("yellow", "m2")], [0, 1]);
    fixture.board.set_terms(&ObjectKey::new("blue", "blue"), Some(terms("blue", &["m2", "m3"])));
    let again = vec![offer_of("blue", "a", &["m2", "m3"])];
    fixture.board.set_offers(vec![(exposition("blue"), again)]);
    assert_eq!(fixture.seen_by("blue", "m2"), 1);
}

#[test]
fn emcee_announces_itself_where_it_can_be_reached() {
    let mut fixture = Room::of(&["blue"]);
    assert_eq!(fixture.seen_by("blue", "m2"), 0);
    let reached = PeerPolicy {
        own_addresses: vec!["203.0.113.7:15443".parse().unwrap()],
        ..PeerPolicy::clone(&terms("blue", &["m2"]))
    };
    fixture.board.set_terms(&ObjectKey::new("blue", "blue"), Some(Arc::new(reached.clone())));
    assert_eq!(fixture.seen_by("blue", "m2"), 1);
    let silent = PeerPolicy { announce: false, ..reached };
    fixture.board.set_terms(&ObjectKey::new("blue", "blue"), Some(Arc::new(silent)));
    assert_eq!(fixture.seen_by("blue", "m2"), 0);
}
