//! Objects of a relationship itself: gateways, copies of its credential, and routes for discovery.

use super::{credential, discovery, gateway};
use crate::plan::GeneratedObject;
use crate::resolve::ResolvedRelationship;

/// Builds the gateways, the copies of the credential, and the discovery routes through the gateways. Empty if
/// the relationship cannot be used.
pub(crate) fn objects(relationship: &ResolvedRelationship, revision: Option<&str>) -> Vec<GeneratedObject> {
    if relationship.check_usable().is_err() {
        return Vec::new();
    }
    let gateways = [&relationship.egress, &relationship.ingress].into_iter().flatten().flatten();
    let mut objects = Vec::new();
    let mut copied = Vec::new();
    for gateway in gateways {
        let namespace = &gateway.namespace;
        if gateway.created {
            objects.extend(gateway::objects(&relationship.owner, &relationship.config, gateway, revision));
        }
        // A gateway in the fed namespace reads the user's own Secret if that is complete. Otherwise it needs
        // a copy, which all gateways of a namespace share.
        let copy = relationship.credential_name(namespace) == relationship.copied_credential_name();
        if relationship.config.mode.terminates_tls() && copy && !copied.contains(&namespace) {
            copied.push(namespace);
            let material = relationship.certificate.credential().map(|credential| &credential.material);
            objects.extend(
                material.map(|material| credential::copied_secret(relationship, namespace, material)),
            );
        }
    }
    objects.extend(discovery::objects(relationship));
    objects
}
