//! Copy of a relationship's credential in a namespace where gateway pods can read it.

use std::sync::Arc;

use super::istio::new_object;
use crate::inputs::KeyMaterial;
use crate::plan::{GeneratedObject, ObjectContent};
use crate::resolve::ResolvedRelationship;

/// Builds a Secret with tls.crt, tls.key and ca.crt.
pub(super) fn copied_secret(
    relationship: &ResolvedRelationship,
    namespace: &Arc<str>,
    material: &KeyMaterial,
) -> GeneratedObject {
    let name = relationship.copied_credential_name();
    new_object(namespace, name, &relationship.owner, ObjectContent::Secret(material.clone()))
}
