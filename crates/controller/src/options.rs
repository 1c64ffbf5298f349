//! Options of a controller.

use std::collections::BTreeSet;

use emcee_core::inputs::{DISCOVERY_SERVICE, InputCoverage, TranslationSettings};
use emcee_core::key::ObjectKey;
use ipnet::IpNet;
use jiff::Timestamp;

/// Options of a controller, fixed at its start.
#[derive(Clone, Debug)]
pub struct ControllerOptions {
    /// Namespace in which Emcee runs; its Lease is there.
    pub namespace: String,
    /// Name of this replica, unique among the replicas. In a cluster it is the name of the pod.
    pub identity: String,
    /// Namespaces that the controller may read and write.
    pub scope: NamespaceScope,
    /// Trust domain of this mesh; `None` to follow Istio's mesh configuration.
    pub trust_domain: Option<String>,
    /// Trust domains that this mesh accepts like its own; `None` to follow Istio's mesh configuration.
    pub trust_domain_aliases: Option<Vec<String>>,
    /// DNS domain of the cluster.
    pub cluster_domain: String,
    /// Root namespace of Istio.
    pub root_namespace: String,
    /// Revision of Istio, for the gateways that Emcee creates.
    pub revision: Option<String>,
    /// Service and Pod ranges of the cluster, as far as they are known.
    pub cluster_networks: Vec<IpNet>,
    /// Whether istiod receives its configuration over MCP. Then no object of Istio's kinds is written.
    pub mcp: bool,
    /// Maximum number of writes in flight.
    pub concurrency: usize,
}

/// Some namespaces, or all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Namespaces {
    /// All namespaces, with cluster-wide watches.
    All,
    /// These namespaces, with a watch for each.
    Only(BTreeSet<String>),
}

/// Namespaces that a controller may read and write. RBAC is generated from the same values.
#[derive(Clone, Debug)]
pub struct NamespaceScope {
    /// Namespaces that may contain user resources.
    pub watch: Namespaces,
    /// Fed namespaces, which may contain relationships' Secrets and gateways.
    pub fed: Namespaces,
    /// Additional namespaces that contain your own gateways, whose pods may receive configuration and keys.
    pub gateway: BTreeSet<String>,
}

impl NamespaceScope {
    /// Returns the namespaces that may contain user resources, services, workloads and generated objects.
    pub(crate) fn all_namespaces(&self) -> Namespaces {
        self.watch.union_bounded(&self.fed).union_names(&self.gateway)
    }

    /// Returns the namespaces to which the controller is confined; empty if it watches all of them.
    pub(crate) fn confined_namespaces(&self) -> BTreeSet<String> {
        match self.all_namespaces() {
            Namespaces::All => BTreeSet::new(),
            Namespaces::Only(names) => names,
        }
    }

    /// Returns the namespaces that may contain Secrets, Roles and the other objects of relationships.
    pub(crate) fn secret_namespaces(&self) -> Namespaces {
        self.fed.union_names(&self.gateway)
    }
}

impl Namespaces {
    /// Returns all namespaces if one of `names` is `*`, otherwise those in `names`.
    pub fn from_names<S: AsRef<str>>(names: &[S]) -> Self {
        if names.iter().any(|name| name.as_ref() == "*") {
            return Self::All;
        }
        let names = names.iter().map(AsRef::as_ref).filter(|name| !name.is_empty());
        Self::Only(names.map(str::to_owned).collect())
    }

    fn union_bounded(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Only(some), Self::Only(others)) => Self::Only(some | others),
            // With cluster-wide watches, a resource in any namespace can lead to objects in any other.
            (Self::All, _) => Self::All,
            // The converse does not hold: Emcee stays in the namespaces that it watches.
            (some, Self::All) => some.clone(),
        }
    }

    fn union_names(&self, others: &BTreeSet<String>) -> Self {
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

    /// Returns the namespace of each watch that covers these; `None` for a cluster-wide watch.
    pub(crate) fn watch_namespaces(&self) -> Vec<Option<String>> {
        match self {
            Self::All => vec![None],
            Self::Only(names) => names.iter().cloned().map(Some).collect(),
        }
    }
}

