//! What a peer may say: data, never authority.

use std::net::IpAddr;

use emcee_api::Reason;

use super::{Locality, MAX_ENDPOINTS, MAX_IDENTITIES, Offer, PeerTerms, Terms, discovery_key};
use crate::names;
use crate::parse::is_spiffe_id;
use crate::policy::{Author, EndpointPolicy, Limits, Own, OwnNetwork};
use crate::problem::Problem;
use crate::text::quote;

/// Longest hash of root certificates: hexadecimal SHA-512, with its name.
const LONGEST_HASH: usize = 128 + "sha512:".len();

impl Terms {
    /// Judges what a peer announces.
    ///
    /// # Errors
    /// What it may not say. The field is one of the offer.
    pub fn judge(&self, peer: &str, offer: &Offer) -> Result<(), Problem> {
        let Some(peer) = self.peer(peer) else {
            let message = format!("{peer:?} is no peer of MeshFedConfig {}", self.fed_config);
            return Err(Problem::new(Reason::UnknownPeer, message));
        };
        self.is_well_formed(offer)?;
        let policy = EndpointPolicy {
            author: Author::Peer,
            peers: vec![peer.into()],
            own: &self.locality,
            field_of: String::new(),
        };
        for (index, endpoint) in offer.endpoints.iter().enumerate() {
            let refused = |words| at(Reason::AddressNotAllowed, "endpoints", index, words);
            policy.judge(endpoint).map_err(refused)?;
        }
        for (index, identity) in offer.identities.iter().enumerate() {
            let refused = |words| at(Reason::IdentityNotAllowed, "identities", index, words);
            self.may_be(peer, identity).map_err(refused)?;
        }
        Ok(())
    }

    /// What an Emcee announces, and no more than it would.
    fn is_well_formed(&self, offer: &Offer) -> Result<(), Problem> {
        self.is_named(offer)?;
        if offer.mode != self.mode {
            let words = format!(
                "is {}, and MeshFedConfig {} is {} (the meshes have to agree on spec.mode)",
                offer.mode, self.fed_config, self.mode
            );
            return Err(Problem::at(Reason::StyleMismatch, "style", words));
        }
        if offer.port == 0 {
            return Err(invalid("port", "0 is not a port (1 to 65535)"));
        }
        is_bounded("endpoints", offer.endpoints.len(), MAX_ENDPOINTS)?;
        is_bounded("identities", offer.identities.len(), MAX_IDENTITIES)?;
        if !offer.trust_domain.is_empty() && !names::is_dns_name(&offer.trust_domain) {
            return Err(invalid(
                "trust_domain",
                format!("{} is not a trust domain", quote(&offer.trust_domain)),
            ));
        }
        match &offer.root_hash {
            Some(hash) if !is_hash(hash) => {
                Err(invalid("root_hash", format!("{} is not a hash", quote(hash))))
            }
            _ => Ok(()),
        }
    }

    fn is_named(&self, offer: &Offer) -> Result<(), Problem> {
        if offer.key == discovery_key() {
            return is_called(offer, &names::discovery_server_name(&self.relationship));
        }
        for (field, name) in [("namespace", &offer.key.namespace), ("name", &offer.key.name)] {
            if !names::is_dns_label(name) {
                return Err(invalid(field, format!("{} is not a DNS label", quote(name))));
            }
        }
        is_called(offer, &names::server_name(&offer.key.name, &offer.key.namespace, &self.relationship))
    }

    fn may_be(&self, peer: &PeerTerms, identity: &str) -> Result<(), String> {
        if !is_spiffe_id(identity) {
            // A name that DNS gives may be anybody's, unless the operator has said that the domain is the peer's.
            let allowed = names::is_dns_name(identity)
                && peer.domains.iter().any(|domain| names::is_within(domain, identity));
            return if allowed { Ok(()) } else { Err(not_a_spiffe_id(identity)) };
        }
        let rest = identity.strip_prefix("spiffe://").unwrap_or_default();
        let trust_domain = rest.split('/').next().unwrap_or_default();
        let listed = peer.trust_domains.iter().any(|listed| listed == trust_domain);
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

/// What does not change with every pod. The addresses of pods, nodes and Services are looked at where an announcement is
/// used.
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
        "{} is no SPIFFE id (spiffe://trust-domain/path), nor a DNS name in the domains of the peer",
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

fn is_called(offer: &Offer, computed: &str) -> Result<(), Problem> {
    if offer.server_name == computed {
        return Ok(());
    }
    Err(invalid("server_name", format!("{} is not {computed}", quote(&offer.server_name))))
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
