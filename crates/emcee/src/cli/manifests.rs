//! `emcee manifests`

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::Outcome;
use super::sources::{dns_label, namespace_or_all};
use crate::console::Console;
use crate::manifest;
use crate::manifests::{Installation, Part};

const EXAMPLES: &str = "\
Examples:
  emcee manifests crds | kubectl apply --server-side -f -
  emcee manifests rbac --fed-namespaces blue,yellow | kubectl apply -f -
  emcee manifests all --image registry.example/emcee:1.0 --fed-namespaces blue | kubectl apply --server-side -f -";

/// Print what a cluster needs for Emcee to run in it.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct ManifestsArgs {
    /// What to print
    #[arg(value_enum, default_value_t = What::All)]
    what: What,

    /// Namespace of Emcee itself
    #[arg(long, value_name = "NAMESPACE", default_value = "emcee-system", value_parser = dns_label)]
    namespace: String,

    /// Image of the container
    #[arg(long, value_name = "IMAGE", default_value = concat!("emcee:", env!("CARGO_PKG_VERSION")))]
    image: String,

    /// Number of replicas; one of them writes, the others stand by
    #[arg(long, value_name = "NUMBER", default_value_t = 2)]
    replicas: u16,

    /// Istio's revision, for the gateways that Emcee creates
    #[arg(long, value_name = "REVISION", value_parser = dns_label)]
    revision: Option<String>,

    /// Istio's root namespace
    #[arg(long, value_name = "NAMESPACE", default_value = "istio-system", value_parser = dns_label)]
    root_namespace: String,

    /// Namespaces whose resources are followed; `*`: all
    #[arg(long, value_name = "NAMESPACE,…", value_delimiter = ',', default_value = "*", value_parser = namespace_or_all)]
    watch_namespaces: Vec<String>,

    /// Namespaces in which relationships may have their Secrets and gateways: there Emcee may read Secrets and make
    /// Roles; `*`: in all, which is the right to read every Secret of the cluster
    #[arg(long, value_name = "NAMESPACE,…", value_delimiter = ',', value_parser = namespace_or_all)]
    fed_namespaces: Vec<String>,

    /// Namespaces, besides, whose gateway pods may be given a relationship's configuration and keys
    #[arg(long, value_name = "NAMESPACE,…", value_delimiter = ',', value_parser = dns_label)]
    gateway_namespaces: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// The custom resource definitions
    Crds,
    /// The rights of Emcee, and the roles for people
    Rbac,
    /// Emcee itself
    Deployment,
    /// All of it
    All,
}

pub(super) fn run(args: &ManifestsArgs, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    let installation = Installation {
        namespace: args.namespace.clone(),
        image: args.image.clone(),
        replicas: args.replicas,
        revision: args.revision.clone(),
        watch_namespaces: args.watch_namespaces.clone(),
        fed_namespaces: args.fed_namespaces.clone(),
        gateway_namespaces: args.gateway_namespaces.clone(),
        root_namespace: args.root_namespace.clone(),
    };
    if args.what != What::Crds && args.fed_namespaces.is_empty() {
        console.warning(
            "no --fed-namespaces: Emcee may read no Secret and make no gateway, so only FLAT and gateways of your own \
             will work",
        )?;
    }
    let mut objects: Vec<Value> = Vec::new();
    if matches!(args.what, What::Crds | What::All) {
        for definition in emcee_api::custom_resource_definitions() {
            objects.push(serde_json::to_value(definition)?);
        }
    }
    if matches!(args.what, What::Rbac | What::All) {
        objects.extend(installation.objects(Part::Rbac));
    }
    if matches!(args.what, What::Deployment | What::All) {
        objects.extend(installation.objects(Part::Deployment));
    }
    console.data(&manifest::to_yaml(&objects)?)?;
    Ok(Outcome::Fine)
}
