//! Drives one delta xDS stream: requests, stream state, change notifications.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use prost::bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::ServerShared;
use super::frame_limiter::FrameLimiter;
use super::rate_limiter::RateLimiter;
use crate::counters::{OpenStreamGuard, PeerCounters, StreamRole};
use crate::deadline::sleep_until_deadline;
use crate::delta::server_stream::{DeltaServerStream, DeltaStreamError};
use crate::peer_ref::PeerRef;
use crate::transport::evicting_slots::EvictableSlot;
use crate::transport::grpc::{GrpcStatus, MessageReader, MessageSender, ReceiveError};
use crate::wire::{Code, DeltaDiscoveryRequest};

/// How long the client may take to receive the final status of a stream.
const STATUS_TIMEOUT: Duration = Duration::from_secs(1);

/// A request of up to this many bytes is processed on the runtime's worker: that takes microseconds.
const INLINE_REQUEST_BYTES: usize = 4 * 1024;

/// Task that serves one stream. It buffers at most one response for its client.
pub(super) struct DeltaStreamTask {
    shared: Arc<ServerShared>,
    stream: DeltaServerStream,
    requests: MessageReader<DeltaDiscoveryRequest>,
    changes: watch::Receiver<()>,
    request_semaphore: Arc<Semaphore>,
    rate_limiter: RateLimiter,
    frame_limiter: FrameLimiter,
    counters: Arc<PeerCounters>,
    /// Since when a response lacks its ACK or NACK, whether or not the client has read it.
    unacked_since: Option<Instant>,
    /// Whether the peer rejected resources at the last check. Initially true, because an earlier stream may have
    /// recorded some that have to be cleared.
    had_rejections: bool,
}

/// Why a stream ends.
enum StreamEnd {
    /// The client closed the stream or the connection.
    ClientGone,
    /// The server ends the stream with this status.
    WithStatus(GrpcStatus),
    /// The client left a response unanswered for too long. The whole connection is closed.
    ClientNotReading,
}

impl DeltaStreamTask {
    pub(super) fn new(
        shared: Arc<ServerShared>,
        peer: PeerRef,
        requests: MessageReader<DeltaDiscoveryRequest>,
        frame_limiter: FrameLimiter,
    ) -> Self {
        // Subscribed before the first read of the cache: a change between the two is seen twice rather than never.
        let changes = shared.cache.subscribe(&peer);
        let request_semaphore = shared.quotas.request_semaphore(&peer);
        let rate_limiter = shared.quotas.rate_limiter(&peer);
        rate_limiter.charge_stream(Instant::now());
        let counters = shared.counters.peer(&peer);
        let stream = DeltaServerStream::new(peer, shared.limits.stream_limits);
        Self {
            shared,
            stream,
            requests,
            changes,
            request_semaphore,
            rate_limiter,
            frame_limiter,
            counters,
            unacked_since: None,
            had_rejections: true,
        }
    }

    pub(super) async fn run(
        mut self,
        sender: MessageSender,
        mut slot: EvictableSlot<u64>,
        mut shutdown: watch::Receiver<()>,
        stalled: mpsc::Sender<()>,
    ) {
        let _open = OpenStreamGuard::new(&self.counters, StreamRole::Server);
        // `run_protocol` is cancelled when another branch completes. It holds no response then that is not sent.
        let end = tokio::select! {
            end = self.run_protocol(&sender) => end,
            () = slot.evicted() => StreamEnd::WithStatus(GrpcStatus::new(Code::ResourceExhausted, format!(
                "a newer stream of this peer has taken the place of this one (at most {} streams for each peer)",
                self.shared.limits.max_streams
            ))),
            _ = shutdown.changed() => StreamEnd::WithStatus(GrpcStatus::new(Code::Unavailable, "server is shutting down; reconnect")),
        };
        match end {
            StreamEnd::ClientGone => {}
            StreamEnd::WithStatus(status) => {
                let peer = self.stream.peer();
                debug!(relationship = %peer.relationship, peer = %peer.peer, status = status.message(), "stream ended");
                let _not_taken = timeout(STATUS_TIMEOUT, sender.end_with_status(status)).await;
            }
            // The channel holds one message, and one is enough to close the connection.
            StreamEnd::ClientNotReading => drop(stalled.try_send(())),
        }
    }

