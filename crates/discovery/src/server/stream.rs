//! One stream: a session, its requests, and the bell that wakes it.

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

/// For the client to take the status with which a stream ends.
const LAST_WORD: Duration = Duration::from_secs(1);

/// A request of so many bytes is understood within microseconds.
const SMALL: usize = 4 * 1024;

/// Never waits for its client with anything in hand but one response.
pub(super) struct Stream {
    shared: Arc<Shared>,
    session: Session,
    requests: Incoming<DeltaDiscoveryRequest>,
    bell: watch::Receiver<()>,
    work: Arc<Semaphore>,
    allowance: Allowance,
    frames: Frames,
    /// Since when the client has left a response unanswered, or has not taken it.
    waiting_since: Option<Instant>,
    /// Whether the peer was last heard to refuse something; at first that may be so from an earlier stream.
    refused: bool,
}

/// Why a stream ends.
enum End {
    /// The client is gone.
    Gone,
    /// It is told so.
    With(Status),
    /// It does not read what it is told.
    Stalled,
}

impl Stream {
    pub(super) fn new(
        shared: Arc<Shared>,
        audience: Audience,
        requests: Incoming<DeltaDiscoveryRequest>,
        frames: Frames,
    ) -> Self {
        let bell = shared.announcer.bell(&audience);
        let work = shared.admission.work(&audience);
        let allowance = shared.admission.allowance(&audience);
        allowance.open(Instant::now());
        let session = Session::new(audience, shared.limits.session);
        Self { shared, session, requests, bell, work, allowance, frames, waiting_since: None, refused: true }
    }

    pub(super) async fn run(
        mut self,
        sender: Sender,
        mut place: Place<u64>,
        mut ending: watch::Receiver<()>,
        stalled: mpsc::Sender<()>,
    ) {
        let end = tokio::select! {
            end = self.talk(&sender) => end,
            () = place.lost() => End::With(Status::resource_exhausted(format!(
                "a newer stream of this peer has taken the place of this one (a peer has {} at once)",
                self.shared.limits.streams
            ))),
            _ = ending.changed() => End::With(Status::unavailable("this Emcee ends; it, or another, will be back")),
        };
        match end {
            End::Gone => {}
            End::With(status) => {
                debug!(audience = %self.session.audience(), message = status.message(), "a stream ends");
                let _not_taken = timeout(LAST_WORD, sender.end(status)).await;
            }
            End::Stalled => drop(stalled.try_send(())),
        }
    }

    async fn talk(&mut self, sender: &Sender) -> End {
        let mut has_more = false;
        loop {
            let paused = self.allowance.wait(Instant::now());
            let stalled = self.waiting_since.map(|since| since + self.shared.limits.answer);
            tokio::select! {
                request = self.requests.next_encoded(), if paused.is_none() => {
                    if let Err(end) = self.receive(request).await {
                        return end;
                    }
                    has_more = true;
                }
                Ok(()) = self.bell.changed() => has_more = true,
                permit = sender.ready(), if has_more => {
                    let Some(permit) = permit else { return End::Gone };
                    match self.shared.announcer.read(|shelf| self.session.next(shelf)) {
                        Ok(Some(response)) => {
                            let bytes = response.encoded_len();
                            self.allowance.respond(bytes, Instant::now());
                            self.frames.respond(bytes, Instant::now());
                            permit.send_late(response);
                            self.note();
                        }
                        Ok(None) => has_more = false,
                        Err(error) => return refused(&error),
                    }
                }
                () = at(paused) => {}
                () = at(stalled) => return End::Stalled,
                () = sender.closed() => return End::Gone,
            }
        }
    }

    async fn receive(&mut self, message: Result<Option<Bytes>, ReceiveError>) -> Result<(), End> {
        let message = match message {
            Ok(Some(message)) => message,
            Ok(None) => return Err(End::With(Status::new(Code::Ok, ""))),
            Err(ReceiveError::Lost(_)) => return Err(End::Gone),
            Err(error) => return Err(End::With(error.status())),
        };
        self.allowance.receive(message.len(), Instant::now());
        let unanswered = self.session.in_flight();
        self.understand(message).await?;
        if self.session.in_flight() < unanswered {
            self.waiting_since = None;
        }
        self.note();
        Ok(())
    }

    /// A large request is understood aside from the runtime's workers, for which other peers wait too.
    async fn understand(&mut self, message: Bytes) -> Result<(), End> {
        let work = Arc::clone(&self.work);
        let _turn = work.acquire().await;
        if message.len() <= SMALL {
            return understand(&mut self.session, message, &self.shared);
        }
        let empty = Session::new(self.session.audience().clone(), self.shared.limits.session);
        let mut session = std::mem::replace(&mut self.session, empty);
        let shared = Arc::clone(&self.shared);
        let understood = spawn_blocking(move || (understand(&mut session, message, &shared), session));
        let (result, session) = understood.await.map_err(|_| End::Gone)?;
        self.session = session;
        result
    }

    /// Whether the client owes an answer, and what it refuses.
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

fn understand(session: &mut Session, message: Bytes, shared: &Shared) -> Result<(), End> {
    let request = Incoming::<DeltaDiscoveryRequest>::decode(message);
    let request = request.map_err(|error| End::With(error.status()))?;
    let received = shared.announcer.read(|shelf| session.receive(&request, shelf));
    received.map_err(|error| refused(&error))
}

fn refused(error: &SessionError) -> End {
    End::With(Status::new(Code::from_i32(error.code() as i32), error.to_string()))
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
