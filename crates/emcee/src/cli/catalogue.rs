//! `emcee catalogue`: prints what peers announce and what is announced to them.

pub(super) mod admin_client;
mod catalogue_table;
mod remote;
pub(super) mod source;

use anyhow::Context as _;
use clap::Args;
use emcee_controller::CatalogueState;

use self::admin_client::AdminClientArgs;
use self::remote::RemoteArgs;
use self::source::{SourceArgs, SourceError};
use super::ExitStatus;
use super::output_format::OutputFormat;
use crate::catalogue::CatalogueView;
use crate::console::Console;

const EXAMPLES: &str = "\
Examples:
  kubectl -n emcee-system port-forward deployment/emcee 15000 &
  emcee catalogue
  emcee catalogue --context m1 -o json
  emcee catalogue --from 203.0.113.12:15443 --relationship blue --secret blue/m1-blue --peer-name m2.blue.example
  emcee catalogue --from 203.0.113.12:15443 --relationship blue --secret certs/blue/m1.yaml";

const STATUS_ONLY_NOTE: &str = "\
note: of the services that peers announce, only bound ones are known here; the running Emcee knows all of them \
(kubectl -n emcee-system port-forward deployment/emcee 15000, then: emcee catalogue)";

const STANDBY_NOTE: &str = "\
note: the Emcee that answered is on standby and follows no peer; ask the replica that writes \
(kubectl -n emcee-system get lease emcee shows which pod that is)";

/// Print the services that each peer announces here, and those that are announced to each peer.
///
/// Asks a running Emcee over its admin port. With --cluster, --kubeconfig or --context: shows what a controller that
/// starts now would announce to peers, and what the statuses of resources record about peers. With -f: the same, from
/// files. With --from: asks the Emcee of another mesh, as a peer of it, and reports why if that fails. Services of
/// peers have the names that `emcee bind` accepts. Exit code 0: the catalogue is known; 1: the peer does not answer, or
/// files were refused; 2: the command could not be carried out.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct CatalogueArgs {
    /// Output format
    #[arg(short = 'o', long = "output", value_name = "FORMAT", value_enum, default_value_t = OutputFormat::Table)]
    output: OutputFormat,

    #[command(flatten)]
    admin: AdminClientArgs,

    #[command(flatten)]
    source: SourceArgs,

    #[command(flatten)]
    remote: RemoteArgs,
}

pub(super) fn run(args: &CatalogueArgs, console: &mut Console<'_>) -> anyhow::Result<ExitStatus> {
    if let Some(remote) = args.remote.remote_target() {
        return remote::run(&remote, &args.source, args.output, console);
    }
    if args.source.is_given() {
        return print_from_source(args, console);
    }
    let catalogue = args.fetch_catalogue()?;
    console.print_data(&args.output.format_output(&catalogue, catalogue_table::render_catalogue)?)?;
    // Only the replica that holds the Lease follows peers.
    if !catalogue.follows {
        console.print_note(STANDBY_NOTE)?;
    }
    print_if_empty(&catalogue, console)?;
    Ok(ExitStatus::Success)
}

/// Prints the catalogue of files or of a cluster.
fn print_from_source(args: &CatalogueArgs, console: &mut Console<'_>) -> anyhow::Result<ExitStatus> {
    let found = match args.source.load_catalogue(&[], console)? {
        Ok(found) => found,
        Err(unknown) => return Ok(unknown.exit_status()),
    };
    let catalogue =
        CatalogueView::from_offers(&CatalogueState { follows_peers: false, reports: found.reports });
    console.print_data(&args.output.format_output(&catalogue, catalogue_table::render_catalogue)?)?;
    if found.from_cluster {
        console.print_note(STATUS_ONLY_NOTE)?;
    }
    print_if_empty(&catalogue, console)?;
    Ok(ExitStatus::Success)
}

/// Prints a note if the catalogue has no relationships, as its table is then empty.
fn print_if_empty(catalogue: &CatalogueView, console: &mut Console<'_>) -> anyhow::Result<()> {
    if catalogue.relationships.is_empty() {
        console.print_note("there are no relationships here (no valid MeshFedConfig)")?;
    }
    Ok(())
}

impl CatalogueArgs {
    /// Fetches the catalogue from the admin port of a running Emcee.
    fn fetch_catalogue(&self) -> anyhow::Result<CatalogueView> {
        let name = self.admin.url_text();
        match self.admin.get_path("/catalogue")? {
            Ok(body) => {
                serde_json::from_slice(&body).with_context(|| format!("{name} did not return a catalogue"))
            }
            Err(words) => anyhow::bail!("{name} refused the request: {words}"),
        }
    }
}

impl SourceError {
    /// Returns the exit status: unreadable files mean that the command failed.
    pub(super) fn exit_status(&self) -> ExitStatus {
        match self {
            Self::Unreadable => ExitStatus::Failed,
            Self::Refused => ExitStatus::Findings,
        }
    }
}

#[cfg(test)]
mod tests;
