//! Responses and what the client says to them.

use std::collections::VecDeque;
use std::sync::Arc;

use super::chunk::Chunk;
use crate::refusals::{Refusals, violations};
use crate::wire::{DeltaDiscoveryResponse, Status};

/// The nonces of one stream, and what came back.
#[derive(Debug, Default)]
pub(super) struct Answers {
    nonce: u64,
    sent: VecDeque<Sent>,
    refusals: Refusals,
}

/// A response that is not answered yet.
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
        for name in &response.removed_resources {
            self.refusals.remove(name);
        }
        self.sent.push_back(Sent { nonce: response.nonce.clone(), names });
        response
    }

    /// Takes an ACK, or with `error` a NACK. The stream keeps order, so the responses before that one are taken too;
    /// without this, a client that answers several at once would be waited for for ever.
    pub(super) fn take(&mut self, nonce: &str, error: Option<&Status>) {
        let Some(last) = self.sent.iter().position(|sent| sent.nonce == nonce) else { return };
        let answered: Vec<_> = self.sent.drain(..=last).collect();
        for (index, sent) in answered.iter().enumerate() {
            match error {
                Some(error) if index == last => self.refuse(sent, error),
                _ => self.accept(sent),
            }
        }
        // Nothing of the first sync shall stay in an idle session.
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
