//! The task that keeps one peer connected.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use emcee_core::endpoint::Endpoint;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::{Instrument as _, debug, info, info_span};

use super::connect_error::{ConnectError, UnreachableReason};
use super::dial::{Connector, DialledPeer, TlsErrorSlot, dial_peer};
use super::event_throttle::EventThrottle;
use super::{AnnouncementValidator, KeyedEventSender, PeerEvent, PeerTarget};
use crate::backoff::Backoff;
use crate::counters::{OpenStreamGuard, PeerCounters, StreamRole, SubscriptionGuard};
use crate::deadline::sleep_until_deadline;
use crate::delta::client_stream::{AnnouncementBudget, AnnouncementEvent, DeltaClient};
use crate::transport::grpc::{BidiStream, MessageSender, SendPermit};
use crate::transport::tls::{
    AuthenticatedPeer, ReverifyError, TlsRelationship, TlsRelationships, discovery_server_name,
};
use crate::wire::{self, DeltaDiscoveryRequest, DeltaDiscoveryResponse};

/// Timeout for the first response. A delta xDS server always answers the first request.
const FIRST_RESPONSE_TIMEOUT: Duration = Duration::from_mins(1);
/// Number of addresses that a peer announces for its Emcee and that are tried.
const MAX_ANNOUNCED_ADDRESSES: usize = 16;
/// Number of resources that are requested again in one request. A server accepts subscriptions to at most 1,000 names.
const MAX_REFETCH: usize = 500;
/// Longest single timer. A longer wait is split, as a certificate may be valid for years.
const LONGEST_TIMER: Duration = Duration::from_hours(24);

/// Connects to one peer, and reconnects with backoff.
pub(super) struct PeerTask<C, K> {
    connector: C,
    target: PeerTarget,
    relationships: watch::Receiver<Arc<TlsRelationships>>,
    state: PeerTaskState<K>,
    _subscription: SubscriptionGuard,
}

/// The state of a peer that is independent of its connection: accepted announcements, timers and the delivery of
/// events.
struct PeerTaskState<K> {
    client: DeltaClient,
    counters: Arc<PeerCounters>,
    validator: watch::Receiver<AnnouncementValidator>,
    throttle: EventThrottle,
    events: KeyedEventSender<K>,
    /// Connection state that was reported last. `None` before the first report.
    reported: Option<Result<(), UnreachableReason>>,
    /// Refusals that were reported last.
    reported_rejections: Vec<(String, String)>,
    /// Sends requests on the current stream that are not an ACK or NACK. `None` without a stream.
    request_sender: Option<MessageSender>,
    /// Names of resources to request again on the current stream.
    pending_refetch: BTreeSet<String>,
    /// While more events than this wait, the next response is not read.
    max_waiting_events: usize,
}

/// Work that is due and not tied to a response.
enum DueWork {
    /// A timer of the client has expired.
    Timers,
    /// The validator has changed.
    Revalidation,
}

/// An open xDS stream, with the state that can end it.
struct XdsStream {
    call: BidiStream<DeltaDiscoveryResponse>,
    peer: AuthenticatedPeer,
    tls_error: TlsErrorSlot,
    relationships: watch::Receiver<Arc<TlsRelationships>>,
}

