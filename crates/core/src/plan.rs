//! The objects that a translation generates and Emcee owns.

mod kind;
mod object;
mod owner;

pub use kind::GeneratedKind;
pub use object::{GeneratedObject, ObjectContent};
pub use owner::{ObjectOwner, OwnerKind};

/// Sorts objects into the order in which they must be applied. An object comes after everything that it refers to, so
/// no service is half reachable meanwhile.
pub fn sort_for_apply(objects: impl IntoIterator<Item = GeneratedObject>) -> Vec<GeneratedObject> {
    let mut ordered: Vec<_> = objects.into_iter().collect();
    ordered.sort_unstable_by(|a, b| a.apply_order().cmp(&b.apply_order()));
    ordered
}
