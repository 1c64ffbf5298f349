//! What can be had only once, and who wants it: the oldest has it.
//!
//! A claim is held as long as the resource that makes it is valid, even while it cannot be put in place: so a
//! service that goes away for a while finds its name as it left it, and nobody steps in meanwhile.

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;

use emcee_api::Reason;
use foldhash::{HashMap, HashSet};

use super::Unit;
use crate::key::{Age, Key};
use crate::problem::Problem;
use crate::resolve::{FacadeClaim, RelayClaim};

#[derive(Debug, Default)]
pub(super) struct Claims {
    server_names: HashMap<Arc<str>, Group<()>>,
    facades: HashMap<Key, Group<Arc<FacadeClaim>>>,
    /// By server name, on whichever gateway: seldom is one claimed on several.
    relays: HashMap<Arc<str>, Group<Arc<RelayClaim>>>,
    /// What each exposition claims now.
    of_expositions: HashMap<Key, OfExposition>,
    /// What each binding claims now.
    of_bindings: HashMap<Key, OfBinding>,
}

type OfExposition = (Age, Box<[Arc<str>]>);
type OfBinding = (Age, Option<Arc<FacadeClaim>>, Option<Arc<RelayClaim>>);

/// Who claims one thing, the oldest first. Nearly always it is one, for which a tree would take ten times the memory.
#[derive(Debug)]
struct Group<T>(Vec<(Age, T)>);

impl<T> Default for Group<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Group<T> {
    fn insert(&mut self, age: &Age, claim: T) {
        match self.0.binary_search_by(|(other, _)| other.cmp(age)) {
            Ok(place) => self.0[place].1 = claim,
            Err(place) => {
                self.0.reserve_exact(1);
                self.0.insert(place, (age.clone(), claim));
            }
        }
    }

    fn remove(&mut self, age: &Age) {
        self.0.retain(|(other, _)| other != age);
    }

