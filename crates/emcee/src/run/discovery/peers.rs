//! Subscriptions to the peers of all relationships: turns their events into changes of the inputs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use emcee_core::catalogue::{
    Announcement, PeerConnection, PeerKey, PeerPolicy, PeerSyncState, PolicyPeer, RefusedAnnouncement,
};
use emcee_core::endpoint::Endpoint;
use emcee_core::inputs::InputChange;
use emcee_core::key::ObjectKey;
use emcee_discovery::PeerRef;
use emcee_discovery::client::{
    AnnouncementValidator, PeerEvent, PeerTarget, PeerTaskHandle, subscribe_to_peer,
};
use emcee_discovery::counters::DiscoveryCounters;
use emcee_discovery::delta::client_stream::{AnnouncementBudget, AnnouncementEvent, DeltaClientSettings};
use emcee_discovery::server::ConnectedPeer;
use emcee_discovery::transport::tls::TlsRelationships;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// Capacity of the queue of events, for all peers together. While it is full, peers are not read (back pressure).
const EVENT_QUEUE: usize = 256;
/// Time after its first response in which a peer may still send its initial state. A removal that arrives in this time
/// must stand for as long before it takes effect.
const INITIAL_SYNC_GRACE: Duration = Duration::from_secs(30);

/// An event, and the subscription that it is from.
pub(super) type TaggedPeerEvent = (SubscriptionId, PeerEvent);

/// Identifies a subscription: its peer, and a number that differs from that of an earlier subscription to the peer.
#[derive(Clone, Debug)]
pub(super) struct SubscriptionId {
    peer: PeerKey,
    number: u64,
}

/// Subscriptions to the peers of all relationships.
pub(super) struct PeerSubscriptions {
    /// Events of all peers, for [`apply_events`](Self::apply_events).
    pub(super) events: mpsc::Receiver<TaggedPeerEvent>,
    event_sender: mpsc::Sender<TaggedPeerEvent>,
    relationships: watch::Receiver<Arc<TlsRelationships>>,
    budget: AnnouncementBudget,
    counters: Arc<DiscoveryCounters>,
    policies: BTreeMap<ObjectKey, Arc<PeerPolicy>>,
    is_subscriber: bool,
    subscriptions: BTreeMap<PeerKey, PeerSubscription>,
    /// Number of subscriptions that were started so far.
    started: u64,
    /// Changes that have not been handed to the translation yet.
    changes: Vec<InputChange>,
}

/// Subscription to one peer, and what is known of the peer.
struct PeerSubscription {
    number: u64,
    route: PeerRoute,
    validator: watch::Sender<AnnouncementValidator>,
    state: PeerSyncState,
    /// End of the initial sync: what the peer has not announced by then counts as withdrawn. `None` while the peer is
    /// not connected, and after the end.
    initial_sync_ends: Option<Instant>,
    /// Accepted announcements. They seed the new subscription when the route changes.
    accepted: BTreeMap<ObjectKey, Announcement>,
    _task: PeerTaskHandle,
}

/// How a peer is reached, and with which limits. A change requires a new connection.
#[derive(Clone, Debug, PartialEq)]
struct PeerRoute {
    relationship: String,
    addresses: Vec<Endpoint>,
    /// Pods of the egress gateway to connect through. If `Some`, `addresses` are not dialled.
    via: Option<Vec<Endpoint>>,
    settings: DeltaClientSettings,
}

impl PeerSubscriptions {
    /// No subscriptions. All later ones share `budget`.
    pub(super) fn new(
        relationships: watch::Receiver<Arc<TlsRelationships>>,
        budget: AnnouncementBudget,
        counters: Arc<DiscoveryCounters>,
    ) -> Self {
        let (event_sender, events) = mpsc::channel(EVENT_QUEUE);
        Self {
            events,
            event_sender,
            relationships,
            budget,
            counters,
            policies: BTreeMap::new(),
            is_subscriber: false,
            subscriptions: BTreeMap::new(),
            started: 0,
            changes: Vec::new(),
        }
    }

    /// Takes the changes for the translation; each is returned once.
    pub(super) fn take_changes(&mut self) -> Vec<InputChange> {
        std::mem::take(&mut self.changes)
    }

    /// Subscribes to all peers, or ends all subscriptions.
    ///
    /// A former leader forgets what the peers announced: it reads this from the statuses that the new leader writes.
    pub(super) fn set_subscriber(&mut self, follows: bool) {
        if self.is_subscriber == follows {
            return;
        }
        self.is_subscriber = follows;
        if follows {
            for policy in self.policies.values().cloned().collect::<Vec<_>>() {
                self.subscribe_to_peers(&policy);
            }
        } else {
            let sources: Vec<_> = self.subscriptions.keys().cloned().collect();
            for source in &sources {
                self.unsubscribe(source);
            }
        }
    }

