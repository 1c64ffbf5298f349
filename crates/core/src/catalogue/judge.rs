//! What a peer may say: data, never authority.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use emcee_api::Reason;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{MAX_ENDPOINTS, MAX_IDENTITIES, Offer, PeerTerms, Terms, discovery_key};
use crate::endpoint::{Endpoint, Host};
use crate::names;
use crate::parse::{is_spiffe_id, quote};
use crate::problem::Problem;

/// Longest hash of root certificates: hexadecimal SHA-512, with its name.
const LONGEST_HASH: usize = 128 + "sha512:".len();

/// Where nothing of a peer's can ever be: "this network" (RFC 1122), link-local, where clouds have their metadata
/// services (RFC 3927, RFC 4291), multicast, and what is reserved or broadcast (RFC 1112, RFC 919).
const NOWHERE: [IpNet; 6] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 8)),
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16)),
    // Multicast and all that is reserved above it.
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 3)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8)),
];

const LOOPBACK: [IpNet; 2] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
];

/// IPv4 behind a translator (RFC 6052): what is no IPv4 address of a peer's is none in this disguise.
const TRANSLATED: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

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
        for (index, endpoint) in offer.endpoints.iter().enumerate() {
            let refused = |words| at(Reason::AddressNotAllowed, "endpoints", index, words);
            self.may_be_at(peer, endpoint).map_err(refused)?;
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

    fn may_be_at(&self, peer: &PeerTerms, endpoint: &Endpoint) -> Result<(), String> {
        if endpoint.port == 0 {
            return Err("0 is not a port (1 to 65535)".to_owned());
        }
        match &endpoint.host {
            Host::Name(name) => may_have_name(peer, name),
            Host::Ip(address) => self.may_have_address(peer, canonical(*address)),
        }
    }

    fn may_have_address(&self, peer: &PeerTerms, address: IpAddr) -> Result<(), String> {
        if NOWHERE.iter().any(|network| network.contains(&address)) {
            return Err(format!(
                "{address} is unspecified, link-local, multicast or reserved, and never a peer's"
            ));
        }
        if let Some(own) = self.own(address)
            && !peer.networks.iter().any(|network| own.contains(network) && network.contains(&address))
        {
            return Err(format!(
                "{address} lies in {own}, which is this mesh's own (if the peer is there: name that network, or a part of it, in spec.peers[].networks)"
            ));
        }
        if peer.networks.is_empty() || peer.networks.iter().any(|network| network.contains(&address)) {
            return Ok(());
        }
        Err(format!("{address} lies in none of the networks of peer {} (spec.peers[].networks)", peer.name))
    }

    /// The network that is no peer's, if nobody says so.
    fn own(&self, address: IpAddr) -> Option<&IpNet> {
        LOOPBACK.iter().chain(&self.locality.networks).find(|network| network.contains(&address))
    }

    fn may_be(&self, peer: &PeerTerms, identity: &str) -> Result<(), String> {
        if !is_spiffe_id(identity) {
            // A name that DNS gives may be anybody's, unless the operator has said that the domain is the peer's.
            let allowed = names::is_dns_name(identity) && is_within(&peer.domains, identity);
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

fn not_a_spiffe_id(identity: &str) -> String {
    format!(
        "{} is no SPIFFE id (spiffe://trust-domain/path), nor a DNS name in the domains of the peer",
        quote(identity)
    )
}

/// Envoy resolves it, later and elsewhere: all that can be asked is whether the domain is the peer's.
fn may_have_name(peer: &PeerTerms, name: &str) -> Result<(), String> {
    let numeric = name.rsplit('.').next().is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()));
    if numeric || !names::is_dns_name(name) {
        return Err(format!("{} is not a DNS name", quote(name)));
    }
    if is_within(&peer.domains, name) {
        return Ok(());
    }
    Err(format!("{} lies in none of the domains of peer {} (spec.peers[].domains)", quote(name), peer.name))
}

fn is_within(domains: &[String], name: &str) -> bool {
    let within = |domain: &String| {
        name.strip_suffix(domain.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    domains.iter().any(within)
}

/// An IPv4 address in IPv6's clothes is that IPv4 address.
pub(crate) fn canonical(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) if TRANSLATED.contains(&address) => {
            let [.., a, b, c, d] = address.octets();
            Ipv4Addr::new(a, b, c, d).into()
        }
        address => address.to_canonical(),
    }
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
