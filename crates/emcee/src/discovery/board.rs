//! What is announced: the offers of expositions, and this mesh's own Emcee.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use emcee_core::catalogue::{Addressed, Offer, Terms};
use emcee_core::endpoint::Endpoint;
use emcee_core::key::Key;
use emcee_core::names;
use emcee_core::protocol::Protocol;
use emcee_discovery::server::Announcer;
use emcee_discovery::shelf::{Shelf, Touched, Visibility};
use emcee_discovery::slice::discovery_key;
use tracing::warn;

/// An offer's place: the relationship, and its key there.
type Place = (Arc<str>, Key);

/// Writes to the shelf.
pub(super) struct Board {
    announcer: Arc<Announcer>,
    advertised: Vec<Endpoint>,
    /// The name of each relationship, and its terms.
    terms: BTreeMap<Key, (Arc<str>, Arc<Terms>)>,
    /// By exposition, where its offers are.
    places: HashMap<Key, Box<[Place]>>,
    /// Whose offer is in a place. It may have changed hands when its former owner is heard of.
    owners: HashMap<Place, Key>,
}

impl Board {
    pub(super) fn new(announcer: Arc<Announcer>, advertised: Vec<Endpoint>) -> Self {
        Self { announcer, advertised, terms: BTreeMap::new(), places: HashMap::new(), owners: HashMap::new() }
    }

    /// All that is to be announced is on the shelf: peers may come.
    pub(super) fn complete(&self) {
        self.announcer.synced();
    }

    /// A relationship opens, changes or closes.
    pub(super) fn set_terms(&mut self, fed_config: &Key, terms: Option<Arc<Terms>>) {
        let before = self.terms.remove(fed_config);
        if let Some((_, before)) = &before
            && terms.as_ref().is_none_or(|terms| terms.relationship != before.relationship)
        {
            self.close(&before.relationship);
        }
        let Some(terms) = terms else { return };
        let own = self.own(&terms);
        self.announcer.change(|shelf| match &own {
            Some(own) => offer(shelf, &terms.relationship, own, &Visibility::All),
            None => shelf.withdraw(&terms.relationship, &discovery_key()),
        });
        self.terms.insert(fed_config.clone(), (terms.relationship.as_str().into(), terms));
    }

    fn close(&mut self, relationship: &str) {
        self.owners.retain(|(of, _), _| **of != *relationship);
        self.announcer.change(|shelf| {
            shelf.close(relationship);
            Touched::default()
        });
    }

    /// This mesh's Emcee; none where peers are told nothing, or it cannot be reached.
    fn own(&self, terms: &Terms) -> Option<Offer> {
        let mut endpoints =
            if terms.reached_at.is_empty() { self.advertised.clone() } else { terms.reached_at.clone() };
        endpoints.sort_unstable();
        endpoints.dedup();
        let port = endpoints.first()?.port;
        terms.announce.then(|| Offer {
            key: discovery_key(),
            mode: terms.mode,
            server_name: names::discovery_server_name(&terms.relationship),
            protocol: Protocol::Tls,
            port,
            endpoints,
            identities: Vec::new(),
            trust_domain: terms.locality.trust_domain.clone(),
            root_hash: None,
        })
    }

    /// Each exposition with all that it offers now.
    pub(super) fn set_offers(&mut self, batch: Vec<(Key, Vec<Addressed>)>) {
        let announcer = Arc::clone(&self.announcer);
        announcer.change(|shelf| {
            let mut touched = Touched::default();
            for (exposition, offers) in batch {
                touched = touched.and(self.set(shelf, &exposition, offers));
            }
            touched
        });
    }

    fn set(&mut self, on: &mut Shelf, exposition: &Key, offers: Vec<Addressed>) -> Touched {
        let mut touched = Touched::default();
        let before = self.places.remove(exposition).unwrap_or_default();
        let mut now = Vec::new();
        for addressed in offers {
            let Some((relationship, terms)) = self.terms.get(&addressed.fed_config) else { continue };
            let place = (Arc::clone(relationship), addressed.offer.key.clone());
            touched = touched.and(offer(on, &place.0, &addressed.offer, &visibility(terms, &addressed)));
            self.owners.insert(place.clone(), exposition.clone());
            now.push(place);
        }
        for place in before.into_iter().filter(|place| !now.contains(place)) {
            if self.owners.get(&place) == Some(exposition) {
                self.owners.remove(&place);
                touched = touched.and(on.withdraw(&place.0, &place.1));
            }
        }
        if !now.is_empty() {
            self.places.insert(exposition.clone(), now.into());
        }
        touched
    }
}

/// Offers for all peers share their bytes; so it is worth knowing that they are for all.
fn visibility(terms: &Terms, addressed: &Addressed) -> Visibility {
    let all = terms.peers.iter().all(|peer| addressed.peers.iter().any(|name| **name == *peer.name));
    let some = || addressed.peers.iter().map(|name| Arc::from(name.as_str())).collect::<BTreeSet<_>>();
    if all { Visibility::All } else { Visibility::Peers(some()) }
}

/// What cannot be encoded is not announced, and what was announced before stays.
fn offer(shelf: &mut Shelf, relationship: &str, offer: &Offer, seen_by: &Visibility) -> Touched {
    shelf.offer(relationship, offer, seen_by).unwrap_or_else(|error| {
        warn!(relationship, service = %offer.key, %error, "cannot be announced");
        Touched::default()
    })
}

#[cfg(test)]
mod tests;
