//! `emcee expose`: creates a ServiceExposition.

use std::str::FromStr;

use anyhow::Context as _;
use clap::Args;
use emcee_api::API_VERSION;
use emcee_core::inputs::TranslationSettings;
use emcee_core::key::ObjectKey;
use emcee_core::labels::Labels;
use emcee_core::names;
use k8s_openapi::api::core::v1::Service;
use kube::api::ListParams;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::ExitStatus;
use super::bind::warn_assumed_selector;
use super::common_args::dns_label;
use super::relationships::{KnownRelationships, assumed_selector};
use super::write_resources::{WriteArgs, WriteMode, validate_and_write};
use crate::catalogue;
use crate::cluster::read::block_on;
use crate::console::Console;

const EXAMPLES: &str = "\
Examples:
  emcee expose default/reviews:9080 --to blue
  emcee expose default/reviews:9080 --to blue --alias critics --peers m1,m3
  emcee expose default/reviews:9080 --to blue --no-directory --dry-run";

/// Create a ServiceExposition: expose a port of a Service to the peers of a relationship.
///
/// An existing ServiceExposition with another spec is not overwritten. Exit code 0: the exposition exists; 1: it was
/// refused; 2: the cluster cannot be reached.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct ExposeArgs {
    /// Port of a Service to expose: NAMESPACE/SERVICE:PORT
    #[arg(value_name = "NAMESPACE/SERVICE:PORT")]
    service: ServicePortRef,

    /// Name of the relationship
    #[arg(long, value_name = "RELATIONSHIP", value_parser = dns_label)]
    to: String,

    /// Name of the service for peers. Defaults to its own name
    #[arg(long, value_name = "NAME")]
    alias: Option<String>,

    /// Expose only this subset, as defined by a DestinationRule
    #[arg(long, value_name = "SUBSET")]
    subset: Option<String>,

    /// Announce the service to these peers only. Defaults to all peers
    #[arg(long, value_name = "PEER,…", value_delimiter = ',')]
    peers: Vec<String>,

    /// Do not announce the service. Peers that know its name can still reach it
    #[arg(long)]
    no_directory: bool,

    /// Name of the ServiceExposition. Defaults to the alias, else to the name of the Service
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    #[command(flatten)]
    write: WriteArgs,
}

/// Reference to a port of a Service: `NAMESPACE/SERVICE:PORT`.
#[derive(Clone, Debug)]
struct ServicePortRef {
    service: ObjectKey,
    port: u16,
}

impl FromStr for ServicePortRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(namespace, rest)| {
            let (name, port) = rest.split_once(':')?;
            Some((namespace, name, port))
        });
        let Some((namespace, name, port)) = parts else {
            return Err("not NAMESPACE/SERVICE:PORT, such as default/reviews:9080".to_owned());
        };
        if let Some(part) = [namespace, name].into_iter().find(|part| !names::is_dns_label(part)) {
            return Err(format!("{part:?} is not a DNS label (a-z, 0-9 and `-`)"));
        }
        match port.parse() {
            Ok(0) | Err(_) => Err(format!("{port:?} is not a port (1 to 65535)")),
            Ok(port) => Ok(Self { service: ObjectKey::new(namespace, name), port }),
        }
    }
}

pub(super) fn run(args: &ExposeArgs, console: &mut Console<'_>) -> anyhow::Result<ExitStatus> {
    block_on(async {
        let client = args.write.cluster_client().await?;
        expose_service(args, client.as_ref(), console).await
    })
    .map_err(|error| args.write.name_target(error))
}

