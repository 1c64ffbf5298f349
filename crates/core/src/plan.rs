//! The objects that a translation generates and Emcee owns.

mod kind;
mod object;
mod owner;

pub use kind::Kind;
pub use object::{Body, Object};
pub use owner::{Owner, OwnerKind};

/// Sorts objects into the order in which they must be applied. An object comes after everything that it refers to, so
/// no service is half reachable meanwhile.
pub fn in_order(objects: impl IntoIterator<Item = Object>) -> Vec<Object> {
    let mut ordered: Vec<_> = objects.into_iter().collect();
    ordered.sort_unstable_by(|a, b| a.order().cmp(&b.order()));
    ordered
}
