//! Whether an endpoint may be a peer's.

use std::net::IpAddr;

use ipnet::IpNet;

use super::host_name::local_domain;
use super::ranges::{LOCAL, canonical, forms, is_never};
use crate::endpoint::{Endpoint, Host};
use crate::names;
use crate::parse::PeerModel;
use crate::text::quote;

/// Where one peer may be, as the administrator says in the MeshFedConfig.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits<'a> {
    /// Name of the peer.
    pub(crate) peer: &'a str,
    /// `peers[].networks`: the only ones, if there are any.
    pub(crate) networks: &'a [IpNet],
    /// `peers[].domains`.
    pub(crate) domains: &'a [String],
}

impl<'a> From<&'a PeerModel> for Limits<'a> {
    fn from(peer: &'a PeerModel) -> Self {
        Self { peer: &peer.name, networks: &peer.networks, domains: &peer.domains }
    }
}

/// Who names an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Author {
    /// A peer, of itself: host names only in the domains that the administrator lists.
    Peer,
    /// A user: host names are free as long as the administrator limits the peer neither to networks nor to domains.
    User,
}

/// What is this mesh's own, as far as it is known where an endpoint is judged.
pub(crate) trait Own {
    /// The cluster's DNS domain.
    fn cluster_domain(&self) -> &str;
    /// The networks of this mesh that have an address.
    fn networks_of(&self, address: IpAddr) -> Vec<OwnNetwork>;
    /// Whether a host name, below no domain that is local by standard, leads to something of this mesh.
    fn has_name(&self, name: &str) -> bool;
}

/// A network of this mesh, or one address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnNetwork {
    pub(crate) network: IpNet,
    /// Ends the sentence "which is …".
    pub(crate) what: &'static str,
}

/// Who may be where, for the endpoints of one source.
pub(crate) struct EndpointPolicy<'a> {
    pub(crate) author: Author,
    /// The peers of which one has to be there; none: the relationship lists none.
    pub(crate) peers: Vec<Limits<'a>>,
    /// What is this mesh's own.
    pub(crate) own: &'a dyn Own,
    /// Follows the name of a field of the MeshFedConfig in a message.
    pub(crate) field_of: String,
}

impl EndpointPolicy<'_> {
    /// Decides whether the peer, or one of the peers, may be at an endpoint; else says why not, and what would allow it.
    pub(crate) fn judge(&self, endpoint: &Endpoint) -> Result<(), String> {
        if endpoint.port == 0 {
            return Err("0 is not a port (1 to 65535)".to_owned());
        }
        match &endpoint.host {
            Host::Name(name) => self.judge_name(name),
            Host::Ip(address) => self.judge_address(canonical(*address)),
        }
    }

    fn judge_address(&self, address: IpAddr) -> Result<(), String> {
        never_there(address).map_or(Ok(()), Err)?;
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

    /// A network that is not a peer's unless the administrator says so, and of which nothing that has the address is
    /// named. A wider network does not name it: who allows `0.0.0.0/0` does not speak of loopback.
    fn unnamed(&self, address: IpAddr) -> Option<OwnNetwork> {
        let local = LOCAL.iter().filter(|(network, _)| network.contains(&address));
        let local = local.map(|&(network, what)| OwnNetwork { network, what });
        let own: Vec<_> = local.chain(self.own.networks_of(address)).collect();
        let names =
            |named: &IpNet| named.contains(&address) && own.iter().any(|own| own.network.contains(named));
        let is_named = self.peers.iter().any(|peer| peer.networks.iter().any(names));
        own.into_iter().next().filter(|_| !is_named)
    }

    /// Envoy resolves it, later and elsewhere: all that can be asked is whether the domain is the peer's.
    fn judge_name(&self, name: &str) -> Result<(), String> {
        if names::ends_in_number(name) || !names::is_dns_name(name) {
            return Err(format!("{} is not a DNS name", quote(name)));
        }
        never_named(name).map_or(Ok(()), Err)?;
        let local = local_domain(name, Some(self.own.cluster_domain()));
        if let Some(local) = local.or_else(|| self.own.has_name(name).then_some(name))
            && !self.domains().any(|domain| names::is_within(local, domain) && names::is_within(domain, name))
        {
            return Err(format!(
                "{name} is a name of this cluster or host (if the peer is there: name {local}, or a name below it, in {})",
                self.field("domains")
            ));
        }
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

/// Why an endpoint is no peer's, whatever the MeshFedConfig says.
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
