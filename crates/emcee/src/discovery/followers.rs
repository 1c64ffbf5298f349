//! Whom this mesh follows, and what they say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use emcee_core::catalogue::{Connection, Offer, PeerState, PeerTerms, Refused, Source, Terms};
use emcee_core::endpoint::Endpoint;
use emcee_core::inputs::Change;
use emcee_core::key::Key;
use emcee_discovery::Audience;
use emcee_discovery::client::{Judge, PeerEvent, PeerTarget, follow};
use emcee_discovery::server::PeerStreams;
use emcee_discovery::subscription::{Budget, Event, Settings};
use emcee_discovery::tls::Relationships;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// Events of all peers that wait. Where they are not taken, peers are not read.
const WAITING: usize = 256;
/// How long after its first answer a peer may still be telling what it has: as long as a removal has to stand then.
const FIRST_EXCHANGE: Duration = Duration::from_secs(30);

/// An event, and of whom.
pub(super) type PeerNews = (Source, PeerEvent);

/// The peers of all relationships.
pub(super) struct Followers {
    /// What peers say.
    pub(super) events: mpsc::Receiver<PeerNews>,
    say: mpsc::Sender<PeerNews>,
    relationships: watch::Receiver<Arc<Relationships>>,
    budget: Budget,
    terms: BTreeMap<Key, Arc<Terms>>,
    follows: bool,
    followed: BTreeMap<Source, Followed>,
    changes: Vec<Change>,
}

/// A peer that is followed.
struct Followed {
    way: Way,
    judge: watch::Sender<Judge>,
    state: PeerState,
    /// When what it does not announce counts as withdrawn, if it is still connected then.
    answered: Option<Instant>,
    /// What it announces and was accepted, for when it is followed another way.
    held: BTreeMap<Key, Offer>,
    _task: AbortOnDropHandle<()>,
}

/// How a peer is reached. Another way is another connection.
#[derive(Clone, Debug, PartialEq)]
struct Way {
    relationship: String,
    addresses: Vec<Endpoint>,
    via: Option<Vec<Endpoint>>,
    settings: Settings,
}

impl Followers {
    /// Of all peers together, no more than `budget` is held.
    pub(super) fn new(relationships: watch::Receiver<Arc<Relationships>>, budget: Budget) -> Self {
        let (say, events) = mpsc::channel(WAITING);
        Self {
            events,
            say,
            relationships,
            budget,
            terms: BTreeMap::new(),
            follows: false,
            followed: BTreeMap::new(),
            changes: Vec::new(),
        }
    }

    /// What is to be told to the translation. Each is given once.
    pub(super) fn changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Follows peers, or no longer: then what they said last is for whoever follows them now to know.
    pub(super) fn follow(&mut self, follows: bool) {
        if self.follows == follows {
            return;
        }
        self.follows = follows;
        if follows {
            for terms in self.terms.values().cloned().collect::<Vec<_>>() {
                self.follow_peers(&terms);
            }
        } else {
            let sources: Vec<_> = self.followed.keys().cloned().collect();
            for source in &sources {
                self.leave(source);
            }
        }
    }

    /// A relationship opens, changes or closes.
    pub(super) fn set_terms(&mut self, fed_config: &Key, terms: Option<Arc<Terms>>) {
        let peers = terms.iter().flat_map(|terms| &terms.peers).map(|peer| Arc::clone(&peer.name));
        let peers: Vec<_> = peers.collect();
        let gone = |source: &&Source| source.fed_config == *fed_config && !peers.contains(&source.peer);
        let gone: Vec<_> = self.followed.keys().filter(gone).cloned().collect();
        for source in &gone {
            self.leave(source);
        }
        match terms {
            Some(terms) => {
                self.terms.insert(fed_config.clone(), Arc::clone(&terms));
                if self.follows {
                    self.follow_peers(&terms);
                }
            }
            None => drop(self.terms.remove(fed_config)),
        }
    }

    fn follow_peers(&mut self, terms: &Arc<Terms>) {
        for peer in &terms.peers {
            let source = Source { fed_config: terms.fed_config.clone(), peer: Arc::clone(&peer.name) };
            if peer.discovery.is_empty() {
                self.leave(&source);
                continue;
            }
            let way = Way::to(terms, peer);
            match self.followed.get_mut(&source) {
                Some(followed) if followed.way == way => {
                    followed.judge.send_replace(judge(terms, &peer.name));
                }
                _ => self.start(source, way, judge(terms, &peer.name)),
            }
        }
    }

    /// What was held the other way is held on.
    fn start(&mut self, source: Source, way: Way, judge: Judge) {
        let before = self.followed.remove(&source);
        let (state, held) = before.map_or((PeerState::PENDING, BTreeMap::new()), |it| (it.state, it.held));
        let audience = Audience::new(&way.relationship, &source.peer);
        let target = PeerTarget {
            audience,
            addresses: way.addresses.clone(),
            via: way.via.clone(),
            settings: way.settings,
            seed: held.values().cloned().collect(),
            budget: Some(self.budget.clone()),
        };
        let (judge, judged) = watch::channel(judge);
        let mut following = follow(target, self.relationships.clone(), judged);
        let (say, of) = (self.say.clone(), source.clone());
        let task = tokio::spawn(async move {
            while let Some(event) = following.next().await {
                if say.send((of.clone(), event)).await.is_err() {
                    return;
                }
            }
        });
        self.changes.push(Change::Peer(source.clone(), Some(state.clone())));
        let followed =
            Followed { way, judge, state, answered: None, held, _task: AbortOnDropHandle::new(task) };
        self.followed.insert(source, followed);
    }

