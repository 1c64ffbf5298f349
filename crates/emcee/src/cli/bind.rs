//! `emcee bind`: creates ServiceBindings for announced services.

mod openapi_document;

use std::path::PathBuf;
use std::str::FromStr;

use clap::{ArgGroup, Args};
use emcee_core::key::ObjectKey;
use emcee_core::names;
use kube::Client;
use serde_json::{Value, json};

use super::ExitStatus;
use super::common_args::{MeshSettings, dns_label};
use super::relationships::{KnownRelationships, assumed_selector};
use super::write_resources::{WriteArgs, WriteMode, validate_and_write};
use crate::catalogue::{BindingOptions, dynamic_binding};
use crate::cluster::read::block_on;
use crate::console::Console;

const EXAMPLES: &str = "\
Examples:
  emcee bind blue/m2/default/reviews
  emcee bind blue/m2/default/reviews -n shop --alias reviews-of-m2 --port 9080
  emcee bind blue/m2/default/reviews --dry-run > reviews.yaml
  emcee bind --catalogue m2.json --peer m2 --dry-run";

/// Create a ServiceBinding for a service that a peer announces, or for all services in an OpenAPI document.
///
/// Name the service as `emcee catalogue` prints it. An existing ServiceBinding with another spec is not overwritten. If
/// the discovery address of the peer is known, bindings from a document follow what the peer announces. Otherwise they
/// contain everything in the document, validated as an announcement would be. Exit code 0: the binding exists; 1: it
/// was refused; 2: the cluster cannot be reached.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, group(ArgGroup::new("what").required(true).args(["service", "catalogue"])))]
pub(super) struct BindArgs {
    /// Service to bind: RELATIONSHIP/PEER/NAMESPACE/NAME
    #[arg(value_name = "RELATIONSHIP/PEER/NAMESPACE/NAME")]
    service: Option<PeerServiceRef>,

    /// OpenAPI document of a peer's services, as the peer's `emcee openapi` prints it: a file, or `-` for stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = ["alias", "port", "subset", "name"])]
    catalogue: Option<PathBuf>,

    /// Peer that the document describes. Defaults to the only peer
    #[arg(long, value_name = "NAME", requires = "catalogue", value_parser = dns_label)]
    peer: Option<String>,

    /// Namespace of the ServiceBinding. Defaults to the namespace with the name of the service's namespace
    #[arg(short = 'n', long, value_name = "NAMESPACE", value_parser = dns_label)]
    namespace: Option<String>,

    /// Name of the service in this mesh. Defaults to its own name
    #[arg(long, value_name = "NAME")]
    alias: Option<String>,

    /// Port of the service in this mesh. Defaults to the announced port
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,

    /// Make the service this subset of a local Service of the same name
    #[arg(long, value_name = "SUBSET")]
    subset: Option<String>,

    /// Name of the ServiceBinding. Defaults to the alias, else to the name of the service
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    #[command(flatten)]
    write: WriteArgs,

    #[command(flatten)]
    mesh_settings: MeshSettings,
}

/// Reference to a service that a peer announces, as `emcee catalogue` prints it.
#[derive(Clone, Debug)]
struct PeerServiceRef {
    relationship: String,
    peer: String,
    service: ObjectKey,
}

impl FromStr for PeerServiceRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<_> = text.split('/').collect();
        let [relationship, peer, namespace, name] = parts[..] else {
            return Err("not RELATIONSHIP/PEER/NAMESPACE/NAME, as `emcee catalogue` prints it".to_owned());
        };
        // The parts become names and label values of Kubernetes objects.
        match parts.iter().find(|part| !names::is_dns_label(part)) {
            Some(part) => Err(format!("{part:?} is not a DNS label (a-z, 0-9 and `-`)")),
            None => Ok(Self {
                relationship: relationship.to_owned(),
                peer: peer.to_owned(),
                service: ObjectKey::new(namespace, name),
            }),
        }
    }
}

pub(super) fn run(args: &BindArgs, console: &mut Console<'_>) -> anyhow::Result<ExitStatus> {
    block_on(async {
        let client = args.write.cluster_client().await?;
        bind_services(args, client.as_ref(), console).await
    })
    .map_err(|error| args.write.name_target(error))
}

/// Creates the bindings. Without `client`, nothing is read from a cluster and the bindings are only printed.
async fn bind_services(
    args: &BindArgs,
    client: Option<&Client>,
    console: &mut Console<'_>,
) -> anyhow::Result<ExitStatus> {
    let relationships = match client {
        // `None` as well if the user may not read MeshFedConfigs; the selector is then assumed.
        Some(client) => KnownRelationships::from_cluster(client, args.mesh_settings.to_settings()).await?,
        None => None,
    };
    let bindings = match (&args.service, &args.catalogue) {
        (Some(service), _) => args.binding_for_service(service, relationships.as_ref(), console)?,
        (None, Some(path)) => openapi_document::read_bindings(path, args, relationships.as_ref(), console)?,
        // Not reached: clap requires one of the two.
        (None, None) => None,
    };
    match bindings {
        Some(bindings) => {
            validate_and_write(&bindings, WriteMode::Create, args.write.write_target(client), console).await
        }
        None => Ok(ExitStatus::Findings),
    }
}

impl BindArgs {
    /// Builds the ServiceBinding for one service. Prints the reason and returns `None` if it is refused.
    fn binding_for_service(
        &self,
        service_ref: &PeerServiceRef,
        relationships: Option<&KnownRelationships>,
        console: &mut Console<'_>,
    ) -> anyhow::Result<Option<Vec<Value>>> {
        let PeerServiceRef { relationship, peer, service } = service_ref;
        let namespace = self.namespace.as_deref().unwrap_or(&service.namespace);
        let selector = match relationships {
            Some(relationships) => relationships.checked_selector(relationship, &[peer], namespace),
            None => {
                warn_assumed_selector(relationship, console)?;
                Ok(assumed_selector(relationship))
            }
        };
        match selector {
            Ok(fed_config) => {
                let consumer = BindingOptions { namespace: Some(namespace), fed_config, peer: Some(peer) };
                Ok(Some(vec![self.apply_overrides(dynamic_binding(service, &consumer))]))
            }
            Err(words) => {
                console.print_error(format_args!("emcee: {words}"))?;
                Ok(None)
            }
        }
    }

    /// Sets the fields of a ServiceBinding that flags override.
    fn apply_overrides(&self, mut binding: Value) -> Value {
        // Bindings of one service differ in their alias, so the alias is the better default for the name.
        if let Some(name) = self.name.as_ref().or(self.alias.as_ref()) {
            binding["metadata"]["name"] = json!(name);
        }
        for (field, value) in [("alias", &self.alias), ("subset", &self.subset)] {
            if let Some(value) = value {
                binding["spec"][field] = json!(value);
            }
        }
        if let Some(port) = self.port {
            binding["spec"]["port"] = json!(port);
        }
        binding
    }
}

/// Warns that the labels of the MeshFedConfig were assumed, as it was not read.
pub(super) fn warn_assumed_selector(relationship: &str, console: &mut Console<'_>) -> std::io::Result<()> {
    console.print_warning(format_args!(
        "assumed: the MeshFedConfig of relationship {relationship} is named {relationship}, or labelled fed-config: \
         {relationship} (MeshFedConfigs were not read)"
    ))
}

#[cfg(test)]
mod tests;
