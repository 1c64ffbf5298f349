//! Claims on things that only one resource, or a limited number, can have. The oldest resource gets them.
//!
//! A resource keeps its claims as long as it is valid, even while it cannot be put in place. So a service that is
//! unavailable for a while keeps its name, and no other resource takes the name meanwhile.
//!
//! The cost of a change does not grow with the number of rivals. Among the resources that claim one name, only the
//! oldest [`MAX_RIVALS`] are compared with each other. The others are refused because of their number alone, so a
//! change to the oldest does not affect the verdicts on them.

mod claimants;
mod conflicts;
mod settle;

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::{HashMap, HashSet};

use super::Unit;
use crate::key::{ObjectKey, Precedence};
use crate::resolve::{FacadeClaim, RelayClaim, SharedHostKey};
use claimants::{Claimants, LimitedSlots};
use settle::UnsettledClaims;

/// How many of the resources that claim one server name, or one facade, are compared. A facade has at most as many
/// ports.
pub(crate) const MAX_RIVALS: usize = 100;
/// How many ServiceExpositions, and how many ServiceBindings, of one namespace a relationship accepts.
pub(crate) const MAX_RESOURCES: usize = 10_000;

/// Namespace of the egress gateway, and server name.
type RelayKey = (Arc<str>, Arc<str>);
/// MeshFedConfig, and namespace of the claiming resources.
type QuotaKey = (ObjectKey, Arc<str>);

#[derive(Debug, Default)]
pub(super) struct Claims {
    server_names: HashMap<Arc<str>, Claimants<()>>,
    facades: HashMap<ObjectKey, Claimants<Arc<FacadeClaim>>>,
    relays: HashMap<RelayKey, Claimants<Arc<RelayClaim>>>,
    /// The bindings of each shared host. They are no rivals.
    shared_hosts: HashMap<Arc<SharedHostKey>, Claimants<()>>,
    exposition_slots: HashMap<QuotaKey, LimitedSlots>,
    binding_slots: HashMap<QuotaKey, LimitedSlots>,
    /// The current claims of each exposition.
    expositions: HashMap<ObjectKey, RegisteredExposition>,
    /// The current claims of each binding.
    bindings: HashMap<ObjectKey, RegisteredBinding>,
    unsettled: UnsettledClaims,
    /// Number of claims read so far. Atomic, as methods that take `&self` count too.
    reads: AtomicU64,
}

#[derive(Debug, PartialEq)]
struct RegisteredExposition {
    age: Precedence,
    claims: Box<[ExpositionClaim]>,
}

/// A claim of an exposition: a server name, and a slot in the relationship.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ExpositionClaim {
    pub(super) server_name: Arc<str>,
    pub(super) fed_config: ObjectKey,
}

/// A binding and its current claims.
#[derive(Debug, PartialEq)]
struct RegisteredBinding {
    age: Precedence,
    claim: BindingClaim,
}

/// The claims of a binding: a slot in its relationship, and names. All are `None` if it has no relationship.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct BindingClaim {
    pub(super) fed_config: Option<ObjectKey>,
    pub(super) facade: Option<Arc<FacadeClaim>>,
    pub(super) relay: Option<Arc<RelayClaim>>,
    /// Every binding that requests it gets it.
    pub(super) shared_host: Option<Arc<SharedHostKey>>,
}

impl Claims {
    /// Replaces the claims of an exposition. `offerings` is sorted. Without `age` it claims nothing.
    pub(super) fn set_exposition(
        &mut self,
        key: &ObjectKey,
        age: Option<&Precedence>,
        offerings: Vec<ExpositionClaim>,
    ) {
        let new = age.map(|age| RegisteredExposition { age: age.clone(), claims: offerings.into() });
        if self.expositions.get(key) == new.as_ref() {
            return;
        }
        if let Some(RegisteredExposition { age, claims: offerings }) = self.expositions.remove(key) {
            // Take the snapshot before each change: `settle` compares with the state before the first one.
            for claim in &offerings {
                self.snapshot_server_name(&claim.server_name);
                remove_claimant(&mut self.server_names, &claim.server_name, &age);
                // At most one other resource gets the free slot. Its verdict changes.
                let moved =
                    release_slot(&mut self.exposition_slots, &quota_key(&claim.fed_config, &age), &age);
                self.unsettled.slot_changes.extend(moved.map(|age| exposition_unit(&age)));
            }
        }
        if let Some(new) = new {
            for claim in &new.claims {
                self.snapshot_server_name(&claim.server_name);
                let name = Arc::clone(&claim.server_name);
                self.server_names.entry(name).or_default().insert(&new.age, ());
                let places = self.exposition_slots.entry(quota_key(&claim.fed_config, &new.age)).or_default();
                // An older resource may displace the youngest holder. Its verdict changes.
                let moved = places.insert(&new.age, MAX_RESOURCES);
                self.unsettled.slot_changes.extend(moved.map(|age| exposition_unit(&age)));
            }
            self.expositions.insert(key.clone(), new);
        }
    }