    /// Nothing is known of a peer any more: no withdrawal, as that is not its word. First of it, then of what it said.
    fn leave(&mut self, source: &Source) {
        let Some(followed) = self.followed.remove(source) else { return };
        self.changes.push(Change::Peer(source.clone(), None));
        let held = followed.held.into_keys();
        self.changes.extend(held.map(|key| Change::Announcement(source.clone(), key, None)));
    }

    /// What peers have said.
    pub(super) fn take(&mut self, events: Vec<PeerNews>) {
        for (source, event) in events {
            let Some(followed) = self.followed.get_mut(&source) else { continue };
            match event {
                PeerEvent::Changed(event) => self.changes.extend(followed.changed(&source, event)),
                event => {
                    if followed.stands(event) {
                        self.changes.push(followed.state(&source));
                    }
                }
            }
        }
    }

    /// When a first exchange is over.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.followed.values().filter_map(|followed| followed.answered).min()
    }

    /// Time has passed.
    pub(super) fn pass(&mut self, now: Instant) {
        for (source, followed) in &mut self.followed {
            if followed.answered.take_if(|answered| *answered <= now).is_some() {
                followed.state.has_answered = true;
                self.changes.push(followed.state(source));
            }
        }
    }

    /// What peers refuse of what is announced to them.
    pub(super) fn note_refusals(&mut self, peers: &BTreeMap<Audience, PeerStreams>) {
        for (source, followed) in &mut self.followed {
            let audience = Audience::new(&followed.way.relationship, &source.peer);
            let refused = peers.get(&audience).map(|streams| streams.refused.as_slice()).unwrap_or_default();
            let refused = refusals(refused);
            if followed.state.refused_by_peer != refused {
                followed.state.refused_by_peer = refused;
                self.changes.push(followed.state(source));
            }
        }
    }
}

impl Way {
    fn to(terms: &Terms, peer: &PeerTerms) -> Self {
        let settings = Settings {
            max_resources: terms.quota.resources,
            max_bytes: terms.quota.bytes,
            grace: FIRST_EXCHANGE,
            expire_after: terms.expire_after,
        };
        Self {
            relationship: terms.relationship.clone(),
            addresses: peer.discovery.clone(),
            via: terms.via.clone(),
            settings,
        }
    }
}

impl Followed {
    fn state(&self, source: &Source) -> Change {
        Change::Peer(source.clone(), Some(self.state.clone()))
    }

    fn changed(&mut self, source: &Source, event: Event) -> Vec<Change> {
        match event {
            Event::Offered(offer) => {
                self.held.insert(offer.key.clone(), offer.clone());
                vec![Change::Announcement(source.clone(), offer.key.clone(), Some(offer))]
            }
            Event::Withdrawn(key) => vec![self.taken_back(source, key)],
            // What is remembered from an earlier life has expired with it.
            Event::Expired(key) => {
                let change = self.taken_back(source, key);
                self.state.has_answered = true;
                vec![change, self.state(source)]
            }
            // The client tries them itself, unless an egress gateway stands between.
            Event::Addresses(addresses) => {
                self.state.addresses = addresses;
                vec![self.state(source)]
            }
        }
    }

    fn taken_back(&mut self, source: &Source, key: Key) -> Change {
        self.held.remove(&key);
        Change::Announcement(source.clone(), key, None)
    }

    /// Notes how it stands with the peer; says whether that is news.
    fn stands(&mut self, event: PeerEvent) -> bool {
        let before = self.state.clone();
        match event {
            PeerEvent::Connected { .. } => {
                if !self.state.is_connected() {
                    self.state.connection = Connection::Connected(Timestamp::now());
                }
                if !self.state.has_answered {
                    self.answered = Some(Instant::now() + FIRST_EXCHANGE);
                }
            }
            PeerEvent::Lost(trouble) => {
                let since = self.state.lost_since().unwrap_or_else(Timestamp::now);
                self.state.connection = Connection::Lost { since, error: Some(trouble.to_string()) };
                self.answered = None;
            }
            PeerEvent::Refused(refused) => self.state.refused = refusals(&refused),
            PeerEvent::Changed(_) => {}
        }
        self.state != before
    }
}

fn refusals(pairs: &[(String, String)]) -> Vec<Refused> {
    let refused = |(resource, reason): &(String, String)| Refused {
        resource: resource.clone(),
        reason: reason.clone(),
    };
    pairs.iter().map(refused).collect()
}

/// The relationship's terms judge what a peer announces.
fn judge(terms: &Arc<Terms>, peer: &str) -> Judge {
    let (terms, peer) = (Arc::clone(terms), peer.to_owned());
    Arc::new(move |offer: &Offer| terms.judge(&peer, offer).map_err(|problem| problem.to_string()))
}
