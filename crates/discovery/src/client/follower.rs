//! The task that keeps one peer connected.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use emcee_core::endpoint::Endpoint;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, info};

use super::dial::{Connect, Dialled, Fault, dial};
use super::pacer::Pacer;
use super::trouble::{ConnectError, Trouble};
use super::{Judge, PeerEvent, PeerTarget};
use crate::backoff::Backoff;
use crate::grpc::{Call, Permit, Sender};
use crate::subscription::{Budget, Event, Subscription};
use crate::tls::{Authenticated, Ended, Relationship, Relationships, server_name};
use crate::wire::{self, DeltaDiscoveryRequest, DeltaDiscoveryResponse};

/// Timeout for the first response. A delta xDS server always answers the first request.
const FIRST_RESPONSE: Duration = Duration::from_mins(1);
/// Number of addresses that a peer announces for its Emcee and that are tried.
const ANNOUNCED: usize = 16;
/// Number of resources that are requested again in one request. A server accepts subscriptions to at most 1,000 names.
const AGAIN: usize = 500;
/// Longest single timer. A longer wait is split, as a certificate may be valid for years.
const LONGEST_TIMER: Duration = Duration::from_hours(24);

/// Connects to one peer, and reconnects with backoff.
pub(super) struct Follower<C> {
    connector: C,
    target: PeerTarget,
    relationships: watch::Receiver<Arc<Relationships>>,
    keeper: Keeper,
}

/// The state of a peer that is independent of its connection: accepted announcements, timers and the delivery of
/// events.
struct Keeper {
    subscription: Subscription,
    judge: watch::Receiver<Judge>,
    pacer: Pacer,
    events: mpsc::Sender<PeerEvent>,
    /// Connection state that was reported last. `None` before the first report.
    said: Option<Result<(), Trouble>>,
    /// Refusals that were reported last.
    refused: Vec<(String, String)>,
    /// Sends requests on the current stream that are not an ACK or NACK. `None` without a stream.
    requests: Option<Sender>,
    /// Names of resources to request again on the current stream.
    again: BTreeSet<String>,
    /// While more events than this wait, the next response is not read.
    most_waiting: usize,
}

/// Work that is due and not tied to a response.
enum Due {
    /// A timer of the client has expired.
    Deadline,
    /// The validator has changed.
    Judge,
}

/// An open xDS stream, with the state that can end it.
struct Talk {
    call: Call<DeltaDiscoveryResponse>,
    peer: Authenticated,
    fault: Fault,
    relationships: watch::Receiver<Arc<Relationships>>,
}

