//! Validation of a peer's announcements. An announcement is data and never grants permissions.

use std::net::IpAddr;

use emcee_api::Reason;

use super::{Locality, MAX_ENDPOINTS, MAX_IDENTITIES, Offer, PeerTerms, Terms, discovery_key};
use crate::names;
use crate::parse::is_spiffe_id;
use crate::policy::{Author, EndpointPolicy, Limits, Own, OwnNetwork};
use crate::problem::Problem;
use crate::text::quote;

/// Longest accepted hash of root certificates: hexadecimal SHA-512, with its name.
const LONGEST_HASH: usize = 128 + "sha512:".len();

impl Terms {
    /// Validates an announcement of a peer.
    ///
    /// # Errors
    /// Returns the first part of the announcement that the peer may not announce. The problem's field is a
    /// field of the announcement.
    pub fn judge(&self, peer: &str, announcement: &Offer) -> Result<(), Problem> {
        let Some(peer) = self.peer(peer) else {
            let message = format!("{peer:?} is not a peer of MeshFedConfig {}", self.fed_config);
            return Err(Problem::new(Reason::UnknownPeer, message));
        };
        self.is_well_formed(announcement)?;
        // A peer announces only its own endpoints, so they must be within the limits of this peer, not of any
        // other.
        let policy = EndpointPolicy {
            author: Author::Peer,
            peers: vec![peer.into()],
            own: &self.locality,
            field_of: String::new(),
        };
        for (index, endpoint) in announcement.endpoints.iter().enumerate() {
            let refused = |words| at(Reason::AddressNotAllowed, "endpoints", index, words);
            policy.judge(endpoint).map_err(refused)?;
        }
        for (index, identity) in announcement.identities.iter().enumerate() {
            let refused = |words| at(Reason::IdentityNotAllowed, "identities", index, words);
            self.may_be(peer, identity).map_err(refused)?;
        }
        Ok(())
    }

    /// Checks that the content is such as an Emcee announces, within the same limits.
    fn is_well_formed(&self, announcement: &Offer) -> Result<(), Problem> {
        self.is_named(announcement)?;
        if announcement.mode != self.mode {
            let words = format!(
                "is {}, and MeshFedConfig {} is {} (the meshes have to agree on spec.mode)",
                announcement.mode, self.fed_config, self.mode
            );
            return Err(Problem::at(Reason::StyleMismatch, "style", words));
        }
        if announcement.port == 0 {
            return Err(invalid("port", "0 is not a port (1 to 65535)"));
        }
        // The limits are checked before the items, so that a hostile announcement costs little.
        is_bounded("endpoints", announcement.endpoints.len(), MAX_ENDPOINTS)?;
        is_bounded("identities", announcement.identities.len(), MAX_IDENTITIES)?;
        if !announcement.trust_domain.is_empty() && !names::is_dns_name(&announcement.trust_domain) {
            return Err(invalid(
                "trust_domain",
                format!("{} is not a trust domain", quote(&announcement.trust_domain)),
            ));
        }
        // Only the form is checked. The hash is compared with this mesh's own, so any algorithm is accepted.
        match &announcement.root_hash {
            Some(hash) if !is_hash(hash) => {
                Err(invalid("root_hash", format!("{} is not a hash", quote(hash))))
            }
            _ => Ok(()),
        }
    }

    fn is_named(&self, announcement: &Offer) -> Result<(), Problem> {
        // Emcee announces itself under a reserved key, which is not a pair of DNS labels.
        if announcement.key == discovery_key() {
            return is_called(announcement, &names::discovery_server_name(&self.relationship));
        }
        for (field, name) in [("namespace", &announcement.key.namespace), ("name", &announcement.key.name)] {
            if !names::is_dns_label(name) {
                return Err(invalid(field, format!("{} is not a DNS label", quote(name))));
            }
        }
        is_called(
            announcement,
            &names::server_name(&announcement.key.name, &announcement.key.namespace, &self.relationship),
        )
    }

    fn may_be(&self, peer: &PeerTerms, identity: &str) -> Result<(), String> {
        if !is_spiffe_id(identity) {
            // A DNS name is an acceptable identity only if the administrator lists its domain for the peer:
            // DNS may give the name to anyone else.
            let allowed = names::is_dns_name(identity)
                && peer.domains.iter().any(|domain| names::is_within(domain, identity));
            return if allowed { Ok(()) } else { Err(not_a_spiffe_id(identity)) };
        }
        let rest = identity.strip_prefix("spiffe://").unwrap_or_default();
        let trust_domain = rest.split('/').next().unwrap_or_default();
        let listed = peer.trust_domains.iter().any(|listed| listed == trust_domain);
        // An identity of this mesh's own trust domain could impersonate a local workload.
        let own = trust_domain == self.locality.trust_domain;
        if own && !listed && !self.locality.shared_trust_domain {
            return Err(format!(
                "{} is an identity of this mesh's own trust domain (if the meshes share it: list {trust_domain} in spec.peers[].trust_domains)",
                quote(identity)
            ));
        }
        if listed || peer.trust_domains.is_empty() {
            return Ok(());
        }
        Err(format!(
            "{} lies in none of the trust domains of peer {} (spec.peers[].trust_domains)",
            quote(identity),
            peer.name
        ))
    }
}

impl<'a> From<&'a PeerTerms> for Limits<'a> {
    fn from(peer: &'a PeerTerms) -> Self {
        Self { peer: &peer.name, networks: &peer.networks, domains: &peer.domains }
    }
}

/// Uses only what does not change with every pod. The addresses of pods, nodes and Services are checked where
/// an announcement is used.
impl Own for Locality {
    fn cluster_domain(&self) -> &str {
        &self.cluster_domain
    }

    fn networks_of(&self, address: IpAddr) -> Vec<OwnNetwork> {
        let has_it = self.networks.iter().filter(|network| network.contains(&address));
        has_it.map(|&network| OwnNetwork { network, what: "this mesh's own" }).collect()
    }

    fn has_name(&self, _name: &str) -> bool {
        false
    }
}

fn not_a_spiffe_id(identity: &str) -> String {
    format!(
        "{} is neither a SPIFFE id (spiffe://trust-domain/path) nor a DNS name in the domains of the peer",
        quote(identity)
    )
}

fn is_hash(text: &str) -> bool {
    (1..=LONGEST_HASH).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b':')
}

fn at(reason: Reason, list: &str, index: usize, words: String) -> Problem {
    Problem::at(reason, format!("{list}[{index}]"), words)
}

fn is_called(announcement: &Offer, computed: &str) -> Result<(), Problem> {
    if announcement.server_name == computed {
        return Ok(());
    }
    Err(invalid("server_name", format!("{} is not {computed}", quote(&announcement.server_name))))
}

fn is_bounded(field: &str, count: usize, limit: usize) -> Result<(), Problem> {
    if count <= limit {
        return Ok(());
    }
    Err(invalid(field, format!("has {count} entries (at most {limit})")))
}

fn invalid(field: &str, words: impl Into<String>) -> Problem {
    Problem::at(Reason::AnnouncementInvalid, field, words)
}
