//! What a translation says of one resource.

use emcee_api::{Announcement, Reason};
use jiff::Timestamp;

use crate::catalogue::Connection;
use crate::endpoint::Endpoint;
use crate::parse::{Binding, Exposition};
use crate::problem::Problem;
use crate::resolve::{Bound, Certificate, Offering, Relationship};

/// What a translation says of one resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// `metadata.generation` of what was translated.
    pub generation: Option<i64>,
    /// What the user has to mend in this resource.
    pub refusals: Vec<Problem>,
    /// Why (part of) it is not in place.
    pub failures: Vec<Problem>,
    /// Why it cannot be reached, although it is in place.
    pub unready: Option<Box<Problem>>,
    /// Of a relationship with a certificate: whether that is in force.
    pub certificate: Option<Result<(), Box<Problem>>>,
    /// What is worth knowing.
    pub warnings: Vec<Problem>,
    /// Whether the refusals are of a newer version, and what is in place is the last good one.
    pub held: bool,
    /// What the status shows.
    pub detail: Detail,
}

/// What a status shows besides conditions.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Detail {
    /// The resource could not be read.
    #[default]
    None,
    /// Of a MeshFedConfig.
    Relationship {
        /// Name of the relationship.
        relationship: String,
        /// Its peers.
        peers: Vec<PeerDetail>,
    },
    /// Of a ServiceExposition.
    Exposition {
        /// Server names, one for each relationship.
        server_names: Vec<String>,
        /// Where peers reach it.
        endpoints: Vec<Endpoint>,
        /// `<relationship>/<peer>` that are told of it.
        announced_to: Vec<String>,
    },
    /// Of a ServiceBinding.
    Binding {
        /// Binding host L.
        host: String,
        /// Server name X.
        server_name: String,
        /// Endpoints in use.
        endpoints: Vec<Endpoint>,
        /// `spec`, or the name of the peer.
        source: Option<String>,
        /// Since when that peer is lost.
        stale_since: Option<Timestamp>,
        /// The announcement that it follows, or last followed.
        announcement: Option<Box<Announcement>>,
    },
}

/// How it stands with a peer.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerDetail {
    /// Its name.
    pub name: String,
    /// Whether it is heard; none: nothing is known of that.
    pub connection: Option<Connection>,
    /// How many services it announces here, as far as they were accepted.
    pub announced: usize,
    /// How many bindings follow what it announces, or last announced.
    pub imported: usize,
}

impl Verdict {
    /// Whether the resource makes sense.
    pub fn is_accepted(&self) -> bool {
        self.refusals.is_empty()
    }

    /// Whether all of it is in place.
    pub fn is_programmed(&self) -> bool {
        (self.held || self.is_accepted()) && self.failures.is_empty()
    }

    /// The verdict on a resource of which a newer version was refused, and the last good one stays. What is refused of
    /// that one, as something around it has changed, keeps it from being in place.
    #[must_use]
    pub fn holding(mut self, refusals: &[Problem]) -> Self {
        let of_last_good = std::mem::replace(&mut self.refusals, refusals.to_vec());
        self.failures.splice(0..0, of_last_good);
        self.held = true;
        self
    }

    /// Whether it can be reached.
    pub fn is_ready(&self) -> bool {
        self.is_programmed() && self.unready.is_none()
    }

    /// The verdict on a resource that is being deleted, of which not all objects can be removed.
    pub fn of_deletion(generation: Option<i64>, problems: Vec<Problem>) -> Self {
        Self::new(generation, problems, Vec::new(), Detail::None)
    }

    pub(crate) fn refused(problems: &[Problem]) -> Self {
        Self::new(None, problems.to_vec(), Vec::new(), Detail::None)
    }

    pub(crate) fn failed(generation: Option<i64>, problem: Problem, warnings: Vec<Problem>) -> Self {
        Self::new(generation, vec![problem], warnings, Detail::None)
    }