    /// Serves requests and sends responses until the stream ends.
    async fn run_protocol(&mut self, sender: &MessageSender) -> StreamEnd {
        let mut has_more = false;
        loop {
            // Both deadlines are computed again in each turn, as every request and response moves them.
            let paused = self.rate_limiter.next_allowed_at(Instant::now());
            let stalled = self.unacked_since.map(|since| since + self.shared.limits.ack_timeout);
            tokio::select! {
                // While the peer exceeds its rate, nothing is read, and HTTP/2 flow control stops it.
                request = self.requests.next_encoded(), if paused.is_none() => {
                    if let Err(end) = self.receive_request(request).await {
                        return end;
                    }
                    has_more = true;
                }
                Ok(()) = self.changes.changed() => has_more = true,
                // The response is built only when the transport can take it. So it has the newest versions, and a slow
                // client costs the memory of one response.
                permit = sender.reserve(), if has_more => {
                    let Some(permit) = permit else { return StreamEnd::ClientGone };
                    match self.shared.cache.read(|cache| self.stream.next_response(cache)) {
                        Ok(Some(response)) => {
                            let bytes = response.encoded_len();
                            self.rate_limiter.charge_response(bytes, Instant::now());
                            self.frame_limiter.credit_response(bytes, Instant::now());
                            // Encoded when the connection polls it, so no buffer exists while it waits.
                            permit.send_lazily(response);
                            self.counters.streams(StreamRole::Server).responses.increment();
                            self.record_progress();
                        }
                        // Either all is sent, or too many responses lack their ACK. An ACK or a notification sets
                        // `has_more` again.
                        Ok(None) => has_more = false,
                        Err(error) => return end_with_error(&error),
                    }
                }
                // Wakes the loop when the peer may send again.
                () = sleep_until_deadline(paused) => {}
                () = sleep_until_deadline(stalled) => return StreamEnd::ClientNotReading,
                () = sender.closed() => return StreamEnd::ClientGone,
            }
        }
    }

    async fn receive_request(
        &mut self,
        message: Result<Option<Bytes>, ReceiveError>,
    ) -> Result<(), StreamEnd> {
        let message = match message {
            Ok(Some(message)) => message,
            // A client that ends its side in good order gets status OK.
            Ok(None) => return Err(StreamEnd::WithStatus(GrpcStatus::new(Code::Ok, ""))),
            Err(ReceiveError::Lost(_)) => return Err(StreamEnd::ClientGone),
            Err(error) => return Err(StreamEnd::WithStatus(error.to_status())),
        };
        self.rate_limiter.charge_request(message.len(), Instant::now());
        let (unanswered, before) = (self.stream.in_flight(), self.stream.answer_counts());
        self.process_request(message).await?;
        let after = self.stream.answer_counts();
        let counters = self.counters.streams(StreamRole::Server);
        counters.record_answers(after.0 - before.0, after.1 - before.1);
        counters.record_exchange();
        // An ACK restarts the timer for the remaining responses.
        if self.stream.in_flight() < unanswered {
            self.unacked_since = None;
        }
        self.record_progress();
        Ok(())
    }

    /// Decodes and applies a request. Requests of one peer are processed one at a time. A large one is processed on a
    /// blocking thread, because other peers wait for the runtime's workers.
    async fn process_request(&mut self, message: Bytes) -> Result<(), StreamEnd> {
        let request_semaphore = Arc::clone(&self.request_semaphore);
        let _turn = request_semaphore.acquire().await;
        if message.len() <= INLINE_REQUEST_BYTES {
            return decode_and_apply(&mut self.stream, message, &self.shared);
        }
        // The blocking task needs to own the stream state. The placeholder is never used: nothing else runs on this
        // stream until the task returns.
        let empty = DeltaServerStream::new(self.stream.peer().clone(), self.shared.limits.stream_limits);
        let mut stream = std::mem::replace(&mut self.stream, empty);
        let shared = Arc::clone(&self.shared);
        let processed = spawn_blocking(move || (decode_and_apply(&mut stream, message, &shared), stream));
        // Fails only if the runtime shuts down or the task panicked. The placeholder must not serve requests then.
        let (result, stream) = processed.await.map_err(|_| StreamEnd::ClientGone)?;
        self.stream = stream;
        result
    }

    /// Starts or stops the timer for a missing ACK, and records what the peer rejects.
    fn record_progress(&mut self) {
        self.unacked_since = match self.stream.in_flight() {
            0 => None,
            _ => self.unacked_since.or_else(|| Some(Instant::now())),
        };
        let count = self.stream.nacked_resources().count();
        self.counters.streams(StreamRole::Server).refused_resources.set(count);
        let refuses = count > 0;
        if refuses || self.had_rejections {
            self.shared.quotas.record_rejected(self.stream.peer(), self.stream.nacked_resources());
        }
        self.had_rejections = refuses;
    }
}

/// Decodes a request and applies it to the stream state, under the read lock of the cache.
fn decode_and_apply(
    stream: &mut DeltaServerStream,
    message: Bytes,
    shared: &ServerShared,
) -> Result<(), StreamEnd> {
    let request = MessageReader::<DeltaDiscoveryRequest>::decode(message);
    let request = request.map_err(|error| StreamEnd::WithStatus(error.to_status()))?;
    let received = shared.cache.read(|cache| stream.handle_request(&request, cache));
    received.map_err(|error| end_with_error(&error))
}

/// Ends the stream with the status of this error.
fn end_with_error(error: &DeltaStreamError) -> StreamEnd {
    StreamEnd::WithStatus(GrpcStatus::new(error.status_code(), error.to_string()))
}
