//! Resolution of an exposition through each of its relationships.

use std::collections::BTreeSet;
use std::sync::Arc;

use emcee_api::Reason;

use super::gateway::format_labels;
use super::upstream::{self, ResolvedUpstream, Upstream};
use super::{ResolvedGateway, ResolvedRelationship, client_tls};
use crate::catalogue::{self, AddressedAnnouncement};
use crate::endpoint::Endpoint;
use crate::inputs::TranslationSettings;
use crate::key::ObjectKey;
use crate::mode::GatewaySide;
use crate::names;
use crate::parse::Exposition;
use crate::plan::{ObjectOwner, OwnerKind};
use crate::problem::ResourceProblem;
use crate::protocol::Protocol;
use crate::resolve::InputView;

/// Service that is exposed through one relationship. Contains all that a style needs to know.
#[derive(Clone, Debug)]
pub struct ExposedService<'a> {
    /// Exposition that exposes the service.
    pub exposition: &'a Exposition,
    /// Owner of the generated objects.
    pub owner: Arc<ObjectOwner>,
    /// The ingress gateway, if the style has one.
    pub ingress: Option<&'a ResolvedGateway>,
    /// Name of the Secret for the gateway, if it terminates TLS.
    pub credential: Option<String>,
    /// Inter-mesh server name (SNI) of the service.
    pub server_name: String,
    /// Host of the Service, fully qualified.
    pub service_host: String,
    /// Port of the Service.
    pub port: u16,
    /// Protocol of the Service's port.
    pub protocol: Protocol,
    /// Destination of a TLS passthrough route.
    pub upstream: Upstream,
    /// Names in the certificates of the peers that may call. Empty: any name.
    pub peer_names: Vec<String>,
}

/// Exposition through one of its relationships.
pub(crate) struct ResolvedExposition<'a> {
    pub(crate) relationship: &'a Arc<ResolvedRelationship>,
    pub(crate) server_name: String,
    /// Addresses at which peers reach the service.
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) service: Result<ExposedService<'a>, ResourceProblem>,
    /// Facts that an announcement contains; `None` if the service is not announced.
    announcement_details: Option<AnnouncementDetails>,
}

/// Service of an exposition that peers may know of.
struct ExposedTarget<'a> {
    exposition: &'a Exposition,
    relationship: &'a Arc<ResolvedRelationship>,
    ingress: Option<&'a ResolvedGateway>,
    service_host: String,
    protocol: Protocol,
    /// Destination of a TLS passthrough route, or why it is unknown for now.
    upstream: Result<Upstream, ResourceProblem>,
    /// Addresses at which peers reach the service.
    endpoints: Vec<Endpoint>,
    /// Names in the certificates of the peers that may call. Empty: any name.
    peer_names: Vec<String>,
}

/// Facts about a Service that an announcement contains.
struct AnnouncementDetails {
    protocol: Protocol,
    identities: BTreeSet<String>,
}

impl ResolvedExposition<'_> {
    /// Returns the announcement with its recipients, or `None` if there are no recipients.
    ///
    /// A service without pods, or whose gateway has no address, stays announced with no endpoints. Only a
    /// service that peers may no longer reach is withdrawn.
    pub(crate) fn addressed_announcement(
        &self,
        exposition: &Exposition,
        settings: &TranslationSettings,
    ) -> Option<AddressedAnnouncement> {
        let details = self.announcement_details.as_ref()?;
        let peers = self.allowed_peers(exposition);
        if peers.is_empty() {
            return None;
        }
        let (config, key) = (&self.relationship.config, &exposition.identity.key);
        let end_to_end = config.mode.is_end_to_end();
        let mut endpoints = self.endpoints.clone();
        // A stable order, so that equal announcements have the same version.
        endpoints.sort();
        endpoints.dedup();
        endpoints.truncate(catalogue::MAX_ENDPOINTS);
        let announcement = catalogue::Announcement {
            key: ObjectKey {
                namespace: Arc::clone(&key.namespace),
                name: exposition.exposed_name.as_str().into(),
            },
            mode: config.mode,
            server_name: self.server_name.clone(),
            protocol: details.protocol,
            port: exposition.port,
            endpoints,
            identities: if end_to_end { announced_identities(exposition, details) } else { Vec::new() },
            trust_domain: settings.trust_domain.clone(),
            root_hash: settings.root_hash.clone().filter(|_| end_to_end),
        };
        Some(AddressedAnnouncement { fed_config: self.relationship.key().clone(), peers, announcement })
    }

    /// Returns the names of the peers that may see the service.
    fn allowed_peers(&self, exposition: &Exposition) -> Vec<String> {
        let config = &self.relationship.config;
        if !exposition.directory || !config.discovery.announce {
            return Vec::new();
        }
        let may = |name: &&String| exposition.peers.as_ref().is_none_or(|peers| peers.contains(name));
        config.peers.iter().map(|peer| &peer.name).filter(may).cloned().collect()
    }
}

