//! Resolution of valid resources and facts into what a style needs: gateways, certificates, services,
//! endpoints.
//!
//! All decisions that depend on *other* objects are made here. The results are complete, so a style only
//! writes objects.

mod automatic;
mod backends;
mod binding;
mod certificate;
mod client_tls;
mod exposition;
mod gateway;
mod imports;
mod mutual_tls;
mod own;
mod relationship;
mod remote;
mod terms;
mod trust_domain;
mod upstream;
mod view;
mod ways;

pub(crate) use automatic::{Asked, AutomaticExposition, resolve as automatic};
pub(crate) use binding::{Bound, FacadeClaim, FacadePort, FacadeRoute, RelayClaim, resolve as binding};
pub use binding::{Consumption, Relay};
pub(crate) use certificate::Certificate;
pub use exposition::Offer;
pub(crate) use exposition::{Offering, resolve as exposition};
pub use gateway::Gateway;
pub(crate) use gateway::created_name;
pub(crate) use imports::{Import, Imports, Skipped, resolve as imports};
pub use relationship::Relationship;
pub(crate) use relationship::resolve as relationship;
pub(crate) use trust_domain::not_accepted as trust_domain_not_accepted;
pub use upstream::Upstream;
pub(crate) use view::{Relationships, View};
