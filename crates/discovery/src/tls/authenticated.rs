//! The other side of a connection.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};
use thiserror::Error;

use super::refusal::{CertificateRefusal, Role};
use super::relationship::{Relationship, Relationships};
use crate::audience::Audience;

/// The other side of a connection, as its certificate proved it. That is kept, to be judged again when the
/// relationship has changed: what is open ends when it could not be opened any more.
#[derive(Clone)]
pub struct Authenticated {
    audience: Audience,
    role: Role,
    /// The leaf first.
    chain: Arc<[CertificateDer<'static>]>,
    relationship: Arc<Relationship>,
    until: UnixTime,
}

/// Why a connection may not go on.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Ended {
    /// No such relationship, or no Secret for it.
    #[error("the relationship is closed")]
    RelationshipClosed,
    /// It would not be accepted now.
    #[error("its certificate {0}")]
    Certificate(#[from] CertificateRefusal),
    /// The name in its certificate is another peer's by now.
    #[error("its certificate is that of peer {0} by now")]
    OtherPeer(Arc<str>),
}

impl fmt::Debug for Authenticated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticated").field("audience", &self.audience).finish_non_exhaustive()
    }
}

impl Authenticated {
    /// Judges what a handshake brought.
    pub(super) fn new(
        relationship: &Arc<Relationship>,
        role: Role,
        expected: Option<&str>,
        chain: &[CertificateDer<'static>],
    ) -> Result<Self, CertificateRefusal> {
        let verdict = relationship.judge().verdict(role, expected, chain, UnixTime::now())?;
        Ok(Self {
            audience: Audience { relationship: Arc::clone(relationship.name()), peer: verdict.peer },
            role,
            chain: chain.into(),
            relationship: Arc::clone(relationship),
            until: verdict.until,
        })
    }

    /// Which peer of which relationship.
    pub fn audience(&self) -> &Audience {
        &self.audience
    }

    /// How long its certificate, and what that hangs on, is valid from now.
    pub fn valid_for(&self) -> Duration {
        Duration::from_secs(self.until.as_secs().saturating_sub(UnixTime::now().as_secs()))
    }

    /// Judges it again by the relationships as they are. Nothing is done where its own has not changed and its
    /// time has not come.
    pub fn check(&mut self, relationships: &Relationships) -> Result<(), Ended> {
        let current = relationships.get(&self.audience.relationship).ok_or(Ended::RelationshipClosed)?;
        let now = UnixTime::now();
        if Arc::ptr_eq(current, &self.relationship) && now <= self.until {
            return Ok(());
        }
        let verdict = current.judge().verdict(self.role, Some(&self.audience.peer), &self.chain, now)?;
        if verdict.peer != self.audience.peer {
            return Err(Ended::OtherPeer(verdict.peer));
        }
        (self.relationship, self.until) = (Arc::clone(current), verdict.until);
        Ok(())
    }
}