fn announced_identities(exposition: &Exposition, details: &AnnouncementDetails) -> Vec<String> {
    let given: BTreeSet<String> = exposition.subject_alt_names.iter().cloned().collect();
    let identities = if given.is_empty() { &details.identities } else { &given };
    identities.iter().take(catalogue::MAX_IDENTITIES).cloned().collect()
}

/// Resolves an exposition through all of its relationships, in their order. The error says why there are
/// none.
pub(crate) fn resolve<'a>(
    view: &InputView<'a>,
    exposition: &'a Exposition,
    warnings: &mut Vec<ResourceProblem>,
) -> Result<Vec<ResolvedExposition<'a>>, ResourceProblem> {
    let selected = view.select_relationships(&exposition.fed_configs);
    if selected.is_empty() {
        let message = format!(
            "no MeshFedConfig has the labels {} (one without a label fed-config counts as labelled with its name)",
            format_labels(&exposition.fed_configs)
        );
        return Err(ResourceProblem::at_field(
            Reason::NoMeshFedConfig,
            "spec.mesh_fed_config_selector",
            message,
        ));
    }
    if !exposition.ignored_fields.is_empty() {
        let message =
            format!("{} is ignored: Emcee finds out by itself", exposition.ignored_fields.join(", "));
        warnings.push(ResourceProblem::new(Reason::FieldIgnored, message));
    }
    Ok(selected
        .into_iter()
        .map(|relationship| resolve_through(view, exposition, relationship, warnings))
        .collect())
}

fn resolve_through<'a>(
    view: &InputView<'a>,
    exposition: &'a Exposition,
    relationship: &'a Arc<ResolvedRelationship>,
    warnings: &mut Vec<ResourceProblem>,
) -> ResolvedExposition<'a> {
    let namespace = &exposition.identity.key.namespace;
    let server_name =
        names::server_name(&exposition.exposed_name, namespace, &relationship.config.relationship);
    let resolved = resolve_target(view, exposition, relationship, &server_name, warnings);
    // A service with a target is announced. Without a usable upstream, it is announced without endpoints.
    let (target, announcement_details) = match resolved {
        Ok((target, details)) => (Ok(target), Some(details)),
        Err(problem) => (Err(problem), None),
    };
    let (endpoints, service) = match target.and_then(|target| target.into_exposed_service(&server_name)) {
        Ok((endpoints, service)) => (endpoints, Ok(service)),
        Err(problem) => (Vec::new(), Err(problem)),
    };
    warnings.extend(truncation_warning(
        view,
        exposition,
        relationship,
        service.as_ref().ok(),
        endpoints.len(),
    ));
    ResolvedExposition { relationship, server_name, endpoints, service, announcement_details }
}

/// Returns a warning if addresses are left out, because objects and announcements are limited in size.
fn truncation_warning(
    view: &InputView<'_>,
    exposition: &Exposition,
    relationship: &ResolvedRelationship,
    exposed: Option<&ExposedService<'_>>,
    announced: usize,
) -> Option<ResourceProblem> {
    const MOST: usize = catalogue::MAX_ENDPOINTS;
    let exposed = exposed?;
    if announced > MOST {
        let message = format!(
            "the ingress gateway has {announced} addresses: the first {MOST} are announced (give it a load balancer, or fewer externalIPs)"
        );
        return Some(ResourceProblem::new(Reason::LimitExceeded, message));
    }
    // Istio tracks the pods that a gateway selects, so their number does not matter.
    let by_address = exposed.ingress.is_none() || matches!(exposed.upstream, Upstream::Endpoints(_));
    let service = ObjectKey::new(&exposition.identity.key.namespace, &exposition.service);
    let uses_addresses = relationship.config.mode.is_end_to_end() && by_address;
    let count = if uses_addresses { view.ready_address_count(&service) } else { 0 };
    (count > MOST).then(|| {
        let message = format!(
            "Service {service} has {count} ready addresses in its EndpointSlices: {MOST} are used (divide it into several Services)"
        );
        ResourceProblem::at_field(Reason::LimitExceeded, "spec.name", message)
    })
}

