//! Formats a status report as tables.

use super::Report;
use super::entry::{Binding, Entry, Exposition, Peer, Relationship};
use crate::cli::table::{shown, table, tables};

/// Formats one table for each kind that has resources.
pub(super) fn text(report: &Report) -> String {
    tables([
        of(&["MESHFEDCONFIG", "RELATIONSHIP", "STYLE", "PEERS"], &report.relationships, relationship),
        of(&["SERVICEEXPOSITION", "SERVER NAME", "ENDPOINTS"], &report.expositions, exposition),
        of(&["SERVICEBINDING", "HOST", "SOURCE"], &report.bindings, binding),
    ])
}

/// Formats the table of one kind. `names` are the headers of the columns that are specific to it.
fn of<T>(names: &[&str], entries: &[Entry<T>], detail: fn(&T) -> Vec<String>) -> String {
    table(&[names, &["READY", "WHY NOT"]].concat(), entries.iter().map(|entry| row(entry, detail)))
}

/// Returns the row of one resource.
fn row<T>(entry: &Entry<T>, detail: fn(&T) -> Vec<String>) -> Vec<String> {
    let mut cells = vec![format!("{}/{}", entry.namespace, entry.name)];
    cells.extend(detail(&entry.detail));
    cells.push(if entry.ready { "yes" } else { "no" }.to_owned());
    let why = [entry.reason.as_str(), entry.message.as_str()];
    cells.push(why.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(": "));
    cells
}

fn relationship(detail: &Relationship) -> Vec<String> {
    let peers: Vec<_> = detail.peers.iter().map(peer).collect();
    vec![shown(&detail.called), shown(&detail.style), shown(&peers.join(", "))]
}

fn peer(peer: &Peer) -> String {
    let lost = if peer.connected == Some(false) { " (not connected)" } else { "" };
    format!("{}{lost}", peer.name)
}

fn exposition(detail: &Exposition) -> Vec<String> {
    vec![shown(&detail.server_name), shown(&detail.endpoints.join(", "))]
}

fn binding(detail: &Binding) -> Vec<String> {
    vec![shown(&detail.host), shown(&detail.source)]
}
