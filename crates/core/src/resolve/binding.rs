//! A binding, through its relationship.

use std::collections::BTreeSet;
use std::sync::Arc;

use emcee_api::{Announcement, Reason};
use jiff::Timestamp;

use super::exposition::permitted;
use super::gateway::words;
use super::remote::Remote;
use super::{Gateway, Relationship};
use crate::catalogue::Source;
use crate::endpoint::Endpoint;
use crate::key::Key;
use crate::mode::{Mode, Side};
use crate::names;
use crate::parse::{Binding, Visibility};
use crate::plan::{Owner, OwnerKind};
use crate::policy;
use crate::problem::Problem;
use crate::protocol::Protocol;
use crate::resolve::View;

/// Port of a facade when neither given nor announced, as in the first prototype.
const DEFAULT_PORT: u16 = 5000;

/// Ports of L, in order of preference: the first that the gateway's Services do not have, as Istio would translate
/// that number to a port of the gateway's own.
const HTTP_PORTS: [u16; 3] = [80, 8080, 8888];
const OTHER_PORTS: std::ops::Range<u16> = 9443..9543;

/// A remote service reached through one relationship: all that a style needs to know.
#[derive(Clone, Debug)]
pub struct Consumption<'a> {
    /// The binding.
    pub binding: &'a Binding,
    /// Owner of the objects.
    pub owner: Arc<Owner>,
    /// The egress gateway, if the style has one.
    pub egress: Option<&'a Gateway>,
    /// Secret for the gateway, if it begins TLS.
    pub credential: Option<String>,
    /// Server name X.
    pub server_name: String,
    /// Binding host L.
    pub host: String,
    /// Port of L.
    pub host_port: u16,
    /// What the remote service speaks.
    pub protocol: Protocol,
    /// Where it can be reached.
    pub endpoints: Vec<Endpoint>,
    /// Identities that it may have, in the end-to-end styles; empty: any of the root.
    pub identities: Vec<String>,
    /// Names in the certificates of the peers that may serve, in BOUNDARY; empty: of any.
    pub peer_names: Vec<String>,
    /// Trust domain of this mesh.
    pub trust_domain: &'a str,
}

/// A server name that an egress gateway passes on. All bindings to one share it.
#[derive(Clone, Debug)]
pub struct Relay<'a> {
    /// Owner of the objects.
    pub owner: Arc<Owner>,
    /// Name of the objects.
    pub name: String,
    /// The gateway.
    pub egress: &'a Gateway,
    /// Server name X.
    pub server_name: &'a str,
    /// Where it leads.
    pub endpoints: &'a [Endpoint],
}

/// A binding wants a port of a facade.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FacadeClaim {
    pub(crate) facade: Key,
    pub(crate) port: u16,
    pub(crate) visibility: Visibility,
}

/// A binding wants a server name relayed on an egress gateway.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RelayClaim {
    pub(crate) relationship: Key,
    /// Namespace of the gateway's pods. There a server name is relayed once: two relationships may have selected the same
    /// pods, and a ServiceEntry of one would have the host of the other's.
    pub(crate) namespace: Arc<str>,
    pub(crate) server_name: Arc<str>,
    /// The peer, or the endpoints that were given: two bindings share a relay only if they mean the same.
    pub(crate) source: String,
    pub(crate) endpoints: Vec<Endpoint>,
}

/// One port of a facade, and where it leads.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FacadePort {
    pub(crate) port: u16,
    pub(crate) protocol: Protocol,
    /// Where it leads; none: nowhere.
    pub(crate) route: Option<FacadeRoute>,
    pub(crate) visibility: Visibility,
}

/// Where a port of a facade leads.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FacadeRoute {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) authority: String,
}

