//! Resolution of a binding through its relationship.

use std::collections::BTreeSet;
use std::sync::Arc;

use emcee_api::{AnnouncementStatus, Reason};
use jiff::Timestamp;

use super::exposition::check_namespace_allowed;
use super::gateway::format_labels;
use super::remote::RemoteService;
use super::shared_host::SharedHostKey;
use super::{ResolvedGateway, ResolvedRelationship};
use crate::catalogue::PeerKey;
use crate::endpoint::Endpoint;
use crate::key::ObjectKey;
use crate::mode::{GatewaySide, Mode};
use crate::names;
use crate::parse::{Binding, ExportScope};
use crate::plan::{ObjectOwner, OwnerKind};
use crate::policy;
use crate::ports::DEFAULT_FACADE_PORT;
use crate::problem::ResourceProblem;
use crate::protocol::Protocol;
use crate::resolve::InputView;

/// Ports of the binding host, in order of preference. The first one that the gateway's Services do not have
/// is used, because Istio would translate a port of these Services to a port of the gateway's pods.
const HTTP_PORTS: [u16; 3] = [80, 8080, 8888];
const OTHER_PORTS: std::ops::Range<u16> = 9443..9543;

/// Remote service that is reached through one relationship. Contains all that a style needs to know.
#[derive(Clone, Debug)]
pub struct BoundService<'a> {
    /// Binding that requests the service.
    pub binding: &'a Binding,
    /// Owner of the generated objects.
    pub owner: Arc<ObjectOwner>,
    /// The egress gateway, if the style has one.
    pub egress: Option<&'a ResolvedGateway>,
    /// Name of the Secret for the gateway, if it originates TLS.
    pub credential: Option<String>,
    /// Inter-mesh server name (SNI) of the service.
    pub server_name: String,
    /// Binding host of the service.
    pub host: String,
    /// Host that bindings share; `None` without a facade. It replaces the binding host in sidecars, except for bindings
    /// that have the binding host for themselves.
    pub shared_host: Option<Arc<SharedHostKey>>,
    /// Port of the binding host, or of the shared host.
    pub host_port: u16,
    /// Protocol of the remote service.
    pub protocol: Protocol,
    /// Endpoints of the remote service.
    pub endpoints: Vec<Endpoint>,
    /// Identities that the service may have, in the end-to-end styles. Empty: any identity of the root of
    /// trust.
    pub identities: Vec<String>,
    /// Names in the certificates of the peers that may provide the service, in BOUNDARY. Empty: any name.
    pub peer_names: Vec<String>,
    /// Trust domain of this mesh.
    pub trust_domain: &'a str,
}

/// TLS passthrough route of a server name on an egress gateway. All bindings to that server name share it.
#[derive(Clone, Debug)]
pub struct EgressRelay<'a> {
    /// Owner of the generated objects.
    pub owner: Arc<ObjectOwner>,
    /// Name of the generated objects.
    pub name: String,
    /// Egress gateway of the relationship.
    pub egress: &'a ResolvedGateway,
    /// Inter-mesh server name (SNI) of the service.
    pub server_name: &'a str,
    /// Endpoints to which the gateway forwards.
    pub endpoints: &'a [Endpoint],
}

/// Claim of a binding on a port of a facade.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FacadeClaim {
    pub(crate) facade: ObjectKey,
    pub(crate) port: u16,
    pub(crate) export_scope: ExportScope,
}

/// Claim of a binding on a server name on an egress gateway.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RelayClaim {
    pub(crate) relationship: ObjectKey,
    /// Namespace of the gateway's pods. In it, a server name can be relayed only once: two relationships may
    /// have selected the same pods, and both would create a ServiceEntry for the same host.
    pub(crate) namespace: Arc<str>,
    pub(crate) server_name: Arc<str>,
    /// The peer, or the endpoints that were given. Two bindings can share a relay only if this is equal.
    pub(crate) origin: String,
    pub(crate) endpoints: Vec<Endpoint>,
}

/// One port of a facade, with its route.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FacadePort {
    pub(crate) port: u16,
    pub(crate) protocol: Protocol,
    /// Destination of the port; `None` if calls must fail.
    pub(crate) route: Option<FacadeRoute>,
    pub(crate) export_scope: ExportScope,
}

/// Destination of a facade's port.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FacadeRoute {
    pub(crate) host: String,
    pub(crate) subset: String,
    pub(crate) port: u16,
    pub(crate) authority: String,
}

