//! `emcee openapi`: prints the services for a peer as an OpenAPI document.

use anyhow::bail;
use clap::Args;
use emcee_core::catalogue::{CatalogueReport, PeerReport};
use emcee_discovery::openapi;

use super::Outcome;
use super::catalogue::admin::AdminArgs;
use super::catalogue::source::SourceArgs;
use crate::catalogue::{Unchosen, choose_peer, choose_relationship};
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
    audience: AudienceArgs,

    #[command(flatten)]
    admin: AdminArgs,

    #[command(flatten)]
    source: SourceArgs,
}

/// Arguments that select the peer to print the services for.
#[derive(Args, Clone, Debug)]
pub(super) struct AudienceArgs {
    /// Name of the relationship, or NAMESPACE/NAME of its MeshFedConfig. Defaults to the only relationship
    #[arg(long, value_name = "RELATIONSHIP")]
    relationship: Option<String>,

    /// Name of the peer to print the services for. Defaults to the only peer
    #[arg(long, value_name = "PEER")]
    peer: Option<String>,
}

impl AudienceArgs {
    /// Selects the relationship and the peer from the reports.
    ///
    /// # Errors
    /// A name is unknown, or it is missing and there is more than one.
    pub(super) fn choose<'l>(
        &self,
        listings: &'l [CatalogueReport],
    ) -> Result<(&'l CatalogueReport, &'l PeerReport), Unchosen> {
        let listing = choose_relationship(listings, self.relationship.as_deref(), |listing| {
            (&listing.relationship, &listing.fed_config)
        })?;
        let (name, peer) = (&listing.relationship, self.peer.as_deref());
        Ok((listing, choose_peer(name, &listing.peers, peer, |peer| &peer.name)?))
    }

    /// Returns the query string for the admin port.
    fn query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in [("relationship", &self.relationship), ("peer", &self.peer)] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        query.finish()
    }
}

pub(super) fn run(args: &OpenapiArgs, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    let document = if args.source.is_given() {
        let found = match args.source.look(&[], console)? {
            Ok(found) => found,
            Err(unknown) => return Ok(unknown.outcome()),
        };
        let chosen = args.audience.choose(&found.listings);
        chosen
            .map_err(|error| error.to_string())
            .and_then(|(listing, peer)| text(listing, peer).map_err(|error| error.to_string()))
    } else {
        ask(args)?
    };
    match document {
        Ok(document) => {
            console.data(&document)?;
            Ok(Outcome::Fine)
        }
        Err(words) => {
            console.refusal(format_args!("emcee: {words}"))?;
            Ok(Outcome::Refused)
        }
    }
}

/// Formats the OpenAPI document for a peer.
fn text(listing: &CatalogueReport, peer: &PeerReport) -> serde_json::Result<String> {
    let document = openapi::build_document(&listing.relationship, &peer.name, &peer.announced_to_peer);
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

/// Fetches the document from a running Emcee. Inner error: why Emcee refuses the request.
fn ask(args: &OpenapiArgs) -> anyhow::Result<Result<String, String>> {
    let body = match args.admin.get(&format!("/openapi.json?{}", args.audience.query()))? {
        Ok(body) => body,
        // The message ends with a hint about the query parameters; replace it by the flags of this command.
        Err(words) => {
            let words = words.split(": /openapi.json").next().unwrap_or_default();
            return Ok(Err(format!("{words} (--relationship, --peer)")));
        }
    };
    let Ok(document) = serde_json::from_slice::<serde_json::Value>(&body) else {
        bail!("{} did not return JSON", args.admin.name());
    };
    Ok(Ok(serde_json::to_string_pretty(&document)? + "\n"))
}