    fn iter(&self) -> impl Iterator<Item = (&Age, &T)> {
        self.0.iter().map(|(age, claim)| (age, claim))
    }
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
        let is_same = match (self.of_expositions.get(key), age) {
            (Some((old_age, old)), Some(age)) => {
                old_age == age && old.iter().map(|name| &**name).eq(names.iter().map(String::as_str))
            }
            (old, new) => old.is_none() && new.is_none(),
        };
        if is_same {
            return HashSet::default();
        }
        let mut touched: Vec<Arc<str>> = Vec::new();
        if let Some((age, names)) = self.of_expositions.remove(key) {
            for name in names {
                leave(&mut self.server_names, &name, &age);
                touched.push(name);
            }
        }
        if let Some(age) = age {
            let names: Box<[Arc<str>]> = names.into_iter().map(Arc::from).collect();
            for name in &names {
                self.server_names.entry(Arc::clone(name)).or_default().insert(age, ());
            }
            touched.extend(names.iter().cloned());
            self.of_expositions.insert(key.clone(), (age.clone(), names));
        }
        let groups = touched.iter().filter_map(|name| self.server_names.get(name));
        groups.flat_map(Group::iter).map(|(age, ())| Unit::ServiceExposition(age.key().clone())).collect()
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
        let new = age.map(|age| (age.clone(), facade.map(Arc::new), relay.map(Arc::new)));
        let old = self.of_bindings.remove(key);
        // Shared units are made of their members' outputs, so they run whenever a member does.
        for (_, facade, relay) in [&old, &new].into_iter().flatten() {
            shared.extend(facade.as_deref().map(facade_unit));
            shared.extend(relay.as_deref().map(relay_unit));
        }
        let unchanged = old == new;
        let mut rivals = HashSet::default();
        if unchanged {
            self.of_bindings.extend(old.map(|old| (key.clone(), old)));
            return rivals;
        }
        if let Some(old) = &old {
            self.drop_claims(old);
            rivals.extend(self.rivals(old));
        }
        if let Some(new) = new {
            self.add_claims(&new);
            rivals.extend(self.rivals(&new));
            self.of_bindings.insert(key.clone(), new);
        }
        rivals
    }

    fn drop_claims(&mut self, (age, facade, relay): &OfBinding) {
        if let Some(claim) = facade {
            leave(&mut self.facades, &claim.facade, age);
        }
        if let Some(claim) = relay {
            leave(&mut self.relays, &*claim.server_name, age);
        }
    }

    fn add_claims(&mut self, (age, facade, relay): &OfBinding) {
        if let Some(claim) = facade {
            self.facades.entry(claim.facade.clone()).or_default().insert(age, Arc::clone(claim));
        }
        if let Some(claim) = relay {
            self.relays.entry(claim.server_name.as_str().into()).or_default().insert(age, Arc::clone(claim));
        }
    }

    fn rivals(&self, (_, facade, relay): &OfBinding) -> Vec<Unit> {
        let facades = facade.iter().flat_map(|claim| self.facade(&claim.facade).map(|(age, _)| age));
        let relays = relay.iter().flat_map(|claim| self.relay(&claim.gateway, &claim.server_name));
        facades.chain(relays.map(|(age, _)| age)).map(|age| Unit::ServiceBinding(age.key().clone())).collect()
    }

    /// What a binding claims together with others.
    pub(super) fn shared_by(&self, binding: &Key) -> impl Iterator<Item = Unit> {
        let claims = self.of_bindings.get(binding);
        let facade = claims.and_then(|(_, facade, _)| facade.as_deref()).map(facade_unit);
        let relay = claims.and_then(|(_, _, relay)| relay.as_deref()).map(relay_unit);
        facade.into_iter().chain(relay)
    }

    /// The bindings that claim a facade, or a relay of a relationship; none for other units.
    pub(super) fn sharers(&self, unit: &Unit) -> Vec<Unit> {
        let ages: Vec<&Age> = match unit {
            Unit::Facade(key) => self.facade(key).map(|(age, _)| age).collect(),
            Unit::Relay(fed_config, name) => {
                let claims = self.relays.get(&**name).into_iter().flat_map(Group::iter);
                claims.filter(|(_, claim)| claim.relationship == *fed_config).map(|(age, _)| age).collect()
            }
            _ => Vec::new(),
        };
        ages.into_iter().map(|age| Unit::ServiceBinding(age.key().clone())).collect()
    }

    /// Claims of a facade, the oldest first.
    pub(super) fn facade(&self, facade: &Key) -> impl Iterator<Item = (&Age, &FacadeClaim)> {
        let claims = self.facades.get(facade).into_iter().flat_map(Group::iter);
        claims.map(|(age, claim)| (age, &**claim))
    }

    /// Claims of a server name on a gateway, the oldest first.
    pub(super) fn relay(
        &self,
        gateway: &str,
        server_name: &str,
    ) -> impl Iterator<Item = (&Age, &RelayClaim)> {
        let claims = self.relays.get(server_name).into_iter().flat_map(Group::iter);
        claims.map(|(age, claim)| (age, &**claim)).filter(move |(_, claim)| claim.gateway == gateway)
    }

    /// Why an exposition of that age does not have the server name.
    pub(super) fn server_name_conflict(&self, server_name: &str, age: &Age) -> Option<Problem> {
        let (holder, ()) = self.server_names.get(server_name)?.iter().next()?;
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
        let (holder, oldest) = self.relay(&claim.gateway, &claim.server_name).next()?;
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

fn facade_unit(claim: &FacadeClaim) -> Unit {
    Unit::Facade(claim.facade.clone())
}

fn relay_unit(claim: &RelayClaim) -> Unit {
    Unit::Relay(claim.relationship.clone(), claim.server_name.as_str().into())
}

/// Takes a member out of a group, and the group away with its last.
fn leave<K, Q, T>(groups: &mut HashMap<K, Group<T>>, key: &Q, age: &Age)
where
    K: Eq + Hash + Borrow<Q>,
    Q: Eq + Hash + ?Sized,
{
    if let Some(group) = groups.get_mut(key) {
        group.remove(age);
        if group.0.is_empty() {
            groups.remove(key);
        }
    }
}