    /// Opens, changes or closes (`None`) a relationship.
    pub(super) fn set_policy(&mut self, fed_config: &ObjectKey, policy: Option<Arc<PeerPolicy>>) {
        let peers = policy.iter().flat_map(|policy| &policy.peers).map(|peer| Arc::clone(&peer.name));
        let peers: Vec<_> = peers.collect();
        let gone = |source: &&PeerKey| source.fed_config == *fed_config && !peers.contains(&source.peer);
        let gone: Vec<_> = self.subscriptions.keys().filter(gone).cloned().collect();
        for source in &gone {
            self.unsubscribe(source);
        }
        match policy {
            Some(policy) => {
                self.policies.insert(fed_config.clone(), Arc::clone(&policy));
                if self.is_subscriber {
                    self.subscribe_to_peers(&policy);
                }
            }
            None => drop(self.policies.remove(fed_config)),
        }
    }

    /// Subscribes to the peers of a relationship, or updates the subscriptions.
    fn subscribe_to_peers(&mut self, policy: &Arc<PeerPolicy>) {
        for peer in &policy.peers {
            let source = PeerKey { fed_config: policy.fed_config.clone(), peer: Arc::clone(&peer.name) };
            // Without an address, the peer can only connect to this mesh.
            if peer.discovery.is_empty() {
                self.unsubscribe(&source);
                continue;
            }
            let way = PeerRoute::for_peer(policy, peer);
            match self.subscriptions.get_mut(&source) {
                // Same route: the connection stays. The client validates what it holds again, with the new policy.
                Some(followed) if followed.route == way => {
                    followed.validator.send_replace(validator_for(policy, &peer.name));
                }
                _ => self.start_subscription(source, way, validator_for(policy, &peer.name)),
            }
        }
    }

    /// Starts a subscription. It replaces an existing one to the same peer, and takes over its state and announcements.
    fn start_subscription(&mut self, source: PeerKey, way: PeerRoute, validator: AnnouncementValidator) {
        let before = self.subscriptions.remove(&source);
        // Dropping the old subscription at the end of this statement aborts its task.
        let (state, held) =
            before.map_or((PeerSyncState::PENDING, BTreeMap::new()), |it| (it.state, it.accepted));
        let peer_ref = PeerRef::new(&way.relationship, &source.peer);
        let counters = self.counters.peer(&peer_ref);
        let target = PeerTarget {
            peer: peer_ref,
            addresses: way.addresses.clone(),
            egress_gateways: way.via.clone(),
            settings: way.settings,
            restored: held.values().cloned().collect(),
            budget: Some(self.budget.clone()),
            counters,
        };
        let (validator, judged) = watch::channel(validator);
        let (relationships, queue) = (self.relationships.clone(), self.event_sender.clone());
        self.started += 1;
        let id = SubscriptionId { peer: source.clone(), number: self.started };
        let task = subscribe_to_peer(target, relationships, judged, id, queue);
        self.changes.push(InputChange::Peer(source.clone(), Some(state.clone())));
        let followed = PeerSubscription {
            number: self.started,
            route: way,
            validator,
            state,
            initial_sync_ends: None,
            accepted: held,
            _task: task,
        };
        self.subscriptions.insert(source, followed);
    }

    /// Ends a subscription, and removes what it contributed to the inputs.
    ///
    /// This is not a withdrawal, as the peer has withdrawn nothing.
    fn unsubscribe(&mut self, source: &PeerKey) {
        let Some(followed) = self.subscriptions.remove(source) else { return };
        // The peer goes first. While a synced peer is known, a missing announcement would count as withdrawn.
        self.changes.push(InputChange::Peer(source.clone(), None));
        let held = followed.accepted.into_keys();
        self.changes.extend(held.map(|key| InputChange::Announcement(source.clone(), key, None)));
    }

    /// Applies events of peers. The result is available from [`take_changes`](Self::take_changes).
    pub(super) fn apply_events(&mut self, events: Vec<TaggedPeerEvent>) {
        for (SubscriptionId { peer: source, number }, event) in events {
            // Events of a subscription that has ended may still be in the queue. A later subscription to the same peer
            // does not know of them, so it would never withdraw what they announce.
            let current = self.subscriptions.get_mut(&source).filter(|current| current.number == number);
            let Some(followed) = current else { continue };
            match event {
                PeerEvent::Changed(event) => {
                    self.changes.extend(followed.apply_announcement_event(&source, event));
                }
                event => {
                    if followed.update_connection(event) {
                        self.changes.push(followed.state_change(&source));
                    }
                }
            }
        }
    }

