//! Emcee on Kubernetes: from arguments to a running controller.

pub(crate) mod create;
pub(crate) mod read;
pub(crate) mod running;

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use emcee_controller::lease::Leadership;
use emcee_controller::{Controller, Metrics, Namespaces, Options, Scope};
use emcee_core::inputs::Settings;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;
use tracing::info;
use tracing_subscriber::EnvFilter;

use crate::admin::{self, AdminArgs, AdminState};
use crate::cli::sources::Surroundings;
use crate::discovery::{Discovery, DiscoveryArgs, Ends};
use crate::ending;
use crate::mcp::McpArgs;
use crate::webhook::{self, WebhookOptions};

/// Where a pod's own namespace stands.
const OWN_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Which cluster.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Cluster")]
pub struct ConnectArgs {
    /// File that says which cluster, and as whom
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

/// Which cluster, and what Emcee may do there.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "On Kubernetes")]
pub struct ClusterArgs {
    #[command(flatten)]
    connect: ConnectArgs,

    /// Namespace of Emcee itself, where its Lease is; by default the pod's own, else emcee-system
    #[arg(long, value_name = "NAMESPACE", help_heading = "On Kubernetes")]
    namespace: Option<String>,

    #[command(flatten)]
    scope: ScopeArgs,

    /// Address on which the admission webhook is served, such as 0.0.0.0:9443
    #[arg(long, value_name = "ADDRESS")]
    webhook_address: Option<SocketAddr>,

    /// How many writes are under way at most
    #[arg(long, value_name = "NUMBER", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    concurrency: u16,

    #[command(flatten)]
    admin: AdminArgs,

    #[command(flatten)]
    discovery: DiscoveryArgs,

    #[command(flatten)]
    mcp: McpArgs,
}

/// Where Emcee looks, and writes.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "On Kubernetes")]
pub struct ScopeArgs {
    /// Namespaces whose resources are followed; `*`: all
    #[arg(long, value_name = "NAMESPACE,…", value_delimiter = ',', default_value = "*")]
    watch_namespaces: Vec<String>,

    /// Namespaces in which relationships may have their Secrets and gateways; `*`: all
    #[arg(long, value_name = "NAMESPACE,…", value_delimiter = ',', default_value = "*")]
    fed_namespaces: Vec<String>,
}

impl ScopeArgs {
    /// The namespaces, and those besides that gateways may be in.
    pub(crate) fn scope(&self, gateway_namespaces: &[String]) -> Scope {
        Scope {
            watch: Namespaces::of(&self.watch_namespaces),
            fed: Namespaces::of(&self.fed_namespaces),
            gateway: gateway_namespaces.iter().cloned().collect(),
        }
    }
}

impl ClusterArgs {
    /// Where people and probes look in, with a cluster or without.
    pub(crate) fn admin(&self) -> &AdminArgs {
        &self.admin
    }

    /// How discovery is served, with a cluster or without.
    pub(crate) fn discovery(&self) -> &DiscoveryArgs {
        &self.discovery
    }
}

impl ConnectArgs {
    /// Whether a cluster is named.
    pub fn is_given(&self) -> bool {
        self.kubeconfig.is_some() || self.context.is_some()
    }

