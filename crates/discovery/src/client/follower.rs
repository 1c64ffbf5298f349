//! The task that follows one peer.

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

/// For the first response, which every server of delta xDS owes.
const FIRST_RESPONSE: Duration = Duration::from_mins(1);
/// Addresses that a peer announces of itself and that are tried.
const ANNOUNCED: usize = 16;
/// Resources for which a peer is asked again at once. A server takes no more than 1,000.
const AGAIN: usize = 500;
/// A timer that is to last years is set anew each day.
const LONGEST_TIMER: Duration = Duration::from_hours(24);

/// Follows one peer.
pub(super) struct Follower<C> {
    connector: C,
    target: PeerTarget,
    relationships: watch::Receiver<Arc<Relationships>>,
    keeper: Keeper,
}

/// What goes on whether there is a connection or not: time passes, and events are delivered.
struct Keeper {
    subscription: Subscription,
    judge: watch::Receiver<Judge>,
    pacer: Pacer,
    events: mpsc::Sender<PeerEvent>,
    /// What was last said: connected, or why not.
    said: Option<Result<(), Trouble>>,
    refused: Vec<(String, String)>,
    /// Where requests of the present stream go that answer no response.
    requests: Option<Sender>,
    /// What the peer is to be asked for again.
    again: BTreeSet<String>,
    /// Events that wait for longer than a response is read.
    most_waiting: usize,
}

enum Due {
    /// The subscription has something to do.
    Deadline,
    /// What is held has to be judged again.
    Judge,
}

