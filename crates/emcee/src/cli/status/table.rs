//! A status as lines whose columns align.

use super::Report;
use super::entry::{Binding, Entry, Exposition, Peer, Relationship};
use crate::table::{aligned, printable};

/// Each kind that has any is a table of its own.
pub(super) fn text(report: &Report) -> String {
    let tables = [
        table(&["MESHFEDCONFIG", "RELATIONSHIP", "STYLE", "PEERS"], &report.relationships, relationship),
        table(&["SERVICEEXPOSITION", "SERVER NAME", "ENDPOINTS"], &report.expositions, exposition),
        table(&["SERVICEBINDING", "HOST", "SOURCE"], &report.bindings, binding),
    ];
    let filled: Vec<_> = tables.into_iter().filter(|table| !table.is_empty()).collect();
    filled.join("\n")
}

fn table<T>(names: &[&str], entries: &[Entry<T>], detail: fn(&T) -> Vec<String>) -> String {
    if entries.is_empty() {
        return String::new();
    }
    let header = names.iter().chain(&["READY", "WHY NOT"]).map(|name| (*name).to_owned()).collect();
    let rows = entries.iter().map(|entry| row(entry, detail));
    aligned(&std::iter::once(header).chain(rows).collect::<Vec<_>>())
}

fn row<T>(entry: &Entry<T>, detail: fn(&T) -> Vec<String>) -> Vec<String> {
    let mut cells = vec![format!("{}/{}", entry.namespace, entry.name)];
    cells.extend(detail(&entry.detail));
    cells.push(if entry.ready { "yes" } else { "no" }.to_owned());
    let why = [entry.reason.as_str(), entry.message.as_str()];
    cells.push(why.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(": "));
    cells.iter().map(|cell| printable(cell)).collect()
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

fn shown(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}