/// Binding with its relationship.
pub(crate) struct ResolvedBinding<'a> {
    pub(crate) relationship: &'a Arc<ResolvedRelationship>,
    pub(crate) server_name: String,
    pub(crate) endpoints: Vec<Endpoint>,
    /// Source of the endpoints: `spec`, or the name of the peer.
    pub(crate) endpoint_source: Option<String>,
    /// Peer whose announcement the binding follows.
    pub(crate) followed_peer: Option<PeerKey>,
    /// Time since which that peer is unreachable.
    pub(crate) stale_since: Option<Timestamp>,
    /// Announcement to store in the status.
    pub(crate) announcement: Option<AnnouncementStatus>,
    pub(crate) facade: Option<Arc<FacadeClaim>>,
    pub(crate) relay: Option<Arc<RelayClaim>>,
    pub(crate) facade_port: Option<FacadePort>,
    pub(crate) service: Result<BoundService<'a>, ResourceProblem>,
}

/// Resolves a binding through its relationship. The error says why it has no relationship.
pub(crate) fn resolve<'a>(
    view: &InputView<'a>,
    binding: &'a Binding,
    warnings: &mut Vec<ResourceProblem>,
) -> Result<ResolvedBinding<'a>, ResourceProblem> {
    let relationship = select_relationship(view, binding)?;
    check_namespace_allowed(relationship, &binding.identity.key.namespace)?;
    let remote = RemoteService::resolve(view, binding, relationship, warnings)?;
    let port = binding.port.or(remote.announced.as_ref().and_then(|a| a.port));
    // As long as nothing is known of a service, its port may still be announced. Claiming the default port in
    // advance would change the facade later.
    let known = port.is_some() || remote.is_known();
    let facade = binding.facade_key().filter(|_| known).map(|facade| {
        let visibility = binding.export_scope;
        Arc::new(FacadeClaim { facade, port: port.unwrap_or(DEFAULT_FACADE_PORT), export_scope: visibility })
    });
    warnings.extend(changed_announcement_warning(binding, relationship, &remote));
    if facade.is_some() && port.is_none() {
        let message = format!("neither given nor announced: {DEFAULT_FACADE_PORT} is used");
        warnings.push(ResourceProblem::at_field(Reason::DefaultPort, "spec.port", message));
    }
    let server_name = requested_server_name(binding, relationship);
    let refused = server_name_problem(view, binding, relationship);
    // A refused server name is not claimed either. The claim could block a binding that may request it.
    let relay = if refused.is_none() { relay_claim(relationship, &remote, &server_name) } else { None };
    let relay = relay.map(Arc::new);
    let bound_service = match refused {
        Some(problem) => Err(problem),
        None => resolve_bound_service(view, binding, relationship, &remote, &server_name, facade.as_deref()),
    };
    warnings
        .extend(bound_service.as_ref().ok().and_then(|service| any_identity_warning(service, relationship)));
    // A withdrawn service keeps its port, without a route.
    let facade_port = facade.as_ref().and_then(|claim| match &bound_service {
        Ok(bound_service) => Some(facade_port(view, bound_service, relationship, claim)),
        Err(_) => withdrawn_facade_port(view, binding, &remote, relationship, claim),
    });
    Ok(ResolvedBinding {
        facade_port,
        relationship,
        server_name,
        followed_peer: remote.followed_peer(relationship),
        endpoint_source: remote.endpoint_source(),
        stale_since: remote.stale_since,
        announcement: remote.status_announcement,
        endpoints: remote.endpoints,
        facade,
        relay,
        service: bound_service,
    })
}

/// Returns a warning if a peer now announces another port or protocol than the import has.
fn changed_announcement_warning(
    binding: &Binding,
    relationship: &ResolvedRelationship,
    remote: &RemoteService,
) -> Option<ResourceProblem> {
    // Only imports: in other bindings a user chose the port and the protocol.
    let announced = remote
        .announced
        .as_ref()
        .filter(|_| remote.is_usable() && binding.is_import_of(relationship.key()))?;
    let (port, protocol) = (announced.port?, announced.protocol?);
    let (own_port, own_protocol) = (binding.port.unwrap_or(port), binding.protocol.unwrap_or(protocol));
    if (own_port, own_protocol) == (port, protocol) {
        return None;
    }
    let message = format!(
        "peer {} now announces port {port}, protocol {protocol}; the import keeps port {own_port}, protocol {own_protocol}, which applications may use (set spec.port and spec.protocol, or delete this ServiceBinding to have it imported again)",
        announced.peer
    );
    Some(ResourceProblem::new(Reason::AnnouncementChanged, message))
}

