//! The verdict of a translation on one resource.

use emcee_api::{AnnouncementStatus, Reason};
use jiff::Timestamp;

use crate::catalogue::PeerConnection;
use crate::endpoint::Endpoint;
use crate::parse::{Binding, Exposition};
use crate::problem::ResourceProblem;
use crate::resolve::{RelationshipCertificate, ResolvedBinding, ResolvedExposition, ResolvedRelationship};

/// The verdict of a translation on one resource.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceVerdict {
    /// `metadata.generation` of the translated version. `None` if it is not known.
    pub generation: Option<i64>,
    /// What the user has to fix in this resource.
    pub refusals: Vec<ResourceProblem>,
    /// Why the resource, or a part of it, is not in place.
    pub failures: Vec<ResourceProblem>,
    /// Why it cannot be reached although it is in place.
    pub not_ready: Option<Box<ResourceProblem>>,
    /// Whether the relationship's certificate is valid. `None` for other resources, and for a relationship without a
    /// known certificate.
    pub certificate: Option<Result<(), Box<ResourceProblem>>>,
    /// Warnings that do not prevent it from being in place.
    pub warnings: Vec<ResourceProblem>,
    /// Whether the refusals concern a newer version only, while the last good version stays in place.
    pub keeps_last_good: bool,
    /// The other fields of the status.
    pub detail: StatusDetail,
}

/// The fields of a status other than conditions.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum StatusDetail {
    /// No fields, as the resource is invalid.
    #[default]
    None,
    /// Fields of a MeshFedConfig.
    Relationship {
        /// Name of the relationship.
        relationship: String,
        /// State of each peer.
        peers: Vec<PeerStatusDetail>,
    },
    /// Fields of a ServiceExposition.
    Exposition {
        /// Server names, one for each relationship.
        server_names: Vec<String>,
        /// Endpoints at which peers reach the service.
        endpoints: Vec<Endpoint>,
        /// The peers to which it is announced, as `<relationship>/<peer>`.
        announced_to: Vec<String>,
    },
    /// Fields of a ServiceBinding.
    Binding {
        /// The binding host.
        host: String,
        /// The inter-mesh server name.
        server_name: String,
        /// Endpoints in use.
        endpoints: Vec<Endpoint>,
        /// Where the endpoints come from: `spec`, or the name of a peer.
        source: Option<String>,
        /// Since when that peer has been unreachable. `None` while it is connected.
        stale_since: Option<Timestamp>,
        /// The announcement that the binding follows, or last followed.
        announcement: Option<Box<AnnouncementStatus>>,
    },
}

/// State of one peer in the status of a MeshFedConfig.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerStatusDetail {
    /// Name of the peer.
    pub name: String,
    /// State of the connection. `None` if nothing is known about it.
    pub connection: Option<PeerConnection>,
    /// Number of its accepted announcements.
    pub announced: usize,
    /// Number of bindings that follow its announcements, or last followed them.
    pub imported: usize,
}

impl ResourceVerdict {
    /// Returns whether the newest version of the resource is valid.
    pub fn is_accepted(&self) -> bool {
        self.refusals.is_empty()
    }

    /// Returns whether all of the resource is in place.
    pub fn is_programmed(&self) -> bool {
        (self.keeps_last_good || self.is_accepted()) && self.failures.is_empty()
    }

    /// Adds the refusals of a newer version to the verdict on the last good one, which stays in place. What was a
    /// refusal of the last good version, because something around it has changed, becomes a failure: it keeps that
    /// version from being in place.
    #[must_use]
    pub fn with_refused_update(mut self, refusals: &[ResourceProblem]) -> Self {
        let of_last_good = std::mem::replace(&mut self.refusals, refusals.to_vec());
        // In front: the first problem gives the condition its reason.
        self.failures.splice(0..0, of_last_good);
        self.keeps_last_good = true;
        self
    }

    /// Returns whether the service can be reached.
    pub fn is_ready(&self) -> bool {
        self.is_programmed() && self.not_ready.is_none()
    }

    /// Creates the verdict on a resource that is being deleted while some of its objects cannot be removed.
    pub fn for_deletion(generation: Option<i64>, problems: Vec<ResourceProblem>) -> Self {
        Self::new(generation, problems, Vec::new(), StatusDetail::None)
    }

    /// Creates the verdict on a resource that could not be parsed.
    pub(crate) fn from_refusals(problems: &[ResourceProblem]) -> Self {
        Self::new(None, problems.to_vec(), Vec::new(), StatusDetail::None)
    }

    /// Creates the verdict on a valid resource with one problem that prevents everything.
    pub(crate) fn from_problem(
        generation: Option<i64>,
        problem: ResourceProblem,
        warnings: Vec<ResourceProblem>,
    ) -> Self {
        Self::new(generation, vec![problem], warnings, StatusDetail::None)
    }

