//! `emcee manifests`: prints the objects that install Emcee in a cluster.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use emcee_core::inputs::{DEFAULT_NAMESPACE, DEFAULT_ROOT_NAMESPACE};
use ipnet::IpNet;
use serde_json::Value;

use super::ExitStatus;
use super::common_args::{dns_label, namespace_or_all};
use crate::console::Console;
use crate::install::{DEFAULT_IMAGE, InstallPart, Installation, chart};

const EXAMPLES: &str = "\
Examples:
  emcee manifests crds | kubectl apply --server-side -f -
  emcee manifests rbac --fed-namespaces blue,yellow | kubectl apply --server-side -f -
  emcee manifests all --image registry.example/emcee:1.0 --fed-namespaces blue | kubectl apply --server-side -f -
  emcee manifests chart -o chart/ && helm install emcee chart/ -n emcee-system --create-namespace";

/// Print the objects that a cluster needs to run Emcee.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct ManifestsArgs {
    /// What to print
    #[arg(value_enum, default_value_t = ManifestSelection::All)]
    what: ManifestSelection,

    /// Namespace in which Emcee runs
    #[arg(long, value_name = "NAMESPACE", default_value = DEFAULT_NAMESPACE, value_parser = dns_label)]
    namespace: String,

    /// Container image
    #[arg(long, value_name = "IMAGE", default_value = DEFAULT_IMAGE)]
    image: String,

    /// Number of replicas; one of them writes, the others are on standby
    #[arg(long, value_name = "NUMBER", default_value_t = 2)]
    replicas: u16,

    /// Istio's revision, for the gateways that Emcee creates
    #[arg(long, value_name = "REVISION", value_parser = dns_label)]
    revision: Option<String>,

    /// Istio's root namespace
    #[arg(long, value_name = "NAMESPACE", default_value = DEFAULT_ROOT_NAMESPACE, value_parser = dns_label)]
    root_namespace: String,

    /// Namespaces whose resources Emcee watches; `*` for all
    #[arg(long, value_name = "NAMESPACE,…", value_delimiter = ',', default_value = "*", value_parser = namespace_or_all)]
    watch_namespaces: Vec<String>,

    /// Namespaces in which relationships may have their Secrets and gateways. There, Emcee may read Secrets and create
    /// Roles. `*` allows this in all namespaces, which includes reading every Secret of the cluster
    #[arg(long, value_name = "NAMESPACE,…", value_delimiter = ',', value_parser = namespace_or_all)]
    fed_namespaces: Vec<String>,

    /// Additional namespaces with your own gateways, which may receive a relationship's configuration and keys
    #[arg(long, value_name = "NAMESPACE,…", value_delimiter = ',', value_parser = dns_label)]
    gateway_namespaces: Vec<String>,

    /// Service and Pod ranges of the cluster; endpoints of a peer in these ranges are refused
    #[arg(long, value_name = "CIDR,…", value_delimiter = ',')]
    cluster_networks: Vec<IpNet>,

    /// Whether every user with Kubernetes' role edit or admin in a namespace may also expose its Services and bind
    /// services of peers. With off, the administrator binds the ClusterRole emcee-user
    #[arg(long, value_name = "SWITCH", value_enum, default_value_t = Switch::Off)]
    aggregate_user_role: Switch,

    /// Whether the API server lets Emcee validate resources before it accepts them. While Emcee is unavailable, it
    /// accepts all
    #[arg(long, value_name = "SWITCH", value_enum, default_value_t = Switch::On)]
    webhook: Switch,

    /// Whether meshes announce their exposed services to each other
    #[arg(long, value_name = "SWITCH", value_enum, default_value_t = Switch::On)]
    discovery: Switch,

    /// Type of the Service through which peers reach Emcee if there is no gateway (FLAT)
    #[arg(long, value_name = "TYPE", value_enum, default_value_t = DiscoveryServiceType::ClusterIp)]
    discovery_service_type: DiscoveryServiceType,

    /// Folder for the chart; the other flags become values of the chart
    #[arg(short, long, value_name = "DIR", conflicts_with_all = INSTALLATION_FLAGS)]
    output: Option<PathBuf>,
}

