//! What can be had only once, and who wants it: the oldest has it.
//!
//! A claim is held as long as the resource that makes it is valid, even while it cannot be put in place: so a
//! service that goes away for a while finds its name as it left it, and nobody steps in meanwhile.
//!
//! The cost of a change does not grow with the number of rivals. Of those who want one name, the oldest
//! [`MAX_RIVALS`] are compared with each other; the others are refused for their number alone, so that nothing that
//! happens to the oldest changes what is said of them.

mod group;
mod problems;
mod settle;

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::{HashMap, HashSet};

use super::Unit;
use crate::key::{Age, Key};
use crate::resolve::{FacadeClaim, RelayClaim};
use group::{Group, Places};
use settle::Unsettled;

/// How many resources that want one server name, or one facade, are compared. A facade has at most as many ports.
pub(crate) const MAX_RIVALS: usize = 100;
/// How many ServiceExpositions, and how many ServiceBindings, of one namespace a relationship takes.
pub(crate) const MAX_RESOURCES: usize = 10_000;

/// Namespace of the gateway, and server name.
type RelayKey = (Arc<str>, Arc<str>);
/// MeshFedConfig and namespace.
type QuotaKey = (Key, Arc<str>);

#[derive(Debug, Default)]
pub(super) struct Claims {
    server_names: HashMap<Arc<str>, Group<()>>,
    facades: HashMap<Key, Group<Arc<FacadeClaim>>>,
    relays: HashMap<RelayKey, Group<Arc<RelayClaim>>>,
    expositions_in: HashMap<QuotaKey, Places>,
    bindings_in: HashMap<QuotaKey, Places>,
    /// What each exposition claims now.
    of_expositions: HashMap<Key, OfExposition>,
    /// What each binding claims now.
    of_bindings: HashMap<Key, OfBinding>,
    unsettled: Unsettled,
    /// How many claims have been looked at so far.
    looks: AtomicU64,
}

#[derive(Debug, PartialEq)]
struct OfExposition {
    age: Age,
    offerings: Box<[OfferingClaim]>,
}

/// An exposition wants a server name, and a place in the relationship.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OfferingClaim {
    pub(super) server_name: Arc<str>,
    pub(super) fed_config: Key,
}

/// What a binding claims: a place in its relationship, and names.
#[derive(Debug, PartialEq)]
struct OfBinding {
    age: Age,
    claim: BindingClaim,
}

/// A binding that found its relationship wants a place in it, and names.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct BindingClaim {
    pub(super) fed_config: Option<Key>,
    pub(super) facade: Option<Arc<FacadeClaim>>,
    pub(super) relay: Option<Arc<RelayClaim>>,
}

impl Claims {
    /// Replaces what an exposition claims. `offerings` is sorted.
    pub(super) fn set_exposition(&mut self, key: &Key, age: Option<&Age>, offerings: Vec<OfferingClaim>) {
        let new = age.map(|age| OfExposition { age: age.clone(), offerings: offerings.into() });
        if self.of_expositions.get(key) == new.as_ref() {
            return;
        }
        if let Some(OfExposition { age, offerings }) = self.of_expositions.remove(key) {
            for offering in &offerings {
                self.touch_server_name(&offering.server_name);
                leave(&mut self.server_names, &offering.server_name, &age);
                let moved = leave_place(&mut self.expositions_in, &quota(&offering.fed_config, &age), &age);
                self.unsettled.moved.extend(moved.map(|age| exposition_unit(&age)));
            }
        }
        if let Some(new) = new {
            for offering in &new.offerings {
                self.touch_server_name(&offering.server_name);
                let name = Arc::clone(&offering.server_name);
                self.server_names.entry(name).or_default().insert(&new.age, ());
                let places = self.expositions_in.entry(quota(&offering.fed_config, &new.age)).or_default();
                let moved = places.insert(&new.age, MAX_RESOURCES);
                self.unsettled.moved.extend(moved.map(|age| exposition_unit(&age)));
            }
            self.of_expositions.insert(key.clone(), new);
        }
    }

    /// Replaces what a binding claims; says which shared units that concerns.
    pub(super) fn set_binding(
        &mut self,
        key: &Key,
        age: Option<&Age>,
        claim: BindingClaim,
        shared: &mut HashSet<Unit>,
    ) {
        let new = age.map(|age| OfBinding { age: age.clone(), claim });
        let old = self.of_bindings.remove(key);
        // Shared units are made of their members' outputs, so they run whenever a member does.
        for of in [&old, &new].into_iter().flatten() {
            shared.extend(of.shared());
        }
        if old == new {
            self.of_bindings.extend(old.map(|old| (key.clone(), old)));
            return;
        }
        if let Some(old) = &old {
            self.drop_claims(old);
        }
        if let Some(new) = new {
            self.add_claims(&new);
            self.of_bindings.insert(key.clone(), new);
        }
    }

    fn drop_claims(&mut self, OfBinding { age, claim }: &OfBinding) {
        if let Some(facade) = &claim.facade {
            self.touch_facade(&facade.facade);
            leave(&mut self.facades, &facade.facade, age);
        }
        if let Some(relay) = &claim.relay {
            self.touch_relay(relay);
            leave(&mut self.relays, &relay_key(relay), age);
        }
        if let Some(fed_config) = &claim.fed_config {
            let moved = leave_place(&mut self.bindings_in, &quota(fed_config, age), age);
            self.unsettled.moved.extend(moved.map(|age| binding_unit(&age)));
        }
    }

