//! `emcee status`: prints the status of Emcee's resources in a cluster.

mod resource_status;
mod status_table;

use clap::Args;
use emcee_api::{MeshFedConfig, ServiceBinding, ServiceExposition};
use kube::Client;
use serde::Serialize;

use super::ExitStatus;
use super::output_format::OutputFormat;
use crate::cluster::ConnectArgs;
use crate::cluster::read::{block_on, list_resources};
use crate::console::Console;
use resource_status::{BindingSummary, ExpositionSummary, RelationshipSummary, ResourceStatus};

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
    #[arg(short = 'o', long = "output", value_name = "FORMAT", value_enum, default_value_t = OutputFormat::Table)]
    output: OutputFormat,

    #[command(flatten)]
    connect: ConnectArgs,
}

/// Status of all of Emcee's resources in a cluster. The field names are the JSON output.
#[derive(Debug, Serialize)]
struct StatusReport {
    relationships: Vec<ResourceStatus<RelationshipSummary>>,
    expositions: Vec<ResourceStatus<ExpositionSummary>>,
    bindings: Vec<ResourceStatus<BindingSummary>>,
}

pub(super) fn run(args: &StatusArgs, console: &mut Console<'_>) -> anyhow::Result<ExitStatus> {
    let report = block_on(async {
        let client = args.connect.build_client().await?;
        StatusReport::read_cluster(&client, args.namespace.as_deref()).await
    })?;
    console.print_data(&report.format_report(args.output)?)?;
    report.status_hints().iter().try_for_each(|hint| console.print_warning(hint))?;
    Ok(if report.is_ready() { ExitStatus::Success } else { ExitStatus::Findings })
}

impl StatusReport {
    /// Reads the resources of one namespace, or of all.
    async fn read_cluster(client: &Client, namespace: Option<&str>) -> anyhow::Result<Self> {
        let (relationships, expositions, bindings) = futures_util::try_join!(
            list_resources::<MeshFedConfig>(client, namespace),
            list_resources::<ServiceExposition>(client, namespace),
            list_resources::<ServiceBinding>(client, namespace),
        )?;
        Ok(Self {
            relationships: resource_status::sorted_statuses(
                &relationships,
                RelationshipSummary::from_resource,
            ),
            expositions: resource_status::sorted_statuses(&expositions, ExpositionSummary::from_resource),
            bindings: resource_status::sorted_statuses(&bindings, BindingSummary::from_resource),
        })
    }

    fn format_report(&self, format: OutputFormat) -> anyhow::Result<String> {
        format.format_output(self, status_table::render_report)
    }

    /// Returns for each resource whether it is ready, and whether it has no status at all.
    fn readiness_flags(&self) -> impl Iterator<Item = (bool, bool)> + '_ {
        let relationships = self.relationships.iter().map(|entry| (entry.ready, entry.silent));
        let expositions = self.expositions.iter().map(|entry| (entry.ready, entry.silent));
        let bindings = self.bindings.iter().map(|entry| (entry.ready, entry.silent));
        relationships.chain(expositions).chain(bindings)
    }

    fn is_ready(&self) -> bool {
        self.readiness_flags().all(|(ready, _)| ready)
    }

    /// Returns hints for a cluster without resources or without a running Emcee.
    fn status_hints(&self) -> Vec<&'static str> {
        let mut hints = Vec::new();
        if self.readiness_flags().next().is_none() {
            hints.push("there are no MeshFedConfigs, ServiceExpositions or ServiceBindings here");
        } else if self.readiness_flags().all(|(_, silent)| silent) {
            hints.push("no resource has a status: Emcee does not seem to run in this cluster (emcee run)");
        }
        hints
    }
}

#[cfg(test)]
mod tests;
