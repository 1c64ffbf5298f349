//! Desired content of objects, from the translation of the core.

use std::num::NonZeroU64;
use std::sync::Arc;

use emcee_core::key::ObjectKey;
use emcee_core::plan::GeneratedObject;
use emcee_core::translate::Unit;

use super::compare::{DesiredObject, is_matching_copy, matches_desired};
use super::managed_fields::obsolete_fields;
use super::object_state::ObjectState;
use super::write::WriteRequest;
use crate::model::Model;
use crate::object::{LiveObject, ObjectId};

/// Maximum number of IDs that are searched for an equal name. All units but imports, whose names differ, have
/// fewer objects.
const MAX_SEARCHED: usize = 16;

/// Returns the ID of an object. Objects of one unit often share a name: then it reuses the string of one of
/// `others`.
pub(super) fn object_id<'a>(
    object: &GeneratedObject,
    others: impl Iterator<Item = &'a ObjectId>,
) -> ObjectId {
    let same = others.take(MAX_SEARCHED).find(|other| *other.key.name == *object.name);
    let name = same.map_or_else(|| object.name.as_str().into(), |other| Arc::clone(&other.key.name));
    ObjectId { kind: object.kind(), key: ObjectKey { namespace: Arc::clone(&object.namespace), name } }
}

pub(super) fn build_desired(model: &Model, unit: &Unit, object: &GeneratedObject) -> DesiredObject {
    DesiredObject::from_object(object, model.owner_uid(unit))
}

/// Builds the desired object with this ID; `None` if the unit does not ask for it.
pub(super) fn desired_object(model: &Model, unit: &Unit, id: &ObjectId) -> Option<DesiredObject> {
    let object = model.translation().object_of(unit, id.kind, &id.key)?;
    Some(build_desired(model, unit, &object))
}

/// Returns the hash of the desired content if the live object has that content.
pub(super) fn matching_hash(model: &Model, entry: &ObjectState, live: &LiveObject) -> Option<NonZeroU64> {
    let body = desired_object(model, entry.unit.as_deref()?, &live.id)?;
    let matches = match &live.applied_fields {
        // Emcee has no managed fields here: another client wrote the object.
        None => is_matching_copy(live.id.kind, &live.body, &body.manifest),
        // Emcee sent this content before, which removed every field that an apply can remove. To compare
        // managed fields again could repeat the write forever.
        Some(_) if entry.sent_hash == Some(body.hash) => {
            matches_desired(live.id.kind, &live.body, &body.manifest)
        }
        Some(applied) => {
            matches_desired(live.id.kind, &live.body, &body.manifest)
                && obsolete_fields(applied, &live.body, &body.manifest).is_empty()
        }
    };
    matches.then_some(body.hash)
}

/// Returns the write that creates an object. An object that was deleted externally may have been collected
/// with its owner, whose watch has not reported that yet. So the write reads the owner first: otherwise the
/// garbage collector would delete the new object, too, and so on.
pub(super) fn create_write(
    model: &Model,
    entry: &ObjectState,
    id: &ObjectId,
    body: DesiredObject,
) -> WriteRequest {
    let owner = entry.unit.as_deref().filter(|_| entry.deleted_externally);
    match owner.and_then(|unit| Some((unit, model.owner_uid(unit)?))) {
        Some((unit, uid)) => WriteRequest::Recreate(id.clone(), body, unit.clone(), uid.clone()),
        None => WriteRequest::Create(id.clone(), body),
    }
}
