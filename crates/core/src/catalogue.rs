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

pub use addressed::AddressedAnnouncement;
pub use listing::{CatalogueReport, PeerReport, ReportedAnnouncement};
pub use offer::{Announcement, discovery_announcement_key};
pub use published::CatalogueUpdate;
pub use root_hash::root_hash;
pub use source::{PeerConnection, PeerKey, PeerSyncState, RefusedAnnouncement};
pub use terms::{AnnouncementQuota, LocalMesh, PeerPolicy, PolicyPeer};

/// Largest number of endpoints of one service.
pub const MAX_ENDPOINTS: usize = 1_000;
/// Largest number of identities of one service, as in the fields of the resources.
pub const MAX_IDENTITIES: usize = 100;
