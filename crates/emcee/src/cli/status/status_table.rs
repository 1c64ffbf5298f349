//! Formats a status report as tables.

use super::StatusReport;
use super::resource_status::{
    BindingSummary, ExpositionSummary, PeerSummary, RelationshipSummary, ResourceStatus, WarningSummary,
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
        build_table(&["PEER", "CONNECTED", "SINCE", "ANNOUNCED", "WHY NOT"], peer_rows(report)),
        build_table(&["WARNING", "RESOURCE", "MESSAGE"], warning_rows(report)),
    ])
}

/// Returns a row for each peer in a status.
fn peer_rows(report: &StatusReport) -> Vec<Vec<String>> {
    let known = report.relationships.iter().flat_map(|entry| {
        let known = entry.detail.peers.iter().filter(|peer| peer.connected.is_some());
        known.map(move |peer| (entry, peer))
    });
    known
        .map(|(entry, peer)| {
            vec![
                format!("{}/{}/{}", entry.namespace, entry.name, peer.name),
                if peer.connected == Some(true) { "yes" } else { "no" }.to_owned(),
                cell_or_dash(peer.last_seen.as_deref().unwrap_or_default()),
                peer.announced.map_or_else(|| "-".to_owned(), |count| count.to_string()),
                peer.error.clone().unwrap_or_default(),
            ]
        })
        .collect()
}

/// Returns a row for each warning of a resource.
fn warning_rows(report: &StatusReport) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    add_warning_rows("MeshFedConfig", &report.relationships, &mut rows);
    add_warning_rows("ServiceExposition", &report.expositions, &mut rows);
    add_warning_rows("ServiceBinding", &report.bindings, &mut rows);
    rows
}

fn add_warning_rows<T>(kind: &str, entries: &[ResourceStatus<T>], rows: &mut Vec<Vec<String>>) {
    for entry in entries {
        let resource = format!("{kind} {}/{}", entry.namespace, entry.name);
        let row = |warning: &WarningSummary| {
            vec![warning.reason.clone(), resource.clone(), warning.message.clone()]
        };
        rows.extend(entry.warnings.iter().map(row));
    }
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
