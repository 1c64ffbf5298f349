//! What can be had only once, and who wants it: the oldest has it.
//!
//! A claim is held as long as the resource that makes it is valid, even while it cannot be put in place: so a
//! service that goes away for a while finds its name as it left it, and nobody steps in meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use emcee_api::Reason;
use foldhash::{HashMap, HashSet};

use super::Unit;
use crate::key::{Age, Key};
use crate::problem::Problem;
use crate::resolve::{FacadeClaim, RelayClaim};

/// A gateway, and a server name on it.
type RelayKey = (String, String);

#[derive(Debug, Default)]
pub(super) struct Claims {
    server_names: HashMap<String, BTreeSet<Age>>,
    facades: HashMap<Key, BTreeMap<Age, FacadeClaim>>,
    relays: HashMap<RelayKey, BTreeMap<Age, RelayClaim>>,
    /// What each exposition claims now.
    of_expositions: HashMap<Key, (Age, Vec<String>)>,
    /// What each binding claims now.
    of_bindings: HashMap<Key, (Age, Option<FacadeClaim>, Option<RelayClaim>)>,
}

impl Claims {
    /// Replaces the server names that an exposition claims; says whose claims are affected.
    pub(super) fn set_server_names(
        &mut self,
        key: &Key,
        age: Option<&Age>,
        mut names: Vec<String>,
    ) -> HashSet<Unit> {
        names.sort_unstable();
        let new = age.map(|age| (age.clone(), names));
        if self.of_expositions.get(key) == new.as_ref() {
            return HashSet::default();
        }
        let mut touched = BTreeSet::new();
        if let Some((age, names)) = self.of_expositions.remove(key) {
            for name in names {
                remove(&mut self.server_names, &name, |group| group.remove(&age), BTreeSet::is_empty);
                touched.insert(name);
            }
        }
        if let Some((age, names)) = new {
            for name in &names {
                self.server_names.entry(name.clone()).or_default().insert(age.clone());
                touched.insert(name.clone());
            }
            self.of_expositions.insert(key.clone(), (age, names));
        }
        let members = touched.iter().filter_map(|name| self.server_names.get(name)).flatten();
        members.map(|age| Unit::ServiceExposition(age.key().clone())).collect()
    }

    /// Replaces what a binding claims; says whose claims are affected, and which shared units.
    pub(super) fn set_binding(
        &mut self,
        key: &Key,
        age: Option<&Age>,
        facade: Option<FacadeClaim>,
        relay: Option<RelayClaim>,
        shared: &mut HashSet<Unit>,
    ) -> HashSet<Unit> {
        let new = age.map(|age| (age.clone(), facade, relay));
        let old = self.of_bindings.remove(key);
        // Shared units are made of their members' outputs, so they run whenever a member does.
        for (_, facade, relay) in [&old, &new].into_iter().flatten() {
            shared.extend(facade.as_ref().map(|claim| Unit::Facade(claim.facade.clone())));
            shared.extend(
                relay
                    .as_ref()
                    .map(|claim| Unit::Relay(claim.relationship.clone(), claim.server_name.as_str().into())),
            );
        }
        let unchanged = old == new;
        let mut rivals = HashSet::default();
        if !unchanged {
            if let Some((age, facade, relay)) = &old {
                self.drop_claims(age, facade.as_ref(), relay.as_ref());
                rivals.extend(self.rivals(facade.as_ref(), relay.as_ref()));
            }
            if let Some((age, facade, relay)) = &new {
                self.add_claims(age, facade.as_ref(), relay.as_ref());
                rivals.extend(self.rivals(facade.as_ref(), relay.as_ref()));
            }
        }
        if let Some(new) = new {
            self.of_bindings.insert(key.clone(), new);
        }
        rivals
    }

    fn drop_claims(&mut self, age: &Age, facade: Option<&FacadeClaim>, relay: Option<&RelayClaim>) {
        if let Some(claim) = facade {
            remove(&mut self.facades, &claim.facade, |group| group.remove(age), BTreeMap::is_empty);
        }
        if let Some(claim) = relay {
            remove(&mut self.relays, &relay_key(claim), |group| group.remove(age), BTreeMap::is_empty);
        }
    }

    fn add_claims(&mut self, age: &Age, facade: Option<&FacadeClaim>, relay: Option<&RelayClaim>) {
        if let Some(claim) = facade {
            self.facades.entry(claim.facade.clone()).or_default().insert(age.clone(), claim.clone());
        }
        if let Some(claim) = relay {
            self.relays.entry(relay_key(claim)).or_default().insert(age.clone(), claim.clone());
        }
    }

