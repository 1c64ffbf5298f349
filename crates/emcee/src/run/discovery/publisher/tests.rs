use emcee_api::ImportMode;
use emcee_core::catalogue::{AnnouncementQuota, LocalMesh, PolicyPeer};
use emcee_core::mode::Mode;
use emcee_discovery::PeerRef;

use super::*;

pub(in crate::run::discovery) fn policy(relationship: &str, peers: &[&str]) -> Arc<PeerPolicy> {
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

fn announcement_for(relationship: &str, name: &str, peers: &[&str]) -> AddressedAnnouncement {
    let announcement = Announcement {
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
    AddressedAnnouncement { fed_config: ObjectKey::new(relationship, relationship), peers, announcement }
}

struct PublisherFixture {
    publisher: Publisher,
    announcer: Arc<SharedCache>,
}

impl PublisherFixture {
    fn with_relationships(relationships: &[&str]) -> Self {
        let announcer = Arc::new(SharedCache::new());
        let mut publisher = Publisher::new(Arc::clone(&announcer), Vec::new());
        for name in relationships {
            publisher.set_policy(&ObjectKey::new(name, name), Some(policy(name, &["m2", "m3"])));
        }
        Self { publisher, announcer }
    }

    /// Number of announcements that a peer may see.
    fn count_visible_to(&self, relationship: &str, peer: &str) -> usize {
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
fn an_announcement_is_visible_only_to_the_peers_that_it_names() {
    let mut fixture = PublisherFixture::with_relationships(&["blue", "yellow"]);
    fixture
        .publisher
        .set_announcements(vec![(exposition("a"), vec![announcement_for("blue", "a", &["m2"])])]);
    assert_eq!([fixture.count_visible_to("blue", "m2"), fixture.count_visible_to("blue", "m3")], [1, 0]);
    assert_eq!(fixture.count_visible_to("yellow", "m2"), 0);
}

#[test]
fn services_that_an_exposition_drops_are_withdrawn() {
    let mut fixture = PublisherFixture::with_relationships(&["blue"]);
    fixture
        .publisher
        .set_announcements(vec![(exposition("a"), vec![announcement_for("blue", "a", &["m2", "m3"])])]);
    fixture
        .publisher
        .set_announcements(vec![(exposition("a"), vec![announcement_for("blue", "b", &["m2", "m3"])])]);
    assert_eq!(fixture.count_visible_to("blue", "m3"), 1);
    fixture.publisher.set_announcements(vec![(exposition("a"), Vec::new())]);
    assert_eq!(fixture.count_visible_to("blue", "m3"), 0);
}

/// The order of the two updates is not defined.
#[test]
fn a_name_that_moves_to_another_exposition_stays_announced() {
    for new_owner_first in [true, false] {
        let mut fixture = PublisherFixture::with_relationships(&["blue"]);
        fixture
            .publisher
            .set_announcements(vec![(exposition("old"), vec![announcement_for("blue", "front", &["m2"])])]);
        let mut batch = vec![
            (exposition("new"), vec![announcement_for("blue", "front", &["m2"])]),
            (exposition("old"), Vec::new()),
        ];
        if !new_owner_first {
            batch.reverse();
        }
        fixture.publisher.set_announcements(batch);
        assert_eq!(fixture.count_visible_to("blue", "m2"), 1, "{new_owner_first}");
        fixture.publisher.set_announcements(vec![(exposition("new"), Vec::new())]);
        assert_eq!(fixture.count_visible_to("blue", "m2"), 0);
    }
}

/// The order of the two updates is not defined.
#[test]
fn a_relationship_that_moves_to_another_fed_config_stays_open_and_shows_nothing_of_the_old_one() {
    for new_first in [true, false] {
        let mut fixture = PublisherFixture::with_relationships(&["blue"]);
        fixture
            .publisher
            .set_announcements(vec![(exposition("a"), vec![announcement_for("blue", "a", &["m2", "m3"])])]);
        let moved = ObjectKey::new("elsewhere", "blue");
        let mut updates =
            vec![(moved.clone(), Some(policy("blue", &["m2"]))), (ObjectKey::new("blue", "blue"), None)];
        if !new_first {
            updates.reverse();
        }
        for (fed_config, policy) in updates {
            fixture.publisher.set_policy(&fed_config, policy);
        }
        assert_eq!(fixture.count_visible_to("blue", "m2"), 0, "{new_first}");
        let announcement = announcement_for("blue", "b", &["m2"]);
        let addressed = AddressedAnnouncement { fed_config: moved, ..announcement };
        fixture.publisher.set_announcements(vec![(exposition("b"), vec![addressed])]);
        assert_eq!(fixture.count_visible_to("blue", "m2"), 1, "{new_first}");
    }
}

#[test]
fn closing_a_relationship_removes_only_its_own_announcements() {
    let mut fixture = PublisherFixture::with_relationships(&["blue", "yellow"]);
    for relationship in ["blue", "yellow"] {
        let announcements = vec![announcement_for(relationship, "a", &["m2", "m3"])];
        fixture.publisher.set_announcements(vec![(exposition(relationship), announcements)]);
    }
    fixture.publisher.set_policy(&ObjectKey::new("blue", "blue"), None);
    assert_eq!([fixture.count_visible_to("blue", "m2"), fixture.count_visible_to("yellow", "m2")], [0, 1]);
    fixture.publisher.set_policy(&ObjectKey::new("blue", "blue"), Some(policy("blue", &["m2", "m3"])));
    let again = vec![announcement_for("blue", "a", &["m2", "m3"])];
    fixture.publisher.set_announcements(vec![(exposition("blue"), again)]);
    assert_eq!(fixture.count_visible_to("blue", "m2"), 1);
}

#[test]
fn emcee_announces_itself_where_it_can_be_reached() {
    let mut fixture = PublisherFixture::with_relationships(&["blue"]);
    assert_eq!(fixture.count_visible_to("blue", "m2"), 0);
    let reached = PeerPolicy {
        own_addresses: vec!["203.0.113.7:15443".parse().unwrap()],
        ..PeerPolicy::clone(&policy("blue", &["m2"]))
    };
    fixture.publisher.set_policy(&ObjectKey::new("blue", "blue"), Some(Arc::new(reached.clone())));
    assert_eq!(fixture.count_visible_to("blue", "m2"), 1);
    let silent = PeerPolicy { announce: false, ..reached };
    fixture.publisher.set_policy(&ObjectKey::new("blue", "blue"), Some(Arc::new(silent)));
    assert_eq!(fixture.count_visible_to("blue", "m2"), 0);
}