/// A stream, with what may end it.
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
        let seed = std::mem::take(&mut target.seed).into_iter();
        // Under another quota there may be no room for all of it.
        let left: Vec<_> = seed.filter(|offer| !subscription.seed(offer)).collect();
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
        keeper.push(left.into_iter().map(|offer| Event::Withdrawn(offer.key)).collect());
        Self { connector, target, relationships, keeper }
    }

    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(fastrand::u64(..));
        loop {
            let relationship = self.relationship();
            let why = self.round(relationship.as_ref(), &mut backoff).await;
            self.keeper.lost(&self.target, why);
            let wait = backoff.failed(Instant::now().into_std());
            self.wait(relationship, wait).await;
        }
    }

    fn relationship(&mut self) -> Option<Arc<Relationship>> {
        self.relationships.borrow_and_update().get(&self.target.audience.relationship).cloned()
    }

    /// Tries each address in turn, until one gives a stream; and why that ended, in the end.
    async fn round(&mut self, relationship: Option<&Arc<Relationship>>, backoff: &mut Backoff) -> Trouble {
        let Some(relationship) = relationship else { return Trouble::Closed };
        let mut tried = Vec::new();
        for address in self.addresses() {
            let dialled = dial(&self.connector, &address, relationship, &self.target.audience.peer);
            let why = match self.keeper.during(dialled).await {
                Ok(dialled) => match self.open(dialled).await {
                    Ok(talk) => {
                        let why = self.talk(talk, &address, backoff).await;
                        return Trouble::Tried(vec![(address, why)]);
                    }
                    Err(why) => why,
                },
                Err(why) => why,
            };
            debug!(audience = %self.target.audience, %address, %why, "no stream");
            tried.push((address, why));
        }
        if tried.is_empty() { Trouble::NoAddress } else { Trouble::Tried(tried) }
    }

    fn addresses(&self) -> Vec<Endpoint> {
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
        let first = self.keeper.subscription.connected();
        let authority = server_name(&self.target.audience.relationship);
        let call = connection.call(&authority, wire::METHOD, &first, wire::MAX_RESPONSE);
        let call = self.keeper.during(timeout(FIRST_RESPONSE, call)).await;
        let late = |_| ConnectError::TimedOut { what: "the opening of the stream", after: FIRST_RESPONSE };
        let call = call.map_err(late)?.map_err(|error| fault.explain(error))?;
        self.keeper.requests = Some(call.requests.clone());
        Ok(Talk { call, peer, fault, relationships: self.relationships.clone() })
    }

    /// Takes responses until the stream ends, and says why it did.
    async fn talk(&mut self, mut talk: Talk, address: &Endpoint, backoff: &mut Backoff) -> ConnectError {
        let first = self.keeper.during(timeout(FIRST_RESPONSE, talk.next())).await;
        let late = ConnectError::TimedOut { what: "the first response", after: FIRST_RESPONSE };
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
            if let Err(why) = self.keeper.during(talk.answer(&answer)).await {
                return why;
            }
            self.keeper.make_room().await;
            response = self.keeper.during(talk.next()).await;
        }
    }

    /// Until the next attempt, which comes at once when the relationship has changed.
    async fn wait(&mut self, before: Option<Arc<Relationship>>, wait: Duration) {
        let name = Arc::clone(&self.target.audience.relationship);
        let relationships = &mut self.relationships;
        let changed = async {
            let is_new = |all: &Arc<Relationships>| match (all.get(&name), &before) {
                (Some(now), Some(before)) => !Arc::ptr_eq(now, before),
                (now, before) => now.is_some() != before.is_some(),
            };
            if relationships.wait_for(is_new).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let until = async {
            tokio::select! {
                () = changed => {}
                // A closed relationship opens by a change.
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

    /// Sends it, unless the stream is over, which the next response tells.
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

/// Waits until the peer would not be accepted any more.
async fn ended(peer: &mut Authenticated, relationships: &mut watch::Receiver<Arc<Relationships>>) -> Ended {
    loop {
        let current = Arc::clone(&relationships.borrow_and_update());
        if let Err(ended) = peer.check(&current) {
            return ended;
        }
        let valid = peer.valid_for().min(LONGEST_TIMER) + Duration::from_secs(1);
        tokio::select! {
            Ok(()) = relationships.changed() => {}
            () = sleep(valid) => {}
        }
    }
}

impl Keeper {
    /// Waits for `work`, and does meanwhile what is due.
    async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = self.tend() => {}
            }
        }
    }

    /// Waits until a response may be read again.
    async fn make_room(&mut self) {
        while self.pacer.len() > self.most_waiting {
            self.tend().await;
        }
    }

    /// Waits for one thing to be due, and does it. Nothing is lost when the future is dropped before.
    async fn tend(&mut self) {
        let delivery = self.pacer.next().map(Instant::from_std);
        let deadline = self.subscription.deadline().map(Instant::from_std);
        let is_due = delivery.is_some_and(|delivery| delivery <= Instant::now());
        let due = tokio::select! {
            Ok(permit) = self.events.reserve(), if is_due => {
                if let Some(event) = self.pacer.pop(Instant::now().into_std()) {
                    permit.send(event);
                }
                return;
            }
            () = at(delivery), if !is_due => return,
            () = at(deadline) => Due::Deadline,
            Ok(()) = self.judge.changed() => Due::Judge,
            permit = ready(self.requests.as_ref()), if !self.again.is_empty() => {
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
                let judge = Arc::clone(&self.judge.borrow_and_update());
                let (events, again) = self.subscription.judge_again(&*judge);
                let room = AGAIN.saturating_sub(self.again.len());
                self.again.extend(again.into_iter().take(room));
                events
            }
        };
        self.push(events);
        self.note_refusals();
    }

    fn take(&mut self, response: DeltaDiscoveryResponse) -> Result<DeltaDiscoveryRequest, ConnectError> {
        let judge = Arc::clone(&self.judge.borrow());
        let (events, answer) = self.subscription.receive(response, &*judge, Instant::now().into_std())?;
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
        let same = self.subscription.refusals().eq(self.refused.iter().map(|(a, b)| (&**a, &**b)));
        if !same {
            let refusals = self.subscription.refusals();
            self.refused = refusals.map(|(name, why)| (name.to_owned(), why.to_owned())).collect();
            let now = Instant::now().into_std();
            self.pacer.push(PeerEvent::Refused(self.refused.clone()), now);
        }
    }

    fn connected(&mut self, target: &PeerTarget, address: &Endpoint) {
        info!(audience = %target.audience, %address, "connected");
        self.said = Some(Ok(()));
        let event = PeerEvent::Connected { address: address.clone() };
        self.pacer.push(event, Instant::now().into_std());
    }

    fn lost(&mut self, target: &PeerTarget, why: Trouble) {
        let now = Instant::now().into_std();
        (self.requests, self.again) = (None, BTreeSet::new());
        self.subscription.lost(now);
        if matches!(&self.said, Some(Err(said)) if said.is_like(&why)) {
            return;
        }
        info!(audience = %target.audience, %why, "not connected");
        self.said = Some(Err(why.clone()));
        self.pacer.push(PeerEvent::Lost(why), now);
    }
}

/// Waits until there is room for a request; none when the stream is over, or there is none.
async fn ready(requests: Option<&Sender>) -> Option<Permit<'_>> {
    requests?.ready().await
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