    /// Earliest end of an initial sync, when [`complete_initial_syncs`](Self::complete_initial_syncs) has work.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.subscriptions.values().filter_map(|followed| followed.initial_sync_ends).min()
    }

    /// Marks those peers as synced whose initial sync ends at or before `now`.
    pub(super) fn complete_initial_syncs(&mut self, now: Instant) {
        for (source, followed) in &mut self.subscriptions {
            if followed.initial_sync_ends.take_if(|answered| *answered <= now).is_some() {
                followed.state.is_synced = true;
                self.changes.push(followed.state_change(source));
            }
        }
    }

    /// Records which announcements of this mesh the peers refuse (NACK).
    pub(super) fn update_peer_refusals(&mut self, peers: &BTreeMap<PeerRef, ConnectedPeer>) {
        for (source, followed) in &mut self.subscriptions {
            let peer_ref = PeerRef::new(&followed.route.relationship, &source.peer);
            // A peer without a stream refuses nothing.
            let refused = peers.get(&peer_ref).map(|streams| streams.rejected.as_slice()).unwrap_or_default();
            let refused = to_refused(refused);
            if followed.state.refused_by_peer != refused {
                followed.state.refused_by_peer = refused;
                self.changes.push(followed.state_change(source));
            }
        }
    }
}

impl PeerRoute {
    /// Route to a peer, according to the relationship's policy.
    fn for_peer(policy: &PeerPolicy, peer: &PolicyPeer) -> Self {
        let settings = DeltaClientSettings {
            max_resources: policy.quota.resources,
            max_bytes: policy.quota.bytes,
            removal_grace: INITIAL_SYNC_GRACE,
            expire_after: policy.expire_after,
        };
        Self {
            relationship: policy.relationship.clone(),
            addresses: peer.discovery.clone(),
            via: policy.egress_pods.clone(),
            settings,
        }
    }
}

impl PeerSubscription {
    fn state_change(&self, source: &PeerKey) -> InputChange {
        InputChange::Peer(source.clone(), Some(self.state.clone()))
    }

    /// Applies a change of the peer's announcements.
    fn apply_announcement_event(&mut self, source: &PeerKey, event: AnnouncementEvent) -> Vec<InputChange> {
        match event {
            AnnouncementEvent::Announced(announcement) => {
                self.accepted.insert(announcement.key.clone(), announcement.clone());
                vec![InputChange::Announcement(source.clone(), announcement.key.clone(), Some(announcement))]
            }
            AnnouncementEvent::Withdrawn(key) => vec![self.remove_announcement(source, key)],
            // `on_peer_loss: Expire` ends also what statuses kept from before a restart. Once the peer counts as
            // synced, the translation treats these announcements as withdrawn.
            AnnouncementEvent::Expired(key) => {
                let change = self.remove_announcement(source, key);
                self.state.is_synced = true;
                vec![change, self.state_change(source)]
            }
            // The client dials these addresses by itself. Behind an egress gateway it dials the gateway only, and the
            // translation needs the addresses for the gateway's routes.
            AnnouncementEvent::Addresses(addresses) => {
                self.state.addresses = addresses;
                vec![self.state_change(source)]
            }
        }
    }

    /// Removes an announcement that the peer has withdrawn, or that has expired.
    fn remove_announcement(&mut self, source: &PeerKey, key: ObjectKey) -> InputChange {
        self.accepted.remove(&key);
        InputChange::Announcement(source.clone(), key, None)
    }

    /// Updates the peer's state; returns whether it has changed.
    fn update_connection(&mut self, event: PeerEvent) -> bool {
        let before = self.state.clone();
        match event {
            PeerEvent::Connected { .. } => {
                // Keep the time if the peer counts as connected already, for example at another address.
                if !self.state.is_connected() {
                    self.state.connection = PeerConnection::Connected(Timestamp::now());
                }
                // Once per process: after a reconnect, only `removed_resources` withdraws.
                if !self.state.is_synced {
                    self.initial_sync_ends = Some(Instant::now() + INITIAL_SYNC_GRACE);
                }
            }
            PeerEvent::Unreachable(trouble) => {
                // Later attempts to connect report errors too, and must not move the time of the loss.
                let since = self.state.unreachable_since().unwrap_or_else(Timestamp::now);
                self.state.connection =
                    PeerConnection::Unreachable { since, error: Some(trouble.to_string()) };
                // The initial state may be incomplete: the next connection starts a new initial sync.
                self.initial_sync_ends = None;
            }
            PeerEvent::Rejected(refused) => self.state.refused = to_refused(&refused),
            // Handled by `apply_announcement_event`.
            PeerEvent::Changed(_) => {}
        }
        self.state != before
    }
}

fn to_refused(pairs: &[(String, String)]) -> Vec<RefusedAnnouncement> {
    let refused = |(resource, reason): &(String, String)| RefusedAnnouncement {
        resource: resource.clone(),
        reason: reason.clone(),
    };
    pairs.iter().map(refused).collect()
}

/// Returns the function that checks the announcements of `peer` against the relationship's policy.
fn validator_for(policy: &Arc<PeerPolicy>, peer: &str) -> AnnouncementValidator {
    let (policy, peer) = (Arc::clone(policy), peer.to_owned());
    Arc::new(move |announcement: &Announcement| {
        policy.validate(&peer, announcement).map_err(|problem| problem.to_string())
    })
}

#[cfg(test)]
mod tests;
