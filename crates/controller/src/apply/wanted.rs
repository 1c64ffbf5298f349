//! Desired content of objects, from the translation of the core.

use std::sync::Arc;

use emcee_core::key::ObjectKey;
use emcee_core::plan::GeneratedObject;
use emcee_core::translate::Unit;

use super::body::{Body, is_as_wanted, is_copy_of};
use super::book::Entry;
use super::outdated::outdated;
use super::write::Write;
use crate::observe::fact::{Live, ObjectId};
use crate::translate::Model;

/// Returns the ID of an object. Objects of one unit often share a name: then it reuses the string of one of
/// `others`.
pub(super) fn id_of<'a>(
    object: &GeneratedObject,
    mut others: impl Iterator<Item = &'a ObjectId>,
) -> ObjectId {
    let same = others.find(|other| *other.key.name == *object.name);
    let name = same.map_or_else(|| object.name.as_str().into(), |other| Arc::clone(&other.key.name));
    ObjectId { kind: object.kind(), key: ObjectKey { namespace: Arc::clone(&object.namespace), name } }
}

fn is(object: &GeneratedObject, id: &ObjectId) -> bool {
    let key = &id.key;
    object.kind() == id.kind && object.namespace == key.namespace && *object.name == *key.name
}

pub(super) fn body_of(model: &Model, unit: &Unit, object: &GeneratedObject) -> Body {
    Body::of(object, model.owner_uid(unit))
}

/// Builds the desired object with this ID; `None` if the unit does not ask for it.
pub(super) fn wanted(model: &Model, unit: &Unit, id: &ObjectId) -> Option<Body> {
    let objects = model.translation().objects_of(unit);
    let object = objects.iter().find(|object| is(object, id))?;
    Some(body_of(model, unit, object))
}

/// Returns the hash of the desired content if the live object has that content.
pub(super) fn matching(model: &Model, entry: &Entry, live: &Live) -> Option<u64> {
    let body = wanted(model, entry.unit.as_deref()?, &live.id)?;
    let matches = match &live.applied {
        // Emcee has no managed fields here: another client wrote the object.
        None => is_copy_of(live.id.kind, &live.body, &body.value),
        // Emcee sent this content before, which removed every field that an apply can remove. To compare
        // managed fields again could repeat the write forever.
        Some(_) if entry.sent == body.hash => is_as_wanted(live.id.kind, &live.body, &body.value),
        Some(applied) => {
            is_as_wanted(live.id.kind, &live.body, &body.value)
                && outdated(applied, &live.body, &body.value).is_empty()
        }
    };
    matches.then_some(body.hash)
}

/// Returns the write that creates an object. An object that was deleted externally may have been collected
/// with its owner, whose watch has not reported that yet. So the write reads the owner first: otherwise the
/// garbage collector would delete the new object, too, and so on.
pub(super) fn creation(model: &Model, entry: &Entry, id: &ObjectId, body: Body) -> Write {
    let owner = entry.unit.as_deref().filter(|_| entry.taken);
    match owner.and_then(|unit| Some((unit, model.owner_uid(unit)?))) {
        Some((unit, uid)) => Write::Restore(id.clone(), body, unit.clone(), uid.clone()),
        None => Write::Create(id.clone(), body),
    }
}
