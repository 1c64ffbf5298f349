//! Formats a status report as tables.

use super::StatusReport;
use super::resource_status::{
    BindingSummary, ExpositionSummary, PeerSummary, RelationshipSummary, ResourceStatus,
};
use crate::cli::output_format::{build_table, cell_or_dash, join_tables};

/// Formats one table for each kind that has resources.
pub(super) fn render_report(report: &StatusReport) -> String {
    join_tables([
        kind_table(
            &["MESHFEDCONFIG", "RELATIONSHIP", "STYLE", "PEERS"],
            &report.relationships,
            relationship_cells,
        ),
        kind_table(&["SERVICEEXPOSITION", "SERVER NAME", "ENDPOINTS"], &report.expositions, exposition_cells),
        kind_table(&["SERVICEBINDING", "HOST", "SOURCE"], &report.bindings, binding_cells),
    ])
}

/// Formats the table of one kind. `names` are the headers of the columns that are specific to it.
fn kind_table<T>(names: &[&str], entries: &[ResourceStatus<T>], detail: fn(&T) -> Vec<String>) -> String {
    build_table(
        &[names, &["READY", "WHY NOT"]].concat(),
        entries.iter().map(|entry| status_row(entry, detail)),
    )
}

/// Returns the row of one resource.
fn status_row<T>(entry: &ResourceStatus<T>, detail: fn(&T) -> Vec<String>) -> Vec<String> {
    let mut cells = vec![format!("{}/{}", entry.namespace, entry.name)];
    cells.extend(detail(&entry.detail));
    cells.push(if entry.ready { "yes" } else { "no" }.to_owned());
    let why = [entry.reason.as_str(), entry.message.as_str()];
    cells.push(why.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(": "));
    cells
}

fn relationship_cells(detail: &RelationshipSummary) -> Vec<String> {
    let peers: Vec<_> = detail.peers.iter().map(peer_cell).collect();
    vec![cell_or_dash(&detail.called), cell_or_dash(&detail.style), cell_or_dash(&peers.join(", "))]
}

fn peer_cell(peer: &PeerSummary) -> String {
    let lost = if peer.connected == Some(false) { " (not connected)" } else { "" };
    format!("{}{lost}", peer.name)
}

fn exposition_cells(detail: &ExpositionSummary) -> Vec<String> {
    vec![cell_or_dash(&detail.server_name), cell_or_dash(&detail.endpoints.join(", "))]
}

fn binding_cells(detail: &BindingSummary) -> Vec<String> {
    vec![cell_or_dash(&detail.host), cell_or_dash(&detail.source)]
}
