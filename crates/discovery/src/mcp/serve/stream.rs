//! One stream.

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

/// The client does not answer what it is told, if it reads it at all.
#[derive(Debug)]
pub(super) struct Stalled;

/// Never waits for its client with anything in hand but one response.
#[derive(Debug)]
pub(super) struct Stream {
    session: Session,
    requests: Incoming<DiscoveryRequest>,
    snapshots: watch::Receiver<Snapshot>,
    answer: Duration,
    /// When the client must have answered one of the responses that wait for it.
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
            _ = ending.changed() => Ok(Status::unavailable("this Emcee ends; it, or another, will be back")),
        };
        let late = |_: &Stalled| Status::deadline_exceeded("responses were not answered for too long");
        let status = ended.as_ref().map_or_else(late, Status::clone);
        info!(client = self.session.client(), why = status.message(), "a stream of MCP ends");
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
                Some(permit) = sender.ready(), if has_more => match self.next() {
                    Some(response) => permit.send(&response),
                    None => has_more = false,
                },
                () = sleep_until(self.deadline), if self.session.in_flight() > 0 => return Err(Stalled),
                () = sender.closed() => return Ok(Status::cancelled("the client is gone")),
            }
        }
    }

    fn next(&mut self) -> Option<DiscoveryResponse> {
        if self.session.in_flight() == 0 {
            self.deadline = Instant::now() + self.answer;
        }
        let snapshot = self.snapshots.borrow_and_update().clone();
        self.session.next(&snapshot)
    }

    fn receive(&mut self, request: Result<Option<DiscoveryRequest>, ReceiveError>) -> Result<(), Status> {
        let request = request.map_err(|error| error.status())?;
        let request = request.ok_or_else(|| Status::new(Code::Ok, "the client has ended it"))?;
        let is_known = !self.session.client().is_empty();
        let received = self.session.receive(request);
        let received =
            received.map_err(|error| Status::new(Code::from_i32(error.code().into()), error.to_string()))?;
        if !is_known {
            info!(client = self.session.client(), "a stream of MCP begins");
        }
        match received {
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
            warn!(
                client = self.session.client(),
                type_url, reason, "a client of MCP refuses what it was sent"
            );
        }
    }
}

/// Waits for something new: for ever, when nobody writes any more.
async fn changed(snapshots: &mut watch::Receiver<Snapshot>) {
    if snapshots.changed().await.is_err() {
        pending::<()>().await;
    }
}
