//! Runs the controller on Kubernetes, and connects the other commands to a cluster.

pub(crate) mod lease;
pub(crate) mod read;
pub(crate) mod write;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use emcee_controller::lease::Leadership;
use emcee_controller::{Controller, ControllerOptions, Metrics, NamespaceScope, Namespaces};
use emcee_core::inputs::{DEFAULT_NAMESPACE, TranslationSettings};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::task::JoinSet;
use tracing::info;

use crate::admin::{self, AdminState, PortArgs};
use crate::cli::common_args::MeshSettings;
use crate::discovery::{DiscoveryArgs, DiscoveryChannels, MeshDiscovery};
use crate::mcp::McpArgs;
use crate::metrics::{self, DiscoveryMetrics, WebhookMetrics};
use crate::shutdown;
use crate::webhook::{self, WebhookOptions};

/// File that contains the namespace of the pod in which the process runs.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Arguments that select a cluster.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Cluster")]
pub struct ConnectArgs {
    /// Kubeconfig file: the cluster to use, and the credentials for it
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

/// Arguments of `emcee run` on Kubernetes.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "On Kubernetes")]
pub struct ClusterArgs {
    #[command(flatten)]
    connect: ConnectArgs,

    /// Namespace in which Emcee runs and keeps its Lease. Defaults to the pod's own namespace, else emcee-system
    #[arg(long, value_name = "NAMESPACE", help_heading = "On Kubernetes")]
    namespace: Option<String>,

    #[command(flatten)]
    scope: ScopeArgs,

    /// Address that serves the admission webhook, such as 0.0.0.0:9443
    #[arg(long, value_name = "ADDRESS")]
    webhook_address: Option<SocketAddr>,

    /// Maximum number of concurrent writes to the API server
    #[arg(long, value_name = "NUMBER", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    concurrency: u16,

    #[command(flatten)]
    admin: PortArgs,

    #[command(flatten)]
    discovery: DiscoveryArgs,

    #[command(flatten)]
    mcp: McpArgs,
}

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
    /// Converts the arguments; `gateway_namespaces` are the additional namespaces that may contain gateways.
    pub(crate) fn to_scope(&self, gateway_namespaces: &[String]) -> NamespaceScope {
        NamespaceScope {
            watch: Namespaces::from_names(&self.watch_namespaces),
            fed: Namespaces::from_names(&self.fed_namespaces),
            gateway: gateway_namespaces.iter().cloned().collect(),
        }
    }
}

impl ClusterArgs {
    /// Returns the addresses of the probe and admin ports, which file mode uses too.
    pub(crate) fn port_args(&self) -> &PortArgs {
        &self.admin
    }

    /// Returns the arguments of discovery, which file mode uses too.
    pub(crate) fn discovery_args(&self) -> &DiscoveryArgs {
        &self.discovery
    }
}

impl ConnectArgs {
    /// Returns whether a cluster is named explicitly.
    pub fn is_given(&self) -> bool {
        self.kubeconfig.is_some() || self.context.is_some()
    }

    /// Builds a client for the cluster. Without arguments it uses the pod's ServiceAccount, else the default
    /// kubeconfig.
    ///
    /// # Errors
    /// The kubeconfig does not exist or cannot be read.
    pub async fn build_client(&self) -> anyhow::Result<Client> {
        let config = match (&self.kubeconfig, &self.context) {
            (None, None) => Config::infer()
                .await
                .context("no cluster: this is not a pod, and there is no kubeconfig (set --kubeconfig)")?,
            (path, context) => {
                let kubeconfig = match path {
                    Some(path) => Kubeconfig::read_from(path),
                    None => Kubeconfig::read(),
                };
                let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
                Config::from_custom_kubeconfig(kubeconfig?, &options).await?
            }
        };
        Ok(Client::try_from(config)?)
    }
}

/// Runs a controller until `end` resolves.
///
/// # Errors
/// The cluster or a port cannot be reached at startup, or the controller fails.
pub(crate) async fn run_controller(
    args: &ClusterArgs,
    mesh_settings: &MeshSettings,
    end: impl Future<Output = ()> + Send,
) -> anyhow::Result<()> {
    let client = args.connect.build_client().await?;
    let options = controller_options(args, mesh_settings);
    let mut registry = metrics::new_registry();
    let controller_metrics = Metrics::register(&mut registry);
    let discovery_metrics = DiscoveryMetrics::register(&mut registry);
    let webhook_metrics = WebhookMetrics::register(&mut registry);
    let mcp_counters = metrics::register_mcp(&mut registry);
    let (namespace, identity) = (options.namespace.clone(), options.identity.clone());
    let mut controller = Controller::new(client.clone(), options, controller_metrics);
    let state = AdminState { registry: Arc::new(registry), health: Arc::new(controller.health()) };
    let (mut ports, opened) = args.admin.open_ports(&state)?;
    for opened in opened {
        info!("{opened}");
    }
    open_webhook(args, client.clone(), webhook_metrics, &mut ports)?;
    let discovery = MeshDiscovery::open(&args.discovery, discovery_metrics)?;
    let mcp = args.mcp.open()?;
    // Last step that needs a working setup: a replica that takes the Lease and then fails to start would keep the
    // others from writing until the Lease expires.
    let leadership = Leadership::acquire(client, &namespace, &identity);
    let counterpart =
        controller.take_discovery_handle().context("the discovery link has been taken already")?;
    if let Some(mcp) = mcp {
        ports.spawn(mcp.run(counterpart.mcp_objects, mcp_counters));
    }
    let ends = DiscoveryChannels {
        updates: counterpart.catalogue_updates,
        peer_changes: counterpart.peer_changes,
        is_subscriber: leadership.leads(),
    };
    // Discovery stops when `until` is dropped below, not at `end`: it must outlive the controller's last writes.
    let (until, ended) = tokio::sync::oneshot::channel::<()>();
    let discovering = tokio::spawn(discovery.run(ends, async { drop(ended.await) }));
    let ran = controller.run(leadership.leads(), end).await;
    // The controller has stopped writing, so another replica may take over before discovery closes its streams.
    leadership.release().await;
    // Dropping `until` stops discovery. Dropping the controller closes its end of the channels, so that discovery does
    // not wait to hand over further announcements.
    drop((until, controller));
    shutdown::join_with_timeout(discovering, shutdown::DISCOVERY_SHUTDOWN_TIMEOUT).await?;
    Ok(ran?)
}

/// Serves the admission webhook in a task of `ports`, if it has an address.
fn open_webhook(
    args: &ClusterArgs,
    client: Client,
    metrics: WebhookMetrics,
    ports: &mut JoinSet<()>,
) -> anyhow::Result<()> {
    let Some(address) = args.webhook_address else { return Ok(()) };
    let listener = admin::bind_listener(address)?;
    let options = WebhookOptions::for_namespace(&own_namespace(args.namespace.as_deref()));
    ports.spawn(async move {
        if let Err(error) = webhook::serve(listener, client, options, metrics, std::future::pending()).await {
            tracing::error!("admission webhook stopped: {error:#}");
        }
    });
    Ok(())
}

/// Options of a controller that writes.
fn controller_options(args: &ClusterArgs, mesh_settings: &MeshSettings) -> ControllerOptions {
    ControllerOptions {
        namespace: own_namespace(args.namespace.as_deref()),
        concurrency: usize::from(args.concurrency),
        cluster_networks: args.discovery.cluster_networks().to_vec(),
        mcp: args.mcp.is_enabled(),
        ..read_only_options(&args.scope, mesh_settings)
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
