//! What discovery has to be told after a change.

use std::sync::Arc;

use super::{Addressed, Terms};
use crate::key::Key;

/// What discovery has to be told after a change.
#[derive(Clone, Debug, PartialEq)]
pub enum Published {
    /// The terms of a relationship, by its MeshFedConfig; none: it is closed, a cut-off and no withdrawal.
    Terms(Key, Option<Arc<Terms>>),
    /// All that a ServiceExposition offers, in place of what it offered before.
    Offers(Key, Vec<Addressed>),
}
