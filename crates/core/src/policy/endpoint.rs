//! Check whether an endpoint may belong to a peer.

use std::net::IpAddr;

use ipnet::IpNet;

use super::address_ranges::{LOCAL_RANGES, address_forms, canonical_address, is_never_routable};
use super::host_name::local_domain;
use crate::endpoint::{Endpoint, Host};
use crate::names;
use crate::parse::PeerSettings;
use crate::text::quote_value;

/// Addresses and names that the administrator allows for one peer in the MeshFedConfig.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerLimits<'a> {
    /// Name of the peer.
    pub(crate) peer: &'a str,
    /// Value of `peers[].networks`. If it is not empty, the peer's addresses must be in these networks.
    pub(crate) networks: &'a [IpNet],
    /// Value of `peers[].domains`: the domains of the peer's host names.
    pub(crate) domains: &'a [String],
}

impl<'a> From<&'a PeerSettings> for PeerLimits<'a> {
    fn from(peer: &'a PeerSettings) -> Self {
        Self { peer: &peer.name, networks: &peer.networks, domains: &peer.domains }
    }
}

/// Author of an endpoint, who decides how strictly host names are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndpointAuthor {
    /// A peer, about itself: host names only in the domains that the administrator lists.
    Peer,
    /// A user. Any host name is allowed if the administrator limits the peer neither to networks nor to
    /// domains.
    User,
}

/// What belongs to this mesh, as far as the implementation knows it.
pub(crate) trait MeshOwnership {
    /// Returns the cluster's DNS domain.
    fn cluster_domain(&self) -> &str;
    /// Returns the networks of this mesh that contain an address.
    fn own_networks(&self, address: IpAddr) -> Vec<OwnNetwork>;
    /// Whether a host name leads to this mesh. Not called for names in domains that are local by standard.
    fn is_own_host(&self, name: &str) -> bool;
}

/// Network of this mesh, or a single address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnNetwork {
    pub(crate) network: IpNet,
    /// Completes the sentence "which is …".
    pub(crate) what: &'static str,
}

/// Policy for the endpoints of one author.
pub(crate) struct EndpointPolicy<'a> {
    pub(crate) author: EndpointAuthor,
    /// At least one of these peers must be allowed to have the endpoint. Empty if the relationship lists no
    /// peers.
    pub(crate) peers: Vec<PeerLimits<'a>>,
    /// What belongs to this mesh.
    pub(crate) own: &'a dyn MeshOwnership,
    /// Text after the name of a MeshFedConfig field in messages.
    pub(crate) field_suffix: String,
}

