//! `emcee import`: creates ServiceBindings from a bundle of a peer.

mod earlier;
mod parcels;

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use emcee_core::catalogue::Announcement;
use emcee_discovery::parcel::Bundle;
use ipnet::IpNet;
use kube::Client;
use serde_json::{Value, json};

use super::Outcome;
use super::catalogue::source::{Found, SourceArgs};
use super::sources::dns_label;
use super::written::{How, finish};
use crate::catalogue::{Consumer, complete};
use crate::cluster::read::converse;
use crate::console::Console;

const EXAMPLES: &str = "\
Examples:
  emcee import bundle.yaml --relationship blue --peer m2
  emcee import bundle.yaml --relationship blue --peer m2 -n shop --dry-run
  emcee import bundle.yaml --relationship blue --peer m2 -f mesh/ --dry-run > bindings.yaml";

/// Annotation of an imported ServiceBinding: the source of its bundle, `RELATIONSHIP/PEER`.
const IMPORTED_FROM: &str = "emcee.io/imported-from";
/// Annotation of an imported ServiceBinding: when its bundle was exported.
const EXPORTED_AT: &str = "emcee.io/exported-at";

/// Create ServiceBindings from a file that `emcee export` printed in another mesh, for meshes without a discovery
/// connection.
///
/// You say which peer the file comes from. Emcee validates it as an announcement of that peer, and refuses the whole
/// file if any part is refused. A later file of the same peer changes only what an earlier import wrote. Reads the
/// cluster that kubectl would choose; with -f, reads files. Exit code 0: all bindings exist; 1: something was refused;
/// 2: the command could not be carried out.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct ImportArgs {
    /// File to import, or `-` for stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Name of the relationship
    #[arg(long, value_name = "RELATIONSHIP")]
    relationship: String,

    /// Name of the peer that the file comes from
    #[arg(long, value_name = "PEER")]
    peer: String,

    /// Namespace of the ServiceBindings. Defaults to the namespace with the name of each service's namespace
    #[arg(short = 'n', long, value_name = "NAMESPACE", value_parser = dns_label)]
    namespace: Option<String>,

    /// Print the ServiceBindings without writing them
    #[arg(long)]
    dry_run: bool,

    /// Service and Pod ranges of the cluster; endpoints of a peer in these ranges are refused
    #[arg(long, value_name = "CIDR,…", value_delimiter = ',')]
    cluster_networks: Vec<IpNet>,

    #[command(flatten)]
    source: SourceArgs,
}

pub(super) fn run(args: &ImportArgs, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    if args.source.has_files() && !args.dry_run {
        bail!("with -f there is no cluster to write to (--dry-run prints the ServiceBindings)");
    }
    // The file first: the cluster is not needed to find out that it is invalid.
    let Some(read) = parcels::read(&args.file, console)? else { return Ok(Outcome::Refused) };
    let found = match args.source.look(&args.cluster_networks, console)? {
        Ok(found) => found,
        Err(unknown) => return Ok(unknown.outcome()),
    };
    let bindings = match args.bindings(&read, &found) {
        Ok(bindings) => bindings,
        Err(refusals) => {
            refusals.iter().try_for_each(|words| console.refusal(words))?;
            return Ok(Outcome::Refused);
        }
    };
    args.say_doubts(&read.parcel, console)?;
    converse(async {
        if args.dry_run {
            return finish(&bindings, How::Apply, None, console).await;
        }
        write(args, &args.source.client().await?, &read.parcel, &bindings, console).await
    })
}

/// Writes the bindings, unless a newer bundle of the same peer has been imported.
async fn write(
    args: &ImportArgs,
    client: &Client,
    bundle: &Bundle,
    bindings: &[Value],
    console: &mut Console<'_>,
) -> anyhow::Result<Outcome> {
    let earlier = earlier::of(client, &args.source_name()).await?;
    if let Some(words) = earlier::newer(&earlier, bundle) {
        console.refusal(format_args!("emcee: {words}"))?;
        return Ok(Outcome::Refused);
    }
    let outcome = finish(bindings, How::Apply, Some(client), console).await?;
    // Bindings that the file no longer contains are reported, never deleted: the file may be incomplete.
    for words in earlier::left(&earlier, bindings) {
        console.warning(words)?;
    }
    Ok(outcome)
}

impl ImportArgs {
    /// Returns the source of the bundle as the annotation contains it.
    fn source_name(&self) -> String {
        format!("{}/{}", self.relationship, self.peer)
    }

    /// Builds the ServiceBindings, or returns all refusals.
    fn bindings(&self, read: &parcels::Read, found: &Found) -> Result<Vec<Value>, Vec<String>> {
        let said = |words: String| vec![format!("emcee: {words}")];
        let relationships = &found.relationships;
        let known = relationships.named(&self.relationship).map_err(|error| said(error.to_string()))?;
        let peer = known.peer(Some(&self.peer)).map_err(|error| said(error.to_string()))?;
        // `--relationship` may be the name of a MeshFedConfig; the file contains the name of the relationship.
        if read.parcel.relationship != known.name() {
            return Err(said(format!(
                "the file belongs to relationship {}, not to {}",
                read.parcel.relationship,
                known.name()
            )));
        }
        let fed_config = relationships.selector(known).map_err(said)?;
        let offers = &read.parcel.announcements;
        let mut refusals: Vec<_> =
            offers.iter().filter_map(|offer| read.refusal(&known.terms, peer, offer)).collect();
        let namespaces = offers.iter().map(|offer| self.namespace.as_deref().unwrap_or(&offer.key.namespace));
        let mut closed: Vec<_> = namespaces.filter_map(|namespace| known.refuses(namespace)).collect();
        // The services are sorted by namespace, so equal refusals are adjacent.
        closed.dedup();
        refusals.extend(closed.into_iter().map(|words| format!("emcee: {words}")));
        if !refusals.is_empty() {
            return Err(refusals);
        }
        let consumer = Consumer { namespace: self.namespace.as_deref(), fed_config, peer: Some(peer) };
        Ok(offers.iter().map(|offer| self.binding(offer, &consumer, &read.parcel)).collect())
    }

    /// Builds the ServiceBinding for one service, annotated with its source.
    fn binding(&self, offer: &Announcement, consumer: &Consumer<'_>, bundle: &Bundle) -> Value {
        let mut binding = complete(offer, consumer);
        binding["metadata"]["annotations"] = json!({
            IMPORTED_FROM: self.source_name(),
            EXPORTED_AT: bundle.exported_at.to_string(),
        });
        binding
    }

    /// Prints what looks wrong in the file but does not prevent the import.
    fn say_doubts(&self, bundle: &Bundle, console: &mut Console<'_>) -> std::io::Result<()> {
        if let Some(mesh) = bundle.mesh.as_ref().filter(|mesh| **mesh != self.peer) {
            console.warning(format_args!(
                "warning: the file says that it comes from mesh {mesh}, but it is imported as peer {}",
                self.peer
            ))?;
        }
        let unreachable = bundle.announcements.iter().filter(|offer| offer.endpoints.is_empty());
        for offer in unreachable {
            console.warning(format_args!(
                "warning: service {} had no endpoints when it was exported",
                offer.key
            ))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
