//! Follows peers, over mTLS: for each one task, which is connected or tries to be, for ever.
//!
//! ```text
//!   addresses ──► dial ──► stream ──► Subscription ──► pacer ──► events
//!      ▲    (TCP, TLS, HTTP/2)             │        (one a second
//!      └── what the peer says of itself ◄──┘         of each service)
//! ```
//!
//! Events wait in a bounded queue. When nobody takes them the peer is not read, and HTTP/2 makes it wait.

mod dial;
mod follower;
mod pacer;
#[cfg(test)]
mod tests;
mod trouble;

pub use trouble::{ConnectError, Trouble};

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use emcee_core::catalogue::Offer;
use emcee_core::endpoint::Endpoint;
use futures_util::Stream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::audience::Audience;
use crate::subscription::{Budget, Event, Settings};
use crate::tls::Relationships;
use dial::Tcp;
use follower::Follower;

/// Events that wait to be taken, of one peer.
const QUEUE: usize = 256;

/// Whether an offer of a peer is acceptable, or why not.
pub type Judge = Arc<dyn Fn(&Offer) -> Result<(), String> + Send + Sync>;

/// Whom to follow.
#[derive(Clone, Debug)]
pub struct PeerTarget {
    /// The peer. Its names and the certificate for it are looked up in the relationships, at each connection.
    pub audience: Audience,
    /// Where its Emcee is said to be. They are tried in turn, and before those that it announces itself.
    pub addresses: Vec<Endpoint>,
    /// The pods of an egress gateway that relays by server name: then they are tried and nothing else, also when there is
    /// none.
    pub via: Option<Vec<Endpoint>>,
    /// Quotas, and what happens when the peer is lost.
    pub settings: Settings,
    /// Offers that were accepted in an earlier life.
    pub seed: Vec<Offer>,
    /// What may be held of all peers together.
    pub budget: Option<Budget>,
}

/// What happens with a peer.
#[derive(Clone, Debug, PartialEq)]
pub enum PeerEvent {
    /// It answers.
    Connected {
        /// Where.
        address: Endpoint,
    },
    /// It does not answer, or no longer, or for another reason than before.
    Lost(Trouble),
    /// What it offers.
    Changed(Event),
    /// All that is refused of what it offers, and why: resource name and words, both bounded.
    Refused(Vec<(String, String)>),
}

/// The events of a peer that is followed. Dropped, it is followed no more.
#[derive(Debug)]
pub struct Following {
    events: mpsc::Receiver<PeerEvent>,
    task: JoinHandle<()>,
}

/// Follows a peer, until what is returned is dropped.
///
/// Certificates are those of `relationships` at each connection, and what is open ends when it could not be opened any
/// more. When `judge` changes, what is held is judged again.
pub fn follow(
    target: PeerTarget,
    relationships: watch::Receiver<Arc<Relationships>>,
    judge: watch::Receiver<Judge>,
) -> Following {
    follow_over(Tcp, target, relationships, judge)
}

fn follow_over(
    connector: impl dial::Connect,
    target: PeerTarget,
    relationships: watch::Receiver<Arc<Relationships>>,
    judge: watch::Receiver<Judge>,
) -> Following {
    let (sender, events) = mpsc::channel(QUEUE);
    let follower = Follower::new(connector, target, relationships, judge, sender);
    Following { events, task: tokio::spawn(follower.run()) }
}

impl Following {
    /// The next event. There is always one to come.
    pub async fn next(&mut self) -> Option<PeerEvent> {
        self.events.recv().await
    }
}

impl Stream for Following {
    type Item = PeerEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<PeerEvent>> {
        self.events.poll_recv(context)
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}
