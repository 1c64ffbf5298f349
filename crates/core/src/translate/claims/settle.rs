//! Finds the resources whose verdicts change because the claims of others changed.

use std::sync::Arc;

use foldhash::{HashMap, HashSet};

use super::group::Group;
use super::problems::{FacadeRival, agree};
use super::{Claims, MAX_RIVALS, RelayKey, binding_unit, exposition_unit, relay_key};
use crate::key::{Age, Key};
use crate::resolve::{FacadeClaim, RelayClaim};
use crate::translate::Unit;

/// State of the names that were claimed or released since the claims were last settled, as it was before the first
/// change.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    server_names: HashMap<Arc<str>, Standings<Option<Age>>>,
    facades: HashMap<Key, Standings<Option<FacadeRival>>>,
    /// The oldest claim on each relay.
    relays: HashMap<RelayKey, Option<(Age, Arc<RelayClaim>)>>,
    /// Units that gained or lost a slot in a relationship.
    pub(super) moved: HashSet<Unit>,
}

/// The compared claimants, oldest first, and what prevents each from getting the name.
type Standings<T> = Vec<(Age, T)>;

impl Claims {
    /// Records the state of a server name before its first change.
    pub(super) fn touch_server_name(&mut self, name: &Arc<str>) {
        if !self.unsettled.server_names.contains_key(name) {
            let before = of_server_name(self.server_names.get(name));
            self.unsettled.server_names.insert(Arc::clone(name), before);
        }
    }

    /// Records the state of a facade before its first change.
    pub(super) fn touch_facade(&mut self, facade: &Key) {
        if !self.unsettled.facades.contains_key(facade) {
            let before = of_facade(self.facades.get(facade));
            self.unsettled.facades.insert(facade.clone(), before);
        }
    }

    /// Records the state of a relay before its first change. Only the oldest claim matters, as it decides for all.
    pub(super) fn touch_relay(&mut self, claim: &RelayClaim) {
        let key = relay_key(claim);
        if !self.unsettled.relays.contains_key(&key) {
            let before = self.relays.get(&key).and_then(first);
            self.unsettled.relays.insert(key, before);
        }
    }

    /// Returns whether settling the claims may change the verdict on a binding.
    pub(in crate::translate) fn are_unsettled_of(&self, binding: &Key) -> bool {
        let claim = self.of_bindings.get(binding).map(|of| &of.claim);
        let relay = claim.and_then(|claim| claim.relay.as_deref()).map(relay_key);
        relay.is_some_and(|relay| self.unsettled.relays.contains_key(&relay))
    }

    /// Returns the units whose verdicts changed since the last call because of others' claims. Units that changed
    /// their own claims may be missing.
    pub(in crate::translate) fn settle(&mut self) -> HashSet<Unit> {
        let Unsettled { server_names, facades, relays, moved: mut concerned } =
            std::mem::take(&mut self.unsettled);
        let mut looks = 0;
        // Compare the state before the first change with the current one: intermediate states do not matter.
        for (name, before) in &server_names {
            let after = of_server_name(self.server_names.get(name));
            looks += after.len();
            concerned.extend(changed(before, &after).map(exposition_unit));
        }
        for (facade, before) in &facades {
            let after = of_facade(self.facades.get(facade));
            looks += after.len();
            concerned.extend(changed(before, &after).map(binding_unit));
        }
        for (key, before) in &relays {
            // The last claim on the relay is gone, so no other binding is affected.
            let Some(group) = self.relays.get(key) else { continue };
            let after = first(group);
            // All claimants are compared with the oldest only. If it is the same, nothing changed for the others.
            if *before != after {
                let members = group.iter().inspect(|_| looks += 1);
                let other = members.filter(|(age, claim)| {
                    obstacle(age, claim, before.as_ref()) != obstacle(age, claim, after.as_ref())
                });
                concerned.extend(other.map(|(age, _)| binding_unit(age)));
            }
        }
        // Relaxed is enough: the counter orders no other memory access.
        self.looks.fetch_add(looks as u64, std::sync::atomic::Ordering::Relaxed);
        concerned
    }
}

fn of_server_name(group: Option<&Group<()>>) -> Standings<Option<Age>> {
    let ages: Vec<_> =
        group.into_iter().flat_map(Group::iter).take(MAX_RIVALS).map(|(age, ())| age).collect();
    // The oldest has the server name. It prevents all others from having it.
    let behind = |age: &Age| ages.first().filter(|first| **first != age).map(|first| (*first).clone());
    ages.iter().map(|age| ((*age).clone(), behind(age))).collect()
}

fn of_facade(group: Option<&Group<Arc<FacadeClaim>>>) -> Standings<Option<FacadeRival>> {
    let claims = group.into_iter().flat_map(Group::iter).take(MAX_RIVALS);
    let claims: Vec<(&Age, &FacadeClaim)> = claims.map(|(age, claim)| (age, &**claim)).collect();
    let members = claims.iter().enumerate();
    members.map(|(place, (age, claim))| ((*age).clone(), FacadeRival::of(&claims[..place], claim))).collect()
}

fn first(group: &Group<Arc<RelayClaim>>) -> Option<(Age, Arc<RelayClaim>)> {
    group.iter().next().map(|(age, claim)| (age.clone(), Arc::clone(claim)))
}

/// Returns the oldest claim on a relay if it conflicts with the claim of `age`.
fn obstacle<'a>(
    age: &Age,
    claim: &RelayClaim,
    oldest: Option<&'a (Age, Arc<RelayClaim>)>,
) -> Option<(&'a Age, &'a str)> {
    let (holder, oldest) = oldest?;
    (holder != age && !agree(claim, oldest)).then_some((holder, &*oldest.source))
}

/// Returns the claimants whose outcome differs, including those that are new or gone.
fn changed<'a, T: PartialEq>(
    before: &'a Standings<T>,
    after: &'a Standings<T>,
) -> impl Iterator<Item = &'a Age> {
    let differs = |here: &Standings<T>, (age, standing): &(Age, T)| {
        // Both lists are sorted by precedence.
        let there = here.binary_search_by(|(other, _)| other.cmp(age)).map(|place| &here[place].1);
        there.ok() != Some(standing)
    };
    let new = after.iter().filter(move |member| differs(before, member));
    let old = before.iter().filter(move |member| differs(after, member));
    new.chain(old).map(|(age, _)| age)
}
