//! Apply progress of a resource's objects, and the resources to report again when an object changes.

use emcee_core::problem::ResourceProblem;
use emcee_core::translate::Unit;

use tracing::warn;

use super::Applier;
use super::error::hand_over_hint;
use super::object_state::ObjectState;
use crate::model::Model;
use crate::object::{ObjectId, OwnerLabels};

/// Maximum number of objects without a resource that are logged by name.
const MAX_STRAYS_LOGGED: usize = 20;

/// Apply progress of a resource's objects.
#[derive(Debug)]
pub(crate) enum ApplyProgress {
    /// Some objects have to be written, and no error is known.
    InProgress,
    /// Nothing can be done for now. Holds the problems that remain.
    Settled(Vec<ResourceProblem>),
}

impl Applier {
    /// Returns the apply progress of a resource's objects, shared ones and leftovers included.
    pub(crate) fn apply_progress(&self, model: &Model, unit: &Unit) -> ApplyProgress {
        let shared = model.translation().shared_units_of(unit);
        let units = std::iter::once(unit).chain(&shared);
        let desired = units.filter_map(|unit| self.unit_objects.get(unit)).flatten();
        let desired = desired.filter_map(|id| Some((id, self.objects.get(id)?)));
        let mut problems = Vec::new();
        for (id, entry) in desired.chain(self.leftovers_of(model, unit)) {
            // An object that is held back makes no progress by itself. The Service that it waits for has the
            // problem.
            if !entry.is_settled() && !self.is_held_back(entry, id) {
                return ApplyProgress::InProgress;
            }
            problems.extend(entry.status_problem(id));
        }
        ApplyProgress::Settled(problems)
    }

    /// Logs the objects that have Emcee's label, were written by another client, and belong to no resource
    /// whose status could report them.
    pub(crate) fn log_strays(&self, model: &Model) {
        let is_said = |(id, entry): &(&ObjectId, &ObjectState)| {
            waiting_owner(model, id, entry).is_some_and(|unit| model.resource(&unit).is_some())
        };
        let strays = self.objects.iter().filter(|(_, entry)| entry.unit.is_none() && entry.is_left_alone());
        let strays: Vec<_> = strays.filter(|stray| !is_said(stray)).collect();
        for (id, _) in strays.iter().take(MAX_STRAYS_LOGGED) {
            warn!(kind = id.kind.as_str(), object = %id.key,
                "object with Emcee's label was written by another field manager and belongs to no resource; left alone ({})", hand_over_hint(id));
        }
        if strays.len() > MAX_STRAYS_LOGGED {
            warn!(
                "{} more such objects are left alone (`emcee diff --cluster` lists all of them)",
                strays.len() - MAX_STRAYS_LOGGED
            );
        }
    }

    /// Returns the objects that a resource no longer asks for and that still exist: a service is not
    /// withdrawn before its route is gone.
    fn leftovers_of<'a>(
        &'a self,
        model: &Model,
        unit: &Unit,
    ) -> impl Iterator<Item = (&'a ObjectId, &'a ObjectState)> {
        // Most of the time there are none, and this is called for every status.
        let owner = OwnerLabels::of_resource(unit).filter(|_| self.objects.has_leftovers());
        let leftovers = owner.into_iter().flat_map(|owner| self.objects.leftovers_of(&owner));
        leftovers.filter(|(id, entry)| waiting_owner(model, id, entry).as_ref() == Some(unit))
    }
}

/// Returns the resources whose status depends on a unit: the resource itself, or the bindings that share it.
pub(super) fn affected_resources(model: &Model, unit: &Unit) -> Vec<Unit> {
    match unit.resource() {
        Some(_) => vec![unit.clone()],
        None => model.translation().bindings_sharing(unit),
    }
}

/// Returns the resource that no longer asks for an object, if nothing else does.
pub(super) fn waiting_owner(model: &Model, id: &ObjectId, entry: &ObjectState) -> Option<Unit> {
    let owner = entry.owner.as_deref().filter(|_| entry.unit.is_none())?;
    model.owning_unit(owner, id, entry.was_desired)
}
