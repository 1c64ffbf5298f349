//! Connects to peers over mTLS and receives their announcements. One task per peer reconnects until it is dropped.
//!
//! ```text
//!   addresses ──► dial ──► stream ──► DeltaClient ──► EventThrottle ──► events
//!      ▲    (TCP, TLS, HTTP/2)             │         (one per second
//!      └─── the peer's own addresses ◄─────┘          and service)
//! ```
//!
//! Events wait in a bounded queue. While the queue is full, the task does not read from the peer, and HTTP/2 flow
//! control makes the peer wait.

mod connect_error;
mod dial;
mod event_throttle;
mod peer_task;
#[cfg(test)]
mod tests;

pub use connect_error::{ConnectError, ConnectFailure, UnreachableReason};

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use emcee_core::catalogue::Announcement;
use emcee_core::endpoint::Endpoint;
use futures_util::Stream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::client_stream::{AnnouncementBudget, AnnouncementEvent, DeltaClientSettings};
use crate::counters::PeerCounters;
use crate::peer_ref::PeerRef;
use crate::tls::TlsRelationships;
use dial::TcpConnector;
use peer_task::PeerTask;

/// Capacity of the event queue of one peer.
const EVENT_QUEUE_SIZE: usize = 256;

/// Validates an announcement of a peer. `Err` is the reason why it is refused; the peer receives it in a NACK.
pub type AnnouncementValidator = Arc<dyn Fn(&Announcement) -> Result<(), String> + Send + Sync>;

/// The peer to connect to, and how.
#[derive(Clone, Debug)]
pub struct PeerTarget {
    /// The peer. Its names and the certificate to present are looked up in the relationships for each connection.
    pub peer: PeerRef,
    /// Configured addresses of the peer's Emcee. They are tried in order, before the addresses that the peer announces.
    pub addresses: Vec<Endpoint>,
    /// Pods of an egress gateway that forwards by server name. If `Some`, only these are dialled, even if the list is
    /// empty.
    pub egress_gateways: Option<Vec<Endpoint>>,
    /// Quotas, and how long announcements are kept when the peer is unreachable.
    pub settings: DeltaClientSettings,
    /// Announcements that an earlier process accepted.
    pub restored: Vec<Announcement>,
    /// Limit for the announcements of all peers together. `None`: no such limit.
    pub budget: Option<AnnouncementBudget>,
    /// Counters of the peer.
    pub counters: Arc<PeerCounters>,
}

/// A change of the connection to a peer, or of its announcements.
#[derive(Clone, Debug, PartialEq)]
pub enum PeerEvent {
    /// The peer sent its first response on a stream.
    Connected {
        /// The address that was dialled.
        address: Endpoint,
    },
    /// The peer is unreachable, or is unreachable for a different reason than reported before.
    Unreachable(UnreachableReason),
    /// An announcement of the peer changed.
    Changed(AnnouncementEvent),
    /// All resources of the peer that are refused now: resource name and reason. Number and length are bounded.
    Rejected(Vec<(String, String)>),
}

/// The events of one peer. Dropping the stream ends the connection.
#[derive(Debug)]
pub struct PeerEventStream {
    events: mpsc::Receiver<PeerEvent>,
    task: JoinHandle<()>,
}

/// Connects to a peer and reconnects until the returned stream is dropped.
///
/// Each connection uses the certificates that `relationships` holds at that time. An open connection ends as soon as it
/// could no longer be established. When the validator changes, all accepted and refused announcements are validated
/// again.
pub fn subscribe_to_peer(
    target: PeerTarget,
    relationships: watch::Receiver<Arc<TlsRelationships>>,
    validator: watch::Receiver<AnnouncementValidator>,
) -> PeerEventStream {
    subscribe_over(TcpConnector, target, relationships, validator)
}

fn subscribe_over(
    connector: impl dial::Connector,
    target: PeerTarget,
    relationships: watch::Receiver<Arc<TlsRelationships>>,
    validator: watch::Receiver<AnnouncementValidator>,
) -> PeerEventStream {
    let (sender, events) = mpsc::channel(EVENT_QUEUE_SIZE);
    let peer_task = PeerTask::new(connector, target, relationships, validator, sender);
    PeerEventStream { events, task: tokio::spawn(peer_task.run()) }
}

impl PeerEventStream {
    /// Waits for the next event. `None` only if the task has panicked.
    pub async fn next(&mut self) -> Option<PeerEvent> {
        self.events.recv().await
    }
}

impl Stream for PeerEventStream {
    type Item = PeerEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<PeerEvent>> {
        self.events.poll_recv(context)
    }
}

impl Drop for PeerEventStream {
    fn drop(&mut self) {
        self.task.abort();
    }
}