/// A binding that found its relationship.
pub(crate) struct Bound<'a> {
    pub(crate) relationship: &'a Arc<Relationship>,
    pub(crate) server_name: String,
    pub(crate) endpoints: Vec<Endpoint>,
    /// `spec`, or the name of the peer.
    pub(crate) source: Option<String>,
    /// The peer whose announcement it follows.
    pub(crate) uses: Option<Source>,
    /// Since when that peer is lost.
    pub(crate) stale_since: Option<Timestamp>,
    /// What the status is to keep.
    pub(crate) announcement: Option<Announcement>,
    pub(crate) facade: Option<Arc<FacadeClaim>>,
    pub(crate) relay: Option<Arc<RelayClaim>>,
    pub(crate) facade_port: Option<FacadePort>,
    pub(crate) consumption: Result<Consumption<'a>, Problem>,
}

/// A binding through its relationship, or why it has none.
pub(crate) fn resolve<'a>(
    view: &View<'a>,
    binding: &'a Binding,
    warnings: &mut Vec<Problem>,
) -> Result<Bound<'a>, Problem> {
    let relationship = one_relationship(view, binding)?;
    permitted(relationship, &binding.identity.key.namespace)?;
    let remote = Remote::of(view, binding, relationship, warnings)?;
    let port = binding.port.or(remote.announced.as_ref().and_then(|a| a.port));
    // Of a service of which nothing is known yet, the port may still be announced: none is taken in advance.
    let known = port.is_some() || remote.is_known();
    let facade = binding.facade_key().filter(|_| known).map(|facade| {
        let visibility = binding.visibility;
        Arc::new(FacadeClaim { facade, port: port.unwrap_or(DEFAULT_PORT), visibility })
    });
    warnings.extend(announced_otherwise(binding, relationship, &remote));
    if facade.is_some() && port.is_none() {
        let message = format!("neither given nor announced: {DEFAULT_PORT} is used");
        warnings.push(Problem::at(Reason::DefaultPort, "spec.port", message));
    }
    let server_name = server_name(binding, relationship);
    let refused = server_name_refused(view, binding, relationship);
    // What may not be asked for is not claimed either: it would keep those away who may.
    let relay = if refused.is_none() { relay_claim(relationship, &remote, &server_name) } else { None };
    let relay = relay.map(Arc::new);
    let consumption = match refused {
        Some(problem) => Err(problem),
        None => consumption(view, binding, relationship, &remote, &server_name, facade.as_deref(), warnings),
    };
    let facade_port = facade.as_ref().and_then(|claim| match &consumption {
        Ok(consumption) => Some(facade_port(view, consumption, relationship, claim)),
        Err(_) => kept_port(view, binding, &remote, relationship, claim),
    });
    Ok(Bound {
        facade_port,
        relationship,
        server_name,
        uses: remote.uses(relationship),
        source: remote.source(),
        stale_since: remote.stale_since,
        announcement: remote.kept,
        endpoints: remote.endpoints,
        facade,
        relay,
        consumption,
    })
}

/// What a peer announces now of an import that was made for another port or protocol.
fn announced_otherwise(binding: &Binding, relationship: &Relationship, remote: &Remote) -> Option<Problem> {
    let announced =
        remote.announced.as_ref().filter(|_| remote.serves() && binding.is_import_of(relationship.key()))?;
    let (port, protocol) = (announced.port?, announced.protocol?);
    let (own_port, own_protocol) = (binding.port.unwrap_or(port), binding.protocol.unwrap_or(protocol));
    if (own_port, own_protocol) == (port, protocol) {
        return None;
    }
    let message = format!(
        "peer {} announces port {port}, protocol {protocol} now; port {own_port}, protocol {own_protocol} stay, as applications call them (set spec.port and spec.protocol, or delete this ServiceBinding to have it imported again)",
        announced.peer
    );
    Some(Problem::new(Reason::AnnouncementChanged, message))
}