impl<C: Connector, K: Clone> PeerTask<C, K> {
    pub(super) fn new(
        connector: C,
        mut target: PeerTarget,
        relationships: watch::Receiver<Arc<TlsRelationships>>,
        validator: watch::Receiver<AnnouncementValidator>,
        events: KeyedEventSender<K>,
    ) -> Self {
        let now = Instant::now().into_std();
        let mut subscription = match target.budget.as_ref().map(AnnouncementBudget::add_share) {
            Some(share) => DeltaClient::with_budget_share(target.settings, share, now),
            None => DeltaClient::new(target.settings, now),
        };
        let restored = std::mem::take(&mut target.restored).into_iter();
        // The quota may be smaller than in the earlier process. What does not fit is reported as withdrawn below, so
        // that imports made from it are removed.
        let left: Vec<_> =
            restored.filter(|announcement| !subscription.restore_announcement(announcement)).collect();
        let mut state = PeerTaskState {
            client: subscription,
            counters: Arc::clone(&target.counters),
            validator,
            throttle: EventThrottle::default(),
            events,
            reported: None,
            reported_rejections: Vec::new(),
            request_sender: None,
            pending_refetch: BTreeSet::new(),
            max_waiting_events: target.settings.max_resources,
        };
        state.queue_events(
            left.into_iter().map(|announcement| AnnouncementEvent::Withdrawn(announcement.key)).collect(),
        );
        state.counters.received_resources.set(state.client.accepted_count());
        let guard = SubscriptionGuard::new(Arc::clone(&target.counters));
        Self { connector, target, relationships, state, _subscription: guard }
    }

    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::default();
        loop {
            let relationship = self.current_relationship();
            let why = self.run_connection(relationship.as_ref(), &mut backoff).await;
            self.state.record_unreachable(&self.target, why);
            // The relationship from before the attempt is passed on: if it changed during the attempt, the wait ends
            // at once.
            let wait = backoff.next_delay(Instant::now().into_std());
            self.wait_for_retry(relationship, wait).await;
        }
    }

    fn current_relationship(&mut self) -> Option<Arc<TlsRelationship>> {
        self.relationships.borrow_and_update().get(&self.target.peer.relationship).cloned()
    }

    /// Tries each address in order until a stream opens, then processes its responses. Returns why there is no stream
    /// any more.
    async fn run_connection(
        &mut self,
        relationship: Option<&Arc<TlsRelationship>>,
        backoff: &mut Backoff,
    ) -> UnreachableReason {
        let Some(relationship) = relationship else { return UnreachableReason::RelationshipClosed };
        let mut tried = Vec::new();
        // The list is taken once: addresses that the peer announces during the stream count from the next attempt on.
        for address in self.candidate_addresses() {
            let PeerTarget { peer, counters, .. } = &self.target;
            counters.connection_attempts.increment();
            let dialled =
                dial_peer(&self.connector, &address, relationship, &peer.peer, Arc::clone(counters));
            let why = match self.state.process_due_while(dialled).await {
                Ok(dialled) => match self.open_stream(dialled).await {
                    Ok(stream) => {
                        let span = self.stream_span();
                        let why = self.process_responses(stream, &address, backoff).instrument(span).await;
                        self.target.counters.record_connection_failure(why.failure());
                        return UnreachableReason::AddressesFailed(vec![(address, why)]);
                    }
                    Err(why) => why,
                },
                Err(why) => why,
            };
            debug!(
                relationship = %self.target.peer.relationship, peer = %self.target.peer.peer,
                %address, error = %why, "opening stream to peer failed"
            );
            self.target.counters.record_connection_failure(why.failure());
            tried.push((address, why));
        }
        if tried.is_empty() {
            UnreachableReason::NoAddress
        } else {
            UnreachableReason::AddressesFailed(tried)
        }
    }

    fn stream_span(&self) -> tracing::Span {
        let peer = &self.target.peer;
        info_span!("discovery_client_stream", relationship = %peer.relationship, peer = %peer.peer)
    }

    fn candidate_addresses(&self) -> Vec<Endpoint> {
        // No fallback to a direct connection, not even for an empty list: a firewall may exist to prevent exactly that.
        if let Some(gateways) = &self.target.egress_gateways {
            return gateways.clone();
        }
        let mut addresses = self.target.addresses.clone();
        for address in self.state.client.discovery_addresses().into_iter().take(MAX_ANNOUNCED_ADDRESSES) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses
    }

    async fn open_stream(&mut self, dialled: DialledPeer) -> Result<XdsStream, ConnectError> {
        let DialledPeer { connection, peer, tls_error: fault } = dialled;
        // The first request lists the accepted resources as `initial_resource_versions`, so it must be built for this
        // stream.
        let first = self.state.client.start_stream();
        let authority = discovery_server_name(&self.target.peer.relationship);
        let call =
            connection.open_stream(&authority, wire::DELTA_METHOD_PATH, &first, wire::MAX_RESPONSE_BYTES);
        let call = self.state.process_due_while(timeout(FIRST_RESPONSE_TIMEOUT, call)).await;
        let late = |_| ConnectError::TimedOut { what: "opening the stream", after: FIRST_RESPONSE_TIMEOUT };
        let call = call.map_err(late)?.map_err(|error| fault.explain_error(error))?;
        self.state.request_sender = Some(call.requests.clone());
        Ok(XdsStream { call, peer, tls_error: fault, relationships: self.relationships.clone() })
    }

    /// Processes responses until the stream ends. Returns the reason.
    async fn process_responses(
        &mut self,
        mut stream: XdsStream,
        address: &Endpoint,
        backoff: &mut Backoff,
    ) -> ConnectError {
        // The peer counts as connected only after its first response: until then it may still refuse the stream.
        let first =
            self.state.process_due_while(timeout(FIRST_RESPONSE_TIMEOUT, stream.next_response())).await;
        let late =
            ConnectError::TimedOut { what: "waiting for the first response", after: FIRST_RESPONSE_TIMEOUT };
        let mut response = first.unwrap_or(Err(late));
        if response.is_ok() {
            backoff.record_success(Instant::now().into_std());
            self.state.record_connected(&self.target, address);
        }
        // Like the peer's connection, the stream counts from its first response.
        let _open = response.is_ok().then(|| OpenStreamGuard::new(&self.target.counters, StreamRole::Client));
        loop {
            let answer = match response.and_then(|response| self.state.handle_response(response)) {
                Ok(answer) => answer,
                Err(why) => return why,
            };
            if let Err(why) = self.state.process_due_while(stream.send_answer(&answer)).await {
                return why;
            }
            let is_nack = answer.error_detail.is_some();
            let counters = self.target.counters.streams(StreamRole::Client);
            counters.record_answers(u64::from(!is_nack), u64::from(is_nack));
            // Backpressure: while the queue is full, nothing is read and HTTP/2 flow control stops the peer.
            self.state.wait_for_queue_space().await;
            response = self.state.process_due_while(stream.next_response()).await;
        }
    }

    /// Waits until the next attempt. Returns at once when the relationship has changed since `before`.
    async fn wait_for_retry(&mut self, before: Option<Arc<TlsRelationship>>, wait: Duration) {
        let name = Arc::clone(&self.target.peer.relationship);
        let relationships = &mut self.relationships;
        let changed = async {
            // Relationships are compared by pointer: an unchanged one keeps its `Arc` across updates.
            let is_new = |all: &Arc<TlsRelationships>| match (all.get(&name), &before) {
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
        self.state.process_due_while(until).await;
    }
}

impl XdsStream {
    async fn next_response(&mut self) -> Result<DeltaDiscoveryResponse, ConnectError> {
        tokio::select! {
            response = self.call.responses.next() => match response {
                Ok(Some(response)) => Ok(response),
                Ok(None) => Err(ConnectError::StreamEnded),
                Err(error) => Err(self.tls_error.explain_error(error)),
            },
            ended = wait_until_untrusted(&mut self.peer, &mut self.relationships) => Err(ended.into()),
        }
    }

    /// Sends an ACK or NACK. Does nothing if the stream has ended; the next [`next_response`](Self::next_response)
    /// returns why.
    async fn send_answer(&mut self, answer: &DeltaDiscoveryRequest) -> Result<(), ConnectError> {
        let ready = tokio::select! {
            ready = self.call.requests.reserve() => ready,
            ended = wait_until_untrusted(&mut self.peer, &mut self.relationships) => return Err(ended.into()),
        };
        if let Some(permit) = ready {
            permit.send(answer);
        }
        Ok(())
    }
}

/// Waits until the peer would no longer be authenticated: its certificate expired, or the relationship changed.
async fn wait_until_untrusted(
    peer: &mut AuthenticatedPeer,
    relationships: &mut watch::Receiver<Arc<TlsRelationships>>,
) -> ReverifyError {
    loop {
        let current = Arc::clone(&relationships.borrow_and_update());
        if let Err(ended) = peer.reverify(&current) {
            return ended;
        }
        // One second later than the expiry, so that the check does not run just before it.
        let valid = peer.remaining_validity().min(LONGEST_TIMER) + Duration::from_secs(1);
        // If the sender is gone, the first branch is disabled and the timer remains.
        tokio::select! {
            Ok(()) = relationships.changed() => {}
            () = sleep(valid) => {}
        }
    }
}

impl<K: Clone> PeerTaskState<K> {
    /// Waits for `work`, and processes timers and events in the meantime.
    async fn process_due_while<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                // `process_next_due` is cancel-safe, so it may be dropped when `work` completes first.
                done = &mut work => return done,
                () = self.process_next_due() => {}
            }
        }
    }

    /// Waits until the event queue has space for the events of another response.
    async fn wait_for_queue_space(&mut self) {
        while self.throttle.len() > self.max_waiting_events {
            self.process_next_due().await;
        }
    }

    /// Waits until one event, timer, revalidation or request is due, and processes it. Cancel-safe: it changes
    /// nothing before its last await.
    async fn process_next_due(&mut self) {
        let delivery = self.throttle.next_delivery().map(Instant::from_std);
        let deadline = self.client.next_deadline().map(Instant::from_std);
        let is_due = delivery.is_some_and(|delivery| delivery <= Instant::now());
        let due = tokio::select! {
            // Reserve first and pop second: an event that was popped before would be lost if the future is dropped.
            Ok(permit) = self.events.queue.reserve(), if is_due => {
                if let Some(event) = self.throttle.pop_due(Instant::now().into_std()) {
                    permit.send((self.events.key.clone(), event));
                }
                return;
            }
            // Only wakes up; the next call delivers the event. If it is due already, the branch above waits for the
            // queue.
            () = sleep_until_deadline(delivery), if !is_due => return,
            () = sleep_until_deadline(deadline) => DueWork::Timers,
            Ok(()) = self.validator.changed() => DueWork::Revalidation,
            permit = reserve_request(self.request_sender.as_ref()), if !self.pending_refetch.is_empty() => {
                // Without a permit the stream has ended, and the names are dropped with it.
                let names = std::mem::take(&mut self.pending_refetch);
                if let Some(permit) = permit {
                    permit.send(&DeltaClient::refetch_request(&names));
                }
                return;
            }
        };
        let events = match due {
            DueWork::Timers => self.client.process_timers(Instant::now().into_std()),
            DueWork::Revalidation => {
                let validate = Arc::clone(&self.validator.borrow_and_update());
                let (events, again) = self.client.revalidate(&*validate);
                // Beyond the limit, refused resources are requested with the next stream.
                let room = MAX_REFETCH.saturating_sub(self.pending_refetch.len());
                self.pending_refetch.extend(again.into_iter().take(room));
                events
            }
        };
        self.queue_events(events);
        self.queue_rejections();
    }

    fn handle_response(
        &mut self,
        response: DeltaDiscoveryResponse,
    ) -> Result<DeltaDiscoveryRequest, ConnectError> {
        let counters = self.counters.streams(StreamRole::Client);
        counters.responses.increment();
        counters.record_exchange();
        let validate = Arc::clone(&self.validator.borrow());
        let (events, answer) =
            self.client.handle_response(response, &*validate, Instant::now().into_std())?;
        self.queue_events(events);
        self.queue_rejections();
        Ok(answer)
    }

    fn queue_events(&mut self, events: Vec<AnnouncementEvent>) {
        self.counters.received_resources.set(self.client.accepted_count());
        let now = Instant::now().into_std();
        for event in events {
            self.throttle.push(PeerEvent::Changed(event), now);
        }
    }

    fn queue_rejections(&mut self) {
        let refused = self.client.rejected_resources().count();
        self.counters.streams(StreamRole::Client).refused_resources.set(refused);
        // Every event carries all refusals, so an unchanged list must not be queued again.
        let same =
            self.client.rejected_resources().eq(self.reported_rejections.iter().map(|(a, b)| (&**a, &**b)));
        if !same {
            let refusals = self.client.rejected_resources();
            self.reported_rejections =
                refusals.map(|(name, why)| (name.to_owned(), why.to_owned())).collect();
            let now = Instant::now().into_std();
            self.throttle.push(PeerEvent::Rejected(self.reported_rejections.clone()), now);
        }
    }

    fn record_connected(&mut self, target: &PeerTarget, address: &Endpoint) {
        info!(
            relationship = %target.peer.relationship, peer = %target.peer.peer,
            %address, "peer connected"
        );
        self.reported = Some(Ok(()));
        let event = PeerEvent::Connected { address: address.clone() };
        self.throttle.push(event, Instant::now().into_std());
    }

    fn record_unreachable(&mut self, target: &PeerTarget, why: UnreachableReason) {
        let now = Instant::now().into_std();
        // Both belong to the stream that has ended.
        (self.request_sender, self.pending_refetch) = (None, BTreeSet::new());
        self.client.end_stream(now);
        if matches!(&self.reported, Some(Err(said)) if said.is_like(&why)) {
            return;
        }
        info!(
            relationship = %target.peer.relationship, peer = %target.peer.peer,
            error = %why, "peer unreachable"
        );
        self.reported = Some(Err(why.clone()));
        self.throttle.push(PeerEvent::Unreachable(why), now);
    }
}

/// Waits until the stream has space for a request. `None` if the stream has ended or there is no stream.
async fn reserve_request(requests: Option<&MessageSender>) -> Option<SendPermit<'_>> {
    requests?.reserve().await
}
