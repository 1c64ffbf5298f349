//! The authenticated peer of a connection.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};
use thiserror::Error;

use super::refusal::{CertificateRefusal, Role};
use super::relationship::{Relationship, Relationships};
use crate::audience::Audience;

/// The authenticated peer of a connection, with its certificates. They are verified again when the relationship
/// changes, so that a connection ends once it would no longer be accepted.
#[derive(Clone)]
pub struct Authenticated {
    audience: Audience,
    role: Role,
    /// Certificates of the peer, the leaf first.
    chain: Arc<[CertificateDer<'static>]>,
    relationship: Arc<Relationship>,
    until: UnixTime,
}

/// Why a connection must end.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Ended {
    /// The relationship or its Secret does not exist any more.
    #[error("the relationship is closed")]
    RelationshipClosed,
    /// The certificate would be rejected now.
    #[error("its certificate {0}")]
    Certificate(#[from] CertificateRefusal),
    /// The names in the certificate belong to another peer now.
    #[error("its certificate now belongs to peer {0}")]
    OtherPeer(Arc<str>),
}

impl fmt::Debug for Authenticated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthenticatedPeer").field("peer", &self.audience).finish_non_exhaustive()
    }
}

impl Authenticated {
    /// Verifies the certificates of a handshake.
    pub(super) fn new(
        relationship: &Arc<Relationship>,
        role: Role,
        expected: Option<&str>,
        chain: &[CertificateDer<'static>],
    ) -> Result<Self, CertificateRefusal> {
        let verified = relationship.judge().verdict(role, expected, chain, UnixTime::now())?;
        Ok(Self {
            audience: Audience { relationship: Arc::clone(relationship.name()), peer: verified.peer },
            role,
            chain: chain.into(),
            relationship: Arc::clone(relationship),
            until: verified.until,
        })
    }

    /// The peer and its relationship.
    pub fn audience(&self) -> &Audience {
        &self.audience
    }

    /// How long the certificate and all above it are still valid. Zero if it has expired.
    pub fn valid_for(&self) -> Duration {
        Duration::from_secs(self.until.as_secs().saturating_sub(UnixTime::now().as_secs()))
    }

    /// Verifies the peer against the current relationships. Does nothing if its relationship has not changed and its
    /// certificates are still valid.
    pub fn check(&mut self, relationships: &Relationships) -> Result<(), Ended> {
        let current = relationships.get(&self.audience.relationship).ok_or(Ended::RelationshipClosed)?;
        let now = UnixTime::now();
        // A relationship is replaced as a whole when anything in it changes, so the same pointer means the same trust.
        if Arc::ptr_eq(current, &self.relationship) && now <= self.until {
            return Ok(());
        }
        let verified = current.judge().verdict(self.role, Some(&self.audience.peer), &self.chain, now)?;
        // Quotas and visibility follow the peer. A connection never changes its peer; it has to be opened again.
        if verified.peer != self.audience.peer {
            return Err(Ended::OtherPeer(verified.peer));
        }
        (self.relationship, self.until) = (Arc::clone(current), verified.until);
        Ok(())
    }
}
