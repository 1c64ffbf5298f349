//! Resolution of valid resources and facts into what a style needs: gateways, certificates, services,
//! endpoints.
//!
//! All decisions that depend on *other* objects are made here. The results are complete, so a style only
//! writes objects.

mod auto_exposition;
mod backends;
mod binding;
mod certificate;
mod client_tls;
mod discovery_route;
mod exposition;
mod gateway;
mod imports;
mod mutual_tls;
mod ownership;
mod peer_policy;
mod relationship;
mod remote;
mod shared_host;
mod trust_domain;
mod upstream;
mod view;

pub(crate) use auto_exposition::{AutoExposition, AutoExpositions, resolve as automatic};
pub use binding::{BoundService, EgressRelay};
pub(crate) use binding::{
    FacadeClaim, FacadePort, FacadeRoute, RelayClaim, ResolvedBinding, resolve as binding,
};
pub(crate) use certificate::RelationshipCertificate;
pub use exposition::ExposedService;
pub(crate) use exposition::{ResolvedExposition, resolve as exposition};
pub use gateway::ResolvedGateway;
pub(crate) use gateway::created_name;
pub(crate) use imports::{Import, Imports, SkippedImport, resolve as imports};
pub use relationship::ResolvedRelationship;
pub(crate) use relationship::resolve as relationship;
pub use shared_host::{SharedHost, SharedHostKey, SharedHostMember};
pub(crate) use shared_host::{TLS_SUBSET, export_to};
pub(crate) use trust_domain::not_accepted_warning as trust_domain_not_accepted;
pub use upstream::Upstream;
pub(crate) use view::{InputView, ResolvedRelationships};
