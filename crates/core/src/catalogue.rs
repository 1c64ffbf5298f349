//! What meshes tell each other: what is offered to which peer, and what a peer may say.
//!
//! [`Addressed`] goes out, [`Terms`] judge what comes in, [`Published`] says what of both changed.

mod addressed;
mod judge;
mod listing;
mod offer;
mod published;
mod root_hash;
mod source;
mod terms;

pub use addressed::Addressed;
pub use listing::{Announced, Listing, PeerListing};
pub use offer::{Offer, discovery_key};
pub use published::Published;
pub use root_hash::root_hash;
pub use source::{Connection, PeerState, Refused, Source};
pub use terms::{Locality, PeerTerms, Quota, Terms};

/// Endpoints that one service may have, at the most.
pub const MAX_ENDPOINTS: usize = 1_000;
/// Identities that one service may have, at the most, as in the fields of the resources.
pub const MAX_IDENTITIES: usize = 100;
