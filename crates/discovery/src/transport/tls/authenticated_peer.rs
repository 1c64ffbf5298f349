//! The authenticated peer of a connection.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};
use thiserror::Error;

use super::certificate_error::{PeerCertificateError, TlsRole};
use super::relationship::{TlsRelationship, TlsRelationships};
use crate::peer_ref::PeerRef;

/// The authenticated peer of a connection, with its certificates. They are verified again when the relationship
/// changes, so that a connection ends once it would no longer be accepted.
#[derive(Clone)]
pub struct AuthenticatedPeer {
    peer: PeerRef,
    role: TlsRole,
    /// Certificates of the peer, the leaf first.
    chain: Arc<[CertificateDer<'static>]>,
    relationship: Arc<TlsRelationship>,
    valid_until: UnixTime,
}

/// Why a connection must end.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ReverifyError {
    /// The relationship or its Secret does not exist any more.
    #[error("the relationship is closed")]
    RelationshipClosed,
    /// The certificate would be rejected now.
    #[error("its certificate {0}")]
    Certificate(#[from] PeerCertificateError),
    /// The names in the certificate belong to another peer now.
    #[error("its certificate now belongs to peer {0}")]
    OtherPeer(Arc<str>),
}

impl fmt::Debug for AuthenticatedPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthenticatedPeer").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl AuthenticatedPeer {
    /// Verifies the certificates of a handshake.
    pub(super) fn new(
        relationship: &Arc<TlsRelationship>,
        role: TlsRole,
        expected: Option<&str>,
        chain: &[CertificateDer<'static>],
    ) -> Result<Self, PeerCertificateError> {
        let verified = relationship.verifier().verify_peer(role, expected, chain, UnixTime::now())?;
        Ok(Self {
            peer: PeerRef { relationship: Arc::clone(relationship.name()), peer: verified.peer },
            role,
            chain: chain.into(),
            relationship: Arc::clone(relationship),
            valid_until: verified.valid_until,
        })
    }

    /// The peer and its relationship.
    pub fn peer(&self) -> &PeerRef {
        &self.peer
    }

    /// How long the certificate and all above it are still valid. Zero if it has expired.
    pub fn remaining_validity(&self) -> Duration {
        Duration::from_secs(self.valid_until.as_secs().saturating_sub(UnixTime::now().as_secs()))
    }

    /// Verifies the peer against the current relationships. Does nothing if its relationship has not changed and its
    /// certificates are still valid.
    pub fn reverify(&mut self, relationships: &TlsRelationships) -> Result<(), ReverifyError> {
        let current = relationships.get(&self.peer.relationship).ok_or(ReverifyError::RelationshipClosed)?;
        let now = UnixTime::now();
        // A relationship is replaced as a whole when anything in it changes, so the same pointer means the same trust.
        if Arc::ptr_eq(current, &self.relationship) && now <= self.valid_until {
            return Ok(());
        }
        let verified = current.verifier().verify_peer(self.role, Some(&self.peer.peer), &self.chain, now)?;
        // Quotas and visibility follow the peer. A connection never changes its peer; it has to be opened again.
        if verified.peer != self.peer.peer {
            return Err(ReverifyError::OtherPeer(verified.peer));
        }
        (self.relationship, self.valid_until) = (Arc::clone(current), verified.valid_until);
        Ok(())
    }
}
