//! The announcements and policies that a translation gives to discovery.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::output::{self, UnitOutput};
use super::{Translation, Unit};
use crate::catalogue::{
    AddressedAnnouncement, Announcement, CatalogueReport, CatalogueUpdate, PeerKey, PeerPolicy, PeerReport,
    ReportedAnnouncement,
};
use crate::key::ObjectKey;
use crate::parse::{Binding, PeerSettings};
use crate::resolve::{InputView, ResolvedRelationship};

impl Translation {
    /// Returns the updates for discovery after these units have run. Each update has the full state of its unit,
    /// changed or not.
    pub fn catalogue_updates(&self, units: &[Unit]) -> Vec<CatalogueUpdate> {
        let of = |unit: &Unit| match unit {
            Unit::MeshFedConfig(key) => {
                Some(CatalogueUpdate::PeerPolicy(key.clone(), self.peer_policy_of(key).cloned()))
            }
            Unit::ServiceExposition(key) => {
                Some(CatalogueUpdate::Announcements(key.clone(), self.announcements_of(key)))
            }
            _ => None,
        };
        units.iter().filter_map(of).collect()
    }

    /// Returns the peer policies of all relationships, in the order of their MeshFedConfigs.
    pub fn peer_policies(&self) -> impl Iterator<Item = &Arc<PeerPolicy>> {
        self.relationships.keys().filter_map(|key| self.peer_policy_of(key))
    }

    /// Returns the peer policy of a relationship. `None`: the relationship is closed.
    pub fn peer_policy_of(&self, fed_config: &ObjectKey) -> Option<&Arc<PeerPolicy>> {
        let relationship = self.relationships.get(fed_config)?;
        relationship.refused.is_none().then_some(&relationship.peer_policy)
    }

    /// Returns all announcements of this mesh with the ServiceExposition that each belongs to. They are not ordered.
    pub fn announcements(&self) -> impl Iterator<Item = (&ObjectKey, AddressedAnnouncement)> {
        self.outputs.keys().flat_map(|unit| {
            let key = match unit {
                Unit::ServiceExposition(key) => Some(key),
                _ => None,
            };
            key.into_iter().flat_map(|key| {
                self.announcements_of(key).into_iter().map(move |announcement| (key, announcement))
            })
        })
    }

    /// Returns the announcements of a ServiceExposition. They are not stored, but computed by each call.
    pub fn announcements_of(&self, exposition: &ObjectKey) -> Vec<AddressedAnnouncement> {
        let view = InputView::new(&self.inputs, &self.relationships);
        output::exposition_announcements(&view, exposition, &self.claims)
    }

    /// Returns what peers announced to an earlier process, as recorded in the statuses of bindings. A subscription
    /// starts with these announcements, so that the peer confirms or withdraws them.
    pub fn remembered_announcements(&self) -> Vec<(PeerKey, Announcement)> {
        let valid = self.inputs.bindings.values().filter_map(|parsed| parsed.as_ref().ok());
        let of = |binding: &Arc<Binding>| {
            let source = self.binding_output(&binding.identity.precedence)?.followed_peer.clone()?;
            // A record from another peer does not count: the binding follows this peer now.
            let memory =
                binding.stored_announcement.as_ref().filter(|memory| *memory.peer == *source.peer)?;
            let relationship = self.relationships.get(&source.fed_config)?;
            Some((
                (source, binding.remote_service()),
                memory.to_announcement(&binding.remote_service(), relationship),
            ))
        };
        // Several bindings may follow one announcement. Each announcement is returned once.
        let once: BTreeMap<_, _> = valid.filter_map(of).collect();
        once.into_iter().map(|((source, _), announcement)| (source, announcement)).collect()
    }

    /// Returns the announcements in each relationship, in both directions.
    pub fn catalogue_reports(&self) -> Vec<CatalogueReport> {
        // Both maps are built once for all peers: for each peer, it would take a pass over all bindings and
        // expositions.
        let (bindings, mut announcements) = (self.bindings_by_announcement(), self.announcements_by_peer());
        let usable = self.relationships.values().filter(|relationship| relationship.refused.is_none());
        let of = |relationship: &Arc<ResolvedRelationship>| {
            let peers = relationship.config.peers.iter();
            let mut listing = |peer: &PeerSettings| {
                let announcements = announcements.remove(&(relationship.key().clone(), peer.name.clone()));
                let source = PeerKey::new(relationship.key().clone(), &peer.name);
                self.peer_report(source, &bindings, announcements.unwrap_or_default())
            };
            CatalogueReport {
                fed_config: relationship.key().clone(),
                relationship: relationship.config.relationship.clone(),
                mode: relationship.config.mode,
                peers: peers.map(&mut listing).collect(),
            }
        };
        usable.map(of).collect()
    }

    fn peer_report(
        &self,
        source: PeerKey,
        bindings: &HashMap<(&PeerKey, ObjectKey), Vec<ObjectKey>>,
        announcements: Vec<Announcement>,
    ) -> PeerReport {
        let imports = self.outputs.get(&Unit::Imports(source.fed_config.clone()));
        let skipped = imports.into_iter().flat_map(UnitOutput::skipped_imports);
        let skipped: HashMap<_, _> = skipped
            .filter(|skipped| skipped.peer == source.peer)
            .map(|skipped| (&skipped.service, &skipped.problem))
            .collect();
        let announced = self.inputs.announcements.announced_by(&source).map(|(service, announcement)| {
            ReportedAnnouncement {
                announcement: Arc::clone(announcement),
                bindings: bindings.get(&(&source, service.clone())).cloned().unwrap_or_default(),
                not_imported: skipped.get(service).map(|problem| (*problem).clone()),
            }
        });
        PeerReport {
            announced_by_peer: announced.collect(),
            announced_to_peer: announcements,
            state: self.inputs.peers.get(&source).cloned(),
            name: source.peer,
        }
    }

    /// Returns the bindings that follow each announcement, in order.
    fn bindings_by_announcement(&self) -> HashMap<(&PeerKey, ObjectKey), Vec<ObjectKey>> {
        let mut bindings: HashMap<_, Vec<_>> = HashMap::new();
        for binding in self.inputs.bindings.values().filter_map(|parsed| parsed.as_ref().ok()) {
            let output = self.binding_output(&binding.identity.precedence);
            if let Some(source) = output.and_then(|binds| binds.followed_peer.as_ref()) {
                bindings
                    .entry((source, binding.remote_service()))
                    .or_default()
                    .push(binding.identity.key.clone());
            }
        }
        bindings
    }

    /// Returns the announcements to each peer, in order.
    fn announcements_by_peer(&self) -> HashMap<(ObjectKey, String), Vec<Announcement>> {
        let mut by_peer: HashMap<_, Vec<Announcement>> = HashMap::new();
        for (_, AddressedAnnouncement { fed_config, peers, announcement }) in self.announcements() {
            for peer in peers {
                by_peer.entry((fed_config.clone(), peer)).or_default().push(announcement.clone());
            }
        }
        for announcements in by_peer.values_mut() {
            announcements.sort_by(|a, b| a.key.cmp(&b.key));
        }
        by_peer
    }
}