impl<C: Connect> Follower<C> {
    pub(super) fn new(
        connector: C,
        mut target: PeerTarget,
        relationships: watch::Receiver<Arc<Relationships>>,
        judge: watch::Receiver<Judge>,
        events: mpsc::Sender<PeerEvent>,
    ) -> Self {
        let now = Instant::now().into_std();
        let mut subscription = match target.budget.as_ref().map(Budget::share) {
            Some(share) => Subscription::within(target.settings, share, now),
            None => Subscription::new(target.settings, now),
        };
        let restored = std::mem::take(&mut target.seed).into_iter();
        // The quota may be smaller than in the earlier process. What does not fit is reported as withdrawn below, so
        // that imports made from it are removed.
        let left: Vec<_> = restored.filter(|announcement| !subscription.seed(announcement)).collect();
        let mut keeper = Keeper {
            subscription,
            judge,
            pacer: Pacer::default(),
            events,
            said: None,
            refused: Vec::new(),
            requests: None,
            again: BTreeSet::new(),
            most_waiting: target.settings.max_resources,
        };
        keeper.push(left.into_iter().map(|announcement| Event::Withdrawn(announcement.key)).collect());
        Self { connector, target, relationships, keeper }
    }

    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(fastrand::u64(..));
        loop {
            let relationship = self.relationship();
            let why = self.round(relationship.as_ref(), &mut backoff).await;
            self.keeper.lost(&self.target, why);
            // The relationship from before the attempt is passed on: if it changed during the attempt, the wait ends
            // at once.
            let wait = backoff.failed(Instant::now().into_std());
            self.wait(relationship, wait).await;
        }
    }

    fn relationship(&mut self) -> Option<Arc<Relationship>> {
        self.relationships.borrow_and_update().get(&self.target.audience.relationship).cloned()
    }

    /// Tries each address in order until a stream opens, then processes its responses. Returns why there is no stream
    /// any more.
    async fn round(&mut self, relationship: Option<&Arc<Relationship>>, backoff: &mut Backoff) -> Trouble {
        let Some(relationship) = relationship else { return Trouble::Closed };
        let mut tried = Vec::new();
        // The list is taken once: addresses that the peer announces during the stream count from the next attempt on.
        for address in self.addresses() {
            let dialled = dial(&self.connector, &address, relationship, &self.target.audience.peer);
            let why = match self.keeper.during(dialled).await {
                Ok(dialled) => match self.open(dialled).await {
                    Ok(stream) => {
                        let why = self.talk(stream, &address, backoff).await;
                        return Trouble::Tried(vec![(address, why)]);
                    }
                    Err(why) => why,
                },
                Err(why) => why,
            };
            debug!(
                relationship = %self.target.audience.relationship, peer = %self.target.audience.peer,
                %address, error = %why, "opening stream to peer failed"
            );
            tried.push((address, why));
        }
        if tried.is_empty() { Trouble::NoAddress } else { Trouble::Tried(tried) }
    }

    fn addresses(&self) -> Vec<Endpoint> {
        // No fallback to a direct connection, not even for an empty list: a firewall may exist to prevent exactly that.
        if let Some(gateways) = &self.target.via {
            return gateways.clone();
        }
        let mut addresses = self.target.addresses.clone();
        for address in self.keeper.subscription.addresses().into_iter().take(ANNOUNCED) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses
    }

    async fn open(&mut self, dialled: Dialled) -> Result<Talk, ConnectError> {
        let Dialled { connection, peer, fault } = dialled;
        // The first request lists the accepted resources as `initial_resource_versions`, so it must be built for this
        // stream.
        let first = self.keeper.subscription.connected();
        let authority = server_name(&self.target.audience.relationship);
        let call = connection.call(&authority, wire::METHOD, &first, wire::MAX_RESPONSE);
        let call = self.keeper.during(timeout(FIRST_RESPONSE, call)).await;
        let late = |_| ConnectError::TimedOut { what: "opening the stream", after: FIRST_RESPONSE };
        let call = call.map_err(late)?.map_err(|error| fault.explain(error))?;
        self.keeper.requests = Some(call.requests.clone());
        Ok(Talk { call, peer, fault, relationships: self.relationships.clone() })
    }

    /// Processes responses until the stream ends. Returns the reason.
    async fn talk(&mut self, mut stream: Talk, address: &Endpoint, backoff: &mut Backoff) -> ConnectError {
        // The peer counts as connected only after its first response: until then it may still refuse the stream.
        let first = self.keeper.during(timeout(FIRST_RESPONSE, stream.next())).await;
        let late = ConnectError::TimedOut { what: "waiting for the first response", after: FIRST_RESPONSE };
        let mut response = first.unwrap_or(Err(late));
        if response.is_ok() {
            backoff.connected(Instant::now().into_std());
            self.keeper.connected(&self.target, address);
        }
        loop {
            let answer = match response.and_then(|response| self.keeper.take(response)) {
                Ok(answer) => answer,
                Err(why) => return why,
            };
            if let Err(why) = self.keeper.during(stream.answer(&answer)).await {
                return why;
            }
            // Backpressure: while the queue is full, nothing is read and HTTP/2 flow control stops the peer.
            self.keeper.make_room().await;
            response = self.keeper.during(stream.next()).await;
        }
    }

    /// Waits until the next attempt. Returns at once when the relationship has changed since `before`.
    async fn wait(&mut self, before: Option<Arc<Relationship>>, wait: Duration) {
        let name = Arc::clone(&self.target.audience.relationship);
        let relationships = &mut self.relationships;
        let changed = async {
            // Relationships are compared by pointer: an unchanged one keeps its `Arc` across updates.
            let is_new = |all: &Arc<Relationships>| match (all.get(&name), &before) {
                (Some(now), Some(before)) => !Arc::ptr_eq(now, before),
                (now, before) => now.is_some() != before.is_some(),
            };
            // The sender is gone, so nothing can change any more; only the timer is left.
            if relationships.wait_for(is_new).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let until = async {
            tokio::select! {
                () = changed => {}
                // Without a relationship there is nothing to retry; only a change can open it.
                () = sleep(wait), if before.is_some() => {}
            }
        };
        self.keeper.during(until).await;
    }
}

impl Talk {
    async fn next(&mut self) -> Result<DeltaDiscoveryResponse, ConnectError> {
        tokio::select! {
            response = self.call.responses.next() => match response {
                Ok(Some(response)) => Ok(response),
                Ok(None) => Err(ConnectError::Over),
                Err(error) => Err(self.fault.explain(error)),
            },
            ended = ended(&mut self.peer, &mut self.relationships) => Err(ended.into()),
        }
    }

    /// Sends an ACK or NACK. Does nothing if the stream has ended; the next [`next_response`](Self::next_response)
    /// returns why.
    async fn answer(&mut self, answer: &DeltaDiscoveryRequest) -> Result<(), ConnectError> {
        let ready = tokio::select! {
            ready = self.call.requests.ready() => ready,
            ended = ended(&mut self.peer, &mut self.relationships) => return Err(ended.into()),
        };
        if let Some(permit) = ready {
            permit.send(answer);
        }
        Ok(())
    }
}

