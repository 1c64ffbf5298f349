//! Drives one delta xDS stream: requests, stream state, change notifications.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use prost::bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::{Code, Status};
use tracing::debug;

use super::Shared;
use super::frames::Frames;
use super::requests::Allowance;
use crate::audience::Audience;
use crate::grpc::{Incoming, ReceiveError, Sender};
use crate::places::Place;
use crate::session::{Session, SessionError};
use crate::wire::DeltaDiscoveryRequest;

/// How long the client may take to receive the final status of a stream.
const LAST_WORD: Duration = Duration::from_secs(1);

/// A request of up to this many bytes is processed on the runtime's worker: that takes microseconds.
const SMALL: usize = 4 * 1024;

/// Task that serves one stream. It buffers at most one response for its client.
pub(super) struct Stream {
    shared: Arc<Shared>,
    session: Session,
    requests: Incoming<DeltaDiscoveryRequest>,
    bell: watch::Receiver<()>,
    work: Arc<Semaphore>,
    allowance: Allowance,
    frames: Frames,
    /// Since when a response lacks its ACK or NACK, whether or not the client has read it.
    waiting_since: Option<Instant>,
    /// Whether the peer rejected resources at the last check. Initially true, because an earlier stream may have
    /// recorded some that have to be cleared.
    refused: bool,
}

/// Why a stream ends.
enum End {
    /// The client closed the stream or the connection.
    Gone,
    /// The server ends the stream with this status.
    With(Status),
    /// The client left a response unanswered for too long. The whole connection is closed.
    Stalled,
}

impl Stream {
    pub(super) fn new(
        shared: Arc<Shared>,
        peer: Audience,
        requests: Incoming<DeltaDiscoveryRequest>,
        frame_limiter: Frames,
    ) -> Self {
        // Subscribed before the first read of the cache: a change between the two is seen twice rather than never.
        let changes = shared.announcer.bell(&peer);
        let request_semaphore = shared.admission.work(&peer);
        let rate_limiter = shared.admission.allowance(&peer);
        rate_limiter.open(Instant::now());
        let stream = Session::new(peer, shared.limits.session);
        Self {
            shared,
            session: stream,
            requests,
            bell: changes,
            work: request_semaphore,
            allowance: rate_limiter,
            frames: frame_limiter,
            waiting_since: None,
            refused: true,
        }
    }

    pub(super) async fn run(
        mut self,
        sender: Sender,
        mut slot: Place<u64>,
        mut shutdown: watch::Receiver<()>,
        stalled: mpsc::Sender<()>,
    ) {
        // `run_protocol` is cancelled when another branch completes. It holds no response then that is not sent.
        let end = tokio::select! {
            end = self.talk(&sender) => end,
            () = slot.lost() => End::With(Status::resource_exhausted(format!(
                "a newer stream of this peer has taken the place of this one (at most {} streams for each peer)",
                self.shared.limits.streams
            ))),
            _ = shutdown.changed() => End::With(Status::unavailable("server is shutting down; reconnect")),
        };
        match end {
            End::Gone => {}
            End::With(status) => {
                let peer = self.session.audience();
                debug!(relationship = %peer.relationship, peer = %peer.peer, status = status.message(), "stream ended");
                let _not_taken = timeout(LAST_WORD, sender.end(status)).await;
            }
            // The channel holds one message, and one is enough to close the connection.
            End::Stalled => drop(stalled.try_send(())),
        }
    }