fn select_relationship<'a>(
    view: &InputView<'a>,
    binding: &Binding,
) -> Result<&'a Arc<ResolvedRelationship>, ResourceProblem> {
    let field = "spec.mesh_fed_config_selector";
    match view.select_relationships(&binding.fed_config).as_slice() {
        [one] => Ok(one),
        [] => {
            let message = format!(
                "no MeshFedConfig has the labels {} (one without a label fed-config counts as labelled with its name)",
                format_labels(&binding.fed_config)
            );
            Err(ResourceProblem::at_field(Reason::NoMeshFedConfig, field, message))
        }
        several => {
            let names: Vec<_> = several.iter().map(|relationship| relationship.key().to_string()).collect();
            let message =
                format!("matches several MeshFedConfigs: {} (a binding has exactly one)", names.join(", "));
            Err(ResourceProblem::at_field(Reason::AmbiguousMeshFedConfig, field, message))
        }
    }
}

fn requested_server_name(binding: &Binding, relationship: &ResolvedRelationship) -> String {
    let computed = || {
        names::server_name(&binding.remote_name, &binding.remote_namespace, &relationship.config.relationship)
    };
    binding.server_name.clone().unwrap_or_else(computed)
}

/// Returns why the binding may not request the server name that it gives.
fn server_name_problem(
    view: &InputView<'_>,
    binding: &Binding,
    relationship: &ResolvedRelationship,
) -> Option<ResourceProblem> {
    let (name, config) = (binding.server_name.as_ref()?, &relationship.config);
    let fed_config = relationship.key().to_string();
    let judged = policy::server_name::check_allowed(
        name,
        &config.relationship,
        &config.allowed_server_names,
        &view.settings().cluster_domain,
        &fed_config,
    );
    judged
        .err()
        .map(|words| ResourceProblem::at_field(Reason::ServerNameNotAllowed, "spec.server_name", words))
}

fn resolve_bound_service<'a>(
    view: &InputView<'a>,
    binding: &'a Binding,
    relationship: &'a Arc<ResolvedRelationship>,
    remote: &RemoteService,
    server_name: &str,
    facade: Option<&FacadeClaim>,
) -> Result<BoundService<'a>, ResourceProblem> {
    let mode = relationship.config.mode;
    // The order of the checks decides which problem the user sees: first those of the relationship, then
    // those of the remote service, then those of the binding.
    relationship.check_usable()?;
    if let Some(problem) = &remote.problem {
        return Err(problem.clone());
    }
    let egress = if mode.has_gateway(GatewaySide::Egress) {
        Some(relationship.gateway(GatewaySide::Egress)?)
    } else {
        None
    };
    if let Some(claim) = facade {
        check_facade_available(view, &claim.facade)?;
    }
    let protocol = service_protocol(binding, remote);
    let key = &binding.identity.key;
    let host_port = choose_host_port(protocol, egress)?;
    Ok(BoundService {
        binding,
        owner: ObjectOwner::new(OwnerKind::ServiceBinding, key.clone(), Some(relationship.key().clone())),
        credential: egress
            .filter(|_| mode.terminates_tls())
            .map(|g| relationship.credential_name(&g.namespace)),
        egress,
        server_name: server_name.to_owned(),
        host: binding.binding_host(),
        shared_host: SharedHostKey::choose_for(binding, relationship, egress, remote, (protocol, host_port))
            .map(Arc::new),
        host_port,
        protocol,
        endpoints: remote.endpoints.clone(),
        identities: expected_identities(binding, mode, remote)?,
        peer_names: serving_peer_names(relationship, remote),
        trust_domain: &view.settings().trust_domain,
    })
}

/// Refuses a facade whose Service exists and is not managed by Emcee. Such a Service is never changed.
fn check_facade_available(view: &InputView<'_>, facade: &ObjectKey) -> Result<(), ResourceProblem> {
    match view.service(facade) {
        Some(service) if !service.is_own_facade => {
            let message = format!(
                "Service {facade} exists and is not managed by Emcee; not overwritten (set spec.alias to another name, or spec.subset to share its hostname)"
            );
            Err(ResourceProblem::at_field(Reason::FacadeConflict, "spec.alias", message))
        }
        _ => Ok(()),
    }
}

fn choose_host_port(protocol: Protocol, egress: Option<&ResolvedGateway>) -> Result<u16, ResourceProblem> {
    let free = |port: &u16| egress.is_none_or(|gateway| !gateway.service_ports.contains(port));
    let found = if protocol.is_http() {
        HTTP_PORTS.into_iter().chain(OTHER_PORTS).find(free)
    } else {
        OTHER_PORTS.into_iter().find(free)
    };
    found.ok_or_else(|| {
        ResourceProblem::new(
            Reason::GatewayPortClosed,
            "the egress gateway's Services already use every port that is available for the binding's host",
        )
    })
}

