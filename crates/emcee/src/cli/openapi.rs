//! `emcee openapi`: prints the services for a peer as an OpenAPI document.

use anyhow::bail;
use clap::Args;
use emcee_core::catalogue::{CatalogueReport, PeerReport};
use emcee_discovery::formats::openapi;

use super::ExitStatus;
use super::catalogue::admin_client::AdminClientArgs;
use super::catalogue::source::SourceArgs;
use crate::catalogue::{SelectionError, choose_peer, choose_relationship};
use crate::console::Console;

const EXAMPLES: &str = "\
Examples:
  emcee openapi > catalogue.json
  emcee openapi --relationship blue --peer m1 --context m2
  emcee openapi -f examples/blue-yellow/m2 --relationship blue --peer m1";

/// Print the services that a peer may use, as an OpenAPI 3.1 document.
///
/// Asks a running Emcee over its admin port. With --cluster, --kubeconfig or --context: prints what a controller that
/// starts now would announce; with -f: the same, from files. `emcee bind --catalogue` creates ServiceBindings from the
/// document.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct OpenapiArgs {
    #[command(flatten)]
    selection: PeerSelectionArgs,

    #[command(flatten)]
    admin: AdminClientArgs,

    #[command(flatten)]
    source: SourceArgs,
}

/// Arguments that select the peer to print the services for.
#[derive(Args, Clone, Debug)]
pub(super) struct PeerSelectionArgs {
    /// Name of the relationship, or NAMESPACE/NAME of its MeshFedConfig. Defaults to the only relationship
    #[arg(long, value_name = "RELATIONSHIP")]
    relationship: Option<String>,

    /// Name of the peer to print the services for. Defaults to the only peer
    #[arg(long, value_name = "PEER")]
    peer: Option<String>,
}

impl PeerSelectionArgs {
    /// Selects the relationship and the peer from the reports.
    ///
    /// # Errors
    /// A name is unknown, or it is missing and there is more than one.
    pub(super) fn select_peer<'l>(
        &self,
        listings: &'l [CatalogueReport],
    ) -> Result<(&'l CatalogueReport, &'l PeerReport), SelectionError> {
        let listing = choose_relationship(listings, self.relationship.as_deref(), |listing| {
            (&listing.relationship, &listing.fed_config)
        })?;
        let (name, peer) = (&listing.relationship, self.peer.as_deref());
        Ok((listing, choose_peer(name, &listing.peers, peer, |peer| &peer.name)?))
    }

    /// Returns the query string for the admin port.
    fn query_string(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in [("relationship", &self.relationship), ("peer", &self.peer)] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        query.finish()
    }
}

pub(super) fn run(args: &OpenapiArgs, console: &mut Console<'_>) -> anyhow::Result<ExitStatus> {
    let document = if args.source.is_given() {
        let found = match args.source.load_catalogue(&[], console)? {
            Ok(found) => found,
            Err(unknown) => return Ok(unknown.exit_status()),
        };
        let chosen = args.selection.select_peer(&found.reports);
        chosen
            .map_err(|error| error.to_string())
            .and_then(|(listing, peer)| document_text(listing, peer).map_err(|error| error.to_string()))
    } else {
        fetch_document(args)?
    };
    match document {
        Ok(document) => {
            console.print_data(&document)?;
            Ok(ExitStatus::Success)
        }
        Err(words) => {
            console.print_error(format_args!("emcee: {words}"))?;
            Ok(ExitStatus::Findings)
        }
    }
}

/// Formats the OpenAPI document for a peer.
fn document_text(listing: &CatalogueReport, peer: &PeerReport) -> serde_json::Result<String> {
    let document = openapi::build_document(&listing.relationship, &peer.name, &peer.announced_to_peer);
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

/// Fetches the document from a running Emcee. Inner error: why Emcee refuses the request.
fn fetch_document(args: &OpenapiArgs) -> anyhow::Result<Result<String, String>> {
    let body = match args.admin.get_path(&format!("/openapi.json?{}", args.selection.query_string()))? {
        Ok(body) => body,
        // The message ends with a hint about the query parameters; replace it by the flags of this command.
        Err(words) => {
            let words = words.split(": /openapi.json").next().unwrap_or_default();
            return Ok(Err(format!("{words} (--relationship, --peer)")));
        }
    };
    let Ok(document) = serde_json::from_slice::<serde_json::Value>(&body) else {
        bail!("{} did not return JSON", args.admin.url_text());
    };
    Ok(Ok(serde_json::to_string_pretty(&document)? + "\n"))
}