    /// Replaces the claims of a binding. Adds to `shared` the shared units that are affected.
    pub(super) fn set_binding(
        &mut self,
        key: &ObjectKey,
        age: Option<&Precedence>,
        claim: BindingClaim,
        shared: &mut HashSet<Unit>,
    ) {
        let new = age.map(|age| RegisteredBinding { age: age.clone(), claim });
        let old = self.bindings.remove(key);
        // Shared units are built from the outputs of their members, so they run whenever a member does, even if its
        // claims stay the same.
        for of in [&old, &new].into_iter().flatten() {
            shared.extend(of.shared_units());
        }
        if old == new {
            // Nothing changed: put it back without touching the groups, so that no rival has to be compared.
            self.bindings.extend(old.map(|old| (key.clone(), old)));
            return;
        }
        if let Some(old) = &old {
            self.release_claims(old);
        }
        if let Some(new) = new {
            self.add_claims(&new);
            self.bindings.insert(key.clone(), new);
        }
    }

    fn release_claims(&mut self, RegisteredBinding { age, claim }: &RegisteredBinding) {
        if let Some(facade) = &claim.facade {
            self.snapshot_facade(&facade.facade);
            remove_claimant(&mut self.facades, &facade.facade, age);
        }
        if let Some(relay) = &claim.relay {
            self.snapshot_relay(relay);
            remove_claimant(&mut self.relays, &relay_key(relay), age);
        }
        if let Some(host) = &claim.shared_host {
            remove_claimant(&mut self.shared_hosts, host, age);
        }
        if let Some(fed_config) = &claim.fed_config {
            let moved = release_slot(&mut self.binding_slots, &quota_key(fed_config, age), age);
            self.unsettled.slot_changes.extend(moved.map(|age| binding_unit(&age)));
        }
    }

    fn add_claims(&mut self, RegisteredBinding { age, claim }: &RegisteredBinding) {
        if let Some(facade) = &claim.facade {
            self.snapshot_facade(&facade.facade);
            self.facades.entry(facade.facade.clone()).or_default().insert(age, Arc::clone(facade));
        }
        if let Some(relay) = &claim.relay {
            self.snapshot_relay(relay);
            self.relays.entry(relay_key(relay)).or_default().insert(age, Arc::clone(relay));
        }
        if let Some(host) = &claim.shared_host {
            self.shared_hosts.entry(Arc::clone(host)).or_default().insert(age, ());
        }
        if let Some(fed_config) = &claim.fed_config {
            let places = self.binding_slots.entry(quota_key(fed_config, age)).or_default();
            let moved = places.insert(age, MAX_RESOURCES);
            self.unsettled.slot_changes.extend(moved.map(|age| binding_unit(&age)));
        }
    }

    /// Returns the claims of an exposition, and its precedence.
    pub(super) fn claimed_by_exposition(
        &self,
        key: &ObjectKey,
    ) -> Option<(Precedence, Vec<ExpositionClaim>)> {
        self.expositions.get(key).map(|of| (of.age.clone(), of.claims.to_vec()))
    }

    /// Returns the claims of a binding, and its precedence.
    pub(super) fn claimed_by_binding(&self, key: &ObjectKey) -> Option<(Precedence, BindingClaim)> {
        self.bindings.get(key).map(|of| (of.age.clone(), of.claim.clone()))
    }

