//! After any sequence of events, each client has exactly the announcements that it may see.
//!
//! There are three peers in two relationships. The name of each service begins with the only peer that may see it, so a
//! search in the received bytes of a peer shows whether it received data of another peer.

use std::collections::BTreeMap;
use std::time::Duration;

use emcee_core::catalogue::Announcement;
use emcee_core::key::ObjectKey;
use emcee_discovery::delta::cache::{PeerVisibility, ResourceCache};
use emcee_discovery::delta::client_stream::AnnouncementEvent;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::cases;
use crate::link::{Link, REJECTED_PORT, validate_port};
use crate::trace::{announcement_at, visible_to};

/// The relationship and name of each peer, and a text that no other peer may receive.
const PEERS: [(&str, &str, &str); 3] =
    [("blue", "m1", "blue-m1"), ("blue", "m2", "blue-m2"), ("yellow", "m1", "yellow")];
/// Services with their relationships. The name contains the peer that may see the service.
const SERVICES: [(&str, &str); 7] = [
    ("blue", "blue-m1-a"),
    ("blue", "blue-m1-b"),
    ("blue", "blue-m2-a"),
    ("blue", "all-a"),
    ("blue", "all-b"),
    ("yellow", "yellow-a"),
    ("yellow", "yellow-b"),
];
const ENDPOINTS: [&[&str]; 6] = [
    &[],
    &["203.0.113.7:80"],
    &["203.0.113.7:80", "203.0.113.8:81"],
    &["203.0.113.7:81", "[2001:db8::7]:80"],
    &["[2001:db8::7]:80", "a.example:80"],
    &["a.example:80"],
];

#[derive(Clone, Debug)]
enum ModelStep {
    /// Announces a service: its index, index of its endpoints, and port.
    Announce(usize, usize, u16),
    /// Changes the visibility of a service: to all peers of the relationship, or to one peer.
    ChangeVisibility(usize, usize),
    Withdraw(usize),
    Connect(usize),
    Disconnect(usize),
    Send(usize),
    DeliverRequest(usize),
    DeliverResponse(usize),
    Settle(usize),
    /// Sets whether the peer's client rejects announcements with [`REJECTED_PORT`].
    SetPolicy(usize, bool),
    AdvanceTime(usize, u64),
}

fn any_step() -> impl Strategy<Value = ModelStep> {
    let service = 0..SERVICES.len();
    let peer = || 0..PEERS.len();
    let port = select(vec![80, 81, REJECTED_PORT]);
    prop_oneof![
        6 => (service.clone(), 0..ENDPOINTS.len(), port).prop_map(|(s, e, p)| ModelStep::Announce(s, e, p)),
        1 => (3..5_usize, 0..3_usize).prop_map(|(s, to)| ModelStep::ChangeVisibility(s, to)),
        2 => service.prop_map(ModelStep::Withdraw),
        2 => peer().prop_map(ModelStep::Connect),
        1 => peer().prop_map(ModelStep::Disconnect),
        4 => peer().prop_map(ModelStep::Send),
        4 => peer().prop_map(ModelStep::DeliverRequest),
        4 => peer().prop_map(ModelStep::DeliverResponse),
        3 => peer().prop_map(ModelStep::Settle),
        2 => (peer(), any::<bool>()).prop_map(|(peer, is_strict)| ModelStep::SetPolicy(peer, is_strict)),
        1 => (peer(), 1..40_u64).prop_map(|(peer, seconds)| ModelStep::AdvanceTime(peer, seconds)),
    ]
}

struct ModelWorld {
    cache: ResourceCache,
    /// What is announced in each relationship, and to which peers.
    announced: BTreeMap<(&'static str, ObjectKey), (Announcement, PeerVisibility)>,
    links: Vec<Link>,
    /// All announcements that each peer could have accepted so far.
    accepted: Vec<Vec<Announcement>>,
}

impl ModelWorld {
    fn new(removals: usize) -> Self {
        let links = PEERS.map(|(relationship, peer, _)| Link::new(relationship, peer));
        Self {
            cache: ResourceCache::with_max_tombstones(removals),
            announced: BTreeMap::new(),
            links: links.into(),
            accepted: vec![Vec::new(); PEERS.len()],
        }
    }

    fn run(&mut self, step: &ModelStep) {
        match *step {
            ModelStep::Announce(service, endpoints, port) => {
                let (relationship, name) = SERVICES[service];
                let announcement = Announcement { port, ..announcement_at(name, ENDPOINTS[endpoints]) };
                let before = self.announced.get(&(relationship, announcement.key.clone()));
                let seen_by = before.map_or_else(|| default_visibility(name), |(_, seen_by)| seen_by.clone());
                self.announce(relationship, announcement, seen_by);
            }
            ModelStep::ChangeVisibility(service, to) => {
                let (relationship, name) = SERVICES[service];
                let seen_by = [PeerVisibility::All, visible_to(["m1"]), visible_to(["m2"])][to].clone();
                let now = self.announced.get(&(relationship, ObjectKey::new("default", name)));
                if let Some(announcement) = now.map(|(announcement, _)| announcement.clone()) {
                    self.announce(relationship, announcement, seen_by);
                }
            }
            ModelStep::Withdraw(service) => {
                let (relationship, name) = SERVICES[service];
                let key = ObjectKey::new("default", name);
                let _ = self.cache.withdraw(relationship, &key);
                self.announced.remove(&(relationship, key));
            }
            ModelStep::Connect(peer) => self.links[peer].connect(),
            ModelStep::Disconnect(peer) => self.links[peer].disconnect(),
            ModelStep::Send(peer) => drop(self.links[peer].send_response(&self.cache)),
            ModelStep::DeliverRequest(peer) => drop(self.links[peer].deliver_request(&self.cache)),
            ModelStep::DeliverResponse(peer) => drop(self.links[peer].deliver_response()),
            ModelStep::Settle(peer) => drop(self.links[peer].run_until_idle(&self.cache)),
            ModelStep::SetPolicy(peer, is_strict) => drop(self.links[peer].revalidate(is_strict)),
            ModelStep::AdvanceTime(peer, seconds) => {
                drop(self.links[peer].advance_time(Duration::from_secs(seconds)));
            }
        }
    }

