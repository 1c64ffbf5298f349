//! Announcements between meshes: which services are announced to which peer, and what a peer may announce.
//!
//! [`AddressedAnnouncement`] is what this mesh sends, [`PeerPolicy`] validates what it receives, and
//! [`CatalogueUpdate`] reports changes of both.

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

/// Largest number of endpoints of one service.
pub const MAX_ENDPOINTS: usize = 1_000;
/// Largest number of identities of one service, as in the fields of the resources.
pub const MAX_IDENTITIES: usize = 100;
