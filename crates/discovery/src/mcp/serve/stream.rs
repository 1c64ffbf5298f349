//! Drives one MCP stream: requests, snapshots, responses and timeouts.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{Span, info, warn};

use super::FINAL_STATUS_TIMEOUT;
use crate::counters::{McpCounters, McpStreamGuard};
use crate::deadline::sleep_until_deadline;
use crate::mcp::exchange_pacer::ExchangePacer;
use crate::mcp::sotw_stream::{RequestOutcome, SotwServerStream};
use crate::mcp::store::McpSnapshot;
use crate::mcp::wire::{DiscoveryRequest, DiscoveryResponse};
use crate::transport::grpc::{GrpcStatus, MessageReader, MessageSender, ReceiveError};
use crate::wire::Code;

/// Size of the parts in which a response is encoded, in bytes.
const PART_BYTES: usize = 64 * 1024;

/// The client does not acknowledge responses, or does not read at all. Its connection must be closed.
#[derive(Debug)]
pub(super) struct ClientStalled;

/// Drives one stream. It buffers at most one response while it waits for the client.
#[derive(Debug)]
pub(super) struct McpStream {
    state: SotwServerStream,
    requests: MessageReader<DiscoveryRequest>,
    snapshots: watch::Receiver<McpSnapshot>,
    /// Snapshot of the current exchange. A newer one waits until all its responses are answered: otherwise a set could
    /// arrive before the one that it refers to.
    current: McpSnapshot,
    /// Whether a newer snapshot waits.
    newer_waits: bool,
    pacer: ExchangePacer,
    counters: Arc<McpCounters>,
    ack_timeout: Duration,
    /// The client must ACK or NACK a response before this time, if any is in flight.
    ack_deadline: Instant,
}

impl McpStream {
    pub(super) fn new(
        requests: MessageReader<DiscoveryRequest>,
        snapshots: watch::Receiver<McpSnapshot>,
        counters: Arc<McpCounters>,
        answer: Duration,
    ) -> Self {
        Self {
            state: SotwServerStream::default(),
            requests,
            snapshots,
            current: McpSnapshot::default(),
            newer_waits: true,
            pacer: ExchangePacer::new(Instant::now()),
            counters,
            ack_timeout: answer,
            ack_deadline: Instant::now(),
        }
    }

    pub(super) async fn run(
        mut self,
        sender: MessageSender,
        mut ending: watch::Receiver<()>,
    ) -> Result<(), ClientStalled> {
        let _open = McpStreamGuard::new(Arc::clone(&self.counters));
        let ended = tokio::select! {
            ended = self.exchange_messages(&sender) => ended,
            _ = ending.changed() => Ok(GrpcStatus::new(Code::Unavailable, "server is shutting down; reconnect")),
        };
        let late = |_: &ClientStalled| {
            GrpcStatus::new(Code::DeadlineExceeded, "responses were not acknowledged in time")
        };
        let status = ended.as_ref().map_or_else(late, GrpcStatus::clone);
        info!(client = self.state.client_id(), reason = status.message(), "MCP stream ended");
        // A client that sends no ACK may still read its status, so the status is sent before the connection is closed.
        timeout(FINAL_STATUS_TIMEOUT, sender.end_with_status(status)).await.map_err(|_| ClientStalled)?;
        ended.map(drop)
    }

    async fn exchange_messages(&mut self, sender: &MessageSender) -> Result<GrpcStatus, ClientStalled> {
        let mut has_more = false;
        loop {
            let next_exchange = self.next_exchange(has_more);
            tokio::select! {
                request = self.requests.next() => match self.handle_request(request) {
                    Ok(()) => has_more = true,
                    Err(status) => return Ok(status),
                },
                () = wait_for_snapshot(&mut self.snapshots), if !self.newer_waits => self.newer_waits = true,
                () = sleep_until_deadline(next_exchange) => {
                    self.start_exchange();
                    has_more = true;
                }
                // The response is built only when it can be sent, so a slow client takes no memory meanwhile.
                Some(permit) = sender.reserve(), if has_more => match self.next_response() {
                    Some(response) => {
                        permit.send_in_parts(response.into_parts(PART_BYTES));
                        self.counters.pushes.increment();
                    }
                    None => has_more = false,
                },
                () = sleep_until(self.ack_deadline), if self.state.in_flight() > 0 => return Err(ClientStalled),
                () = sender.closed() => return Ok(GrpcStatus::new(Code::Cancelled, "client disconnected")),
            }
        }
    }

    fn next_response(&mut self) -> Option<DiscoveryResponse> {
        // The deadline runs from the first unacknowledged response; later ones do not extend it.
        if self.state.in_flight() == 0 {
            self.ack_deadline = Instant::now() + self.ack_timeout;
        }
        self.state.next_response(&self.current)
    }

    /// Returns when the next exchange may start. `None` while there is nothing newer, or the current one has not ended.
    fn next_exchange(&self, has_more: bool) -> Option<Instant> {
        let is_due = self.newer_waits && !has_more && self.state.in_flight() == 0;
        is_due.then(|| self.pacer.next_start())
    }

    fn start_exchange(&mut self) {
        self.current = self.snapshots.borrow_and_update().clone();
        self.newer_waits = false;
        self.pacer.record_start(Instant::now());
    }

    fn handle_request(
        &mut self,
        request: Result<Option<DiscoveryRequest>, ReceiveError>,
    ) -> Result<(), GrpcStatus> {
        let request = request.map_err(|error| error.to_status())?;
        let request = request.ok_or_else(|| GrpcStatus::new(Code::Ok, "client ended the stream"))?;
        let is_known = !self.state.client_id().is_empty();
        let received = self.state.handle_request(request);
        let received = received.map_err(|error| GrpcStatus::new(error.status_code(), error.to_string()))?;
        if !is_known {
            Span::current().record("client", self.state.client_id());
            info!(client = self.state.client_id(), "MCP stream started");
        }
        if self.state.in_flight() == 0 && matches!(received, RequestOutcome::Acked | RequestOutcome::Nacked) {
            self.pacer.record_answers(Instant::now());
        }
        match received {
            // A stale nonce is no sign of progress, so it does not extend the deadline.
            RequestOutcome::Subscribed | RequestOutcome::Stale => {}
            RequestOutcome::Acked => self.ack_deadline = Instant::now() + self.ack_timeout,
            RequestOutcome::Nacked => {
                self.ack_deadline = Instant::now() + self.ack_timeout;
                self.counters.nacks.increment();
                self.log_nacks();
            }
        }
        Ok(())
    }

    fn log_nacks(&self) {
        for (type_url, reason) in self.state.nacked_types() {
            warn!(client = self.state.client_id(), type_url, reason, "MCP client refused resources");
        }
    }
}

/// Waits for the next snapshot, or forever if the writer is gone.
async fn wait_for_snapshot(snapshots: &mut watch::Receiver<McpSnapshot>) {
    if snapshots.changed().await.is_err() {
        pending::<()>().await;
    }
}
