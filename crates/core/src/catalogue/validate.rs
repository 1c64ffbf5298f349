//! Validation of a peer's announcements. An announcement is data and never grants permissions.

use std::net::IpAddr;

use emcee_api::Reason;

use super::{
    Announcement, LocalMesh, MAX_ENDPOINTS, MAX_IDENTITIES, PeerPolicy, PolicyPeer,
    discovery_announcement_key,
};
use crate::names;
use crate::parse::is_spiffe_id;
use crate::policy::{EndpointAuthor, EndpointPolicy, MeshOwnership, OwnNetwork, PeerLimits};
use crate::problem::ResourceProblem;
use crate::text::quote_value;

/// Longest accepted hash of root certificates: hexadecimal SHA-512, with its name.
const MAX_HASH_LENGTH: usize = 128 + "sha512:".len();

impl PeerPolicy {
    /// Validates an announcement of a peer.
    ///
    /// # Errors
    /// Returns the first part of the announcement that the peer may not announce. The problem's field is a
    /// field of the announcement.
    pub fn validate(&self, peer: &str, announcement: &Announcement) -> Result<(), ResourceProblem> {
        let Some(peer) = self.find_peer(peer) else {
            let message = format!("{peer:?} is not a peer of MeshFedConfig {}", self.fed_config);
            return Err(ResourceProblem::new(Reason::UnknownPeer, message));
        };
        self.check_content(announcement)?;
        // A peer announces only its own endpoints, so they must be within the limits of this peer, not of any
        // other.
        let policy = EndpointPolicy {
            author: EndpointAuthor::Peer,
            peers: vec![peer.into()],
            own: &self.local_mesh,
            field_suffix: String::new(),
        };
        for (index, endpoint) in announcement.endpoints.iter().enumerate() {
            let refused = |words| problem_at(Reason::AddressNotAllowed, "endpoints", index, words);
            policy.refuse_endpoint(endpoint).map_err(refused)?;
        }
        for (index, identity) in announcement.identities.iter().enumerate() {
            let refused = |words| problem_at(Reason::IdentityNotAllowed, "identities", index, words);
            self.check_identity(peer, identity).map_err(refused)?;
        }
        Ok(())
    }

    /// Checks that the content is such as an Emcee announces, within the same limits.
    fn check_content(&self, announcement: &Announcement) -> Result<(), ResourceProblem> {
        self.check_names(announcement)?;
        if announcement.mode != self.mode {
            let words = format!(
                "is {}, and MeshFedConfig {} is {} (the meshes have to agree on spec.mode)",
                announcement.mode, self.fed_config, self.mode
            );
            return Err(ResourceProblem::at_field(Reason::StyleMismatch, "style", words));
        }
        if announcement.port == 0 {
            return Err(invalid_field("port", "0 is not a port (1 to 65535)"));
        }
        // The limits are checked before the items, so that a hostile announcement costs little.
        check_count("endpoints", announcement.endpoints.len(), MAX_ENDPOINTS)?;
        check_count("identities", announcement.identities.len(), MAX_IDENTITIES)?;
        if !announcement.trust_domain.is_empty() && !names::is_dns_name(&announcement.trust_domain) {
            return Err(invalid_field(
                "trust_domain",
                format!("{} is not a trust domain", quote_value(&announcement.trust_domain)),
            ));
        }
        // Only the form is checked. The hash is compared with this mesh's own, so any algorithm is accepted.
        match &announcement.root_hash {
            Some(hash) if !is_hash(hash) => {
                Err(invalid_field("root_hash", format!("{} is not a hash", quote_value(hash))))
            }
            _ => Ok(()),
        }
    }

    fn check_names(&self, announcement: &Announcement) -> Result<(), ResourceProblem> {
        // Emcee announces itself under a reserved key, which is not a pair of DNS labels.
        if announcement.key == discovery_announcement_key() {
            return check_server_name(announcement, &names::discovery_server_name(&self.relationship));
        }
        for (field, name) in [("namespace", &announcement.key.namespace), ("name", &announcement.key.name)] {
            if !names::is_dns_label(name) {
                return Err(invalid_field(field, format!("{} is not a DNS label", quote_value(name))));
            }
        }
        check_server_name(
            announcement,
            &names::server_name(&announcement.key.name, &announcement.key.namespace, &self.relationship),
        )
    }

    fn check_identity(&self, peer: &PolicyPeer, identity: &str) -> Result<(), String> {
        if !is_spiffe_id(identity) {
            // A DNS name is an acceptable identity only if the administrator lists its domain for the peer:
            // DNS may give the name to anyone else.
            let allowed = names::is_dns_name(identity)
                && peer.domains.iter().any(|domain| names::is_in_domain(domain, identity));
            return if allowed { Ok(()) } else { Err(not_a_spiffe_id(identity)) };
        }
        let rest = identity.strip_prefix("spiffe://").unwrap_or_default();
        let trust_domain = rest.split('/').next().unwrap_or_default();
        let listed = peer.trust_domains.iter().any(|listed| listed == trust_domain);
        // An identity of this mesh's own trust domain could impersonate a local workload.
        let own = trust_domain == self.local_mesh.trust_domain;
        if own && !listed && !self.local_mesh.shared_trust_domain {
            return Err(format!(
                "{} is an identity of this mesh's own trust domain (if the meshes share it: list {trust_domain} in spec.peers[].trust_domains)",
                quote_value(identity)
            ));
        }
        if listed || peer.trust_domains.is_empty() {
            return Ok(());
        }
        Err(format!(
            "{} lies in none of the trust domains of peer {} (spec.peers[].trust_domains)",
            quote_value(identity),
            peer.name
        ))
    }
}

impl<'a> From<&'a PolicyPeer> for PeerLimits<'a> {
    fn from(peer: &'a PolicyPeer) -> Self {
        Self { peer: &peer.name, networks: &peer.networks, domains: &peer.domains }
    }
}

/// Uses only what does not change with every pod. The addresses of pods, nodes and Services are checked where
/// an announcement is used.
impl MeshOwnership for LocalMesh {
    fn cluster_domain(&self) -> &str {
        &self.cluster_domain
    }

    fn own_networks(&self, address: IpAddr) -> Vec<OwnNetwork> {
        let has_it = self.networks.iter().filter(|network| network.contains(&address));
        has_it.map(|&network| OwnNetwork { network, what: "this mesh's own" }).collect()
    }

    fn is_own_host(&self, _name: &str) -> bool {
        false
    }
}

fn not_a_spiffe_id(identity: &str) -> String {
    format!(
        "{} is neither a SPIFFE id (spiffe://trust-domain/path) nor a DNS name in the domains of the peer",
        quote_value(identity)
    )
}

fn is_hash(text: &str) -> bool {
    (1..=MAX_HASH_LENGTH).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b':')
}

fn problem_at(reason: Reason, list: &str, index: usize, words: String) -> ResourceProblem {
    ResourceProblem::at_field(reason, format!("{list}[{index}]"), words)
}

fn check_server_name(announcement: &Announcement, computed: &str) -> Result<(), ResourceProblem> {
    if announcement.server_name == computed {
        return Ok(());
    }
    Err(invalid_field("server_name", format!("{} is not {computed}", quote_value(&announcement.server_name))))
}

fn check_count(field: &str, count: usize, limit: usize) -> Result<(), ResourceProblem> {
    if count <= limit {
        return Ok(());
    }
    Err(invalid_field(field, format!("has {count} entries (at most {limit})")))
}

fn invalid_field(field: &str, words: impl Into<String>) -> ResourceProblem {
    ResourceProblem::at_field(Reason::AnnouncementInvalid, field, words)
}