    pub(crate) fn of_binding(
        generation: Option<i64>,
        problems: Vec<Problem>,
        warnings: Vec<Problem>,
        detail: Detail,
    ) -> Self {
        let mut verdict = Self::new(generation, problems, warnings, detail);
        if let Detail::Binding { endpoints, .. } = &verdict.detail
            && endpoints.is_empty()
            && verdict.is_programmed()
        {
            let message = "the peer announces the service, and no address of it for now";
            verdict.unready = Some(Box::new(Problem::new(Reason::NoAddress, message)));
        }
        verdict
    }

    pub(crate) fn of_exposition(
        exposition: &Exposition,
        offerings: &[Offering<'_>],
        in_place: &[&Offering<'_>],
        announced_to: Vec<String>,
        problems: Vec<Problem>,
        warnings: Vec<Problem>,
    ) -> Self {
        let unreached = in_place.iter().find(|offering| offering.endpoints.is_empty()).map(|offering| {
            let where_to = match &offering.offer {
                Ok(offer) if offer.ingress.is_some() => "the ingress gateway has no address yet",
                _ => "no ready address of the Service is known",
            };
            Problem::new(
                Reason::NoAddress,
                format!("{where_to} (MeshFedConfig {})", offering.relationship.key()),
            )
        });
        let mut endpoints: Vec<_> = in_place.iter().flat_map(|offering| offering.endpoints.clone()).collect();
        endpoints.sort();
        endpoints.dedup();
        let detail = Detail::Exposition {
            server_names: offerings.iter().map(|offering| offering.server_name.clone()).collect(),
            endpoints,
            announced_to,
        };
        let mut verdict = Self::new(exposition.identity.generation, problems, warnings, detail);
        verdict.unready = unreached.map(Box::new);
        verdict
    }

    pub(crate) fn of_relationship(
        relationship: &Relationship,
        peers: Vec<PeerDetail>,
        mut warnings: Vec<Problem>,
    ) -> Self {
        let config = &relationship.config;
        let gateways = [&relationship.egress, &relationship.ingress].into_iter().flatten();
        let mut problems: Vec<_> = relationship.refused.iter().cloned().collect();
        problems.extend(gateways.clone().filter_map(|gateway| gateway.as_ref().err().cloned()));
        if config.mode.terminates()
            && let Certificate::Unusable(problem) = &relationship.certificate
        {
            problems.push(problem.clone());
        }
        let detail = Detail::Relationship { relationship: config.relationship.clone(), peers };
        warnings.extend(relationship.warnings.iter().cloned());
        let mut verdict = Self::new(config.identity.generation, problems, warnings, detail);
        verdict.certificate = match &relationship.certificate {
            Certificate::NotAsked | Certificate::Assumed => None,
            certificate => {
                Some(certificate.problem().map_or(Ok(()), |problem| Err(Box::new(problem.clone()))))
            }
        };
        verdict.unready = relationship.ingress.as_ref().and_then(|ingress| ingress.as_ref().ok()).and_then(|ingress| {
            let message = "the ingress gateway has no address yet (its Service gets one from a load balancer or externalIPs, or, of type NodePort, from ready nodes)";
            ingress.addresses.is_empty().then(|| Box::new(Problem::new(Reason::NoAddress, message)))
        });
        verdict
    }

    fn new(
        generation: Option<i64>,
        problems: Vec<Problem>,
        mut warnings: Vec<Problem>,
        detail: Detail,
    ) -> Self {
        let (refusals, failures) = problems.into_iter().partition(|problem| is_refusal(problem.reason));
        warnings.sort();
        warnings.dedup();
        Self {
            generation,
            refusals,
            failures,
            unready: None,
            certificate: None,
            warnings,
            held: false,
            detail,
        }
    }
}

impl Detail {
    pub(crate) fn of_binding(binding: &Binding, bound: &Bound<'_>) -> Self {
        Self::Binding {
            host: binding.host(),
            server_name: bound.server_name.clone(),
            endpoints: bound.endpoints.clone(),
            source: bound.source.clone(),
            stale_since: bound.stale_since,
            announcement: bound.announcement.clone().map(Box::new),
        }
    }
}

/// Whether the user has to change a resource, rather than wait for, or mend, something around it.
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
