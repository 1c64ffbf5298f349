//! What is offered to whom, encoded once and shared by all who receive it.

use std::collections::BTreeSet;
use std::sync::Arc;

use emcee_core::catalogue::Offer;
use emcee_core::key::Key;

use crate::audience::Audience;
use crate::slice::EncodeError;

/// Which peers of a relationship may see an offer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Visibility {
    /// Every peer.
    All,
    /// These peers, by their names in the MeshFedConfig.
    Peers(BTreeSet<Arc<str>>),
}

/// All that this mesh offers, of every relationship. Sessions read it; whoever translates writes it.
#[derive(Debug, Default)]
pub struct Shelf {}

/// For whom there is something new.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "the sessions of these audiences have something to send"]
pub struct Touched(Vec<(Arc<str>, Visibility)>);

impl Shelf {
    /// Offers `offer` to the peers `seen_by` of `relationship` in place of what was offered under its key.
    pub fn offer(
        &mut self,
        relationship: &str,
        offer: &Offer,
        seen_by: &Visibility,
    ) -> Result<Touched, EncodeError> {
        let _ = (relationship, offer, seen_by);
        Ok(Touched::default())
    }

    /// Offers it no more.
    pub fn withdraw(&mut self, relationship: &str, key: &Key) -> Touched {
        let _ = (relationship, key);
        Touched::default()
    }

    /// Forgets a relationship. Nothing is announced as removed, and its sessions must end: this is a cut-off.
    pub fn close(&mut self, relationship: &str) {
        let _ = relationship;
    }
}

impl Touched {
    /// Whether nobody sees a difference.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this audience's sessions have something to send.
    pub fn contains(&self, audience: &Audience) -> bool {
        let _ = audience;
        false
    }

    /// Both.
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }
}