/// Creates the exposition. Without `client`, nothing is read from a cluster and the exposition is only printed.
async fn expose_service(
    args: &ExposeArgs,
    client: Option<&Client>,
    console: &mut Console<'_>,
) -> anyhow::Result<ExitStatus> {
    let relationships = match client {
        Some(client) => KnownRelationships::from_cluster(client, TranslationSettings::default()).await?,
        None => None,
    };
    // Collect all refusals, so that the user can fix them at once.
    let mut refusals = Vec::new();
    if let Some(client) = client {
        refusals.extend(unknown_port(client, &args.service).await?);
    }
    let selector = match relationships.map(|relationships| args.relationship_selector(&relationships)) {
        Some(Ok(selector)) => selector,
        Some(Err(words)) => {
            refusals.push(words);
            // Not used: the command returns below.
            Labels::default()
        }
        None => {
            warn_assumed_selector(&args.to, console)?;
            assumed_selector(&args.to)
        }
    };
    if !refusals.is_empty() {
        refusals.iter().try_for_each(|words| console.print_error(format_args!("emcee: {words}")))?;
        return Ok(ExitStatus::Findings);
    }
    validate_and_write(
        &[args.build_exposition(&selector)],
        WriteMode::Create,
        args.write.write_target(client),
        console,
    )
    .await
}

impl ExposeArgs {
    /// Returns labels that select the relationship, or why it cannot be used.
    fn relationship_selector(&self, relationships: &KnownRelationships) -> Result<Labels, String> {
        let peers: Vec<_> = self.peers.iter().map(String::as_str).collect();
        relationships.checked_selector(&self.to, &peers, &self.service.service.namespace)
    }

    /// Builds the ServiceExposition.
    fn build_exposition(&self, selector: &Labels) -> Value {
        let ObjectKey { namespace, name } = &self.service.service;
        let own = self.name.as_ref().or(self.alias.as_ref()).map_or(&**name, String::as_str);
        let mut spec = json!({
            "name": &**name,
            "port": self.service.port,
            "mesh_fed_config_selector": selector,
        });
        for (field, value) in [("alias", &self.alias), ("subset", &self.subset)] {
            if let Some(value) = value {
                spec[field] = json!(value);
            }
        }
        if !self.peers.is_empty() {
            spec["peers"] = json!(self.peers);
        }
        if self.no_directory {
            spec["directory"] = json!(false);
        }
        json!({
            "apiVersion": API_VERSION,
            "kind": "ServiceExposition",
            "metadata": {"name": own, "namespace": &**namespace},
            "spec": spec,
        })
    }
}

/// Returns why the port does not exist. `None` if it exists, or if the user may not read Services: in that case the
/// status of the exposition reports the problem later.
async fn unknown_port(client: &Client, service_port: &ServicePortRef) -> anyhow::Result<Option<String>> {
    let ServicePortRef { service: key, port } = service_port;
    let services: Api<Service> = Api::namespaced(client.clone(), &key.namespace);
    let service = match services.get_opt(&key.name).await {
        Ok(Some(service)) => service,
        Ok(None) => return Ok(Some(unknown_service_text(&services, key).await?)),
        Err(kube::Error::Api(status)) if status.code == 403 => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("failed to read Service {key}")),
    };
    let ports = service.spec.unwrap_or_default().ports.unwrap_or_default();
    if ports.iter().any(|known| known.port == i32::from(*port)) {
        return Ok(None);
    }
    let ports: Vec<_> = ports.iter().map(|known| known.port.to_string()).collect();
    Ok(Some(format!("Service {key} has no port {port} (there are: {})", ports.join(", "))))
}

/// Describes a missing Service, and suggests one with a similar name.
async fn unknown_service_text(services: &Api<Service>, key: &ObjectKey) -> anyhow::Result<String> {
    // One page is enough for suggestions.
    let all = services.list_metadata(&ListParams::default().limit(500)).await;
    let all = all.with_context(|| format!("failed to read the Services of namespace {}", key.namespace))?;
    let names: Vec<_> = all.items.into_iter().filter_map(|service| service.metadata.name).collect();
    if names.is_empty() {
        return Ok(format!("there is no Service in namespace {}", key.namespace));
    }
    Ok(format!(
        "there is no Service {:?} in namespace {} ({})",
        &*key.name,
        key.namespace,
        catalogue::suggest_names(&key.name, &names)
    ))
}

#[cfg(test)]
mod tests;
