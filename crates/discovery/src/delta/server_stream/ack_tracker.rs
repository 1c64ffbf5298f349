//! Tracks unanswered responses, and matches ACKs and NACKs to them.

use std::collections::VecDeque;
use std::sync::Arc;

use super::response_chunk::ResponseChunk;
use crate::delta::nack::{RejectedResources, rejections_in};
use crate::wire::{DeltaDiscoveryResponse, RpcStatus};

/// The nonces of one stream, its unanswered responses and the refused resources.
#[derive(Debug, Default)]
pub(super) struct AckTracker {
    last_nonce: u64,
    unacked: VecDeque<UnackedResponse>,
    nacked: RejectedResources,
    ack_count: u64,
    nack_count: u64,
}

/// A response without ACK or NACK.
#[derive(Debug)]
struct UnackedResponse {
    nonce: String,
    names: Vec<Arc<str>>,
}

impl AckTracker {
    pub(super) fn in_flight(&self) -> usize {
        self.unacked.len()
    }

    /// Numbers of ACKs and NACKs with a known nonce.
    pub(super) fn answer_counts(&self) -> (u64, u64) {
        (self.ack_count, self.nack_count)
    }

    pub(super) fn nacked_resources(&self) -> impl Iterator<Item = (&str, &str)> {
        self.nacked.iter()
    }

    pub(super) fn record_response(&mut self, chunk: ResponseChunk<'_>) -> DeltaDiscoveryResponse {
        self.last_nonce += 1;
        let names = chunk.resource_names().cloned().collect();
        let response = chunk.into_response(self.last_nonce);
        // A removed resource cannot be refused any more.
        for name in &response.removed_resources {
            self.nacked.remove(name);
        }
        self.unacked.push_back(UnackedResponse { nonce: response.nonce.clone(), names });
        response
    }

    /// Processes an ACK, or a NACK if there is an `error`. An unknown nonce is ignored.
    ///
    /// As a stream is ordered, earlier responses count as accepted too. Otherwise a client that answers several
    /// responses with one ACK would block the stream.
    pub(super) fn handle_answer(&mut self, nonce: &str, error: Option<&RpcStatus>) {
        let Some(last) = self.unacked.iter().position(|sent| sent.nonce == nonce) else { return };
        *(if error.is_some() { &mut self.nack_count } else { &mut self.ack_count }) += 1;
        let answered: Vec<_> = self.unacked.drain(..=last).collect();
        for (index, sent) in answered.iter().enumerate() {
            match error {
                Some(error) if index == last => self.record_nack(sent, error),
                _ => self.record_ack(sent),
            }
        }
        // Frees the memory of the initial sync: an idle stream keeps no buffer.
        if self.unacked.is_empty() {
            self.unacked = VecDeque::new();
        }
    }

    fn record_ack(&mut self, sent: &UnackedResponse) {
        if self.nacked.is_empty() {
            return;
        }
        for name in &sent.names {
            self.nacked.remove(name);
        }
    }

    fn record_nack(&mut self, sent: &UnackedResponse, error: &RpcStatus) {
        self.record_ack(sent);
        // Emcee names the refused resources in the details. A NACK without details refuses the whole response.
        let violations = rejections_in(error);
        let refuses_all = violations.is_empty();
        for name in &sent.names {
            let reason = violations.get(&**name).or(refuses_all.then_some(&error.message));
            if let Some(reason) = reason {
                self.nacked.insert(name, reason);
            }
        }
    }
}
