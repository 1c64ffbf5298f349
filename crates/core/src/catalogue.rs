//! Announcements between meshes: which services are announced to which peer, and what a peer may announce.
//!
//! [`AddressedAnnouncement`] is what this mesh sends, [`PeerPolicy`] validates what it receives, and
//! [`CatalogueUpdate`] reports changes of both.

mod addressed_announcement;
mod announcement;
mod peer;
mod peer_policy;
mod report;
mod root_hash;
mod update;
mod validate;

pub use addressed_announcement::AddressedAnnouncement;
pub use announcement::{Announcement, discovery_announcement_key};
pub use peer::{PeerConnection, PeerKey, PeerSyncState, RefusedAnnouncement};
pub use peer_policy::{AnnouncementQuota, LocalMesh, PeerPolicy, PolicyPeer};
pub use report::{CatalogueReport, PeerReport, ReportedAnnouncement};
pub use root_hash::root_hash;
pub use update::CatalogueUpdate;

/// Largest number of endpoints of one service.
pub const MAX_ENDPOINTS: usize = 1_000;
/// Largest number of identities of one service, as in the fields of the resources.
pub const MAX_IDENTITIES: usize = 100;