/// Flags that are values of the chart, and therefore conflict with `--output`.
const INSTALLATION_FLAGS: [&str; 13] = [
    "namespace",
    "image",
    "replicas",
    "revision",
    "root_namespace",
    "watch_namespaces",
    "fed_namespaces",
    "gateway_namespaces",
    "cluster_networks",
    "aggregate_user_role",
    "webhook",
    "discovery",
    "discovery_service_type",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DiscoveryServiceType {
    #[value(name = "ClusterIP")]
    ClusterIp,
    #[value(name = "LoadBalancer")]
    LoadBalancer,
    #[value(name = "NodePort")]
    NodePort,
}

impl DiscoveryServiceType {
    fn as_str(self) -> &'static str {
        match self {
            Self::ClusterIp => "ClusterIP",
            Self::LoadBalancer => "LoadBalancer",
            Self::NodePort => "NodePort",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ManifestSelection {
    /// Custom resource definitions
    Crds,
    /// Permissions of Emcee, and roles for users
    Rbac,
    /// Deployment of Emcee
    Deployment,
    /// Admission webhook
    Webhook,
    /// Helm chart, written to the folder of --output
    Chart,
    /// Everything except the chart
    All,
}

pub(super) fn run(args: &ManifestsArgs, console: &mut Console<'_>) -> anyhow::Result<ExitStatus> {
    match (args.what, &args.output) {
        (ManifestSelection::Chart, Some(folder)) => write_chart(folder)?,
        (ManifestSelection::Chart, None) => {
            bail!("a chart consists of several files: set a folder for them (--output DIR)")
        }
        (_, Some(_)) => bail!("--output is only for a chart (emcee manifests chart --output DIR)"),
        (ManifestSelection::Webhook, None) if args.webhook == Switch::Off => {
            bail!("--webhook off leaves no webhook to print")
        }
        (what, None) => print_manifests(args, what, console)?,
    }
    Ok(ExitStatus::Success)
}

/// Prints the selected objects as YAML.
fn print_manifests(
    args: &ManifestsArgs,
    what: ManifestSelection,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let installation = args.to_installation();
    if !matches!(what, ManifestSelection::Crds | ManifestSelection::Webhook) && args.fed_namespaces.is_empty()
    {
        console.print_warning(
            "no --fed-namespaces: Emcee cannot read Secrets or create gateways, so only FLAT and your own gateways \
             will work",
        )?;
    }
    // The order matters for `kubectl apply -f -`: definitions first, then what the Deployment needs.
    let mut objects: Vec<Value> = Vec::new();
    if matches!(what, ManifestSelection::Crds | ManifestSelection::All) {
        for definition in emcee_api::custom_resource_definitions() {
            objects.push(serde_json::to_value(definition)?);
        }
    }
    if matches!(what, ManifestSelection::Rbac | ManifestSelection::All) {
        objects.extend(installation.objects(InstallPart::Rbac));
    }
    if matches!(what, ManifestSelection::Deployment | ManifestSelection::All) {
        objects.extend(installation.objects(InstallPart::Deployment));
    }
    if matches!(what, ManifestSelection::Webhook | ManifestSelection::All) {
        objects.extend(installation.objects(InstallPart::Webhook));
    }
    console.print_data(&emcee_yaml::to_yaml(&objects)?)?;
    Ok(())
}

/// Writes the files of the Helm chart.
fn write_chart(folder: &Path) -> anyhow::Result<()> {
    for (path, text) in chart::files()? {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

impl ManifestsArgs {
    fn to_installation(&self) -> Installation {
        Installation {
            namespace: self.namespace.clone(),
            image: self.image.clone(),
            replicas: self.replicas,
            revision: self.revision.clone(),
            watch_namespaces: self.watch_namespaces.clone(),
            fed_namespaces: self.fed_namespaces.clone(),
            gateway_namespaces: self.gateway_namespaces.clone(),
            root_namespace: self.root_namespace.clone(),
            cluster_networks: self.cluster_networks.clone(),
            aggregate_user_role: self.aggregate_user_role == Switch::On,
            webhook: self.webhook == Switch::On,
            discovery: self.discovery == Switch::On,
            discovery_service_type: self.discovery_service_type.as_str().to_owned(),
        }
    }
}