    fn rivals(&self, facade: Option<&FacadeClaim>, relay: Option<&RelayClaim>) -> Vec<Unit> {
        let facades =
            facade.and_then(|claim| self.facades.get(&claim.facade)).into_iter().flat_map(BTreeMap::keys);
        let relays =
            relay.and_then(|claim| self.relays.get(&relay_key(claim))).into_iter().flat_map(BTreeMap::keys);
        facades.chain(relays).map(|age| Unit::ServiceBinding(age.key().clone())).collect()
    }

    /// The bindings that claim a facade, or a relay of a relationship; none for other units.
    pub(super) fn sharers(&self, unit: &Unit) -> Vec<Unit> {
        let ages: Vec<&Age> = match unit {
            Unit::Facade(key) => self.facade(key).map(|(age, _)| age).collect(),
            Unit::Relay(fed_config, name) => {
                let all = self.relays.iter().filter(|((_, server_name), _)| **server_name == **name);
                let claims = all.flat_map(|(_, claims)| claims);
                claims.filter(|(_, claim)| claim.relationship == *fed_config).map(|(age, _)| age).collect()
            }
            _ => Vec::new(),
        };
        ages.into_iter().map(|age| Unit::ServiceBinding(age.key().clone())).collect()
    }

    /// Claims of a facade, the oldest first.
    pub(super) fn facade(&self, facade: &Key) -> impl Iterator<Item = (&Age, &FacadeClaim)> {
        self.facades.get(facade).into_iter().flatten()
    }

    /// Claims of a server name on a gateway, the oldest first.
    pub(super) fn relay(
        &self,
        gateway: String,
        server_name: &str,
    ) -> impl Iterator<Item = (&Age, &RelayClaim)> {
        self.relays.get(&(gateway, server_name.to_owned())).into_iter().flatten()
    }

    /// Why an exposition of that age does not have the server name.
    pub(super) fn server_name_conflict(&self, server_name: &str, age: &Age) -> Option<Problem> {
        let holder = self.server_names.get(server_name)?.first()?;
        if holder == age {
            return None;
        }
        let message = format!(
            "the older ServiceExposition {} already has the server name {server_name} (set alias to another name)",
            holder.key()
        );
        Some(Problem::at(Reason::ServerNameConflict, "spec.alias", message))
    }

    /// Why a binding of that age does not have the port of the facade. All ports of one facade are seen by the same
    /// callers: those whom its oldest binding lets see it.
    pub(super) fn facade_conflict(&self, claim: &FacadeClaim, age: &Age) -> Option<Problem> {
        let older: Vec<_> = self.facade(&claim.facade).take_while(|(other, _)| *other < age).collect();
        let (first, oldest) = older.first()?;
        if oldest.visibility != claim.visibility {
            let message = format!(
                "the older ServiceBinding {} lets others see {} (set the same export_to, or another spec.alias)",
                first.key(),
                claim.facade
            );
            return Some(Problem::at(Reason::FacadeConflict, "spec.export_to", message));
        }
        let (holder, _) = older.iter().find(|(_, other)| other.port == claim.port)?;
        let message = format!(
            "the older ServiceBinding {} already has port {} of {} (set spec.port or spec.alias)",
            holder.key(),
            claim.port,
            claim.facade
        );
        Some(Problem::at(Reason::FacadeConflict, "spec.port", message))
    }

    /// Why a binding of that age cannot use the relay: the oldest leads it elsewhere.
    pub(super) fn relay_conflict(&self, claim: &RelayClaim, age: &Age) -> Option<Problem> {
        let (holder, oldest) = self.relay(claim.gateway.clone(), &claim.server_name).next()?;
        if holder == age || (oldest.source == claim.source && oldest.relationship == claim.relationship) {
            return None;
        }
        let message = format!(
            "the older ServiceBinding {} leads {} to {} through the same egress gateway (use the same endpoints, or have the exposing mesh set an alias)",
            holder.key(),
            claim.server_name,
            oldest.source
        );
        Some(Problem::at(Reason::ServerNameConflict, "spec.endpoints", message))
    }
}

fn relay_key(claim: &RelayClaim) -> RelayKey {
    (claim.gateway.clone(), claim.server_name.clone())
}

fn remove<K: Eq + std::hash::Hash, G, R>(
    groups: &mut HashMap<K, G>,
    key: &K,
    take: impl FnOnce(&mut G) -> R,
    is_empty: impl FnOnce(&G) -> bool,
) {
    if let Some(group) = groups.get_mut(key) {
        take(group);
        if is_empty(group) {
            groups.remove(key);
        }
    }
}