fn expected_identities(
    binding: &Binding,
    mode: Mode,
    remote: &RemoteService,
) -> Result<Vec<String>, ResourceProblem> {
    // In BOUNDARY the egress gateway checks the names of the peer instead.
    if !mode.is_end_to_end() {
        return Ok(Vec::new());
    }
    let announced = || remote.announced.as_ref().map(|a| a.identities.clone()).unwrap_or_default();
    let identities =
        if binding.subject_alt_names.is_empty() { announced() } else { binding.subject_alt_names.clone() };
    // Istio would expect the identities of the egress pods, and every call would fail.
    if identities.is_empty() && mode.passes_through_egress() {
        let message = format!(
            "{mode} needs the identities of the remote service (such as spiffe://cluster.local/ns/default/sa/reviews)"
        );
        return Err(ResourceProblem::at_field(Reason::IdentityNeeded, "spec.subject_alt_names", message));
    }
    Ok(identities)
}

/// Returns a warning if callers cannot tell the service from other workloads.
fn any_identity_warning(
    service: &BoundService<'_>,
    relationship: &ResolvedRelationship,
) -> Option<ResourceProblem> {
    (relationship.config.mode.is_end_to_end() && service.identities.is_empty()).then(|| {
        let message = "neither given nor announced: any identity of the common root passes as the service";
        ResourceProblem::at_field(Reason::AnyIdentity, "spec.subject_alt_names", message)
    })
}

/// Returns the names of the peer that provides the service, or of all peers if that peer is not known.
fn serving_peer_names(relationship: &ResolvedRelationship, remote: &RemoteService) -> Vec<String> {
    let serves = |name: &str| remote.peer.as_ref().is_none_or(|peer| **peer == *name);
    let peers = relationship.config.peers.iter().filter(|peer| serves(&peer.name));
    peers.flat_map(|peer| peer.subject_alt_names.iter().cloned()).collect()
}

fn relay_claim(
    relationship: &ResolvedRelationship,
    remote: &RemoteService,
    server_name: &str,
) -> Option<RelayClaim> {
    if !relationship.config.mode.passes_through_egress() || !remote.is_usable() {
        return None;
    }
    // Sorted, so that the order of the endpoints in two specs does not matter.
    let source = match &remote.peer {
        Some(peer) if !remote.endpoints_given => format!("peer {peer}"),
        _ => {
            let endpoints: BTreeSet<_> = remote.endpoints.iter().map(ToString::to_string).collect();
            endpoints.into_iter().collect::<Vec<_>>().join(", ")
        }
    };
    Some(RelayClaim {
        relationship: relationship.key().clone(),
        namespace: Arc::clone(&relationship.gateway(GatewaySide::Egress).ok()?.namespace),
        server_name: server_name.into(),
        origin: source,
        endpoints: remote.endpoints.clone(),
    })
}

fn facade_port(
    view: &InputView<'_>,
    service: &BoundService<'_>,
    relationship: &ResolvedRelationship,
    claim: &FacadeClaim,
) -> FacadePort {
    let binding = service.binding;
    // BOUNDARY gateways route by authority. In the end-to-end styles the service itself expects its own host.
    let authority = if relationship.config.mode.terminates_tls() {
        service.host.clone()
    } else {
        names::service_host(&binding.remote_name, &binding.remote_namespace, &view.settings().cluster_domain)
    };
    let (host, subset) = service.route_destination();
    let route = FacadeRoute { host, subset, port: service.host_port, authority };
    FacadePort {
        port: claim.port,
        protocol: service.protocol,
        route: Some(route),
        export_scope: claim.export_scope,
    }
}

/// Returns the port of a withdrawn service, without a route. Its name stays reserved: calls fail, and no
/// other service gets the name.
fn withdrawn_facade_port(
    view: &InputView<'_>,
    binding: &Binding,
    remote: &RemoteService,
    relationship: &ResolvedRelationship,
    claim: &FacadeClaim,
) -> Option<FacadePort> {
    let stays = remote.is_withdrawn() && relationship.check_usable().is_ok();
    (stays && check_facade_available(view, &claim.facade).is_ok()).then(|| FacadePort {
        port: claim.port,
        protocol: service_protocol(binding, remote),
        route: None,
        export_scope: claim.export_scope,
    })
}

fn service_protocol(binding: &Binding, remote: &RemoteService) -> Protocol {
    let announced = remote.announced.as_ref().and_then(|announced| announced.protocol);
    binding.protocol.or(announced).unwrap_or(Protocol::Http)
}
