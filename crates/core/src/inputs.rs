//! All that a translation may look at: users' resources, and the facts it needs of other objects.
//!
//! Of a foreign object only what is used is kept (a [`Service`], a [`Workload`], …), so that 10,000 of them are
//! cheap to hold, and a change to anything else of theirs is no change. Kubernetes watches, a folder of files and
//! tests are three ways to make the same `Inputs`.

mod addresses;
mod announcements;
mod credential;
mod crl;
mod endpoint_slice;
mod istio;
mod judge;
mod node;
mod service;
mod store;
mod topic;
mod workload;
mod workload_entry;

pub use addresses::AddressOwner;
pub(crate) use addresses::Addresses;
pub(crate) use credential::shadow_of;
pub use credential::{Credential, CredentialProblem, KeyMaterial, may_shadow};
pub use crl::Revocation;
pub use endpoint_slice::{EndpointSlice, SliceAddress};
pub use istio::{MutualTls, PeerAuthentication, Subsets};
pub use judge::ports_problem;
pub use node::Node;
pub use service::{DiscoveryServer, Expose, Service, ServicePort, TargetPort};
pub use store::{Change, Inputs, Parsed};
pub(crate) use topic::{Topic, TopicMap};
pub use workload::{Workload, WorkloadKind};
pub use workload_entry::WorkloadEntry;

use ipnet::IpNet;
use jiff::Timestamp;

use crate::catalogue::Quota;
use crate::key::Key;

/// Name of the Service of Emcee's own discovery, in Emcee's namespace.
pub const DISCOVERY_SERVICE: &str = "emcee-discovery";

/// What a translation is told about its surroundings.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Trust domain of this mesh, without `spiffe://`.
    pub trust_domain: String,
    /// Trust domains whose workloads this mesh's sidecars accept like its own (`trustDomainAliases`).
    pub trust_domain_aliases: Vec<String>,
    /// DNS domain of the cluster.
    pub cluster_domain: String,
    /// Istio's root namespace: configuration there holds for the whole mesh.
    pub root_namespace: String,
    /// Istio's revision, for the gateways that Emcee creates.
    pub revision: Option<String>,
    /// Namespaces, besides the fed namespace, whose gateway pods may be given configuration and keys.
    pub gateway_namespaces: Vec<String>,
    /// The Service of Emcee's own discovery, if it is there: where peers are led.
    pub discovery: Key,
    /// Whether an object that is not among the inputs does not exist.
    pub knowledge: Knowledge,
    /// Hash of the root certificates of this mesh's workloads, where known; peers are told.
    pub root_hash: Option<String>,
    /// The cluster's Service and Pod ranges, as far as they are known: no peer's endpoints lie there.
    pub cluster_networks: Vec<IpNet>,
    /// Whether peers may announce identities of this mesh's own trust domain, without their `trust_domains` saying so.
    pub shared_trust_domain: bool,
    /// How much each peer may announce.
    pub quota: Quota,
    /// The time at which certificates are judged.
    pub now: Timestamp,
}

/// What the absence of an object means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knowledge {
    /// The inputs are a cluster's: what is absent does not exist.
    Complete,
    /// The inputs are some files: of what is absent the usual is assumed, and said.
    Partial,
}

impl Default for Settings {
    /// Istio's own defaults, complete knowledge, the epoch.
    fn default() -> Self {
        Self {
            trust_domain: "cluster.local".into(),
            trust_domain_aliases: Vec::new(),
            cluster_domain: "cluster.local".into(),
            root_namespace: "istio-system".into(),
            revision: None,
            gateway_namespaces: Vec::new(),
            discovery: Key::new("emcee-system", DISCOVERY_SERVICE),
            knowledge: Knowledge::Complete,
            root_hash: None,
            cluster_networks: Vec::new(),
            shared_trust_domain: false,
            quota: Quota::default(),
            now: Timestamp::UNIX_EPOCH,
        }
    }
}