/// Checks that the relationship and its gateway can expose the service, and finds where the service is.
///
/// An error withdraws the announcement. A target without a usable upstream only removes its endpoints.
fn resolve_target<'a>(
    view: &InputView<'a>,
    exposition: &'a Exposition,
    relationship: &'a Arc<ResolvedRelationship>,
    server_name: &str,
    warnings: &mut Vec<ResourceProblem>,
) -> Result<(ExposedTarget<'a>, AnnouncementDetails), ResourceProblem> {
    let (key, mode) = (&exposition.identity.key, relationship.config.mode);
    check_namespace_allowed(relationship, &key.namespace)?;
    let peer_names = allowed_peer_names(exposition, relationship)?;
    warnings.extend(callers_not_limited_warning(exposition, relationship));
    relationship.check_usable()?;
    let ingress = if mode.has_gateway(GatewaySide::Ingress) {
        Some(relationship.gateway(GatewaySide::Ingress)?)
    } else {
        None
    };
    let service_host =
        names::service_host(&exposition.service, &key.namespace, &view.settings().cluster_domain);
    let ResolvedUpstream { protocol, upstream, endpoints, identities } =
        upstream::resolve(view, exposition, &relationship.config, ingress, warnings)?;
    if let Some(ingress) = ingress {
        // In the end-to-end styles the gateway calls a host of Emcee's own, which wildcard rules of users
        // also match.
        let raw_host = names::passthrough_host(server_name);
        let host = if mode.terminates_tls() { &service_host } else { &raw_host };
        client_tls::check(view, host, &key.namespace, &ingress.namespace)?;
    }
    let endpoints = ingress.map_or(endpoints, |ingress| ingress.addresses.clone());
    let details = AnnouncementDetails { protocol, identities };
    let target = ExposedTarget {
        exposition,
        relationship,
        ingress,
        service_host,
        protocol,
        upstream,
        endpoints,
        peer_names,
    };
    Ok((target, details))
}

impl<'a> ExposedTarget<'a> {
    /// Returns the addresses at which peers reach the service, and the service itself. The error says why it has
    /// no usable upstream for now.
    fn into_exposed_service(
        self,
        server_name: &str,
    ) -> Result<(Vec<Endpoint>, ExposedService<'a>), ResourceProblem> {
        let (exposition, relationship, ingress) = (self.exposition, self.relationship, self.ingress);
        let terminates_tls = relationship.config.mode.terminates_tls();
        let service = ExposedService {
            exposition,
            owner: ObjectOwner::new(
                OwnerKind::ServiceExposition,
                exposition.identity.key.clone(),
                Some(relationship.key().clone()),
            ),
            credential: ingress
                .filter(|_| terminates_tls)
                .map(|gateway| relationship.credential_name(&gateway.namespace)),
            ingress,
            server_name: server_name.to_owned(),
            service_host: self.service_host,
            port: exposition.port,
            protocol: self.protocol,
            upstream: self.upstream?,
            peer_names: self.peer_names,
        };
        Ok((self.endpoints, service))
    }
}

/// Checks that resources of the namespace may use the relationship.
pub(super) fn check_namespace_allowed(
    relationship: &ResolvedRelationship,
    namespace: &str,
) -> Result<(), ResourceProblem> {
    if relationship.config.allows_namespace(namespace) {
        return Ok(());
    }
    let message = format!(
        "MeshFedConfig {} does not allow namespace {namespace} (its allowed_namespaces)",
        relationship.key()
    );
    Err(ResourceProblem::at_field(Reason::NamespaceNotAllowed, "spec.mesh_fed_config_selector", message))
}

fn allowed_peer_names(
    exposition: &Exposition,
    relationship: &ResolvedRelationship,
) -> Result<Vec<String>, ResourceProblem> {
    // Without a list, all peers of the relationship may call.
    let Some(allowed) = &exposition.peers else {
        return Ok(relationship
            .config
            .peers
            .iter()
            .flat_map(|peer| peer.subject_alt_names.clone())
            .collect());
    };
    let mut names = Vec::new();
    for (index, name) in allowed.iter().enumerate() {
        let unknown =
            |message| ResourceProblem::at_field(Reason::UnknownPeer, format!("spec.peers[{index}]"), message);
        names.extend(relationship.find_peer(name).map_err(unknown)?.subject_alt_names.iter().cloned());
    }
    Ok(names)
}

/// Returns a warning if the exposition names peers, and others can call the service nevertheless.
fn callers_not_limited_warning(
    exposition: &Exposition,
    relationship: &ResolvedRelationship,
) -> Option<ResourceProblem> {
    let mode = relationship.config.mode;
    (exposition.peers.is_some() && mode.is_end_to_end()).then(|| {
        let message = format!(
            "in {mode} no gateway sees a caller's certificate: peers limits the announcement only (limit callers by an AuthorizationPolicy on the workload)"
        );
        ResourceProblem::at_field(Reason::CallersNotLimited, "spec.peers", message)
    })
}
