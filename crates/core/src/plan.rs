//! What a translation makes: the objects that Emcee owns, and how each resource is.

mod kind;
mod object;
mod owner;

pub use kind::Kind;
pub use object::{Body, Object};
pub use owner::{Owner, OwnerKind};

/// All objects, in the order in which they are to be applied: whatever an object refers to comes before it, so
/// nothing is half-reachable on the way.
pub fn in_order(objects: impl IntoIterator<Item = Object>) -> Vec<Object> {
    let mut ordered: Vec<_> = objects.into_iter().collect();
    ordered.sort_unstable_by(|a, b| a.order().cmp(&b.order()));
    ordered
}