    pub(crate) fn for_binding(
        generation: Option<i64>,
        problems: Vec<ResourceProblem>,
        warnings: Vec<ResourceProblem>,
        detail: StatusDetail,
    ) -> Self {
        let mut verdict = Self::new(generation, problems, warnings, detail);
        if let StatusDetail::Binding { endpoints, .. } = &verdict.detail
            && endpoints.is_empty()
            && verdict.is_programmed()
        {
            let message = "the peer announces the service without any address";
            verdict.not_ready = Some(Box::new(ResourceProblem::new(Reason::NoAddress, message)));
        }
        verdict
    }

    pub(crate) fn for_exposition(
        exposition: &Exposition,
        offerings: &[ResolvedExposition<'_>],
        in_place: &[&ResolvedExposition<'_>],
        announced_to: Vec<String>,
        problems: Vec<ResourceProblem>,
        warnings: Vec<ResourceProblem>,
    ) -> Self {
        // One relationship without endpoints makes the whole exposition not ready.
        let unreached = in_place.iter().find(|resolved| resolved.endpoints.is_empty()).map(|resolved| {
            let where_to = match &resolved.service {
                Ok(service) if service.ingress.is_some() => "the ingress gateway has no address yet",
                _ => "no ready address of the Service is known",
            };
            ResourceProblem::new(
                Reason::NoAddress,
                format!("{where_to} (MeshFedConfig {})", resolved.relationship.key()),
            )
        });
        let mut endpoints: Vec<_> = in_place.iter().flat_map(|resolved| resolved.endpoints.clone()).collect();
        endpoints.sort();
        endpoints.dedup();
        let detail = StatusDetail::Exposition {
            server_names: offerings.iter().map(|resolved| resolved.server_name.clone()).collect(),
            endpoints,
            announced_to,
        };
        let mut verdict = Self::new(exposition.identity.generation, problems, warnings, detail);
        verdict.not_ready = unreached.map(Box::new);
        verdict
    }

    pub(crate) fn for_relationship(
        relationship: &ResolvedRelationship,
        peers: Vec<PeerStatusDetail>,
        mut warnings: Vec<ResourceProblem>,
    ) -> Self {
        let config = &relationship.config;
        let gateways = [&relationship.egress, &relationship.ingress].into_iter().flatten();
        let mut problems: Vec<_> = relationship.refused.iter().cloned().collect();
        problems.extend(gateways.clone().filter_map(|gateway| gateway.as_ref().err().cloned()));
        // In the styles without TLS termination, a gateway needs no certificate. Then an unusable one is reported in
        // CertificateValid only.
        if config.mode.terminates_tls()
            && let RelationshipCertificate::Unusable(problem) = &relationship.certificate
        {
            problems.push(problem.clone());
        }
        let detail = StatusDetail::Relationship { relationship: config.relationship.clone(), peers };
        warnings.extend(relationship.warnings.iter().cloned());
        let mut verdict = Self::new(config.identity.generation, problems, warnings, detail);
        verdict.certificate = match &relationship.certificate {
            RelationshipCertificate::NotRequested | RelationshipCertificate::Assumed => None,
            certificate => {
                Some(certificate.problem().map_or(Ok(()), |problem| Err(Box::new(problem.clone()))))
            }
        };
        verdict.not_ready = relationship.ingress.as_ref().and_then(|ingress| ingress.as_ref().ok()).and_then(|ingress| {
            let message = "the ingress gateway has no address yet (its Service gets one from a load balancer, from externalIPs, or with type NodePort from ready nodes)";
            ingress.addresses.is_empty().then(|| Box::new(ResourceProblem::new(Reason::NoAddress, message)))
        });
        verdict
    }

    fn new(
        generation: Option<i64>,
        problems: Vec<ResourceProblem>,
        mut warnings: Vec<ResourceProblem>,
        detail: StatusDetail,
    ) -> Self {
        let (refusals, failures) = problems.into_iter().partition(|problem| is_refusal(problem.reason));
        warnings.sort();
        warnings.dedup();
        Self {
            generation,
            refusals,
            failures,
            not_ready: None,
            certificate: None,
            warnings,
            keeps_last_good: false,
            detail,
        }
    }
}

impl StatusDetail {
    pub(crate) fn for_binding(binding: &Binding, bound: &ResolvedBinding<'_>) -> Self {
        Self::Binding {
            host: binding.binding_host(),
            server_name: bound.server_name.clone(),
            endpoints: bound.endpoints.clone(),
            source: bound.endpoint_source.clone(),
            stale_since: bound.stale_since,
            announcement: bound.announcement.clone().map(Box::new),
        }
    }
}

/// Returns whether the user has to change the resource itself. Otherwise the user has to wait for something around
/// it, or fix that.
pub(crate) const fn is_refusal(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Invalid
            | Reason::RelationshipConflict
            | Reason::AmbiguousMeshFedConfig
            | Reason::NamespaceNotAllowed
            | Reason::GatewayNotUsed
            | Reason::UnknownPeer
            | Reason::EndpointNotAllowed
            | Reason::ServerNameNotAllowed
            | Reason::AmbiguousPeer
            | Reason::ServerNameConflict
            | Reason::FacadeConflict
            | Reason::LimitExceeded
            | Reason::IdentityNeeded
            | Reason::PortNotFound
            | Reason::ForeignAddress
            | Reason::ForeignCredential
    )
}
