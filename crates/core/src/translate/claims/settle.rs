//! Whom a change of claims concerns: resources that stand differently than before.

use std::sync::Arc;

use foldhash::{HashMap, HashSet};

use super::group::Group;
use super::problems::{FacadeRival, agree};
use super::{Claims, MAX_RIVALS, RelayKey, binding_unit, exposition_unit, relay_key};
use crate::key::{Age, Key};
use crate::resolve::{FacadeClaim, RelayClaim};
use crate::translate::Unit;

/// How it was with what has been claimed, or let go, since claims were last settled.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    server_names: HashMap<Arc<str>, Standings<Option<Age>>>,
    facades: HashMap<Key, Standings<Option<FacadeRival>>>,
    /// The oldest claim.
    relays: HashMap<RelayKey, Option<(Age, Arc<RelayClaim>)>>,
    /// Those who got or lost a place in a relationship.
    pub(super) moved: HashSet<Unit>,
}

/// Those who are compared, the oldest first, and what keeps each from having it.
type Standings<T> = Vec<(Age, T)>;

impl Claims {
    pub(super) fn touch_server_name(&mut self, name: &Arc<str>) {
        if !self.unsettled.server_names.contains_key(name) {
            let before = of_server_name(self.server_names.get(name));
            self.unsettled.server_names.insert(Arc::clone(name), before);
        }
    }

    pub(super) fn touch_facade(&mut self, facade: &Key) {
        if !self.unsettled.facades.contains_key(facade) {
            let before = of_facade(self.facades.get(facade));
            self.unsettled.facades.insert(facade.clone(), before);
        }
    }

    pub(super) fn touch_relay(&mut self, claim: &RelayClaim) {
        let key = relay_key(claim);
        if !self.unsettled.relays.contains_key(&key) {
            let before = self.relays.get(&key).and_then(first);
            self.unsettled.relays.insert(key, before);
        }
    }

    /// Whether something else may be said of a binding when claims are settled.
    pub(in crate::translate) fn are_unsettled_of(&self, binding: &Key) -> bool {
        let claim = self.of_bindings.get(binding).map(|of| &of.claim);
        let relay = claim.and_then(|claim| claim.relay.as_deref()).map(relay_key);
        relay.is_some_and(|relay| self.unsettled.relays.contains_key(&relay))
    }

    /// The units that stand differently since this was last asked, beside those whose claims changed.
    pub(in crate::translate) fn settle(&mut self) -> HashSet<Unit> {
        let Unsettled { server_names, facades, relays, moved: mut concerned } =
            std::mem::take(&mut self.unsettled);
        let mut looks = 0;
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
            let Some(group) = self.relays.get(key) else { continue };
            let after = first(group);
            if *before != after {
                let members = group.iter().inspect(|_| looks += 1);
                let other = members.filter(|(age, claim)| {
                    obstacle(age, claim, before.as_ref()) != obstacle(age, claim, after.as_ref())
                });
                concerned.extend(other.map(|(age, _)| binding_unit(age)));
            }
        }
        self.looks.fetch_add(looks as u64, std::sync::atomic::Ordering::Relaxed);
        concerned
    }
}

fn of_server_name(group: Option<&Group<()>>) -> Standings<Option<Age>> {
    let ages: Vec<_> =
        group.into_iter().flat_map(Group::iter).take(MAX_RIVALS).map(|(age, ())| age).collect();
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

/// The oldest claim of a relay, for one who cannot share it.
fn obstacle<'a>(
    age: &Age,
    claim: &RelayClaim,
    oldest: Option<&'a (Age, Arc<RelayClaim>)>,
) -> Option<(&'a Age, &'a str)> {
    let (holder, oldest) = oldest?;
    (holder != age && !agree(claim, oldest)).then_some((holder, &*oldest.source))
}

/// Those who stand otherwise than before; those who came or left, too.
fn changed<'a, T: PartialEq>(
    before: &'a Standings<T>,
    after: &'a Standings<T>,
) -> impl Iterator<Item = &'a Age> {
    let differs = |here: &Standings<T>, (age, standing): &(Age, T)| {
        let there = here.binary_search_by(|(other, _)| other.cmp(age)).map(|place| &here[place].1);
        there.ok() != Some(standing)
    };
    let new = after.iter().filter(move |member| differs(before, member));
    let old = before.iter().filter(move |member| differs(after, member));
    new.chain(old).map(|(age, _)| age)
}
