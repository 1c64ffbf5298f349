//! How the objects of a resource stand, and whose standing may change with one.

use emcee_core::problem::Problem;
use emcee_core::translate::Unit;

use tracing::warn;

use super::Desk;
use super::book::Entry;
use super::fault::hand_over;
use crate::observe::fact::{ObjectId, OwnerLabels};
use crate::translate::Model;

/// How many objects that are for no resource are named in the log.
const STRAYS_NAMED: usize = 20;

/// How the objects of a resource stand.
#[derive(Debug)]
pub(crate) enum Standing {
    /// Some are still to be written, and nothing is known to be in the way.
    Underway,
    /// Nothing is to be done for now; what could not be done is said.
    Settled(Vec<Problem>),
}

impl Desk {
    /// How the objects of a resource stand.
    pub(crate) fn standing(&self, model: &Model, unit: &Unit) -> Standing {
        let shared = model.translation().shared_by(unit);
        let units = std::iter::once(unit).chain(&shared);
        let wanted = units.filter_map(|unit| self.units.get(unit)).flatten();
        let wanted = wanted.filter_map(|id| Some((id, self.book.get(id)?)));
        let mut problems = Vec::new();
        for (id, entry) in wanted.chain(self.leftovers_of(model, unit)) {
            if !entry.is_settled() && !self.is_held_back(entry, id) {
                return Standing::Underway;
            }
            problems.extend(entry.problem(id));
        }
        Standing::Settled(problems)
    }

    /// Tells the log of what has Emcee's label, was written by somebody else, and is for no resource that could say so in its
    /// status.
    pub(crate) fn tell_of_strays(&self, model: &Model) {
        let is_said = |(id, entry): &(&ObjectId, &Entry)| {
            waiter(model, id, entry).is_some_and(|unit| model.resource(&unit).is_some())
        };
        let strays = self.book.iter().filter(|(_, entry)| entry.unit.is_none() && entry.is_left());
        let strays: Vec<_> = strays.filter(|stray| !is_said(stray)).collect();
        for (id, _) in strays.iter().take(STRAYS_NAMED) {
            warn!(kind = id.kind.as_str(), object = %id.key,
                "has Emcee's label, somebody else wrote it, and no resource asks for it: it is left as it is ({})", hand_over(id));
        }
        if strays.len() > STRAYS_NAMED {
            warn!(
                "{} more such objects are left as they are (`emcee diff --cluster` has them all)",
                strays.len() - STRAYS_NAMED
            );
        }
    }

    /// What a resource no longer asks for, and is still there: a service is not withdrawn before its route is.
    fn leftovers_of<'a>(
        &'a self,
        model: &Model,
        unit: &Unit,
    ) -> impl Iterator<Item = (&'a ObjectId, &'a Entry)> {
        let owner = OwnerLabels::of_resource(unit).filter(|_| self.book.has_leftovers());
        let leftovers = owner.into_iter().flat_map(|owner| self.book.leftovers(&owner));
        leftovers.filter(|(id, entry)| waiter(model, id, entry).as_ref() == Some(unit))
    }
}

/// Whose standing depends on a unit: the resource itself, or the bindings that share it.
pub(super) fn concerned_by(model: &Model, unit: &Unit) -> Vec<Unit> {
    match unit.resource() {
        Some(_) => vec![unit.clone()],
        None => model.translation().sharers(unit),
    }
}

/// The resource that no longer asks for an object, if nothing does.
pub(super) fn waiter(model: &Model, id: &ObjectId, entry: &Entry) -> Option<Unit> {
    let owner = entry.owner.as_deref().filter(|_| entry.unit.is_none())?;
    model.unit_of(owner, id, entry.was_wanted)
}
