//! Announcements between meshes: which services are announced to which peer, and what a peer may announce.
//!
//! | file | contains |
//! |---|---|
//! | `announcement` | what is announced, and to whom |
//! | `peer` | the peers of a relationship: state and policy |
//! | `validate` | validation of what a peer announces |
//! | `report` | changes for discovery, and a report for display |
//!
//! [`AddressedAnnouncement`] is what this mesh sends, [`PeerPolicy`] validates what it receives, and
//! [`CatalogueUpdate`] reports changes of both.

mod announcement;
mod peer;
mod report;
mod validate;

pub use announcement::{AddressedAnnouncement, Announcement, discovery_announcement_key, root_hash};
pub use peer::{
    AnnouncementQuota, LocalMesh, PeerConnection, PeerKey, PeerPolicy, PeerSyncState, PolicyPeer,
    RefusedAnnouncement,
};
pub use report::{CatalogueReport, CatalogueUpdate, PeerReport, ReportedAnnouncement};

/// Largest number of endpoints of one service.
pub const MAX_ENDPOINTS: usize = 1_000;
/// Largest number of identities of one service, as in the fields of the resources.
pub const MAX_IDENTITIES: usize = 100;
