//! All inputs of a translation: users' resources, and the facts it needs from other objects.
//!
//! From a foreign object only the fields in use are stored (a [`Service`], a [`Workload`], …). So 10,000 of them take
//! little memory, and a change to any other field causes no work. Kubernetes watches, a folder of files and tests are
//! three ways to build the same `Inputs`.

mod address_index;
mod announcement_index;
mod credential;
mod crl;
mod endpoint_slice;
mod istio_objects;
mod name_validation;
mod node;
mod service;
mod store;
mod topic;
mod workload;
mod workload_entry;

pub(crate) use address_index::AddressIndex;
pub use address_index::AddressOwner;
pub(crate) use credential::ca_secret_name;
pub use credential::{Credential, CredentialProblem, KeyMaterial, is_ca_secret_name};
pub use crl::Revocation;
pub use endpoint_slice::{EndpointSlice, SliceAddress};
pub use istio_objects::{MtlsRequirement, PeerAuthentication, UserDestinationRule};
pub use name_validation::ports_problem;
pub use node::ClusterNode;
pub use service::{DiscoveryServer, ExposeRequest, Service, ServicePort, TargetPort};
pub use store::{InputChange, Inputs, ParsedResource};
pub(crate) use topic::{Topic, TopicMap};
pub use workload::{Workload, WorkloadKind};
pub use workload_entry::WorkloadEntry;

use ipnet::IpNet;
use jiff::Timestamp;

use crate::catalogue::AnnouncementQuota;
use crate::key::ObjectKey;

/// Name of the Service of this mesh's discovery server, in Emcee's namespace.
pub const DISCOVERY_SERVICE: &str = "emcee-discovery";

/// Namespace in which Emcee runs, if nothing else is known.
pub const DEFAULT_NAMESPACE: &str = "emcee-system";
/// Kubernetes' default domain of a cluster, which is also Istio's default trust domain.
pub const DEFAULT_DOMAIN: &str = "cluster.local";
/// Istio's default root namespace.
pub const DEFAULT_ROOT_NAMESPACE: &str = "istio-system";

/// Settings of this mesh and of the translation.
#[derive(Clone, Debug, PartialEq)]
pub struct TranslationSettings {
    /// Trust domain of this mesh, without `spiffe://`.
    pub trust_domain: String,
    /// Trust domains whose workloads this mesh's sidecars accept like its own (Istio's `trustDomainAliases`).
    pub trust_domain_aliases: Vec<String>,
    /// DNS domain of the cluster.
    pub cluster_domain: String,
    /// Istio's root namespace. Configuration there applies to the whole mesh.
    pub root_namespace: String,
    /// Istio revision of the gateways that Emcee creates.
    pub revision: Option<String>,
    /// Additional namespaces whose gateway pods may receive configuration and keys. The fed namespace always may.
    pub gateway_namespaces: Vec<String>,
    /// The Service of this mesh's discovery server. Peers are routed there if it exists.
    pub discovery_service: ObjectKey,
    /// What the absence of an object from the inputs means.
    pub coverage: InputCoverage,
    /// Hash of the root certificates of this mesh's workloads, which is announced to peers. `None` if it is not
    /// known.
    pub root_hash: Option<String>,
    /// The cluster's Service and Pod ranges, as far as they are known. No peer's endpoint may lie in them.
    pub cluster_networks: Vec<IpNet>,
    /// Whether peers may announce identities of this mesh's own trust domain even if their `trust_domains` does not
    /// list it.
    pub shared_trust_domain: bool,
    /// Limits on what each peer may announce.
    pub quota: AnnouncementQuota,
    /// The time at which the validity of certificates is checked.
    pub now: Timestamp,
}

/// What the absence of an object from the inputs means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputCoverage {
    /// The inputs come from a cluster: an absent object does not exist.
    Complete,
    /// The inputs come from files: for an absent object the usual case is assumed, with a warning.
    Partial,
}

impl Default for TranslationSettings {
    /// Istio's own defaults, complete knowledge, the epoch.
    fn default() -> Self {
        Self {
            trust_domain: DEFAULT_DOMAIN.into(),
            trust_domain_aliases: Vec::new(),
            cluster_domain: DEFAULT_DOMAIN.into(),
            root_namespace: DEFAULT_ROOT_NAMESPACE.into(),
            revision: None,
            gateway_namespaces: Vec::new(),
            discovery_service: ObjectKey::new(DEFAULT_NAMESPACE, DISCOVERY_SERVICE),
            coverage: InputCoverage::Complete,
            root_hash: None,
            cluster_networks: Vec::new(),
            shared_trust_domain: false,
            quota: AnnouncementQuota::default(),
            now: Timestamp::UNIX_EPOCH,
        }
    }
}
