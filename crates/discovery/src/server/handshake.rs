//! Handshakes of clients that may be anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::server::TlsStream;
use tracing::{debug, info};

use crate::places::{Places, Ticket};
use crate::tls::{AcceptError, Authenticated, Relationships, greet};
use crate::turns::Turns;

/// Handshakes that compute at once.
const TURNS: usize = 1;

/// Between two lines in the log about one relationship's failed handshakes.
const QUIET: Duration = Duration::from_mins(1);

/// Clients of one relationship that are known at once.
const KNOWN: usize = 64;

/// For which relationship (none: it has not said, or there is no such one), and by whom.
type Group = (Option<Arc<str>>, IpAddr);

/// A relationship's handshakes wait in lanes of their own, so that another's delay them by one turn. Of these, clients
/// from whose address a peer has come before are before strangers, and the second step, to which no recorded ClientHello
/// comes, has a lane of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Lane {
    relationship: Option<Arc<str>>,
    is_stranger: bool,
    has_greeted: bool,
}

#[derive(Debug)]
pub(super) struct Handshakes {
    places: Places<Group>,
    deadline: Duration,
    turns: Turns<Lane>,
    known: Mutex<Known>,
    /// When a relationship's failed handshakes were last spoken of.
    told: Mutex<BTreeMap<Arc<str>, Instant>>,
}

type Accepted = (TlsStream<TcpStream>, Authenticated);

impl Handshakes {
    pub(super) fn new(most: usize, deadline: Duration) -> Self {
        Self {
            places: Places::new(most),
            deadline,
            turns: Turns::new(TURNS),
            known: Mutex::default(),
            told: Mutex::default(),
        }
    }

    /// One handshake, within its deadline, and unless too many others come after it.
    pub(super) async fn run(
        &self,
        stream: TcpStream,
        client: IpAddr,
        relationships: Arc<Relationships>,
    ) -> Option<Accepted> {
        let mut place = self.places.take((None, client));
        let handshake = self.shake(stream, client, &relationships, place.ticket());
        let done = tokio::select! {
            done = timeout(self.deadline, handshake) => done,
            () = place.lost() => {
                debug!("a TLS handshake has made way for others");
                return None;
            }
        };
        match done {
            Ok(Some(Ok(accepted))) => Some(accepted),
            Ok(Some(Err(error))) => {
                self.tell(&error);
                None
            }
            Ok(None) => None,
            Err(_) => {
                debug!("a TLS handshake took too long");
                None
            }
        }
    }

    /// To read what a client wants costs little, and is done at once; to answer it waits for its turn.
    async fn shake(
        &self,
        stream: TcpStream,
        client: IpAddr,
        relationships: &Relationships,
        ticket: Ticket<Group>,
    ) -> Option<Result<Accepted, AcceptError>> {
        let hello = match greet(stream, relationships).await {
            Ok(hello) => hello,
            Err(error) => return Some(Err(error)),
        };
        let relationship = hello.relationship().cloned();
        ticket.regroup(&(relationship.clone(), client));
        let is_stranger = !self.known().contains(relationship.as_ref(), client);
        let lane = |has_greeted| Lane { relationship: relationship.clone(), is_stranger, has_greeted };
        let done = self.turns.aside([lane(false), lane(true)], hello.answer()).await?;
        if let (Ok(_), Some(relationship)) = (&done, &relationship) {
            self.known().insert(relationship, client);
        }
        Some(done)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A relationship's failures are worth a line, so many as there may be of them; a stranger's are not.
    fn tell(&self, error: &AcceptError) {
        let told = |relationship: &Arc<str>| {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let due = told.get(relationship).is_none_or(|last| now.duration_since(*last) >= QUIET);
            due.then(|| told.insert(Arc::clone(relationship), now)).is_some()
        };
        match error.relationship() {
            Some(relationship) if told(relationship) => info!(%error, "a peer is not let in"),
            _ => debug!(%error, "a client is not let in"),
        }
    }
}

/// From where peers have come, by relationship. Only who had a certificate of its CA adds to it.
#[derive(Debug, Default)]
struct Known(BTreeMap<Arc<str>, BTreeSet<IpAddr>>);

impl Known {
    fn contains(&self, relationship: Option<&Arc<str>>, client: IpAddr) -> bool {
        relationship.and_then(|name| self.0.get(name)).is_some_and(|clients| clients.contains(&client))
    }

    fn insert(&mut self, relationship: &Arc<str>, client: IpAddr) {
        let clients = self.0.entry(Arc::clone(relationship)).or_default();
        if clients.len() >= KNOWN && !clients.contains(&client) {
            clients.clear();
        }
        clients.insert(client);
    }
}