    /// Returns the units that a binding shares with others.
    pub(super) fn shared_units_of(&self, binding: &ObjectKey) -> impl Iterator<Item = Unit> {
        let of = self.bindings.get(binding);
        // A binding beyond the limit of compared rivals cannot have a port, so it has no part in the facade.
        let is_compared = |of: &RegisteredBinding, facade: &ObjectKey| {
            self.facade_claims(facade).any(|(age, _)| *age == of.age)
        };
        of.into_iter().flat_map(RegisteredBinding::shared_units).filter(move |unit| match (unit, of) {
            (Unit::Facade(facade), Some(of)) => is_compared(of, facade),
            _ => true,
        })
    }

    /// Returns the bindings that claim a facade, as far as they are compared.
    pub(super) fn sharers_of_facade(&self, facade: &ObjectKey) -> Vec<Unit> {
        self.facade_claims(facade).map(|(age, _)| binding_unit(age)).collect()
    }

    /// Returns the bindings that claim a relay of a relationship.
    pub(super) fn sharers_of_relay(
        &self,
        namespace: &str,
        server_name: &str,
        fed_config: &ObjectKey,
    ) -> Vec<Unit> {
        let claims =
            self.relay_claims(namespace, server_name).filter(|(_, claim)| claim.relationship == *fed_config);
        claims.map(|(age, _)| binding_unit(age)).collect()
    }

    /// Returns the bindings of a shared host, oldest first.
    pub(super) fn members_of_shared_host(&self, host: &SharedHostKey) -> impl Iterator<Item = &Precedence> {
        self.shared_hosts.get(host).into_iter().flat_map(Claimants::iter).map(|(age, ())| age)
    }

    /// Returns the oldest claims on a facade, oldest first.
    pub(super) fn facade_claims(
        &self,
        facade: &ObjectKey,
    ) -> impl Iterator<Item = (&Precedence, &FacadeClaim)> {
        let claims = self.facades.get(facade).into_iter().flat_map(Claimants::iter).take(MAX_RIVALS);
        claims.inspect(|_| self.count_read()).map(|(age, claim)| (age, &**claim))
    }

    /// Returns the claims on a server name at gateways in a namespace, oldest first.
    pub(super) fn relay_claims(
        &self,
        namespace: &str,
        server_name: &str,
    ) -> impl Iterator<Item = (&Precedence, &RelayClaim)> {
        let claims =
            self.relays.get(&(namespace.into(), server_name.into())).into_iter().flat_map(Claimants::iter);
        claims.inspect(|_| self.count_read()).map(|(age, claim)| (age, &**claim))
    }

    /// Returns the number of claims read so far.
    pub(super) fn read_count(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    fn count_read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }
}

impl RegisteredBinding {
    fn shared_units(&self) -> impl Iterator<Item = Unit> + use<> {
        let facade = self.claim.facade.as_deref().map(|claim| Unit::Facade(claim.facade.clone()));
        let relay = self.claim.relay.as_deref();
        let relay =
            relay.map(|claim| Unit::Relay(claim.relationship.clone(), Arc::clone(&claim.server_name)));
        let shared_host = self.claim.shared_host.clone().map(Unit::SharedHost);
        facade.into_iter().chain(relay).chain(shared_host)
    }
}

fn relay_key(claim: &RelayClaim) -> RelayKey {
    (Arc::clone(&claim.namespace), Arc::clone(&claim.server_name))
}

fn quota_key(fed_config: &ObjectKey, age: &Precedence) -> QuotaKey {
    (fed_config.clone(), Arc::clone(&age.key().namespace))
}

fn exposition_unit(age: &Precedence) -> Unit {
    Unit::ServiceExposition(age.key().clone())
}

fn binding_unit(age: &Precedence) -> Unit {
    Unit::ServiceBinding(age.key().clone())
}

/// Removes a claimant from a group, and the group with its last claimant.
fn remove_claimant<K, Q, T>(groups: &mut HashMap<K, Claimants<T>>, key: &Q, age: &Precedence)
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

/// Releases a slot. Returns the resource that gets it.
fn release_slot(
    places: &mut HashMap<QuotaKey, LimitedSlots>,
    key: &QuotaKey,
    age: &Precedence,
) -> Option<Precedence> {
    let those = places.get_mut(key)?;
    let moved = those.remove(age);
    if those.is_empty() {
        places.remove(key);
    }
    moved
}
