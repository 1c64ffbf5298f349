//! Output of the demo: texts and tables.

use std::io;
use std::path::Path;

use emcee_core::catalogue::{Announcement, CatalogueReport, PeerConnection, PeerReport};
use emcee_core::endpoint::Endpoint;

use super::DemoMeshes;
use crate::console::Console;
use crate::run::file_mode::FileModeView;
use crate::text_table::format_table;

pub(super) const OPENING: &str = "\
Three meshes, which trust each other only within two relationships:

   m2 ──blue (BOUNDARY: both gateways end TLS)──► m1 ◄──yellow (FLAT: pod to pod)── m4

Each mesh has its own Emcee and new certificates. They connect over mTLS on 127.0.0.1.
";

pub(super) const CLOSING: &str = "\n== Done: every step succeeded\n";

/// Table of the services that the meshes announce, and to which peer.
pub(super) fn announced_table(meshes: &[(&str, &FileModeView)]) -> String {
    let mut rows = Vec::new();
    for (mesh, view) in meshes {
        for (listing, peer) in peer_reports(view) {
            rows.extend(peer.announced_to_peer.iter().map(|announcement| {
                let mut row = vec![(*mesh).to_owned(), peer.name.to_string(), listing.relationship.clone()];
                row.extend([
                    listing.mode.to_string(),
                    service_name(announcement),
                    protocol_and_port(announcement),
                    joined_endpoints(&announcement.endpoints),
                ]);
                row
            }));
        }
    }
    format_table(&["MESH", "TO", "OVER", "STYLE", "SERVICE", "PROTOCOL", "REACHED AT"], rows)
}

/// Table of the announcements that a mesh has received, and the bindings that use them.
pub(super) fn received_table(view: &FileModeView) -> String {
    let mut rows = Vec::new();
    for (listing, peer) in peer_reports(view) {
        rows.extend(peer.announced_by_peer.iter().map(|announced| {
            let users: Vec<_> =
                announced.bindings.iter().map(|key| format!("ServiceBinding {key}")).collect();
            let announcement = &announced.announcement;
            let row = [
                peer.name.to_string(),
                listing.relationship.clone(),
                service_name(announcement),
                protocol_and_port(announcement),
            ];
            row.into_iter().chain([joined_endpoints(&announcement.endpoints), users.join(", ")]).collect()
        }));
    }
    format_table(&["FROM", "OVER", "SERVICE", "PROTOCOL", "REACHED AT", "USED BY"], rows)
}

/// Table of the connections to the peers of a mesh.
pub(super) fn peers_table(view: &FileModeView) -> String {
    let rows = peer_reports(view).map(|(listing, peer)| {
        let used = peer.announced_by_peer.iter().filter(|announced| !announced.bindings.is_empty()).count();
        let row = [peer.name.to_string(), listing.relationship.clone(), connection_state(peer)];
        row.into_iter().chain([peer.announced_by_peer.len().to_string(), used.to_string()]).collect()
    });
    format_table(&["PEER", "OVER", "CONNECTION", "ANNOUNCED", "USED"], rows)
}

/// Table of the generated objects, each with the resource that owns it.
pub(super) fn objects_table(view: &FileModeView) -> String {
    let rows = view.objects.iter().map(|object| {
        let owner = &object.owner;
        let of = format!("{} {}", owner.kind.as_str(), owner.key);
        vec![object.kind().as_str().to_owned(), object.namespace.to_string(), object.name.clone(), of]
    });
    format_table(&["KIND", "NAMESPACE", "NAME", "FOR"], rows)
}

/// Prints the directories and addresses of the meshes, and what to try next.
pub(super) fn print_next_steps(
    root: &Path,
    meshes: &DemoMeshes,
    console: &mut Console<'_>,
) -> io::Result<()> {
    let header = ["MESH", "RESOURCES", "GENERATED OBJECTS", "DISCOVERY ADDRESS", "CATALOGUE"];
    let rows = [&meshes.m1, &meshes.m2, &meshes.m4].map(|mesh| {
        let folders = [mesh.dir.display().to_string(), mesh.out.display().to_string()];
        let catalogue = format!("http://{}/catalogue", mesh.admin_address());
        let reached = [mesh.discovery_address().to_string(), catalogue];
        [mesh.name.to_owned()].into_iter().chain(folders).chain(reached).collect()
    });
    console.print_data(&format!("\n{}", format_table(&header, rows)))?;
    let try_it = meshes.m2.dir.join("mesh.yaml");
    console.print_data(&format!(
        "\nTry: change directory: in {}, and see what changes in {}.\nThe catalogue as a table: emcee catalogue --admin http://{}\nThe demo runs until Ctrl-C. It then removes {}, unless you gave it with --dir.\n",
        try_it.display(),
        meshes.m1.out.display(),
        meshes.m1.admin_address(),
        root.display()
    ))
}

/// Count and noun: `1 object`, `2 objects`.
pub(super) fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

fn peer_reports(view: &FileModeView) -> impl Iterator<Item = (&CatalogueReport, &PeerReport)> {
    view.listing.iter().flat_map(|listing| listing.peers.iter().map(move |peer| (listing, peer)))
}

fn service_name(announcement: &Announcement) -> String {
    announcement.key.to_string()
}

fn protocol_and_port(announcement: &Announcement) -> String {
    format!("{}:{}", announcement.protocol, announcement.port)
}

fn joined_endpoints(endpoints: &[Endpoint]) -> String {
    endpoints.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn connection_state(peer: &PeerReport) -> String {
    match peer.state.as_ref().map(|state| &state.connection) {
        None | Some(PeerConnection::Pending) => "not yet".to_owned(),
        Some(PeerConnection::Connected(_)) => "connected".to_owned(),
        Some(PeerConnection::Unreachable { .. }) => "lost".to_owned(),
    }
}
