//! `emcee export`

use clap::Args;
use emcee_discovery::parcel::{self, Parcel};
use jiff::Timestamp;

use super::Outcome;
use super::catalogue::source::SourceArgs;
use super::openapi::AudienceArgs;
use super::sources::dns_label;
use crate::console::Console;
use crate::manifest;

const EXAMPLES: &str = "\
Examples:
  emcee export --relationship blue --peer m1 > parcel.yaml
  emcee export -f examples/blue-yellow/m2 --relationship blue --peer m1 --mesh m2 > parcel.yaml";

/// Print what a peer may know of this mesh's services as a file for `emcee import`, where meshes have no stream.
///
/// Looks at the cluster that kubectl would choose, as a controller that starts now would; with -f, at files. The file
/// is a stream of EndpointSlices that harm nobody who applies them, and holds nothing secret.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    audience: AudienceArgs,

    /// Name of this mesh, for the people who get the file
    #[arg(long, value_name = "NAME", value_parser = dns_label)]
    mesh: Option<String>,

    #[command(flatten)]
    source: SourceArgs,
}

pub(super) fn run(args: &ExportArgs, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    let found = match args.source.look(&[], console)? {
        Ok(found) => found,
        Err(unknown) => return Ok(unknown.outcome()),
    };
    let (listing, peer) = match args.audience.choose(&found.listings) {
        Ok(chosen) => chosen,
        Err(error) => {
            console.refusal(format_args!("emcee: {error}"))?;
            return Ok(Outcome::Refused);
        }
    };
    let parcel = Parcel {
        relationship: listing.relationship.clone(),
        mesh: args.mesh.clone(),
        exported_at: Timestamp::now().round(jiff::Unit::Second)?,
        offers: peer.offered.clone(),
    };
    if parcel.offers.is_empty() {
        console.refusal(format_args!(
            "emcee: nothing is offered to peer {} of relationship {} (emcee expose)",
            peer.name, listing.relationship
        ))?;
        return Ok(Outcome::Refused);
    }
    let unreachable = parcel.offers.iter().filter(|offer| offer.endpoints.is_empty());
    for offer in unreachable {
        console.warning(format_args!(
            "warning: service {} can be reached nowhere for now, and what is exported stays so",
            offer.key
        ))?;
    }
    match parcel::write(&parcel) {
        Ok(slices) => {
            console.data(&manifest::to_yaml(&slices)?)?;
            Ok(Outcome::Fine)
        }
        Err(errors) => {
            errors.iter().try_for_each(|error| console.refusal(format_args!("emcee: {error}")))?;
            Ok(Outcome::Refused)
        }
    }
}