fn one_relationship<'a>(view: &View<'a>, binding: &Binding) -> Result<&'a Arc<Relationship>, Problem> {
    let field = "spec.mesh_fed_config_selector";
    match view.relationships(&binding.fed_config).as_slice() {
        [one] => Ok(one),
        [] => {
            let message = format!(
                "no MeshFedConfig has the labels {} (one without a label fed-config counts as labelled with its name)",
                words(&binding.fed_config)
            );
            Err(Problem::at(Reason::NoMeshFedConfig, field, message))
        }
        several => {
            let names: Vec<_> = several.iter().map(|relationship| relationship.key().to_string()).collect();
            let message =
                format!("matches several MeshFedConfigs: {} (a binding has exactly one)", names.join(", "));
            Err(Problem::at(Reason::AmbiguousMeshFedConfig, field, message))
        }
    }
}

fn server_name(binding: &Binding, relationship: &Relationship) -> String {
    let computed = || {
        names::server_name(&binding.remote_name, &binding.remote_namespace, &relationship.config.relationship)
    };
    binding.server_name.clone().unwrap_or_else(computed)
}

/// Why the binding may not ask for the server name that it gives.
fn server_name_refused(view: &View<'_>, binding: &Binding, relationship: &Relationship) -> Option<Problem> {
    let (name, config) = (binding.server_name.as_ref()?, &relationship.config);
    let fed_config = relationship.key().to_string();
    let judged = policy::server_name::judge(
        name,
        &config.relationship,
        &config.allowed_server_names,
        &view.settings().cluster_domain,
        &fed_config,
    );
    judged.err().map(|words| Problem::at(Reason::ServerNameNotAllowed, "spec.server_name", words))
}

fn consumption<'a>(
    view: &View<'a>,
    binding: &'a Binding,
    relationship: &'a Arc<Relationship>,
    remote: &Remote,
    server_name: &str,
    facade: Option<&FacadeClaim>,
    warnings: &mut Vec<Problem>,
) -> Result<Consumption<'a>, Problem> {
    let mode = relationship.config.mode;
    relationship.usable()?;
    if let Some(problem) = &remote.problem {
        return Err(problem.clone());
    }
    let egress =
        if mode.has_gateway(Side::Egress) { Some(relationship.gateway(Side::Egress)?) } else { None };
    if let Some(claim) = facade {
        nobody_elses(view, &claim.facade)?;
    }
    let protocol = protocol(binding, remote);
    let key = &binding.identity.key;
    Ok(Consumption {
        binding,
        owner: Owner::new(OwnerKind::ServiceBinding, key.clone(), Some(relationship.key().clone())),
        credential: egress.filter(|_| mode.terminates()).map(|g| relationship.credential_name(&g.namespace)),
        egress,
        server_name: server_name.to_owned(),
        host: binding.host(),
        host_port: host_port(protocol, egress)?,
        protocol,
        endpoints: remote.endpoints.clone(),
        identities: identities(binding, mode, remote, warnings)?,
        peer_names: peer_names(relationship, remote),
        trust_domain: &view.settings().trust_domain,
    })
}

/// A Service of the facade's name that somebody else made is never touched.
fn nobody_elses(view: &View<'_>, facade: &Key) -> Result<(), Problem> {
    match view.service(facade) {
        Some(service) if !service.our_facade => {
            let message = format!(
                "Service {facade} is not Emcee's, and is left alone (set spec.alias to another name, or spec.subset to stand beside it)"
            );
            Err(Problem::at(Reason::FacadeConflict, "spec.alias", message))
        }
        _ => Ok(()),
    }
}

fn host_port(protocol: Protocol, egress: Option<&Gateway>) -> Result<u16, Problem> {
    let free = |port: &u16| egress.is_none_or(|gateway| !gateway.taken_ports.contains(port));
    let found = if protocol.is_http() {
        HTTP_PORTS.into_iter().chain(OTHER_PORTS).find(free)
    } else {
        OTHER_PORTS.into_iter().find(free)
    };
    found.ok_or_else(|| {
        Problem::new(
            Reason::GatewayPortClosed,
            "the egress gateway's Services have every port that could be used for the binding's host",
        )
    })
}