    /// Serves requests and sends responses until the stream ends.
    async fn talk(&mut self, sender: &Sender) -> End {
        let mut has_more = false;
        loop {
            // Both deadlines are computed again in each turn, as every request and response moves them.
            let paused = self.allowance.wait(Instant::now());
            let stalled = self.waiting_since.map(|since| since + self.shared.limits.answer);
            tokio::select! {
                // While the peer exceeds its rate, nothing is read, and HTTP/2 flow control stops it.
                request = self.requests.next_encoded(), if paused.is_none() => {
                    if let Err(end) = self.receive(request).await {
                        return end;
                    }
                    has_more = true;
                }
                Ok(()) = self.bell.changed() => has_more = true,
                // The response is built only when the transport can take it. So it has the newest versions, and a slow
                // client costs the memory of one response.
                permit = sender.ready(), if has_more => {
                    let Some(permit) = permit else { return End::Gone };
                    match self.shared.announcer.read(|cache| self.session.next(cache)) {
                        Ok(Some(response)) => {
                            let bytes = response.encoded_len();
                            self.allowance.respond(bytes, Instant::now());
                            self.frames.respond(bytes, Instant::now());
                            // Encoded when the connection polls it, so no buffer exists while it waits.
                            permit.send_late(response);
                            self.note();
                        }
                        // Either all is sent, or too many responses lack their ACK. An ACK or a notification sets
                        // `has_more` again.
                        Ok(None) => has_more = false,
                        Err(error) => return refused(&error),
                    }
                }
                // Wakes the loop when the peer may send again.
                () = at(paused) => {}
                () = at(stalled) => return End::Stalled,
                () = sender.closed() => return End::Gone,
            }
        }
    }

    async fn receive(&mut self, message: Result<Option<Bytes>, ReceiveError>) -> Result<(), End> {
        let message = match message {
            Ok(Some(message)) => message,
            // A client that ends its side in good order gets status OK.
            Ok(None) => return Err(End::With(Status::new(Code::Ok, ""))),
            Err(ReceiveError::Lost(_)) => return Err(End::Gone),
            Err(error) => return Err(End::With(error.status())),
        };
        self.allowance.receive(message.len(), Instant::now());
        let unanswered = self.session.in_flight();
        self.understand(message).await?;
        // An ACK restarts the timer for the remaining responses.
        if self.session.in_flight() < unanswered {
            self.waiting_since = None;
        }
        self.note();
        Ok(())
    }

    /// Decodes and applies a request. Requests of one peer are processed one at a time. A large one is processed on a
    /// blocking thread, because other peers wait for the runtime's workers.
    async fn understand(&mut self, message: Bytes) -> Result<(), End> {
        let request_semaphore = Arc::clone(&self.work);
        let _turn = request_semaphore.acquire().await;
        if message.len() <= SMALL {
            return understand(&mut self.session, message, &self.shared);
        }
        // The blocking task needs to own the stream state. The placeholder is never used: nothing else runs on this
        // stream until the task returns.
        let empty = Session::new(self.session.audience().clone(), self.shared.limits.session);
        let mut stream = std::mem::replace(&mut self.session, empty);
        let shared = Arc::clone(&self.shared);
        let processed = spawn_blocking(move || (understand(&mut stream, message, &shared), stream));
        // Fails only if the runtime shuts down or the task panicked. The placeholder must not serve requests then.
        let (result, stream) = processed.await.map_err(|_| End::Gone)?;
        self.session = stream;
        result
    }

    /// Starts or stops the timer for a missing ACK, and records what the peer rejects.
    fn note(&mut self) {
        self.waiting_since = match self.session.in_flight() {
            0 => None,
            _ => self.waiting_since.or_else(|| Some(Instant::now())),
        };
        let refuses = self.session.refusals().next().is_some();
        if refuses || self.refused {
            self.shared.admission.refuses(self.session.audience(), self.session.refusals());
        }
        self.refused = refuses;
    }
}

/// Decodes a request and applies it to the stream state, under the read lock of the cache.
fn understand(stream: &mut Session, message: Bytes, shared: &Shared) -> Result<(), End> {
    let request = Incoming::<DeltaDiscoveryRequest>::decode(message);
    let request = request.map_err(|error| End::With(error.status()))?;
    let received = shared.announcer.read(|cache| stream.receive(&request, cache));
    received.map_err(|error| refused(&error))
}

/// Ends the stream with the status of this error.
fn refused(error: &SessionError) -> End {
    End::With(Status::new(Code::from_i32(error.code() as i32), error.to_string()))
}

/// Sleeps until `moment`, or forever if it is `None`.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