/// Waits until the peer would no longer be authenticated: its certificate expired, or the relationship changed.
async fn ended(peer: &mut Authenticated, relationships: &mut watch::Receiver<Arc<Relationships>>) -> Ended {
    loop {
        let current = Arc::clone(&relationships.borrow_and_update());
        if let Err(ended) = peer.check(&current) {
            return ended;
        }
        // One second later than the expiry, so that the check does not run just before it.
        let valid = peer.valid_for().min(LONGEST_TIMER) + Duration::from_secs(1);
        // If the sender is gone, the first branch is disabled and the timer remains.
        tokio::select! {
            Ok(()) = relationships.changed() => {}
            () = sleep(valid) => {}
        }
    }
}

impl Keeper {
    /// Waits for `work`, and processes timers and events in the meantime.
    async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                // `process_next_due` is cancel-safe, so it may be dropped when `work` completes first.
                done = &mut work => return done,
                () = self.tend() => {}
            }
        }
    }

    /// Waits until the event queue has space for the events of another response.
    async fn make_room(&mut self) {
        while self.pacer.len() > self.most_waiting {
            self.tend().await;
        }
    }

    /// Waits until one event, timer, revalidation or request is due, and processes it. Cancel-safe: it changes
    /// nothing before its last await.
    async fn tend(&mut self) {
        let delivery = self.pacer.next().map(Instant::from_std);
        let deadline = self.subscription.deadline().map(Instant::from_std);
        let is_due = delivery.is_some_and(|delivery| delivery <= Instant::now());
        let due = tokio::select! {
            // Reserve first and pop second: an event that was popped before would be lost if the future is dropped.
            Ok(permit) = self.events.reserve(), if is_due => {
                if let Some(event) = self.pacer.pop(Instant::now().into_std()) {
                    permit.send(event);
                }
                return;
            }
            // Only wakes up; the next call delivers the event. If it is due already, the branch above waits for the
            // queue.
            () = at(delivery), if !is_due => return,
            () = at(deadline) => Due::Deadline,
            Ok(()) = self.judge.changed() => Due::Judge,
            permit = ready(self.requests.as_ref()), if !self.again.is_empty() => {
                // Without a permit the stream has ended, and the names are dropped with it.
                let names = std::mem::take(&mut self.again);
                if let Some(permit) = permit {
                    permit.send(&Subscription::again(&names));
                }
                return;
            }
        };
        let events = match due {
            Due::Deadline => self.subscription.pass(Instant::now().into_std()),
            Due::Judge => {
                let validate = Arc::clone(&self.judge.borrow_and_update());
                let (events, again) = self.subscription.judge_again(&*validate);
                // Beyond the limit, refused resources are requested with the next stream.
                let room = AGAIN.saturating_sub(self.again.len());
                self.again.extend(again.into_iter().take(room));
                events
            }
        };
        self.push(events);
        self.note_refusals();
    }

    fn take(&mut self, response: DeltaDiscoveryResponse) -> Result<DeltaDiscoveryRequest, ConnectError> {
        let validate = Arc::clone(&self.judge.borrow());
        let (events, answer) = self.subscription.receive(response, &*validate, Instant::now().into_std())?;
        self.push(events);
        self.note_refusals();
        Ok(answer)
    }

    fn push(&mut self, events: Vec<Event>) {
        let now = Instant::now().into_std();
        for event in events {
            self.pacer.push(PeerEvent::Changed(event), now);
        }
    }

    fn note_refusals(&mut self) {
        // Every event carries all refusals, so an unchanged list must not be queued again.
        let same = self.subscription.refusals().eq(self.refused.iter().map(|(a, b)| (&**a, &**b)));
        if !same {
            let refusals = self.subscription.refusals();
            self.refused = refusals.map(|(name, why)| (name.to_owned(), why.to_owned())).collect();
            let now = Instant::now().into_std();
            self.pacer.push(PeerEvent::Refused(self.refused.clone()), now);
        }
    }

    fn connected(&mut self, target: &PeerTarget, address: &Endpoint) {
        info!(
            relationship = %target.audience.relationship, peer = %target.audience.peer,
            %address, "peer connected"
        );
        self.said = Some(Ok(()));
        let event = PeerEvent::Connected { address: address.clone() };
        self.pacer.push(event, Instant::now().into_std());
    }

    fn lost(&mut self, target: &PeerTarget, why: Trouble) {
        let now = Instant::now().into_std();
        // Both belong to the stream that has ended.
        (self.requests, self.again) = (None, BTreeSet::new());
        self.subscription.lost(now);
        if matches!(&self.said, Some(Err(said)) if said.is_like(&why)) {
            return;
        }
        info!(
            relationship = %target.audience.relationship, peer = %target.audience.peer,
            error = %why, "peer unreachable"
        );
        self.said = Some(Err(why.clone()));
        self.pacer.push(PeerEvent::Lost(why), now);
    }
}

/// Waits until the stream has space for a request. `None` if the stream has ended or there is no stream.
async fn ready(requests: Option<&Sender>) -> Option<Permit<'_>> {
    requests?.ready().await
}

/// Sleeps until the deadline, or forever if it is `None`.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
