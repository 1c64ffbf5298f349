//! `emcee export`: prints the services for a peer as a bundle, for meshes without a discovery connection.

use clap::Args;
use emcee_discovery::formats::bundle::{self, Bundle};
use jiff::Timestamp;

use super::ExitStatus;
use super::catalogue::source::SourceArgs;
use super::common_args::dns_label;
use super::openapi::PeerSelectionArgs;
use crate::console::Console;

const EXAMPLES: &str = "\
Examples:
  emcee export --relationship blue --peer m1 > bundle.yaml
  emcee export -f examples/blue-yellow/m2 --relationship blue --peer m1 --mesh m2 > bundle.yaml";

/// Print the services that a peer may use as a file for `emcee import`, for meshes without a discovery connection.
///
/// Reads the cluster that kubectl would choose, as a controller that starts now would; with -f, reads files. The file
/// is a stream of EndpointSlices that are safe to apply, and contains no secrets.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    selection: PeerSelectionArgs,

    /// Name of this mesh, for the people who receive the file
    #[arg(long, value_name = "NAME", value_parser = dns_label)]
    mesh: Option<String>,

    #[command(flatten)]
    source: SourceArgs,
}

pub(super) fn run(args: &ExportArgs, console: &mut Console<'_>) -> anyhow::Result<ExitStatus> {
    let found = match args.source.load_catalogue(&[], console)? {
        Ok(found) => found,
        Err(unknown) => return Ok(unknown.exit_status()),
    };
    let (listing, peer) = match args.selection.select_peer(&found.reports) {
        Ok(chosen) => chosen,
        Err(error) => {
            console.print_error(format_args!("emcee: {error}"))?;
            return Ok(ExitStatus::Findings);
        }
    };
    let bundle = Bundle {
        relationship: listing.relationship.clone(),
        mesh: args.mesh.clone(),
        // `emcee import` compares the files of a peer by this time; whole seconds are enough.
        exported_at: Timestamp::now().round(jiff::Unit::Second)?,
        announcements: peer.announced_to_peer.clone(),
    };
    // `emcee import` refuses a bundle without objects, because it must not look like a withdrawal of everything.
    if bundle.announcements.is_empty() {
        console.print_error(format_args!(
            "emcee: nothing is announced to peer {} of relationship {} (emcee expose)",
            peer.name, listing.relationship
        ))?;
        return Ok(ExitStatus::Findings);
    }
    let unreachable = bundle.announcements.iter().filter(|announcement| announcement.endpoints.is_empty());
    for announcement in unreachable {
        console.print_warning(format_args!(
            "warning: service {} has no endpoints at present, and the exported file will not be updated",
            announcement.key
        ))?;
    }
    match bundle::write(&bundle) {
        Ok(slices) => {
            console.print_data(&emcee_yaml::to_yaml(&slices)?)?;
            Ok(ExitStatus::Success)
        }
        Err(errors) => {
            errors.iter().try_for_each(|error| console.print_error(format_args!("emcee: {error}")))?;
            Ok(ExitStatus::Findings)
        }
    }
}
