//! Lazy JSON form of a [`CatalogueView`](super::CatalogueView): each service is converted when it is written, so that
//! the whole catalogue is never in memory.
//!
//! The output must equal that of the derived serializers, including which empty fields are left out. A test compares
//! them.

use emcee_controller::CatalogueState;
use emcee_core::catalogue::{CatalogueReport, PeerReport, PeerSyncState, RefusedAnnouncement as Refusal};
use serde::ser::{Serialize, SerializeStruct as _, Serializer};

use super::{AnnouncedServiceView, RefusalView, ServiceView, peer_connectivity};

/// Serializes as a [`CatalogueView`](super::CatalogueView).
pub(super) struct LazyCatalogue<'a>(pub(super) &'a CatalogueState);

/// Serializes as a [`RelationshipView`](super::RelationshipView).
struct LazyRelationship<'a>(&'a CatalogueReport);

/// Serializes as a [`PeerView`](super::PeerView).
struct LazyPeer<'a>(&'a PeerReport);

/// Sequence whose items are converted when they are written.
struct LazySeq<'a, T, S>(&'a [T], fn(&T) -> S);

impl<T, S: Serialize> Serialize for LazySeq<'_, T, S> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        serializer.collect_seq(self.0.iter().map(self.1))
    }
}

impl Serialize for LazyCatalogue<'_> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        let mut object = serializer.serialize_struct("Catalogue", 2)?;
        object.serialize_field("follows", &self.0.follows_peers)?;
        let relationships: Vec<_> = self.0.reports.iter().map(LazyRelationship).collect();
        object.serialize_field("relationships", &relationships)?;
        object.end()
    }
}

impl Serialize for LazyRelationship<'_> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        let mut object = serializer.serialize_struct("Relationship", 4)?;
        object.serialize_field("relationship", &self.0.relationship)?;
        object.serialize_field("mesh_fed_config", &self.0.fed_config.to_string())?;
        object.serialize_field("style", &self.0.mode.to_string())?;
        let peers: Vec<_> = self.0.peers.iter().map(LazyPeer).collect();
        object.serialize_field("peers", &peers)?;
        object.end()
    }
}

impl Serialize for LazyPeer<'_> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        let Self(peer) = self;
        let (state, since, error) = peer_connectivity(peer.state.as_ref());
        let refused = |of: fn(&PeerSyncState) -> &[Refusal]| {
            LazySeq(peer.state.as_ref().map(of).unwrap_or_default(), RefusalView::from_refusal)
        };
        // The length is an upper bound: the JSON serializer ignores it, and empty fields are left out.
        let mut object = serializer.serialize_struct("Peer", 8)?;
        object.serialize_field("name", &*peer.name)?;
        object.serialize_field("state", &state)?;
        if let Some(since) = since {
            object.serialize_field("since", &since)?;
        }
        if let Some(error) = error {
            object.serialize_field("error", &error)?;
        }
        object.serialize_field(
            "announced",
            &LazySeq(&peer.announced_by_peer, AnnouncedServiceView::from_announced),
        )?;
        let here = refused(|state| &state.refused);
        if !here.0.is_empty() {
            object.serialize_field("refused", &here)?;
        }
        object
            .serialize_field("offered", &LazySeq(&peer.announced_to_peer, ServiceView::from_announcement))?;
        let refused_by_peer = refused(|state| &state.refused_by_peer);
        if !refused_by_peer.0.is_empty() {
            object.serialize_field("refused_by_peer", &refused_by_peer)?;
        }
        object.end()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use emcee_core::catalogue::{self, PeerConnection};
    use emcee_core::key::ObjectKey;
    use emcee_core::mode::Mode;
    use emcee_core::protocol::Protocol;
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn lazy_json_equals_the_json_of_the_whole_catalogue() {
        let announcement = catalogue::Announcement {
            key: ObjectKey::new("shop", "reviews"),
            mode: Mode::Boundary,
            server_name: "reviews.shop.blue.emcee.internal".into(),
            protocol: Protocol::Http,
            port: 9080,
            endpoints: vec!["203.0.113.7:15443".parse().unwrap()],
            identities: vec!["spiffe://m2.example/ns/shop/sa/reviews".into()],
            trust_domain: "m2.example".into(),
            root_hash: None,
        };
        let refusal = |resource: &str| Refusal { resource: resource.into(), reason: "so it is".into() };
        let state = |connection| PeerSyncState {
            connection,
            refused: vec![refusal("a"), refusal("b")],
            refused_by_peer: vec![refusal("c")],
            ..PeerSyncState::PENDING
        };
        let peer = |name: &str, state| PeerReport {
            name: name.into(),
            state,
            announced_by_peer: vec![catalogue::ReportedAnnouncement {
                announcement: Arc::new(announcement.clone()),
                bindings: vec![ObjectKey::new("shop", "reviews")],
                not_imported: None,
            }],
            announced_to_peer: vec![announcement.clone(), announcement.clone()],
        };
        let lost = PeerConnection::Unreachable { since: Timestamp::UNIX_EPOCH, error: Some("gone".into()) };
        let listing = CatalogueReport {
            fed_config: ObjectKey::new("fed", "blue"),
            relationship: "blue".into(),
            mode: Mode::Boundary,
            peers: vec![
                peer("m2", Some(state(lost))),
                peer("m3", None),
                peer("m4", Some(PeerSyncState::PENDING)),
            ],
        };
        let catalogue_state = CatalogueState { follows_peers: true, reports: vec![listing] };
        let whole =
            serde_json::to_string(&super::super::CatalogueView::from_offers(&catalogue_state)).unwrap();
        assert_eq!(serde_json::to_string(&LazyCatalogue(&catalogue_state)).unwrap(), whole);
    }
}