    fn announce(&mut self, relationship: &'static str, announcement: Announcement, seen_by: PeerVisibility) {
        let _ = self.cache.announce(relationship, &announcement, &seen_by).expect("a valid announcement");
        for (index, (its, peer, _)) in PEERS.iter().enumerate() {
            if *its == relationship && seen_by.includes_peer(peer) {
                self.accepted[index].push(announcement.clone());
            }
        }
        self.announced.insert((relationship, announcement.key.clone()), (announcement, seen_by));
    }

    /// Delivers all messages, and waits until pending removals take effect.
    fn settle(&mut self) -> Vec<Vec<AnnouncementEvent>> {
        let cache = &self.cache;
        let rest = |link: &mut Link| {
            link.run_until_idle(cache);
            link.advance_time(Duration::from_mins(1));
            link.run_until_idle(cache)
        };
        self.links.iter_mut().map(rest).collect()
    }

    fn visible_announcements(&self, index: usize) -> BTreeMap<ObjectKey, Announcement> {
        let (relationship, peer, _) = PEERS[index];
        let visible = self
            .announced
            .iter()
            .filter(|((its, _), (_, seen_by))| *its == relationship && seen_by.includes_peer(peer));
        visible.map(|((_, key), (announcement, _))| (key.clone(), announcement.clone())).collect()
    }

    /// Checks that a client has everything that it may see, and nothing that it rejects. In place of a rejected
    /// announcement it may have only slices that it accepted earlier.
    fn check_client(&self, index: usize) -> Result<(), TestCaseError> {
        let mut visible = self.visible_announcements(index);
        let is_strict = self.links[index].is_strict;
        let validate = |announcement: &Announcement| validate_port(announcement, is_strict);
        for held in self.links[index].announcements() {
            let announced = visible.remove(&held.key);
            let is_right = match &announced {
                None => false,
                Some(announcement) if validate(announcement).is_ok() => held == *announcement,
                Some(_) => validate(&held).is_ok() && consists_of(&held, &self.accepted[index]),
            };
            prop_assert!(is_right, "{:?} holds {:?} of {:?}", PEERS[index], held, announced);
        }
        let missing: Vec<_> =
            visible.values().filter(|announcement| validate(announcement).is_ok()).collect();
        prop_assert!(missing.is_empty(), "{:?} misses {:?}", PEERS[index], missing);
        Ok(())
    }

    fn check_secrecy(&self) -> Result<(), TestCaseError> {
        for (link, (relationship, peer, own)) in self.links.iter().zip(PEERS) {
            for (_, _, others) in PEERS.into_iter().filter(|(_, _, others)| *others != own) {
                prop_assert!(!link.has_received(others), "{} {} has received {}", relationship, peer, others);
            }
        }
        Ok(())
    }
}

/// Returns whether all slices of an announcement were accepted earlier. They may belong to several announcements,
/// because each slice stays until it is removed or replaced by an accepted one.
fn consists_of(held: &Announcement, accepted: &[Announcement]) -> bool {
    let bare = |announcement: &Announcement| Announcement { endpoints: Vec::new(), ..announcement.clone() };
    let alike: Vec<_> = accepted.iter().filter(|announcement| bare(announcement) == bare(held)).collect();
    let mut endpoints = held.endpoints.iter();
    !alike.is_empty()
        && endpoints
            .all(|endpoint| alike.iter().any(|announcement| announcement.endpoints.contains(endpoint)))
}

/// Returns the peers that may see a service of this name.
fn default_visibility(name: &str) -> PeerVisibility {
    match name.split('-').nth(1) {
        Some("m1") => visible_to(["m1"]),
        Some("m2") => visible_to(["m2"]),
        _ => PeerVisibility::All,
    }
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn each_client_receives_exactly_what_it_may_see(removals in 0..6_usize, steps in vec(any_step(), 0..120)) {
        let mut world = ModelWorld::new(removals);
        for step in &steps {
            world.run(step);
        }
        world.settle();
        for index in 0..PEERS.len() {
            world.check_client(index)?;
        }
        world.check_secrecy()?;
        let last = world.settle();
        prop_assert!(last.iter().all(Vec::is_empty), "events after settling: {last:?}");
    }

    #[test]
    fn nothing_disappears_without_a_removal(steps in vec(any_step(), 0..120)) {
        let mut world = ModelWorld::new(10);
        let goes = |step: &ModelStep| matches!(step, ModelStep::Withdraw(_) | ModelStep::ChangeVisibility(..) | ModelStep::SetPolicy(..) | ModelStep::Announce(_, _, REJECTED_PORT));
        let mut held = vec![0; PEERS.len()];
        for step in steps.iter().filter(|step| !goes(step)) {
            world.run(step);
            for (link, before) in world.links.iter().zip(&mut held) {
                let now = link.announcements().len();
                prop_assert!(now >= *before, "after {step:?}");
                *before = now;
            }
        }
    }
}

/// The texts that the model searches for do occur.
#[test]
fn each_peer_receives_its_own_services() {
    let mut world = ModelWorld::new(10);
    for service in 0..SERVICES.len() {
        world.run(&ModelStep::Announce(service, 1, 80));
    }
    world.settle();
    for (link, (_, _, own)) in world.links.iter().zip(PEERS) {
        assert!(link.has_received(own));
    }
}
