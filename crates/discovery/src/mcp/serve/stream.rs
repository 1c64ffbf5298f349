//! Drives one MCP stream: requests, snapshots, responses and timeouts.

use std::future::pending;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::{Code, Status};
use tracing::{info, warn};

use super::LAST_WORD;
use crate::grpc::{Incoming, ReceiveError, Sender};
use crate::mcp::session::{Received, Session};
use crate::mcp::store::Snapshot;
use crate::mcp::wire::{DiscoveryRequest, DiscoveryResponse};

/// The client does not acknowledge responses, or does not read at all. Its connection must be closed.
#[derive(Debug)]
pub(super) struct Stalled;

/// Drives one stream. It buffers at most one response while it waits for the client.
#[derive(Debug)]
pub(super) struct Stream {
    session: Session,
    requests: Incoming<DiscoveryRequest>,
    snapshots: watch::Receiver<Snapshot>,
    answer: Duration,
    /// The client must ACK or NACK a response before this time, if any is in flight.
    deadline: Instant,
}

impl Stream {
    pub(super) fn new(
        requests: Incoming<DiscoveryRequest>,
        snapshots: watch::Receiver<Snapshot>,
        answer: Duration,
    ) -> Self {
        Self { session: Session::default(), requests, snapshots, answer, deadline: Instant::now() }
    }

    pub(super) async fn run(
        mut self,
        sender: Sender,
        mut ending: watch::Receiver<()>,
    ) -> Result<(), Stalled> {
        let ended = tokio::select! {
            ended = self.talk(&sender) => ended,
            _ = ending.changed() => Ok(Status::unavailable("server is shutting down; reconnect")),
        };
        let late = |_: &Stalled| Status::deadline_exceeded("responses were not acknowledged in time");
        let status = ended.as_ref().map_or_else(late, Status::clone);
        info!(client = self.session.client(), reason = status.message(), "MCP stream ended");
        // A client that sends no ACK may still read its status, so the status is sent before the connection is closed.
        timeout(LAST_WORD, sender.end(status)).await.map_err(|_| Stalled)?;
        ended.map(drop)
    }

    async fn talk(&mut self, sender: &Sender) -> Result<Status, Stalled> {
        let mut has_more = false;
        loop {
            tokio::select! {
                request = self.requests.next() => match self.receive(request) {
                    Ok(()) => has_more = true,
                    Err(status) => return Ok(status),
                },
                () = changed(&mut self.snapshots) => has_more = true,
                // The response is built only when it can be sent, so a slow client gets the newest snapshot.
                Some(permit) = sender.ready(), if has_more => match self.next() {
                    Some(response) => permit.send(&response),
                    None => has_more = false,
                },
                () = sleep_until(self.deadline), if self.session.in_flight() > 0 => return Err(Stalled),
                () = sender.closed() => return Ok(Status::cancelled("client disconnected")),
            }
        }
    }

    fn next(&mut self) -> Option<DiscoveryResponse> {
        // The deadline runs from the first unacknowledged response; later ones do not extend it.
        if self.session.in_flight() == 0 {
            self.deadline = Instant::now() + self.answer;
        }
        let snapshot = self.snapshots.borrow_and_update().clone();
        self.session.next(&snapshot)
    }

    fn receive(&mut self, request: Result<Option<DiscoveryRequest>, ReceiveError>) -> Result<(), Status> {
        let request = request.map_err(|error| error.status())?;
        let request = request.ok_or_else(|| Status::new(Code::Ok, "client ended the stream"))?;
        let is_known = !self.session.client().is_empty();
        let received = self.session.receive(request);
        let received =
            received.map_err(|error| Status::new(Code::from_i32(error.code().into()), error.to_string()))?;
        if !is_known {
            info!(client = self.session.client(), "MCP stream started");
        }
        match received {
            // A stale nonce is no sign of progress, so it does not extend the deadline.
            Received::Subscribed | Received::Stale => {}
            Received::Accepted => self.deadline = Instant::now() + self.answer,
            Received::Refused => {
                self.deadline = Instant::now() + self.answer;
                self.tell_refusals();
            }
        }
        Ok(())
    }

    fn tell_refusals(&self) {
        for (type_url, reason) in self.session.refusals() {
            warn!(client = self.session.client(), type_url, reason, "MCP client refused resources");
        }
    }
}

/// Waits for the next snapshot, or forever if the writer is gone.
async fn changed(snapshots: &mut watch::Receiver<Snapshot>) {
    if snapshots.changed().await.is_err() {
        pending::<()>().await;
    }
}
