//! What a controller is told at its start.

use std::collections::BTreeSet;

use emcee_core::inputs::{DISCOVERY_SERVICE, Knowledge, Settings};
use emcee_core::key::Key;
use ipnet::IpNet;
use jiff::Timestamp;

/// What a controller is told at its start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Namespace in which Emcee itself runs: its Lease lives there.
    pub namespace: String,
    /// Name of this replica, unique among them; the pod's name in a cluster.
    pub identity: String,
    /// What it may look at and write to.
    pub scope: Scope,
    /// Trust domain of this mesh; else Istio's own mesh configuration says it.
    pub trust_domain: Option<String>,
    /// Trust domains that this mesh accepts like its own; else Istio's own mesh configuration says them.
    pub trust_domain_aliases: Option<Vec<String>>,
    /// DNS domain of the cluster.
    pub cluster_domain: String,
    /// Istio's root namespace.
    pub root_namespace: String,
    /// Istio's revision, for the gateways that Emcee creates.
    pub revision: Option<String>,
    /// The cluster's Service and Pod ranges, as far as they are known.
    pub cluster_networks: Vec<IpNet>,
    /// Whether istiod gets its configuration over MCP: then no object of Istio's kinds is written.
    pub mcp: bool,
    /// How many writes are under way at most.
    pub concurrency: usize,
}

/// Some namespaces, or all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Namespaces {
    /// All, by watches of the whole cluster.
    All,
    /// These, by a watch of each.
    Only(BTreeSet<String>),
}

/// What a controller may look at and write to. RBAC is generated from the same values.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Where resources are looked for.
    pub watch: Namespaces,
    /// Where relationships may have their Secrets and gateways.
    pub fed: Namespaces,
    /// Namespaces, besides, whose gateway pods may be given configuration and keys.
    pub gateway: BTreeSet<String>,
}

impl Scope {
    /// Where users' resources, services and workloads, and generated objects may be.
    pub(crate) fn everywhere(&self) -> Namespaces {
        self.watch.and(&self.fed).and_some(&self.gateway)
    }

    /// The namespaces to which everything is confined; none, where all are watched.
    pub(crate) fn confined(&self) -> BTreeSet<String> {
        match self.everywhere() {
            Namespaces::All => BTreeSet::new(),
            Namespaces::Only(names) => names,
        }
    }

    /// Where Secrets and Roles may be, and all else that a relationship has.
    pub(crate) fn secrets(&self) -> Namespaces {
        self.fed.and_some(&self.gateway)
    }
}

impl Namespaces {
    /// All of the cluster if one of `names` is `*`, or else those.
    pub fn of<S: AsRef<str>>(names: &[S]) -> Self {
        if names.iter().any(|name| name.as_ref() == "*") {
            return Self::All;
        }
        let names = names.iter().map(AsRef::as_ref).filter(|name| !name.is_empty());
        Self::Only(names.map(str::to_owned).collect())
    }

    fn and(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Only(some), Self::Only(others)) => Self::Only(some | others),
            // Where everything is watched, resources of any namespace may lead to objects of any other.
            (Self::All, _) => Self::All,
            (some, Self::All) => some.clone(),
        }
    }

    fn and_some(&self, others: &BTreeSet<String>) -> Self {
        match self {
            Self::All => Self::All,
            Self::Only(some) => Self::Only(some | others),
        }
    }

    pub(crate) fn contains(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(some) => some.contains(namespace),
        }
    }

    /// The namespace of each watch that covers these; `None`: one of the whole cluster.
    pub(crate) fn watches(&self) -> Vec<Option<String>> {
        match self {
            Self::All => vec![None],
            Self::Only(names) => names.iter().cloned().map(Some).collect(),
        }
    }
}

impl Options {
    /// What the core is told of its surroundings.
    pub(crate) fn settings(&self, now: Timestamp) -> Settings {
        Settings {
            trust_domain: self.trust_domain.clone().unwrap_or_else(|| Settings::default().trust_domain),
            trust_domain_aliases: self.trust_domain_aliases.clone().unwrap_or_default(),
            cluster_domain: self.cluster_domain.clone(),
            root_namespace: self.root_namespace.clone(),
            revision: self.revision.clone(),
            gateway_namespaces: self.scope.gateway.iter().cloned().collect(),
            discovery: Key::new(&self.namespace, DISCOVERY_SERVICE),
            cluster_networks: self.cluster_networks.clone(),
            knowledge: Knowledge::Complete,
            now,
            ..Settings::default()
        }
    }
}
