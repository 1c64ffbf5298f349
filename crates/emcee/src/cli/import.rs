//! `emcee import`

mod earlier;
mod parcels;

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use emcee_core::catalogue::Offer;
use emcee_discovery::parcel::Parcel;
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
  emcee import parcel.yaml --relationship blue --peer m2
  emcee import parcel.yaml --relationship blue --peer m2 -n shop --dry-run
  emcee import parcel.yaml --relationship blue --peer m2 -f mesh/ --dry-run > bindings.yaml";

/// On a ServiceBinding: of whose parcel it is, `RELATIONSHIP/PEER`.
const IMPORTED_FROM: &str = "emcee.io/imported-from";
/// On a ServiceBinding: when that was exported.
const EXPORTED_AT: &str = "emcee.io/exported-at";

/// Make ServiceBindings of what `emcee export` printed in another mesh, where meshes have no stream.
///
/// Whose file it is, who brings it has to know: it is judged as an announcement of that peer would be, and refused as a
/// whole where anything in it is. A later file of the same peer changes what this has written of an earlier one, and
/// nothing else. Looks at the cluster that kubectl would choose; with -f, at files. Exit code 0: all is there; 1:
/// something was refused; 2: it could not be carried out.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct ImportArgs {
    /// The file, or `-` for stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Name of the relationship
    #[arg(long, value_name = "RELATIONSHIP")]
    relationship: String,

    /// Name of the peer whose file it is
    #[arg(long, value_name = "PEER")]
    peer: String,

    /// Namespace of the ServiceBindings. By default the one of the same name as each service's
    #[arg(short = 'n', long, value_name = "NAMESPACE", value_parser = dns_label)]
    namespace: Option<String>,

    /// Print the ServiceBindings, and write nothing
    #[arg(long)]
    dry_run: bool,

    /// The cluster's Service and Pod ranges: what a peer says never lies there
    #[arg(long, value_name = "CIDR,…", value_delimiter = ',')]
    cluster_networks: Vec<IpNet>,

    #[command(flatten)]
    source: SourceArgs,
}

pub(super) fn run(args: &ImportArgs, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    if args.source.has_files() && !args.dry_run {
        bail!("of files nothing is known that could be written to (--dry-run prints the ServiceBindings)");
    }
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

async fn write(
    args: &ImportArgs,
    client: &Client,
    parcel: &Parcel,
    bindings: &[Value],
    console: &mut Console<'_>,
) -> anyhow::Result<Outcome> {
    let earlier = earlier::of(client, &args.source_name()).await?;
    if let Some(words) = earlier::newer(&earlier, parcel) {
        console.refusal(format_args!("emcee: {words}"))?;
        return Ok(Outcome::Refused);
    }
    let outcome = finish(bindings, How::Apply, Some(client), console).await?;
    for words in earlier::left(&earlier, bindings) {
        console.warning(words)?;
    }
    Ok(outcome)
}

impl ImportArgs {
    fn source_name(&self) -> String {
        format!("{}/{}", self.relationship, self.peer)
    }

    /// The ServiceBindings, or all that is refused.
    fn bindings(&self, read: &parcels::Read, found: &Found) -> Result<Vec<Value>, Vec<String>> {
        let said = |words: String| vec![format!("emcee: {words}")];
        let relationships = &found.relationships;
        let known = relationships.named(&self.relationship).map_err(|error| said(error.to_string()))?;
        let peer = known.peer(Some(&self.peer)).map_err(|error| said(error.to_string()))?;
        if read.parcel.relationship != known.name() {
            return Err(said(format!(
                "the file is of relationship {}, not of {}",
                read.parcel.relationship,
                known.name()
            )));
        }
        let fed_config = relationships.selector(known).map_err(said)?;
        let offers = &read.parcel.offers;
        let mut refusals: Vec<_> =
            offers.iter().filter_map(|offer| read.refusal(&known.terms, peer, offer)).collect();
        let namespaces = offers.iter().map(|offer| self.namespace.as_deref().unwrap_or(&offer.key.namespace));
        let mut closed: Vec<_> = namespaces.filter_map(|namespace| known.refuses(namespace)).collect();
        closed.dedup();
        refusals.extend(closed.into_iter().map(|words| format!("emcee: {words}")));
        if !refusals.is_empty() {
            return Err(refusals);
        }
        let consumer = Consumer { namespace: self.namespace.as_deref(), fed_config, peer: Some(peer) };
        Ok(offers.iter().map(|offer| self.binding(offer, &consumer, &read.parcel)).collect())
    }

    fn binding(&self, offer: &Offer, consumer: &Consumer<'_>, parcel: &Parcel) -> Value {
        let mut binding = complete(offer, consumer);
        binding["metadata"]["annotations"] = json!({
            IMPORTED_FROM: self.source_name(),
            EXPORTED_AT: parcel.exported_at.to_string(),
        });
        binding
    }

    fn say_doubts(&self, parcel: &Parcel, console: &mut Console<'_>) -> std::io::Result<()> {
        if let Some(mesh) = parcel.mesh.as_ref().filter(|mesh| **mesh != self.peer) {
            console.warning(format_args!(
                "warning: the file says that it is of mesh {mesh}, and is taken as peer {}'s",
                self.peer
            ))?;
        }
        let unreachable = parcel.offers.iter().filter(|offer| offer.endpoints.is_empty());
        for offer in unreachable {
            console.warning(format_args!(
                "warning: service {} could be reached nowhere when it was exported",
                offer.key
            ))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