    /// A client for the cluster.
    ///
    /// # Errors
    /// The kubeconfig cannot be read, or there is none.
    pub async fn client(&self) -> anyhow::Result<Client> {
        let config = match (&self.kubeconfig, &self.context) {
            (None, None) => Config::infer()
                .await
                .context("no cluster: neither in a pod, nor a kubeconfig (name one with --kubeconfig)")?,
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

/// Runs a controller until `end`.
pub(crate) async fn run(
    args: &ClusterArgs,
    surroundings: &Surroundings,
    end: impl Future<Output = ()> + Send,
) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_env("EMCEE_LOG").unwrap_or_else(|_| EnvFilter::new("info,kube=warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let client = args.connect.client().await?;
    let options = options(args, surroundings);
    let mut registry = Registry::with_prefix("emcee");
    let metrics = Metrics::register(&mut registry);
    let (namespace, identity) = (options.namespace.clone(), options.identity.clone());
    let mut controller = Controller::new(client.clone(), options, metrics);
    let state = AdminState { registry: Arc::new(registry), health: Arc::new(controller.health()) };
    let (mut ports, opened) = args.admin.open(&state).await?;
    for opened in opened {
        info!("{opened}");
    }
    open_webhook(args, client.clone(), &mut ports).await?;
    let discovery = Discovery::open(&args.discovery).await?;
    let mcp = args.mcp.open().await?;
    // After all that can fail: a Lease that is held by nobody who writes would keep others from it.
    let leadership = Leadership::seek(client, &namespace, &identity);
    let counterpart = controller.counterpart().context("nobody else has taken it")?;
    if let Some(mcp) = mcp {
        ports.spawn(mcp.run(counterpart.objects));
    }
    let ends = Ends { published: counterpart.published, say: counterpart.say, follows: leadership.leads() };
    let (until, ended) = tokio::sync::oneshot::channel::<()>();
    let discovering = tokio::spawn(discovery.run(ends, async { drop(ended.await) }));
    let ran = controller.run(leadership.leads(), end).await;
    // It stops writing before it stops serving.
    leadership.give_back().await;
    // What peers say has no taker any more, and what has none is not waited for.
    drop((until, controller));
    ending::in_time(discovering, ending::LAST_WORDS).await?;
    Ok(ran?)
}

async fn open_webhook(args: &ClusterArgs, client: Client, ports: &mut JoinSet<()>) -> anyhow::Result<()> {
    let Some(address) = args.webhook_address else { return Ok(()) };
    let listener = admin::bind(address).await?;
    let options = WebhookOptions::usual(&own_namespace(args.namespace.as_deref()));
    ports.spawn(async move {
        if let Err(error) = webhook::serve(listener, client, options, std::future::pending()).await {
            tracing::error!("the webhook has ended: {error:#}");
        }
    });
    Ok(())
}

fn options(args: &ClusterArgs, surroundings: &Surroundings) -> Options {
    Options {
        namespace: own_namespace(args.namespace.as_deref()),
        concurrency: usize::from(args.concurrency),
        cluster_networks: args.discovery.cluster_networks().to_vec(),
        mcp: args.mcp.is_on(),
        ..options_to_look(&args.scope, surroundings)
    }
}

/// For who looks at a cluster, and writes nothing.
pub(crate) fn options_to_look(scope: &ScopeArgs, surroundings: &Surroundings) -> Options {
    let settings = surroundings.settings();
    Options {
        trust_domain: surroundings.trust_domain().map(str::to_owned),
        trust_domain_aliases: surroundings.trust_domain_aliases().map(<[String]>::to_vec),
        cluster_domain: settings.cluster_domain,
        root_namespace: settings.root_namespace,
        revision: settings.revision,
        ..options_of(scope.scope(surroundings.gateway_namespaces()))
    }
}

/// For these namespaces, in the usual surroundings.
pub(crate) fn options_of(scope: Scope) -> Options {
    let Settings { cluster_domain, root_namespace, .. } = Settings::default();
    Options {
        namespace: own_namespace(None),
        identity: identity(),
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

/// The namespace of Emcee itself: as given, or the pod's, or the usual one.
pub(crate) fn own_namespace(given: Option<&str>) -> String {
    let own = || std::fs::read_to_string(OWN_NAMESPACE).ok();
    let namespace = given.map(str::to_owned).or_else(own);
    namespace.map_or_else(|| "emcee-system".to_owned(), |text| text.trim().to_owned())
}

/// The pod's name; unique also where two replicas run on one machine.
fn identity() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "emcee".to_owned());
    format!("{host}_{}", std::process::id())
}