impl EndpointPolicy<'_> {
    /// Refuses an endpoint that neither the peer nor one of the peers may have. The error says why, and what would allow
    /// it.
    pub(crate) fn refuse_endpoint(&self, endpoint: &Endpoint) -> Result<(), String> {
        if endpoint.port == 0 {
            return Err("0 is not a port (1 to 65535)".to_owned());
        }
        match &endpoint.host {
            Host::Name(name) => self.refuse_host_name(name),
            // The canonical form, so that IPv4 written as IPv6 is checked as IPv4.
            Host::Ip(address) => self.refuse_address(canonical_address(*address)),
        }
    }

    fn refuse_address(&self, address: IpAddr) -> Result<(), String> {
        never_allowed_address(address).map_or(Ok(()), Err)?;
        // A tunnel or translator delivers to the embedded IPv4 address, so that address is checked too.
        for form in address_forms(address) {
            if let Some(OwnNetwork { network, what }) = self.unlisted_own_network(form) {
                let subject = describe_form(form, address);
                return Err(format!(
                    "{subject} lies in {network}, which is {what} (if the peer is there: name that network, or a part of it, in {})",
                    self.field_path("networks")
                ));
            }
        }
        let may = |peer: &PeerLimits<'_>| peer.networks.is_empty() || any_contains(peer.networks, address);
        if self.peers.is_empty() || self.peers.iter().any(may) {
            return Ok(());
        }
        Err(format!(
            "{address} lies in none of the networks of {} ({})",
            self.describe_peers(),
            self.field_path("networks")
        ))
    }

    /// Returns a network that contains the address and belongs to a peer only if the administrator says so,
    /// unless the MeshFedConfig lists it. A wider network does not count as listing it: `0.0.0.0/0` does not
    /// allow loopback.
    fn unlisted_own_network(&self, address: IpAddr) -> Option<OwnNetwork> {
        let local = LOCAL_RANGES.iter().filter(|(network, _)| network.contains(&address));
        let local = local.map(|&(network, what)| OwnNetwork { network, what });
        let own: Vec<_> = local.chain(self.own.own_networks(address)).collect();
        let names =
            |named: &IpNet| named.contains(&address) && own.iter().any(|own| own.network.contains(named));
        let is_named = self.peers.iter().any(|peer| peer.networks.iter().any(names));
        own.into_iter().next().filter(|_| !is_named)
    }

    /// Refuses a host name that is not the peer's. Envoy resolves it later and elsewhere, so the only possible check is whether its
    /// domain belongs to the peer.
    fn refuse_host_name(&self, name: &str) -> Result<(), String> {
        if names::ends_in_number(name) || !names::is_dns_name(name) {
            return Err(format!("{} is not a DNS name", quote_value(name)));
        }
        never_allowed_name(name).map_or(Ok(()), Err)?;
        // A local name needs a listed domain that is local itself: with the cluster domain `k8s.example`,
        // listing `example` does not allow `a.b.svc.k8s.example`.
        let local = local_domain(name, Some(self.own.cluster_domain()));
        if let Some(local) = local.or_else(|| self.own.is_own_host(name).then_some(name))
            && !self
                .allowed_domains()
                .any(|domain| names::is_in_domain(local, domain) && names::is_in_domain(domain, name))
        {
            return Err(format!(
                "{name} is a name of this cluster or host (if the peer is there: name {local}, or a name below it, in {})",
                self.field_path("domains")
            ));
        }
        // An administrator who lists networks or domains has limited the peer, and a free name could resolve
        // to any address.
        let free = |peer: &PeerLimits<'_>| {
            self.author == EndpointAuthor::User && peer.networks.is_empty() && peer.domains.is_empty()
        };
        let may = |peer: &PeerLimits<'_>| {
            free(peer) || peer.domains.iter().any(|domain| names::is_in_domain(domain, name))
        };
        if self.peers.is_empty() && self.author == EndpointAuthor::User || self.peers.iter().any(may) {
            return Ok(());
        }
        Err(format!(
            "{} lies in none of the domains of {} ({})",
            quote_value(name),
            self.describe_peers(),
            self.field_path("domains")
        ))
    }

    fn allowed_domains(&self) -> impl Iterator<Item = &str> {
        self.peers.iter().flat_map(|peer| peer.domains.iter().map(String::as_str))
    }

    fn field_path(&self, field: &str) -> String {
        format!("spec.peers[].{field}{}", self.field_suffix)
    }

    fn describe_peers(&self) -> String {
        match self.peers.as_slice() {
            [one] => format!("peer {}", one.peer),
            _ => "any peer".to_owned(),
        }
    }
}

/// Returns why no peer may ever have an endpoint, whatever the MeshFedConfig says. `None` if a peer may.
pub(crate) fn never_allowed(endpoint: &Endpoint) -> Option<String> {
    match &endpoint.host {
        Host::Name(name) => never_allowed_name(name),
        Host::Ip(address) => never_allowed_address(canonical_address(*address)),
    }
}

fn never_allowed_address(address: IpAddr) -> Option<String> {
    let form = address_forms(address).find(|form| is_never_routable(*form))?;
    let subject = describe_form(form, address);
    Some(format!("{subject} is unspecified, link-local, multicast or reserved, and never a peer's"))
}

fn never_allowed_name(name: &str) -> Option<String> {
    names::is_emcee_name(name).then(|| format!("{name} is a name of Emcee's own, and never a peer's"))
}

fn describe_form(form: IpAddr, address: IpAddr) -> String {
    if form == address { address.to_string() } else { format!("{form} in {address}") }
}

fn any_contains(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}
