//! What discovery is told.

use std::sync::Arc;

use super::{Translation, Unit};
use crate::catalogue::{Addressed, Listing, Offer, Published, Source, Terms};
use crate::key::Key;

impl Translation {
    /// What discovery has to be told when these units have run. It is all there is of each, changed or not.
    pub fn published(&self, units: &[Unit]) -> Vec<Published> {
        let of = |unit: &Unit| match unit {
            Unit::MeshFedConfig(key) => Some(Published::Terms(key.clone(), self.terms_of(key).cloned())),
            Unit::ServiceExposition(key) => {
                Some(Published::Offers(key.clone(), self.offers_of(key).to_vec()))
            }
            _ => None,
        };
        units.iter().filter_map(of).collect()
    }

    /// The terms of all relationships, in the order of their MeshFedConfigs.
    pub fn terms(&self) -> impl Iterator<Item = &Arc<Terms>> {
        self.relationships.keys().filter_map(|key| self.terms_of(key))
    }

    /// The terms of a relationship; none: it is closed.
    pub fn terms_of(&self, fed_config: &Key) -> Option<&Arc<Terms>> {
        let relationship = self.relationships.get(fed_config)?;
        relationship.refused.is_none().then_some(&relationship.terms)
    }

    /// All that is offered, with the ServiceExposition that offers it; in no order.
    pub fn offers(&self) -> impl Iterator<Item = (&Key, &Addressed)> {
        self.outputs.iter().flat_map(|(unit, output)| {
            let key = match unit {
                Unit::ServiceExposition(key) => Some(key),
                _ => None,
            };
            key.into_iter().flat_map(|key| output.offers.iter().map(move |offer| (key, offer)))
        })
    }

    /// What a ServiceExposition offers.
    pub fn offers_of(&self, exposition: &Key) -> &[Addressed] {
        let unit = Unit::ServiceExposition(exposition.clone());
        self.outputs.get(&unit).map_or(&[], |output| &output.offers)
    }

    /// What peers announced to an earlier process, as the statuses of bindings kept it: what a subscription begins with,
    /// so that its peer is asked whether it still holds.
    pub fn remembered(&self) -> Vec<(Source, Offer)> {
        Vec::new()
    }

    /// What is offered in each relationship, each way.
    pub fn listing(&self) -> Vec<Listing> {
        Vec::new()
    }
}
