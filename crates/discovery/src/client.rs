//! Connects to peers over mTLS and receives their announcements. One task per peer reconnects until it is dropped.
//!
//! ```text
//!   addresses ──► dial ──► stream ──► DeltaClient ──► EventThrottle ──► events
//!      ▲    (TCP, TLS, HTTP/2)             │         (two at once, then one
//!      └─── the peer's own addresses ◄─────┘          per second and service)
//! ```
//!
//! Events wait in a bounded queue, which several peers may share. While the queue is full, the tasks do not read from
//! their peers, and HTTP/2 flow control makes the peers wait.

mod connect_error;
mod dial;
mod event_throttle;
mod peer_task;
#[cfg(test)]
mod tests;

pub use connect_error::{ConnectError, UnreachableReason};

use std::sync::Arc;

use emcee_core::catalogue::Announcement;
use emcee_core::endpoint::Endpoint;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::counters::PeerCounters;
use crate::delta::client_stream::{AnnouncementBudget, AnnouncementEvent, DeltaClientSettings};
use crate::peer_ref::PeerRef;
use crate::transport::tls::TlsRelationships;
use dial::TcpConnector;
use peer_task::PeerTask;

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

/// The task of one peer. Dropping the handle ends the connection and the task.
#[derive(Debug)]
pub struct PeerTaskHandle(JoinHandle<()>);

/// Connects to a peer and reconnects until the returned handle is dropped.
///
/// The events of the peer are sent to `queue` with `key`. Several peers may share the queue: they take turns while it
/// is full. Events of an ended subscription may still be in the queue.
///
/// Each connection uses the certificates that `relationships` holds at that time. An open connection ends as soon as it
/// could no longer be established. When the validator changes, all accepted and refused announcements are validated
/// again.
pub fn subscribe_to_peer<K: Clone + Send + 'static>(
    target: PeerTarget,
    relationships: watch::Receiver<Arc<TlsRelationships>>,
    validator: watch::Receiver<AnnouncementValidator>,
    key: K,
    queue: mpsc::Sender<(K, PeerEvent)>,
) -> PeerTaskHandle {
    subscribe_over(TcpConnector, target, relationships, validator, KeyedEventSender { key, queue })
}

fn subscribe_over<K: Clone + Send + 'static>(
    connector: impl dial::Connector,
    target: PeerTarget,
    relationships: watch::Receiver<Arc<TlsRelationships>>,
    validator: watch::Receiver<AnnouncementValidator>,
    events: KeyedEventSender<K>,
) -> PeerTaskHandle {
    let peer_task = PeerTask::new(connector, target, relationships, validator, events);
    PeerTaskHandle(tokio::spawn(peer_task.run()))
}

/// Sends the events of one peer to a queue, with the key of the peer.
struct KeyedEventSender<K> {
    key: K,
    queue: mpsc::Sender<(K, PeerEvent)>,
}

impl Drop for PeerTaskHandle {
    fn drop(&mut self) {
        self.0.abort();
    }
}
