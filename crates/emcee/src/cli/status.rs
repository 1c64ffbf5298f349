//! `emcee status`: prints the status of Emcee's resources in a cluster.

mod resource_status;
mod status_table;

use std::time::Duration;

use clap::Args;
use emcee_api::{MeshFedConfig, ServiceBinding, ServiceExposition};
use kube::Client;
use schemars::JsonSchema;
use serde::Serialize;

use super::ExitStatus;
use super::output_format::OutputFormat;
use super::report_version::ReportVersion;
use crate::cluster::ConnectArgs;
use crate::cluster::read::{block_on, list_resources};
use crate::console::Console;
use resource_status::{BindingSummary, ExpositionSummary, RelationshipSummary, ResourceStatus};

const EXAMPLES: &str = "\
Examples:
  emcee status
  emcee status -n shop --context m1
  emcee status --watch
  emcee status -o json";

/// Print the status of a cluster's relationships, expositions and bindings: why any is not ready, warnings, and peers.
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

    /// Read all namespaces, which is the default
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,

    /// Print the status again whenever it changes, until Ctrl-C
    #[arg(short = 'w', long)]
    watch: bool,

    /// Output format
    #[arg(short = 'o', long = "output", value_name = "FORMAT", value_enum, default_value_t = OutputFormat::Table)]
    output: OutputFormat,

    #[command(flatten)]
    connect: ConnectArgs,
}

/// Pause between two reads of `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// Status of all of Emcee's resources in a cluster, as `emcee status -o json` prints it.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct StatusReport {
    /// Version of this format.
    #[serde(rename = "apiVersion")]
    api_version: ReportVersion,
    /// Always `StatusReport`.
    kind: StatusReportKind,
    /// The MeshFedConfigs.
    relationships: Vec<ResourceStatus<RelationshipSummary>>,
    /// The ServiceExpositions.
    expositions: Vec<ResourceStatus<ExpositionSummary>>,
    /// The ServiceBindings.
    bindings: Vec<ResourceStatus<BindingSummary>>,
}

/// Value of `kind`.
#[derive(Debug, Serialize, JsonSchema)]
enum StatusReportKind {
    StatusReport,
}

pub(super) fn run(args: &StatusArgs, console: &mut Console<'_>) -> anyhow::Result<ExitStatus> {
    block_on(async {
        let client = args.connect.build_client().await?;
        let mut shown = String::new();
        loop {
            let report = StatusReport::read_cluster(&client, args.namespace.as_deref()).await?;
            let text = report.format_report(args.output)?;
            if text != shown || !args.watch {
                print_report(&report, &text, console)?;
            }
            if !args.watch {
                return Ok(if report.is_ready() { ExitStatus::Success } else { ExitStatus::Findings });
            }
            shown = text;
            tokio::time::sleep(WATCH_INTERVAL).await;
        }
    })
    .map_err(|error| args.connect.name_target(error))
}

fn print_report(report: &StatusReport, text: &str, console: &mut Console<'_>) -> anyhow::Result<()> {
    console.print_data(text)?;
    Ok(report.status_hints().iter().try_for_each(|hint| console.print_warning(hint))?)
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
            api_version: ReportVersion::V1,
            kind: StatusReportKind::StatusReport,
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