fn identities(
    binding: &Binding,
    mode: Mode,
    remote: &Remote,
    warnings: &mut Vec<Problem>,
) -> Result<Vec<String>, Problem> {
    if !mode.is_end_to_end() {
        return Ok(Vec::new());
    }
    let announced = || remote.announced.as_ref().map(|a| a.identities.clone()).unwrap_or_default();
    let identities =
        if binding.subject_alt_names.is_empty() { announced() } else { binding.subject_alt_names.clone() };
    let field = "spec.subject_alt_names";
    if identities.is_empty() && mode.passes_through_egress() {
        let message = format!(
            "{mode} needs the identities of the remote service (such as spiffe://cluster.local/ns/default/sa/reviews)"
        );
        return Err(Problem::at(Reason::IdentityNeeded, field, message));
    }
    if identities.is_empty() {
        let message = "neither given nor announced: any identity of the common root passes as the service";
        warnings.push(Problem::at(Reason::AnyIdentity, field, message));
    }
    Ok(identities)
}

/// Of the peer that serves; of all peers where that is not known.
fn peer_names(relationship: &Relationship, remote: &Remote) -> Vec<String> {
    let serves = |name: &str| remote.peer.as_ref().is_none_or(|peer| **peer == *name);
    let peers = relationship.config.peers.iter().filter(|peer| serves(&peer.name));
    peers.flat_map(|peer| peer.subject_alt_names.iter().cloned()).collect()
}

fn relay_claim(relationship: &Relationship, remote: &Remote, server_name: &str) -> Option<RelayClaim> {
    if !relationship.config.mode.passes_through_egress() || !remote.serves() {
        return None;
    }
    let source = match &remote.peer {
        Some(peer) if !remote.given => format!("peer {peer}"),
        _ => {
            let endpoints: BTreeSet<_> = remote.endpoints.iter().map(ToString::to_string).collect();
            endpoints.into_iter().collect::<Vec<_>>().join(", ")
        }
    };
    Some(RelayClaim {
        relationship: relationship.key().clone(),
        namespace: Arc::clone(&relationship.gateway(Side::Egress).ok()?.namespace),
        server_name: server_name.into(),
        source,
        endpoints: remote.endpoints.clone(),
    })
}

fn facade_port(
    view: &View<'_>,
    consumption: &Consumption<'_>,
    relationship: &Relationship,
    claim: &FacadeClaim,
) -> FacadePort {
    let binding = consumption.binding;
    // Between BOUNDARY gateways the authority is routed by; end to end it is the service's own business.
    let authority = if relationship.config.mode.terminates() {
        consumption.host.clone()
    } else {
        names::service_host(&binding.remote_name, &binding.remote_namespace, &view.settings().cluster_domain)
    };
    let route = FacadeRoute { host: consumption.host.clone(), port: consumption.host_port, authority };
    FacadePort {
        port: claim.port,
        protocol: consumption.protocol,
        route: Some(route),
        visibility: claim.visibility,
    }
}

/// The port of a service that was taken back: its name stays, so that callers are refused by something, and nobody else
/// is put there.
fn kept_port(
    view: &View<'_>,
    binding: &Binding,
    remote: &Remote,
    relationship: &Relationship,
    claim: &FacadeClaim,
) -> Option<FacadePort> {
    let stays = remote.is_withdrawn() && relationship.usable().is_ok();
    (stays && nobody_elses(view, &claim.facade).is_ok()).then(|| FacadePort {
        port: claim.port,
        protocol: protocol(binding, remote),
        route: None,
        visibility: claim.visibility,
    })
}

fn protocol(binding: &Binding, remote: &Remote) -> Protocol {
    let announced = remote.announced.as_ref().and_then(|announced| announced.protocol);
    binding.protocol.or(announced).unwrap_or(Protocol::Http)
}
