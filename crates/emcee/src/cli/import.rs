//! `emcee import`: creates ServiceBindings from a bundle of a peer.

mod bundle_file;
mod previous_imports;

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use emcee_api::labels::EXPORTED_AT;
use emcee_core::catalogue::Announcement;
use emcee_discovery::formats::bundle::Bundle;
use ipnet::IpNet;
use kube::Client;
use serde_json::{Value, json};

use super::ExitStatus;
use super::catalogue::source::{SourceArgs, SourceCatalogue};
use super::common_args::dns_label;
use super::write_resources::{WriteMode, validate_and_write};
use crate::catalogue::{BindingOptions, static_binding};
use crate::cluster::read::block_on;
use crate::console::Console;

const EXAMPLES: &str = "\
Examples:
  emcee import bundle.yaml --relationship blue --peer m2
  emcee import bundle.yaml --relationship blue --peer m2 -n shop --dry-run
  emcee import bundle.yaml --relationship blue --peer m2 -f mesh/ --dry-run > bindings.yaml";

/// Annotation of an imported ServiceBinding: the source of its bundle, `RELATIONSHIP/PEER`.
const IMPORTED_FROM: &str = "emcee.io/imported-from";

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

pub(super) fn run(args: &ImportArgs, console: &mut Console<'_>) -> anyhow::Result<ExitStatus> {
    if args.source.has_files() && !args.dry_run {
        bail!("with -f there is no cluster to write to (--dry-run prints the ServiceBindings)");
    }
    // The file first: the cluster is not needed to find out that it is invalid.
    let Some(read) = bundle_file::read_bundle(&args.file, console)? else { return Ok(ExitStatus::Findings) };
    let found = match args.source.load_catalogue(&args.cluster_networks, console)? {
        Ok(found) => found,
        Err(unknown) => return Ok(unknown.exit_status()),
    };
    let bindings = match args.build_bindings(&read, &found) {
        Ok(bindings) => bindings,
        Err(refusals) => {
            refusals.iter().try_for_each(|words| console.print_error(words))?;
            return Ok(ExitStatus::Findings);
        }
    };
    args.print_warnings(&read.bundle, console)?;
    block_on(async {
        if args.dry_run {
            return validate_and_write(&bindings, WriteMode::Apply, None, console).await;
        }
        write_bindings(args, &args.source.cluster_client().await?, &read.bundle, &bindings, console).await
    })
    .map_err(|error| args.source.name_target(error))
}

/// Writes the bindings, unless a newer bundle of the same peer has been imported.
async fn write_bindings(
    args: &ImportArgs,
    client: &Client,
    bundle: &Bundle,
    bindings: &[Value],
    console: &mut Console<'_>,
) -> anyhow::Result<ExitStatus> {
    let earlier = previous_imports::list_previous(client, &args.source_name()).await?;
    if let Some(words) = previous_imports::newer_import(&earlier, bundle) {
        console.print_error(format_args!("emcee: {words}"))?;
        return Ok(ExitStatus::Findings);
    }
    let outcome = validate_and_write(bindings, WriteMode::Apply, Some(client), console).await?;
    // Bindings that the file no longer contains are reported, never deleted: the file may be incomplete.
    for words in previous_imports::leftover_bindings(&earlier, bindings) {
        console.print_warning(words)?;
    }
    Ok(outcome)
}

impl ImportArgs {
    /// Returns the source of the bundle as the annotation contains it.
    fn source_name(&self) -> String {
        format!("{}/{}", self.relationship, self.peer)
    }

    /// Builds the ServiceBindings, or returns all refusals.
    fn build_bindings(
        &self,
        read: &bundle_file::BundleFile,
        found: &SourceCatalogue,
    ) -> Result<Vec<Value>, Vec<String>> {
        let to_messages = |words: String| vec![format!("emcee: {words}")];
        let relationships = &found.relationships;
        let known =
            relationships.find_by_name(&self.relationship).map_err(|error| to_messages(error.to_string()))?;
        let peer = known.select_peer(Some(&self.peer)).map_err(|error| to_messages(error.to_string()))?;
        // `--relationship` may be the name of a MeshFedConfig; the file contains the name of the relationship.
        if read.bundle.relationship != known.name() {
            return Err(to_messages(format!(
                "the file belongs to relationship {}, not to {}",
                read.bundle.relationship,
                known.name()
            )));
        }
        let fed_config = relationships.unique_selector(known).map_err(to_messages)?;
        let announcements = &read.bundle.announcements;
        let mut refusals: Vec<_> = announcements
            .iter()
            .filter_map(|announcement| read.announcement_refusal(&known.peer_policy, peer, announcement))
            .collect();
        let namespaces = announcements
            .iter()
            .map(|announcement| self.namespace.as_deref().unwrap_or(&announcement.key.namespace));
        let mut closed: Vec<_> =
            namespaces.filter_map(|namespace| known.namespace_refusal(namespace)).collect();
        // The services are sorted by namespace, so equal refusals are adjacent.
        closed.dedup();
        refusals.extend(closed.into_iter().map(|words| format!("emcee: {words}")));
        if !refusals.is_empty() {
            return Err(refusals);
        }
        let consumer = BindingOptions { namespace: self.namespace.as_deref(), fed_config, peer: Some(peer) };
        Ok(announcements
            .iter()
            .map(|announcement| self.build_binding(announcement, &consumer, &read.bundle))
            .collect())
    }

    /// Builds the ServiceBinding for one service, annotated with its source.
    fn build_binding(
        &self,
        announcement: &Announcement,
        consumer: &BindingOptions<'_>,
        bundle: &Bundle,
    ) -> Value {
        let mut binding = static_binding(announcement, consumer);
        binding["metadata"]["annotations"] = json!({
            IMPORTED_FROM: self.source_name(),
            EXPORTED_AT: bundle.exported_at.to_string(),
        });
        binding
    }

    /// Prints what looks wrong in the file but does not prevent the import.
    fn print_warnings(&self, bundle: &Bundle, console: &mut Console<'_>) -> std::io::Result<()> {
        if let Some(mesh) = bundle.mesh.as_ref().filter(|mesh| **mesh != self.peer) {
            console.print_warning(format_args!(
                "warning: the file says that it comes from mesh {mesh}, but it is imported as peer {}",
                self.peer
            ))?;
        }
        let unreachable =
            bundle.announcements.iter().filter(|announcement| announcement.endpoints.is_empty());
        for announcement in unreachable {
            console.print_warning(format_args!(
                "warning: service {} had no endpoints when it was exported",
                announcement.key
            ))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
