//! Finds the resources whose verdicts change because the claims of others changed.

use std::sync::Arc;

use foldhash::{HashMap, HashSet};

use super::claimants::Claimants;
use super::conflicts::{FacadeConflictCause, can_share_relay};
use super::{Claims, MAX_RIVALS, RelayKey, binding_unit, exposition_unit, relay_key};
use crate::key::{ObjectKey, Precedence};
use crate::resolve::{FacadeClaim, RelayClaim};
use crate::translate::Unit;

/// State of the names that were claimed or released since the claims were last settled, as it was before the first
/// change.
#[derive(Debug, Default)]
pub(super) struct UnsettledClaims {
    server_names: HashMap<Arc<str>, ClaimOutcomes<Option<Precedence>>>,
    facades: HashMap<ObjectKey, ClaimOutcomes<Option<FacadeConflictCause>>>,
    /// The oldest claim on each relay.
    relays: HashMap<RelayKey, Option<(Precedence, Arc<RelayClaim>)>>,
    /// Units that gained or lost a slot in a relationship.
    pub(super) slot_changes: HashSet<Unit>,
}

/// The compared claimants, oldest first, and what prevents each from getting the name.
type ClaimOutcomes<T> = Vec<(Precedence, T)>;

impl Claims {
    /// Records the state of a server name before its first change.
    pub(super) fn snapshot_server_name(&mut self, name: &Arc<str>) {
        if !self.unsettled.server_names.contains_key(name) {
            let before = server_name_outcomes(self.server_names.get(name));
            self.unsettled.server_names.insert(Arc::clone(name), before);
        }
    }

    /// Records the state of a facade before its first change.
    pub(super) fn snapshot_facade(&mut self, facade: &ObjectKey) {
        if !self.unsettled.facades.contains_key(facade) {
            let before = facade_outcomes(self.facades.get(facade));
            self.unsettled.facades.insert(facade.clone(), before);
        }
    }

    /// Records the state of a relay before its first change. Only the oldest claim matters, as it decides for all.
    pub(super) fn snapshot_relay(&mut self, claim: &RelayClaim) {
        let key = relay_key(claim);
        if !self.unsettled.relays.contains_key(&key) {
            let before = self.relays.get(&key).and_then(oldest_relay_claim);
            self.unsettled.relays.insert(key, before);
        }
    }

    /// Returns whether settling the claims may change the verdict on a binding.
    pub(in crate::translate) fn is_binding_unsettled(&self, binding: &ObjectKey) -> bool {
        let claim = self.bindings.get(binding).map(|of| &of.claim);
        let relay = claim.and_then(|claim| claim.relay.as_deref()).map(relay_key);
        relay.is_some_and(|relay| self.unsettled.relays.contains_key(&relay))
    }

    /// Returns the units that gained or lost a slot since the claims were last settled.
    pub(in crate::translate) fn slot_changes(&self) -> HashSet<Unit> {
        self.unsettled.slot_changes.clone()
    }

    /// Returns the units whose verdicts changed since the last call because of others' claims. Units that changed
    /// their own claims may be missing.
    pub(in crate::translate) fn settle(&mut self) -> HashSet<Unit> {
        let UnsettledClaims { server_names, facades, relays, slot_changes: mut concerned } =
            std::mem::take(&mut self.unsettled);
        let mut looks = 0;
        // Compare the state before the first change with the current one: intermediate states do not matter.
        for (name, before) in &server_names {
            let after = server_name_outcomes(self.server_names.get(name));
            looks += after.len();
            concerned.extend(changed_claimants(before, &after).map(exposition_unit));
        }
        for (facade, before) in &facades {
            let after = facade_outcomes(self.facades.get(facade));
            looks += after.len();
            concerned.extend(changed_claimants(before, &after).map(binding_unit));
        }
        for (key, before) in &relays {
            // The last claim on the relay is gone, so no other binding is affected.
            let Some(group) = self.relays.get(key) else { continue };
            let after = oldest_relay_claim(group);
            // All claimants are compared with the oldest only. If it is the same, nothing changed for the others.
            if *before != after {
                let members = group.iter().inspect(|_| looks += 1);
                let other = members.filter(|(age, claim)| {
                    relay_obstacle(age, claim, before.as_ref()) != relay_obstacle(age, claim, after.as_ref())
                });
                concerned.extend(other.map(|(age, _)| binding_unit(age)));
            }
        }
        // Relaxed is enough: the counter orders no other memory access.
        self.reads.fetch_add(looks as u64, std::sync::atomic::Ordering::Relaxed);
        concerned
    }
}

fn server_name_outcomes(group: Option<&Claimants<()>>) -> ClaimOutcomes<Option<Precedence>> {
    let ages: Vec<_> =
        group.into_iter().flat_map(Claimants::iter).take(MAX_RIVALS).map(|(age, ())| age).collect();
    // The oldest has the server name. It prevents all others from having it.
    let behind = |age: &Precedence| ages.first().filter(|first| **first != age).map(|first| (*first).clone());
    ages.iter().map(|age| ((*age).clone(), behind(age))).collect()
}

fn facade_outcomes(
    group: Option<&Claimants<Arc<FacadeClaim>>>,
) -> ClaimOutcomes<Option<FacadeConflictCause>> {
    let claims = group.into_iter().flat_map(Claimants::iter).take(MAX_RIVALS);
    let claims: Vec<(&Precedence, &FacadeClaim)> = claims.map(|(age, claim)| (age, &**claim)).collect();
    let members = claims.iter().enumerate();
    members
        .map(|(place, (age, claim))| {
            ((*age).clone(), FacadeConflictCause::find_cause(&claims[..place], claim))
        })
        .collect()
}

fn oldest_relay_claim(group: &Claimants<Arc<RelayClaim>>) -> Option<(Precedence, Arc<RelayClaim>)> {
    group.iter().next().map(|(age, claim)| (age.clone(), Arc::clone(claim)))
}

/// Returns the oldest claim on a relay if it conflicts with the claim of `age`.
fn relay_obstacle<'a>(
    age: &Precedence,
    claim: &RelayClaim,
    oldest: Option<&'a (Precedence, Arc<RelayClaim>)>,
) -> Option<(&'a Precedence, &'a str)> {
    let (holder, oldest) = oldest?;
    (holder != age && !can_share_relay(claim, oldest)).then_some((holder, &*oldest.origin))
}

/// Returns the claimants whose outcome differs, including those that are new or gone.
fn changed_claimants<'a, T: PartialEq>(
    before: &'a ClaimOutcomes<T>,
    after: &'a ClaimOutcomes<T>,
) -> impl Iterator<Item = &'a Precedence> {
    let differs = |here: &ClaimOutcomes<T>, (age, outcome): &(Precedence, T)| {
        // Both lists are sorted by precedence.
        let found = here.binary_search_by(|(other, _)| other.cmp(age)).map(|place| &here[place].1);
        found.ok() != Some(outcome)
    };
    let new = after.iter().filter(move |member| differs(before, member));
    let old = before.iter().filter(move |member| differs(after, member));
    new.chain(old).map(|(age, _)| age)
}
