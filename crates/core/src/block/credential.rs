//! Copy of a relationship's credential in a namespace where gateway pods can read it.

use std::sync::Arc;

use super::istio::object;
use crate::inputs::KeyMaterial;
use crate::plan::{Body, Object};
use crate::resolve::Relationship;

/// Builds a Secret with tls.crt, tls.key and ca.crt.
pub(super) fn copy(relationship: &Relationship, namespace: &Arc<str>, material: &KeyMaterial) -> Object {
    let name = relationship.copied_credential();
    object(namespace, name, &relationship.owner, Body::Secret(material.clone()))
}
