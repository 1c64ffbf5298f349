//! Open relationships with their certificates and peers, as TLS needs them.

use std::collections::BTreeMap;
use std::sync::Arc;

use emcee_core::catalogue::{PeerPolicy, PolicyPeer};
use emcee_core::inputs::Credential;
use emcee_core::key::ObjectKey;
use emcee_discovery::transport::tls::{SubjectAltName, TlsIdentity, TlsRelationship, TlsRelationships};
use tokio::sync::watch;
use tracing::warn;

/// What the TLS configuration of a relationship is built from. Its connections stay open while this does not change.
#[derive(PartialEq)]
struct RelationshipTlsSpec {
    name: String,
    certificate: Arc<Credential>,
    peers: Vec<(Arc<str>, Vec<String>)>,
}

/// Publishes the TLS configuration of the open relationships to the discovery server and clients.
pub(super) struct OpenRelationships {
    specs: BTreeMap<ObjectKey, RelationshipTlsSpec>,
    open: watch::Sender<Arc<TlsRelationships>>,
}

impl Default for OpenRelationships {
    fn default() -> Self {
        Self { specs: BTreeMap::new(), open: watch::channel(Arc::default()).0 }
    }
}

impl OpenRelationships {
    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<TlsRelationships>> {
        self.open.subscribe()
    }

    /// Opens, replaces or closes (`None`) the relationship of a MeshFedConfig.
    pub(super) fn set_policy(&mut self, fed_config: &ObjectKey, policy: Option<&PeerPolicy>) {
        let made = policy.and_then(RelationshipTlsSpec::from_policy);
        if self.specs.get(fed_config) == made.as_ref() {
            return;
        }
        // The old name is needed, as a relationship may have been renamed.
        let before = self.specs.remove(fed_config).map(|made| made.name);
        let opened = made.and_then(|made| {
            let relationship = made.build_relationship(fed_config)?;
            let name: Arc<str> = made.name.as_str().into();
            // If the relationship moves from another MeshFedConfig, the closing of that one may come later, and must not
            // close this one.
            self.specs.retain(|_, other| other.name != made.name);
            self.specs.insert(fed_config.clone(), made);
            Some((name, Arc::new(relationship)))
        });
        // One update for removal and addition: no handshake finds the relationship missing in between.
        self.open.send_modify(|open| {
            let mut all = TlsRelationships::clone(open);
            if let Some(before) = before {
                all.remove(&*before);
            }
            all.extend(opened);
            *open = Arc::new(all);
        });
    }
}

impl RelationshipTlsSpec {
    /// Returns `None` for a relationship without a certificate or without peers.
    fn from_policy(policy: &PeerPolicy) -> Option<Self> {
        let certificate = Arc::clone(policy.certificate.as_ref()?);
        let of = |peer: &PolicyPeer| (Arc::clone(&peer.name), peer.subject_alt_names.clone());
        let peers: Vec<_> = policy.peers.iter().map(of).collect();
        (!peers.is_empty()).then(|| Self { name: policy.relationship.clone(), certificate, peers })
    }

    /// Builds the TLS configuration. Returns `None` if the certificate cannot be used: the relationship is then closed
    /// for discovery. The condition CertificateValid reports the reason to the user.
    fn build_relationship(&self, fed_config: &ObjectKey) -> Option<TlsRelationship> {
        let material = TlsIdentity::parse(&self.certificate.material)
            .inspect_err(
                |error| warn!(%fed_config, secret = %self.certificate.key, %error, "closed for discovery"),
            )
            .ok()?;
        let names = |names: &[String]| {
            names.iter().map(|name| SubjectAltName::from(name.as_str())).collect::<Vec<_>>()
        };
        let peers = self.peers.iter().map(|(peer, own)| (&**peer, names(own)));
        Some(TlsRelationship::new(&self.name, material, peers))
    }
}

#[cfg(test)]
mod tests {
    use emcee_testkit::prelude::*;

    use super::*;
    use crate::run::discovery::publisher::tests::policy;

    fn policy_with_certificate(relationship: &str) -> PeerPolicy {
        let secret = secret_tls("blue", "blue").pair(&valid_pair("m1.example")).build();
        let secret = serde_json::from_value(secret).expect("a Secret");
        let certificate = Credential::from_secret(&secret).map(Arc::new);
        PeerPolicy { certificate, ..PeerPolicy::clone(&policy(relationship, &["m2"])) }
    }

    /// The order of the two updates is not defined.
    #[test]
    fn a_relationship_that_moves_to_another_fed_config_stays_open() {
        let (old, new) = (ObjectKey::new("here", "blue"), ObjectKey::new("elsewhere", "blue"));
        let blue = policy_with_certificate("blue");
        for new_first in [true, false] {
            let mut relationships = OpenRelationships::default();
            let open = relationships.subscribe();
            relationships.set_policy(&old, Some(&blue));
            let mut updates = vec![(&new, Some(&blue)), (&old, None)];
            if !new_first {
                updates.reverse();
            }
            for (fed_config, policy) in updates {
                relationships.set_policy(fed_config, policy);
            }
            assert_eq!(open.borrow().len(), 1, "{new_first}");
            relationships.set_policy(&new, None);
            assert_eq!(open.borrow().len(), 0, "{new_first}");
        }
    }
}
