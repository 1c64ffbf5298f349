//! Options of a controller, from the arguments of a command.

use clap::Args;
use emcee_controller::{ControllerOptions, NamespaceScope, Namespaces};
use emcee_core::inputs::{DEFAULT_NAMESPACE, TranslationSettings};

use crate::cli::common_args::MeshSettings;

/// File that contains the namespace of the pod in which the process runs.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Namespaces that Emcee watches, and in which it may write.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "On Kubernetes")]
pub struct ScopeArgs {
    /// Namespaces whose resources Emcee watches; `*` for all
    #[arg(long, value_name = "NAMESPACE,…", value_delimiter = ',', default_value = "*")]
    watch_namespaces: Vec<String>,

    /// Namespaces in which relationships may have their Secrets and gateways; `*` for all
    #[arg(long, value_name = "NAMESPACE,…", value_delimiter = ',', default_value = "*")]
    fed_namespaces: Vec<String>,
}

impl ScopeArgs {
    /// Returns the watched namespaces for a message.
    pub(crate) fn watched_text(&self) -> String {
        self.watch_namespaces.join(", ")
    }

    /// Returns the fed namespaces for a message.
    pub(crate) fn fed_text(&self) -> String {
        self.fed_namespaces.join(", ")
    }

    /// Converts the arguments; `gateway_namespaces` are the additional namespaces that may contain gateways.
    pub(crate) fn to_scope(&self, gateway_namespaces: &[String]) -> NamespaceScope {
        NamespaceScope {
            watch: Namespaces::from_names(&self.watch_namespaces),
            fed: Namespaces::from_names(&self.fed_namespaces),
            gateway: gateway_namespaces.iter().cloned().collect(),
        }
    }
}

/// Options of a command that reads a cluster as a controller would, but writes nothing.
pub(crate) fn read_only_options(scope: &ScopeArgs, mesh_settings: &MeshSettings) -> ControllerOptions {
    let settings = mesh_settings.to_settings();
    ControllerOptions {
        trust_domain: mesh_settings.trust_domain().map(str::to_owned),
        trust_domain_aliases: mesh_settings.trust_domain_aliases().map(<[String]>::to_vec),
        cluster_domain: settings.cluster_domain,
        root_namespace: settings.root_namespace,
        revision: settings.revision,
        ..default_options(scope.to_scope(mesh_settings.gateway_namespaces()))
    }
}

/// Options for the given namespaces, with default mesh settings.
pub(crate) fn default_options(scope: NamespaceScope) -> ControllerOptions {
    let TranslationSettings { cluster_domain, root_namespace, .. } = TranslationSettings::default();
    ControllerOptions {
        namespace: own_namespace(None),
        identity: replica_identity(),
        scope,
        trust_domain: None,
        trust_domain_aliases: None,
        cluster_domain,
        root_namespace,
        revision: None,
        cluster_networks: Vec::new(),
        mcp: false,
        concurrency: 1,
    }
}

/// Returns the namespace in which Emcee runs: the given one, else the pod's, else `emcee-system`.
pub(crate) fn own_namespace(given: Option<&str>) -> String {
    let own = || std::fs::read_to_string(NAMESPACE_FILE).ok();
    let namespace = given.map(str::to_owned).or_else(own);
    namespace.map_or_else(|| DEFAULT_NAMESPACE.to_owned(), |text| text.trim().to_owned())
}

/// Returns the identity for the Lease: the pod's name and the process ID, so that two replicas on one machine differ
/// too.
fn replica_identity() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "emcee".to_owned());
    format!("{host}_{}", std::process::id())
}
