//! `emcee status`: prints the status of Emcee's resources in a cluster.

mod entry;
mod table;

use clap::Args;
use emcee_api::{MeshFedConfig, ServiceBinding, ServiceExposition};
use kube::Client;
use serde::Serialize;

use super::Outcome;
use super::table::Format;
use crate::cluster::ConnectArgs;
use crate::cluster::read::{converse, resources};
use crate::console::Console;
use entry::{Binding, Entry, Exposition, Relationship};

const EXAMPLES: &str = "\
Examples:
  emcee status
  emcee status -n shop --context m1
  emcee status -o json";

/// Print the status of a cluster's relationships, expositions and bindings, and why any is not ready.
///
/// Reads the status of the resources themselves, so you only need permission to read them. A status that belongs to an
/// older version of its resource counts as not ready. Exit code 0: all are ready; 1: some are not; 2: they cannot be
/// read.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct StatusArgs {
    /// Namespace to read. Defaults to all
    #[arg(short = 'n', long, value_name = "NAMESPACE")]
    namespace: Option<String>,

    /// Output format
    #[arg(short = 'o', long = "output", value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    output: Format,

    #[command(flatten)]
    connect: ConnectArgs,
}

/// Status of all of Emcee's resources in a cluster. The field names are the JSON output.
#[derive(Debug, Serialize)]
struct Report {
    relationships: Vec<Entry<Relationship>>,
    expositions: Vec<Entry<Exposition>>,
    bindings: Vec<Entry<Binding>>,
}

pub(super) fn run(args: &StatusArgs, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    let report = converse(async {
        let client = args.connect.client().await?;
        Report::read(&client, args.namespace.as_deref()).await
    })?;
    console.data(&report.text(args.output)?)?;
    report.hints().iter().try_for_each(|hint| console.warning(hint))?;
    Ok(if report.is_ready() { Outcome::Fine } else { Outcome::Refused })
}

impl Report {
    /// Reads the resources of one namespace, or of all.
    async fn read(client: &Client, namespace: Option<&str>) -> anyhow::Result<Self> {
        let (relationships, expositions, bindings) = futures_util::try_join!(
            resources::<MeshFedConfig>(client, namespace),
            resources::<ServiceExposition>(client, namespace),
            resources::<ServiceBinding>(client, namespace),
        )?;
        Ok(Self {
            relationships: entry::all(&relationships, Relationship::of),
            expositions: entry::all(&expositions, Exposition::of),
            bindings: entry::all(&bindings, Binding::of),
        })
    }

    fn text(&self, format: Format) -> anyhow::Result<String> {
        format.text(self, table::text)
    }

    /// Returns for each resource whether it is ready, and whether it has no status at all.
    fn standings(&self) -> impl Iterator<Item = (bool, bool)> + '_ {
        let relationships = self.relationships.iter().map(|entry| (entry.ready, entry.silent));
        let expositions = self.expositions.iter().map(|entry| (entry.ready, entry.silent));
        let bindings = self.bindings.iter().map(|entry| (entry.ready, entry.silent));
        relationships.chain(expositions).chain(bindings)
    }

    fn is_ready(&self) -> bool {
        self.standings().all(|(ready, _)| ready)
    }

    /// Returns hints for a cluster without resources or without a running Emcee.
    fn hints(&self) -> Vec<&'static str> {
        let mut hints = Vec::new();
        if self.standings().next().is_none() {
            hints.push("there are no MeshFedConfigs, ServiceExpositions or ServiceBindings here");
        } else if self.standings().all(|(_, silent)| silent) {
            hints.push("no resource has a status: Emcee does not seem to run in this cluster (emcee run)");
        }
        hints
    }
}

#[cfg(test)]
mod tests;
