//! `emcee catalogue`: prints what peers announce and what is announced to them.

pub(super) mod admin;
mod remote;
pub(super) mod source;
mod table;

use anyhow::Context as _;
use clap::Args;
use emcee_controller::CatalogueState;

use self::admin::AdminArgs;
use self::remote::RemoteArgs;
use self::source::{SourceArgs, Unknown};
use super::Outcome;
use super::table::Format;
use crate::catalogue::Catalogue;
use crate::console::Console;

const EXAMPLES: &str = "\
Examples:
  kubectl -n emcee-system port-forward deployment/emcee 15000 &
  emcee catalogue
  emcee catalogue --context m1 -o json
  emcee catalogue --from 203.0.113.12:15443 --relationship blue --secret blue/m1-blue --peer-name m2.blue.example
  emcee catalogue --from 203.0.113.12:15443 --relationship blue --secret certs/blue/m1.yaml";

const OF_STATUSES: &str = "\
note: of the services that peers announce, only bound ones are known here; the running Emcee knows all of them \
(kubectl -n emcee-system port-forward deployment/emcee 15000, then: emcee catalogue)";

const STANDS_BY: &str = "\
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
    #[arg(short = 'o', long = "output", value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    output: Format,

    #[command(flatten)]
    admin: AdminArgs,

    #[command(flatten)]
    source: SourceArgs,

    #[command(flatten)]
    remote: RemoteArgs,
}

pub(super) fn run(args: &CatalogueArgs, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    if let Some(remote) = args.remote.target() {
        return remote::run(&remote, &args.source, args.output, console);
    }
    if args.source.is_given() {
        return look(args, console);
    }
    let catalogue = args.ask()?;
    console.data(&args.output.text(&catalogue, table::text)?)?;
    // Only the replica that holds the Lease follows peers.
    if !catalogue.follows {
        console.note(STANDS_BY)?;
    }
    say_if_empty(&catalogue, console)?;
    Ok(Outcome::Fine)
}

/// Prints the catalogue of files or of a cluster.
fn look(args: &CatalogueArgs, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    let found = match args.source.look(&[], console)? {
        Ok(found) => found,
        Err(unknown) => return Ok(unknown.outcome()),
    };
    let catalogue = Catalogue::of(&CatalogueState { follows_peers: false, reports: found.listings });
    console.data(&args.output.text(&catalogue, table::text)?)?;
    if found.live {
        console.note(OF_STATUSES)?;
    }
    say_if_empty(&catalogue, console)?;
    Ok(Outcome::Fine)
}

/// Prints a note if the catalogue has no relationships, as its table is then empty.
fn say_if_empty(catalogue: &Catalogue, console: &mut Console<'_>) -> anyhow::Result<()> {
    if catalogue.relationships.is_empty() {
        console.note("there are no relationships here (no valid MeshFedConfig)")?;
    }
    Ok(())
}

impl CatalogueArgs {
    /// Fetches the catalogue from the admin port of a running Emcee.
    fn ask(&self) -> anyhow::Result<Catalogue> {
        let name = self.admin.name();
        match self.admin.get("/catalogue")? {
            Ok(body) => {
                serde_json::from_slice(&body).with_context(|| format!("{name} did not return a catalogue"))
            }
            Err(words) => anyhow::bail!("{name} refused the request: {words}"),
        }
    }
}

impl Unknown {
    /// Returns the exit status: unreadable files mean that the command failed.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Unreadable => Outcome::Failed,
            Self::Refused => Outcome::Refused,
        }
    }
}

#[cfg(test)]
mod tests;
