//! Tracks unanswered responses, and matches ACKs and NACKs to them.

use std::collections::VecDeque;
use std::sync::Arc;

use super::chunk::Chunk;
use crate::refusals::{Refusals, violations};
use crate::wire::{DeltaDiscoveryResponse, Status};

/// The nonces of one stream, its unanswered responses and the refused resources.
#[derive(Debug, Default)]
pub(super) struct Answers {
    nonce: u64,
    sent: VecDeque<Sent>,
    refusals: Refusals,
}

/// A response without ACK or NACK.
#[derive(Debug)]
struct Sent {
    nonce: String,
    names: Vec<Arc<str>>,
}

impl Answers {
    pub(super) fn in_flight(&self) -> usize {
        self.sent.len()
    }

    pub(super) fn refusals(&self) -> impl Iterator<Item = (&str, &str)> {
        self.refusals.iter()
    }

    pub(super) fn send(&mut self, chunk: Chunk<'_>) -> DeltaDiscoveryResponse {
        self.nonce += 1;
        let names = chunk.names().cloned().collect();
        let response = chunk.response(self.nonce);
        // A removed resource cannot be refused any more.
        for name in &response.removed_resources {
            self.refusals.remove(name);
        }
        self.sent.push_back(Sent { nonce: response.nonce.clone(), names });
        response
    }

    /// Processes an ACK, or a NACK if there is an `error`. An unknown nonce is ignored.
    ///
    /// As a stream is ordered, earlier responses count as accepted too. Otherwise a client that answers several
    /// responses with one ACK would block the stream.
    pub(super) fn take(&mut self, nonce: &str, error: Option<&Status>) {
        let Some(last) = self.sent.iter().position(|sent| sent.nonce == nonce) else { return };
        let answered: Vec<_> = self.sent.drain(..=last).collect();
        for (index, sent) in answered.iter().enumerate() {
            match error {
                Some(error) if index == last => self.refuse(sent, error),
                _ => self.accept(sent),
            }
        }
        // Frees the memory of the initial sync: an idle stream keeps no buffer.
        if self.sent.is_empty() {
            self.sent = VecDeque::new();
        }
    }

    fn accept(&mut self, sent: &Sent) {
        if self.refusals.is_empty() {
            return;
        }
        for name in &sent.names {
            self.refusals.remove(name);
        }
    }

    fn refuse(&mut self, sent: &Sent, error: &Status) {
        self.accept(sent);
        // Emcee names the refused resources in the details. A NACK without details refuses the whole response.
        let violations = violations(error);
        let refuses_all = violations.is_empty();
        for name in &sent.names {
            let reason = violations.get(&**name).or(refuses_all.then_some(&error.message));
            if let Some(reason) = reason {
                self.refusals.insert(name, reason);
            }
        }
    }
}
