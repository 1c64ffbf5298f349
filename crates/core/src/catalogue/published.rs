//! Changes that discovery must publish.

use std::sync::Arc;

use super::{Addressed, Terms};
use crate::key::Key;

/// A change that discovery must publish.
#[derive(Clone, Debug, PartialEq)]
pub enum Published {
    /// Policy of a relationship, by its MeshFedConfig. `None` closes the relationship: peers lose the
    /// connection, and do not see withdrawals.
    Terms(Key, Option<Arc<Terms>>),
    /// All announcements of a ServiceExposition. They replace its earlier announcements.
    Offers(Key, Vec<Addressed>),
}
