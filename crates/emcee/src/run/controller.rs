//! `emcee run` on Kubernetes: the controller with its webhook, discovery, MCP and ports.

use std::io::{self, BufRead as _, IsTerminal as _};
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use emcee_controller::lease::Leadership;
use emcee_controller::{Controller, ControllerOptions, Metrics};
use kube::Client;
use tokio::task::JoinSet;
use tracing::info;

use crate::cli::common_args::MeshSettings;
use crate::cluster::options::{own_namespace, read_only_options};
use crate::cluster::{ConnectArgs, ScopeArgs, read};
use crate::console::Console;
use crate::metrics::{self, DiscoveryMetrics, WebhookMetrics};
use crate::run::admin::{self, AdminState, PortArgs};
use crate::run::discovery::{DiscoveryArgs, DiscoveryChannels, MeshDiscovery};
use crate::run::mcp::McpArgs;
use crate::run::shutdown;
use crate::webhook::{self, WebhookOptions};

/// Arguments of `emcee run` on Kubernetes.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "On Kubernetes")]
pub(crate) struct ClusterArgs {
    #[command(flatten)]
    connect: ConnectArgs,

    /// Namespace in which Emcee runs and keeps its Lease. Defaults to the pod's own namespace, else emcee-system
    #[arg(long, value_name = "NAMESPACE", help_heading = "On Kubernetes")]
    namespace: Option<String>,

    #[command(flatten)]
    scope: ScopeArgs,

    /// Do not ask for confirmation. Emcee asks only on a terminal, outside of a pod
    #[arg(long)]
    yes: bool,

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

/// Checks, outside of a pod, that the API server answers, and asks whether this cluster is meant. Returns whether the
/// controller may start.
///
/// # Errors
/// The cluster does not answer.
pub(crate) fn confirm_start(args: &ClusterArgs, console: &mut Console<'_>) -> anyhow::Result<bool> {
    // In a pod, an operator has decided already, and the watches wait for the API server.
    if !args.connect.is_outside_of_pod() {
        return Ok(true);
    }
    read::block_on(async {
        let client = args.connect.build_client().await?;
        args.connect.check_server(&client).await
    })
    .map_err(|error| args.connect.name_target(error))?;
    // Scripts have no terminal, and have always started the controller without a question.
    if args.yes || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(true);
    }
    let target = args.connect.target_name().unwrap_or_default();
    console.print_note(format_args!(
        "This starts a controller for {target}, with your own rights. It writes to the namespaces {} and to the fed namespaces {}. To install Emcee in the cluster: emcee manifests. Continue? [y/N]",
        args.scope.watched_text(), args.scope.fed_text()
    ))?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
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
    let client = args.connect.build_controller_client().await?;
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
        ports.spawn(mcp.run(counterpart.mcp_updates, mcp_counters));
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