impl ControllerOptions {
    /// Returns the settings of the core.
    pub(crate) fn core_settings(&self, now: Timestamp) -> TranslationSettings {
        TranslationSettings {
            trust_domain: self
                .trust_domain
                .clone()
                .unwrap_or_else(|| TranslationSettings::default().trust_domain),
            trust_domain_aliases: self.trust_domain_aliases.clone().unwrap_or_default(),
            cluster_domain: self.cluster_domain.clone(),
            root_namespace: self.root_namespace.clone(),
            revision: self.revision.clone(),
            gateway_namespaces: self.scope.gateway.iter().cloned().collect(),
            discovery_service: ObjectKey::new(&self.namespace, DISCOVERY_SERVICE),
            cluster_networks: self.cluster_networks.clone(),
            coverage: InputCoverage::Complete,
            now,
            ..TranslationSettings::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::options;

    fn only(names: &[&str]) -> Namespaces {
        Namespaces::from_names(names)
    }

    fn scope(watch: Namespaces, fed: Namespaces, gateway: &[&str]) -> NamespaceScope {
        NamespaceScope { watch, fed, gateway: gateway.iter().map(|name| (*name).to_owned()).collect() }
    }

    #[test]
    fn a_star_among_names_is_all_namespaces_and_empty_names_are_none() {
        assert_eq!(only(&["shop", "*"]), Namespaces::All);
        assert_eq!(only(&["", "shop", "shop"]), Namespaces::Only(BTreeSet::from(["shop".to_owned()])));
        assert_eq!(only(&[]), Namespaces::Only(BTreeSet::new()));
        assert!(Namespaces::All.contains("shop"));
        assert!(only(&["shop"]).contains("shop") && !only(&["shop"]).contains("bank"));
    }

    #[test]
    fn all_fed_namespaces_do_not_extend_the_watched_ones() {
        let confined = scope(only(&["shop"]), Namespaces::All, &["gateways"]);
        assert_eq!(confined.all_namespaces(), only(&["gateways", "shop"]));
        assert_eq!(
            confined.confined_namespaces(),
            BTreeSet::from(["gateways".to_owned(), "shop".to_owned()])
        );
        // Secrets may be in any of them.
        assert_eq!(confined.secret_namespaces(), Namespaces::All);
    }

    #[test]
    fn named_namespaces_are_watched_together() {
        let confined = scope(only(&["shop"]), only(&["blue"]), &["gateways"]);
        assert_eq!(confined.all_namespaces(), only(&["blue", "gateways", "shop"]));
        assert_eq!(
            confined.secret_namespaces(),
            only(&["blue", "gateways"]),
            "no Secret of a user's namespace"
        );
    }

    #[test]
    fn a_controller_that_watches_everything_is_confined_to_nothing() {
        let free = scope(Namespaces::All, only(&["blue"]), &["gateways"]);
        assert_eq!((free.all_namespaces(), free.confined_namespaces()), (Namespaces::All, BTreeSet::new()));
        assert_eq!(free.secret_namespaces(), only(&["blue", "gateways"]));
    }

    #[test]
    fn there_is_one_watch_for_all_namespaces_or_one_for_each() {
        assert_eq!(Namespaces::All.watch_namespaces(), [None]);
        assert_eq!(only(&["b", "a"]).watch_namespaces(), [Some("a".to_owned()), Some("b".to_owned())]);
        assert_eq!(only(&[]).watch_namespaces(), []);
    }

    #[test]
    fn the_settings_of_the_core_follow_the_options() {
        let settings = options().core_settings(Timestamp::UNIX_EPOCH);
        assert_eq!(settings.trust_domain, TranslationSettings::default().trust_domain);
        assert_eq!(settings.discovery_service, ObjectKey::new("emcee-system", DISCOVERY_SERVICE));
        assert_eq!((settings.now, settings.coverage), (Timestamp::UNIX_EPOCH, InputCoverage::Complete));
        let given = ControllerOptions {
            trust_domain: Some("m1.example".into()),
            trust_domain_aliases: Some(vec!["old.example".into()]),
            scope: scope(Namespaces::All, Namespaces::All, &["gateways"]),
            ..options()
        };
        let settings = given.core_settings(Timestamp::UNIX_EPOCH);
        assert_eq!(settings.trust_domain, "m1.example");
        assert_eq!(settings.trust_domain_aliases, ["old.example"]);
        assert_eq!(settings.gateway_namespaces, ["gateways"]);
    }
}
