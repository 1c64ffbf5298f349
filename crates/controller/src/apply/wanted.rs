//! What is wanted of an object, by what the core has translated.

use std::sync::Arc;

use emcee_core::key::Key;
use emcee_core::plan::Object;
use emcee_core::translate::Unit;

use super::body::{Body, is_as_wanted, is_copy_of};
use super::book::Entry;
use super::outdated::outdated;
use super::write::Write;
use crate::observe::fact::{Live, ObjectId};
use crate::translate::Model;

/// Which object. Objects of one unit often have the same name: that of one of `others` is used again.
pub(super) fn id_of<'a>(object: &Object, mut others: impl Iterator<Item = &'a ObjectId>) -> ObjectId {
    let same = others.find(|other| *other.key.name == *object.name);
    let name = same.map_or_else(|| object.name.as_str().into(), |other| Arc::clone(&other.key.name));
    ObjectId { kind: object.kind(), key: Key { namespace: Arc::clone(&object.namespace), name } }
}

fn is(object: &Object, id: &ObjectId) -> bool {
    let key = &id.key;
    object.kind() == id.kind && object.namespace == key.namespace && *object.name == *key.name
}

pub(super) fn body_of(model: &Model, unit: &Unit, object: &Object) -> Body {
    Body::of(object, model.owner_uid(unit))
}

/// What is wanted of an object.
pub(super) fn wanted(model: &Model, unit: &Unit, id: &ObjectId) -> Option<Body> {
    let objects = model.translation().objects_of(unit);
    let object = objects.iter().find(|object| is(object, id))?;
    Some(body_of(model, unit, object))
}

/// The hash of the content that is wanted, if the object has it.
pub(super) fn matching(model: &Model, entry: &Entry, live: &Live) -> Option<u64> {
    let body = wanted(model, entry.unit.as_deref()?, &live.id)?;
    let matches = match &live.applied {
        None => is_copy_of(live.id.kind, &live.body, &body.value),
        // What was sent already has taken away all that can be taken away.
        Some(_) if entry.sent == body.hash => is_as_wanted(live.id.kind, &live.body, &body.value),
        Some(applied) => {
            is_as_wanted(live.id.kind, &live.body, &body.value)
                && outdated(applied, &live.body, &body.value).is_empty()
        }
    };
    matches.then_some(body.hash)
}

/// The write that makes an object. What was taken away may have gone with its owner, of which its watch has not told yet:
/// so the owner is looked for first, or Kubernetes' garbage collector would take the new one, too, and so on.
pub(super) fn creation(model: &Model, entry: &Entry, id: &ObjectId, body: Body) -> Write {
    let owner = entry.unit.as_deref().filter(|_| entry.taken);
    match owner.and_then(|unit| Some((unit, model.owner_uid(unit)?))) {
        Some((unit, uid)) => Write::Restore(id.clone(), body, unit.clone(), uid.clone()),
        None => Write::Create(id.clone(), body),
    }
}
