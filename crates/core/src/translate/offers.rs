//! The announcements and policies that a translation gives to discovery.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::output::{self, Output};
use super::{Translation, Unit};
use crate::catalogue::{Addressed, Announced, Listing, Offer, PeerListing, Published, Source, Terms};
use crate::key::Key;
use crate::parse::{Binding, PeerModel};
use crate::resolve::{Relationship, View};

impl Translation {
    /// Returns the updates for discovery after these units have run. Each update has the full state of its unit,
    /// changed or not.
    pub fn published(&self, units: &[Unit]) -> Vec<Published> {
        let of = |unit: &Unit| match unit {
            Unit::MeshFedConfig(key) => Some(Published::Terms(key.clone(), self.terms_of(key).cloned())),
            Unit::ServiceExposition(key) => Some(Published::Offers(key.clone(), self.offers_of(key))),
            _ => None,
        };
        units.iter().filter_map(of).collect()
    }

    /// Returns the peer policies of all relationships, in the order of their MeshFedConfigs.
    pub fn terms(&self) -> impl Iterator<Item = &Arc<Terms>> {
        self.relationships.keys().filter_map(|key| self.terms_of(key))
    }

    /// Returns the peer policy of a relationship. `None`: the relationship is closed.
    pub fn terms_of(&self, fed_config: &Key) -> Option<&Arc<Terms>> {
        let relationship = self.relationships.get(fed_config)?;
        relationship.refused.is_none().then_some(&relationship.terms)
    }

    /// Returns all announcements of this mesh with the ServiceExposition that each belongs to. They are not ordered.
    pub fn offers(&self) -> impl Iterator<Item = (&Key, Addressed)> {
        self.outputs.keys().flat_map(|unit| {
            let key = match unit {
                Unit::ServiceExposition(key) => Some(key),
                _ => None,
            };
            key.into_iter().flat_map(|key| self.offers_of(key).into_iter().map(move |offer| (key, offer)))
        })
    }

    /// Returns the announcements of a ServiceExposition. They are not stored, but computed by each call.
    pub fn offers_of(&self, exposition: &Key) -> Vec<Addressed> {
        let view = View::new(&self.inputs, &self.relationships);
        output::offers(&view, exposition, &self.claims)
    }

    /// Returns what peers announced to an earlier process, as recorded in the statuses of bindings. A subscription
    /// starts with these announcements, so that the peer confirms or withdraws them.
    pub fn remembered(&self) -> Vec<(Source, Offer)> {
        let valid = self.inputs.bindings.values().filter_map(|parsed| parsed.as_ref().ok());
        let of = |binding: &Arc<Binding>| {
            let source = self.output_of_binding(&binding.identity.age)?.uses.clone()?;
            // A record from another peer does not count: the binding follows this peer now.
            let memory = binding.remembered.as_ref().filter(|memory| *memory.peer == *source.peer)?;
            let relationship = self.relationships.get(&source.fed_config)?;
            Some(((source, binding.remote()), memory.offer(&binding.remote(), relationship)))
        };
        // Several bindings may follow one announcement. Each announcement is returned once.
        let once: BTreeMap<_, _> = valid.filter_map(of).collect();
        once.into_iter().map(|((source, _), offer)| (source, offer)).collect()
    }

    /// Returns the announcements in each relationship, in both directions.
    pub fn listing(&self) -> Vec<Listing> {
        // Both maps are built once for all peers: for each peer, it would take a pass over all bindings and
        // expositions.
        let (followers, mut offered) = (self.followers(), self.offered());
        let usable = self.relationships.values().filter(|relationship| relationship.refused.is_none());
        let of = |relationship: &Arc<Relationship>| {
            let peers = relationship.config.peers.iter();
            let mut listing = |peer: &PeerModel| {
                let offered = offered.remove(&(relationship.key().clone(), peer.name.clone()));
                let source = Source::new(relationship.key().clone(), &peer.name);
                self.peer_listing(source, &followers, offered.unwrap_or_default())
            };
            Listing {
                fed_config: relationship.key().clone(),
                relationship: relationship.config.relationship.clone(),
                mode: relationship.config.mode,
                peers: peers.map(&mut listing).collect(),
            }
        };
        usable.map(of).collect()
    }

    fn peer_listing(
        &self,
        source: Source,
        followers: &HashMap<(&Source, Key), Vec<Key>>,
        offered: Vec<Offer>,
    ) -> PeerListing {
        let imports = self.outputs.get(&Unit::Imports(source.fed_config.clone()));
        let skipped = imports.into_iter().flat_map(Output::skipped);
        let skipped: HashMap<_, _> = skipped
            .filter(|skipped| skipped.peer == source.peer)
            .map(|skipped| (&skipped.service, &skipped.problem))
            .collect();
        let announced = self.inputs.announcements.of(&source).map(|(service, offer)| Announced {
            offer: Arc::clone(offer),
            bindings: followers.get(&(&source, service.clone())).cloned().unwrap_or_default(),
            not_imported: skipped.get(service).map(|problem| (*problem).clone()),
        });
        PeerListing {
            announced: announced.collect(),
            offered,
            state: self.inputs.peers.get(&source).cloned(),
            name: source.peer,
        }
    }

    /// Returns the bindings that follow each announcement, in order.
    fn followers(&self) -> HashMap<(&Source, Key), Vec<Key>> {
        let mut followers: HashMap<_, Vec<_>> = HashMap::new();
        for binding in self.inputs.bindings.values().filter_map(|parsed| parsed.as_ref().ok()) {
            let output = self.output_of_binding(&binding.identity.age);
            if let Some(source) = output.and_then(|binds| binds.uses.as_ref()) {
                followers.entry((source, binding.remote())).or_default().push(binding.identity.key.clone());
            }
        }
        followers
    }

    /// Returns the announcements to each peer, in order.
    fn offered(&self) -> HashMap<(Key, String), Vec<Offer>> {
        let mut offered: HashMap<_, Vec<Offer>> = HashMap::new();
        for (_, Addressed { fed_config, peers, offer }) in self.offers() {
            for peer in peers {
                offered.entry((fed_config.clone(), peer)).or_default().push(offer.clone());
            }
        }
        for offers in offered.values_mut() {
            offers.sort_by(|a, b| a.key.cmp(&b.key));
        }
        offered
    }
}
