//! Check whether an endpoint may belong to a peer.

use std::net::IpAddr;

use ipnet::IpNet;

use super::host_name::local_domain;
use super::ranges::{LOCAL, canonical, forms, is_never};
use crate::endpoint::{Endpoint, Host};
use crate::names;
use crate::parse::PeerModel;
use crate::text::quote;

/// Addresses and names that the administrator allows for one peer in the MeshFedConfig.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits<'a> {
    /// Name of the peer.
    pub(crate) peer: &'a str,
    /// Value of `peers[].networks`. If it is not empty, the peer's addresses must be in these networks.
    pub(crate) networks: &'a [IpNet],
    /// Value of `peers[].domains`: the domains of the peer's host names.
    pub(crate) domains: &'a [String],
}

impl<'a> From<&'a PeerModel> for Limits<'a> {
    fn from(peer: &'a PeerModel) -> Self {
        Self { peer: &peer.name, networks: &peer.networks, domains: &peer.domains }
    }
}

/// Author of an endpoint, who decides how strictly host names are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Author {
    /// A peer, about itself: host names only in the domains that the administrator lists.
    Peer,
    /// A user. Any host name is allowed if the administrator limits the peer neither to networks nor to
    /// domains.
    User,
}

/// What belongs to this mesh, as far as the implementation knows it.
pub(crate) trait Own {
    /// Returns the cluster's DNS domain.
    fn cluster_domain(&self) -> &str;
    /// Returns the networks of this mesh that contain an address.
    fn networks_of(&self, address: IpAddr) -> Vec<OwnNetwork>;
    /// Whether a host name leads to this mesh. Not called for names in domains that are local by standard.
    fn has_name(&self, name: &str) -> bool;
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
    pub(crate) author: Author,
    /// At least one of these peers must be allowed to have the endpoint. Empty if the relationship lists no
    /// peers.
    pub(crate) peers: Vec<Limits<'a>>,
    /// What belongs to this mesh.
    pub(crate) own: &'a dyn Own,
    /// Text after the name of a MeshFedConfig field in messages.
    pub(crate) field_of: String,
}

impl EndpointPolicy<'_> {
    /// Checks that the peer, or one of the peers, may have an endpoint. The error says why not, and what
    /// would allow it.
    pub(crate) fn judge(&self, endpoint: &Endpoint) -> Result<(), String> {
        if endpoint.port == 0 {
            return Err("0 is not a port (1 to 65535)".to_owned());
        }
        match &endpoint.host {
            Host::Name(name) => self.judge_name(name),
            // The canonical form, so that IPv4 written as IPv6 is checked as IPv4.
            Host::Ip(address) => self.judge_address(canonical(*address)),
        }
    }

    fn judge_address(&self, address: IpAddr) -> Result<(), String> {
        never_there(address).map_or(Ok(()), Err)?;
        // A tunnel or translator delivers to the embedded IPv4 address, so that address is checked too.
        for form in forms(address) {
            if let Some(OwnNetwork { network, what }) = self.unnamed(form) {
                let subject = subject(form, address);
                return Err(format!(
                    "{subject} lies in {network}, which is {what} (if the peer is there: name that network, or a part of it, in {})",
                    self.field("networks")
                ));
            }
        }
        let may = |peer: &Limits<'_>| peer.networks.is_empty() || has(peer.networks, address);
        if self.peers.is_empty() || self.peers.iter().any(may) {
            return Ok(());
        }
        Err(format!("{address} lies in none of the networks of {} ({})", self.whom(), self.field("networks")))
    }

    /// Returns a network that contains the address and belongs to a peer only if the administrator says so,
    /// unless the MeshFedConfig lists it. A wider network does not count as listing it: `0.0.0.0/0` does not
    /// allow loopback.
    fn unnamed(&self, address: IpAddr) -> Option<OwnNetwork> {
        let local = LOCAL.iter().filter(|(network, _)| network.contains(&address));
        let local = local.map(|&(network, what)| OwnNetwork { network, what });
        let own: Vec<_> = local.chain(self.own.networks_of(address)).collect();
        let names =
            |named: &IpNet| named.contains(&address) && own.iter().any(|own| own.network.contains(named));
        let is_named = self.peers.iter().any(|peer| peer.networks.iter().any(names));
        own.into_iter().next().filter(|_| !is_named)
    }

    /// Checks a host name. Envoy resolves it later and elsewhere, so the only possible check is whether its
    /// domain belongs to the peer.
    fn judge_name(&self, name: &str) -> Result<(), String> {
        if names::ends_in_number(name) || !names::is_dns_name(name) {
            return Err(format!("{} is not a DNS name", quote(name)));
        }
        never_named(name).map_or(Ok(()), Err)?;
        // A local name needs a listed domain that is local itself: with the cluster domain `k8s.example`,
        // listing `example` does not allow `a.b.svc.k8s.example`.
        let local = local_domain(name, Some(self.own.cluster_domain()));
        if let Some(local) = local.or_else(|| self.own.has_name(name).then_some(name))
            && !self.domains().any(|domain| names::is_within(local, domain) && names::is_within(domain, name))
        {
            return Err(format!(
                "{name} is a name of this cluster or host (if the peer is there: name {local}, or a name below it, in {})",
                self.field("domains")
            ));
        }
        // An administrator who lists networks or domains has limited the peer, and a free name could resolve
        // to any address.
        let free = |peer: &Limits<'_>| {
            self.author == Author::User && peer.networks.is_empty() && peer.domains.is_empty()
        };
        let may = |peer: &Limits<'_>| {
            free(peer) || peer.domains.iter().any(|domain| names::is_within(domain, name))
        };
        if self.peers.is_empty() && self.author == Author::User || self.peers.iter().any(may) {
            return Ok(());
        }
        Err(format!(
            "{} lies in none of the domains of {} ({})",
            quote(name),
            self.whom(),
            self.field("domains")
        ))
    }

    fn domains(&self) -> impl Iterator<Item = &str> {
        self.peers.iter().flat_map(|peer| peer.domains.iter().map(String::as_str))
    }

    fn field(&self, field: &str) -> String {
        format!("spec.peers[].{field}{}", self.field_of)
    }

    fn whom(&self) -> String {
        match self.peers.as_slice() {
            [one] => format!("peer {}", one.peer),
            _ => "any peer".to_owned(),
        }
    }
}

/// Returns why no peer may ever have an endpoint, whatever the MeshFedConfig says. `None` if a peer may.
pub(crate) fn never(endpoint: &Endpoint) -> Option<String> {
    match &endpoint.host {
        Host::Name(name) => never_named(name),
        Host::Ip(address) => never_there(canonical(*address)),
    }
}

fn never_there(address: IpAddr) -> Option<String> {
    let form = forms(address).find(|form| is_never(*form))?;
    let subject = subject(form, address);
    Some(format!("{subject} is unspecified, link-local, multicast or reserved, and never a peer's"))
}

fn never_named(name: &str) -> Option<String> {
    names::is_emcees(name).then(|| format!("{name} is a name of Emcee's own, and never a peer's"))
}

fn subject(form: IpAddr, address: IpAddr) -> String {
    if form == address { address.to_string() } else { format!("{form} in {address}") }
}

fn has(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}