    fn add_claims(&mut self, OfBinding { age, claim }: &OfBinding) {
        if let Some(facade) = &claim.facade {
            self.touch_facade(&facade.facade);
            self.facades.entry(facade.facade.clone()).or_default().insert(age, Arc::clone(facade));
        }
        if let Some(relay) = &claim.relay {
            self.touch_relay(relay);
            self.relays.entry(relay_key(relay)).or_default().insert(age, Arc::clone(relay));
        }
        if let Some(fed_config) = &claim.fed_config {
            let places = self.bindings_in.entry(quota(fed_config, age)).or_default();
            let moved = places.insert(age, MAX_RESOURCES);
            self.unsettled.moved.extend(moved.map(|age| binding_unit(&age)));
        }
    }

    /// What an exposition claims, and how old it is.
    pub(super) fn of_exposition(&self, key: &Key) -> Option<(Age, Vec<OfferingClaim>)> {
        self.of_expositions.get(key).map(|of| (of.age.clone(), of.offerings.to_vec()))
    }

    /// What a binding claims, and how old it is.
    pub(super) fn of_binding(&self, key: &Key) -> Option<(Age, BindingClaim)> {
        self.of_bindings.get(key).map(|of| (of.age.clone(), of.claim.clone()))
    }

    /// What a binding claims together with others.
    pub(super) fn shared_by(&self, binding: &Key) -> impl Iterator<Item = Unit> {
        let of = self.of_bindings.get(binding);
        let is_compared = |of: &OfBinding, facade: &Key| self.facade(facade).any(|(age, _)| *age == of.age);
        of.into_iter().flat_map(OfBinding::shared).filter(move |unit| match (unit, of) {
            (Unit::Facade(facade), Some(of)) => is_compared(of, facade),
            _ => true,
        })
    }

    /// The bindings that claim a facade, as far as they are compared.
    pub(super) fn sharers_of_facade(&self, facade: &Key) -> Vec<Unit> {
        self.facade(facade).map(|(age, _)| binding_unit(age)).collect()
    }

    /// The bindings that claim a relay of a relationship.
    pub(super) fn sharers_of_relay(&self, namespace: &str, server_name: &str, fed_config: &Key) -> Vec<Unit> {
        let claims =
            self.relay(namespace, server_name).filter(|(_, claim)| claim.relationship == *fed_config);
        claims.map(|(age, _)| binding_unit(age)).collect()
    }

    /// The oldest claims of a facade, the oldest first.
    pub(super) fn facade(&self, facade: &Key) -> impl Iterator<Item = (&Age, &FacadeClaim)> {
        let claims = self.facades.get(facade).into_iter().flat_map(Group::iter).take(MAX_RIVALS);
        claims.inspect(|_| self.look()).map(|(age, claim)| (age, &**claim))
    }

    /// Claims of a server name on gateways in a namespace, the oldest first.
    pub(super) fn relay(
        &self,
        namespace: &str,
        server_name: &str,
    ) -> impl Iterator<Item = (&Age, &RelayClaim)> {
        let claims =
            self.relays.get(&(namespace.into(), server_name.into())).into_iter().flat_map(Group::iter);
        claims.inspect(|_| self.look()).map(|(age, claim)| (age, &**claim))
    }

    /// How many claims have been looked at so far.
    pub(super) fn looks(&self) -> u64 {
        self.looks.load(Ordering::Relaxed)
    }

    fn look(&self) {
        self.looks.fetch_add(1, Ordering::Relaxed);
    }
}

impl OfBinding {
    fn shared(&self) -> impl Iterator<Item = Unit> + use<> {
        let facade = self.claim.facade.as_deref().map(|claim| Unit::Facade(claim.facade.clone()));
        let relay = self.claim.relay.as_deref();
        let relay =
            relay.map(|claim| Unit::Relay(claim.relationship.clone(), Arc::clone(&claim.server_name)));
        facade.into_iter().chain(relay)
    }
}

fn relay_key(claim: &RelayClaim) -> RelayKey {
    (Arc::clone(&claim.namespace), Arc::clone(&claim.server_name))
}

fn quota(fed_config: &Key, age: &Age) -> QuotaKey {
    (fed_config.clone(), Arc::clone(&age.key().namespace))
}

fn exposition_unit(age: &Age) -> Unit {
    Unit::ServiceExposition(age.key().clone())
}

fn binding_unit(age: &Age) -> Unit {
    Unit::ServiceBinding(age.key().clone())
}

/// Takes a member out of a group, and the group away with its last.
fn leave<K, Q, T>(groups: &mut HashMap<K, Group<T>>, key: &Q, age: &Age)
where
    K: Eq + Hash + Borrow<Q>,
    Q: Eq + Hash + ?Sized,
{
    if let Some(group) = groups.get_mut(key) {
        group.remove(age);
        if group.is_empty() {
            groups.remove(key);
        }
    }
}

/// Gives a place up; returns who gets it.
fn leave_place(places: &mut HashMap<QuotaKey, Places>, key: &QuotaKey, age: &Age) -> Option<Age> {
    let those = places.get_mut(key)?;
    let moved = those.remove(age);
    if those.is_empty() {
        places.remove(key);
    }
    moved
}
