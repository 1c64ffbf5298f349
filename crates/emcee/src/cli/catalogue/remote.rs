//! Client of the Emcee of another mesh, which it asks over discovery as a peer does.

mod secret;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use emcee_core::catalogue::Announcement;
use emcee_core::endpoint::Endpoint;
use emcee_core::key::ObjectKey;
use emcee_discovery::PeerRef;
use emcee_discovery::client::{
    AnnouncementValidator, ConnectError, PeerEvent, PeerTarget, UnreachableReason, subscribe_to_peer,
};
use emcee_discovery::delta::client_stream::{AnnouncementEvent, DeltaClientSettings};
use emcee_discovery::transport::tls::{
    PeerCertificateError, SubjectAltName, TlsError, TlsIdentity, TlsRelationship,
};
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

use super::catalogue_table::service_cells;
use super::source::SourceArgs;
use crate::catalogue::{RefusalView, ServiceView};
use crate::cli::ExitStatus;
use crate::cli::common_args::{dns_label, parse_duration};
use crate::cli::output_format::{OutputFormat, build_table, cell_or_dash, join_tables};
use crate::cluster::read::block_on;
use crate::console::Console;

/// Longest time until the first response. It exceeds the sum of the timeouts for name resolution, TCP, TLS, HTTP/2 and
/// the first response, for each address of the name.
const FIRST_RESPONSE_TIMEOUT: Duration = Duration::from_mins(2);
/// Longest time to receive announcements after the connection is established.
const MAX_LISTEN_TIME: Duration = Duration::from_mins(1);
/// Capacity of the queue of events.
const EVENT_QUEUE_SIZE: usize = 256;
/// Name of the peer within this command. There is only one, so any name works.
const REMOTE_PEER: &str = "peer";

/// Arguments that select a remote mesh.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Another mesh")]
pub(super) struct RemoteArgs {
    /// Ask the Emcee of another mesh at this address: its ingress gateway, or Emcee itself
    #[arg(long, value_name = "HOST:PORT", requires_all = ["relationship", "secret"], conflicts_with_all = ["admin", "filename"])]
    from: Option<Endpoint>,

    /// Name of the relationship
    #[arg(long, value_name = "NAME", requires = "from", value_parser = dns_label)]
    relationship: Option<String>,

    /// This mesh's Secret for the relationship: a file, or a Secret in the cluster
    #[arg(long, value_name = "FILE|NAMESPACE/NAME", requires = "from")]
    secret: Option<String>,

    /// Names of that mesh; its certificate must contain one of them. Without this flag, any certificate of the
    /// relationship's CA is accepted, and its name is printed
    #[arg(long, value_name = "SAN,…", value_delimiter = ',', requires = "from")]
    peer_name: Vec<String>,

    /// Quiet period after which the peer's catalogue is considered complete
    #[arg(long, value_name = "TIME", default_value = "2s", requires = "from", value_parser = parse_duration)]
    quiet_period: Duration,
}

/// Remote mesh to ask, and the identity to use.
pub(super) struct RemoteTarget<'a> {
    address: &'a Endpoint,
    relationship: &'a str,
    secret: &'a str,
    names: &'a [String],
    quiet_period: Duration,
}

impl RemoteArgs {
    /// Returns the remote mesh, if `--from` is given.
    pub(super) fn remote_target(&self) -> Option<RemoteTarget<'_>> {
        Some(RemoteTarget {
            address: self.from.as_ref()?,
            relationship: self.relationship.as_deref()?,
            secret: self.secret.as_deref()?,
            names: &self.peer_name,
            quiet_period: self.quiet_period,
        })
    }
}

/// Catalogue that the remote mesh announces to this one. The field names are the JSON output.
#[derive(Debug, Serialize)]
struct RemoteCatalogue {
    from: String,
    relationship: String,
    names: Vec<String>,
    offered: Vec<ServiceView>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refused: Vec<RefusalView>,
    /// Addresses at which the remote mesh says it can be reached.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reached_at: Vec<String>,
    /// Whether the peer was still announcing when this command stopped to listen, so that services are missing.
    #[serde(rename = "incomplete")]
    is_incomplete: bool,
}

pub(super) fn run(
    target: &RemoteTarget<'_>,
    source: &SourceArgs,
    format: OutputFormat,
    console: &mut Console<'_>,
) -> anyhow::Result<ExitStatus> {
    let Some(material) = secret::load_identity(target.secret, source, console)? else {
        return Ok(ExitStatus::Findings);
    };
    match block_on(async { Ok(query_remote(target, &material).await) })? {
        Ok(catalogue) => {
            console.print_data(&format.format_output(&catalogue, render_remote)?)?;
            if target.names.is_empty() {
                console.print_note(format_args!(
                    "note: its certificate carries {}; set --peer-name to require this",
                    catalogue.names.join(", ")
                ))?;
            }
            if catalogue.is_incomplete {
                console.print_warning(format_args!(
                    "incomplete: the mesh was still announcing after {}s, so services are missing (its own `emcee catalogue` has all)",
                    MAX_LISTEN_TIME.as_secs()
                ))?;
                return Ok(ExitStatus::Findings);
            }
            if catalogue.offered.is_empty() {
                console.print_note("it announces nothing to this mesh (which it identifies by the names in this mesh's certificate)")?;
            }
            Ok(ExitStatus::Success)
        }
        Err(trouble) => {
            console.print_error(format_args!("emcee: relationship {}: {trouble}", target.relationship))?;
            Ok(ExitStatus::Findings)
        }
    }
}

/// Fetches the catalogue. Without expected names, a first connection only finds out the name in the peer's certificate.
async fn query_remote(
    target: &RemoteTarget<'_>,
    material: &TlsIdentity,
) -> Result<RemoteCatalogue, UnreachableReason> {
    if !target.names.is_empty() {
        return collect_announcements(target, material, target.names).await;
    }
    // An empty name matches no certificate, so this attempt fails after the CA, the validity and the rest have been
    // checked.
    match collect_announcements(target, material, &[String::new()]).await {
        Ok(catalogue) => Ok(catalogue),
        Err(trouble) => match name_in_certificate(&trouble) {
            // The second connection verifies the certificate fully, now with its own name.
            Some(name) => collect_announcements(target, material, &[name]).await,
            None => Err(trouble),
        },
    }
}

/// Returns a name of a certificate that is valid except for its names.
fn name_in_certificate(trouble: &UnreachableReason) -> Option<String> {
    let UnreachableReason::AddressesFailed(tried) = trouble else { return None };
    tried.iter().find_map(|(_, why)| match why {
        ConnectError::Tls(TlsError::Certificate(PeerCertificateError::WrongNames { found, .. })) => {
            found.split(", ").next().map(str::to_owned)
        }
        _ => None,
    })
}

/// Collects announcements until none has arrived for the quiet period: the discovery stream itself has no end.
async fn collect_announcements(
    target: &RemoteTarget<'_>,
    material: &TlsIdentity,
    names: &[String],
) -> Result<RemoteCatalogue, UnreachableReason> {
    let name: Arc<str> = target.relationship.into();
    let subject_alt_names = names.iter().map(|name| SubjectAltName::from(name.as_str()));
    let relationship =
        Arc::new(TlsRelationship::new(&name, material.clone(), [(REMOTE_PEER, subject_alt_names)]));
    let relationships = [(name, relationship)].into_iter().collect();
    // The senders are only kept alive: relationship and validation stay the same while the command runs.
    let (_relationships, open) = watch::channel(Arc::new(relationships));
    // Accept every announcement: the command shows them and applies none.
    let accept: AnnouncementValidator = Arc::new(|_| Ok(()));
    let (_judge, validator) = watch::channel(accept);
    let peer = PeerTarget {
        peer: PeerRef::new(target.relationship, REMOTE_PEER),
        addresses: vec![target.address.clone()],
        egress_gateways: None,
        settings: DeltaClientSettings::default(),
        restored: Vec::new(),
        budget: None,
        counters: Arc::default(),
    };
    let (queue, mut events) = mpsc::channel(EVENT_QUEUE_SIZE);
    let _connected = subscribe_to_peer(peer, open, validator, (), queue);
    let mut collector = AnnouncementCollector::default();
    let quiet_period = target.quiet_period.min(MAX_LISTEN_TIME);
    // `end` is the deadline for the next event. `last` bounds the whole catalogue; it is set once connected.
    let mut end = Instant::now() + FIRST_RESPONSE_TIMEOUT;
    let mut last = None;
    while let Ok(Some(((), event))) = timeout_at(last.map_or(end, |last| end.min(last)), events.recv()).await
    {
        match event {
            PeerEvent::Connected { .. } => last = Some(Instant::now() + MAX_LISTEN_TIME),
            // `follow` would try again; a command reports the first failure.
            PeerEvent::Unreachable(trouble) => return Err(trouble),
            PeerEvent::Changed(event) => collector.apply_event(event),
            PeerEvent::Rejected(refused) => collector.refused = refused,
        }
        end = Instant::now() + quiet_period;
    }
    if last.is_none() {
        let late = ConnectError::TimedOut { what: "connecting", after: FIRST_RESPONSE_TIMEOUT };
        return Err(UnreachableReason::AddressesFailed(vec![(target.address.clone(), late)]));
    }
    let is_incomplete = last.is_some_and(|last| Instant::now() >= last);
    Ok(RemoteCatalogue { is_incomplete, ..collector.into_catalogue(target, names) })
}

/// Announcements that have been received so far.
#[derive(Default)]
struct AnnouncementCollector {
    offered: BTreeMap<ObjectKey, Announcement>,
    refused: Vec<(String, String)>,
    reached_at: Vec<Endpoint>,
}

impl AnnouncementCollector {
    fn apply_event(&mut self, event: AnnouncementEvent) {
        match event {
            AnnouncementEvent::Announced(announcement) => {
                drop(self.offered.insert(announcement.key.clone(), announcement));
            }
            AnnouncementEvent::Withdrawn(key) | AnnouncementEvent::Expired(key) => {
                drop(self.offered.remove(&key));
            }
            AnnouncementEvent::Addresses(addresses) => self.reached_at = addresses,
        }
    }

    fn into_catalogue(self, target: &RemoteTarget<'_>, names: &[String]) -> RemoteCatalogue {
        let refused = self.refused.into_iter().map(|(resource, reason)| RefusalView { resource, reason });
        RemoteCatalogue {
            is_incomplete: false,
            from: target.address.to_string(),
            relationship: target.relationship.to_owned(),
            names: names.to_vec(),
            offered: self.offered.values().map(ServiceView::from_announcement).collect(),
            refused: refused.collect(),
            reached_at: self.reached_at.iter().map(ToString::to_string).collect(),
        }
    }
}

/// Formats the catalogue as tables.
fn render_remote(catalogue: &RemoteCatalogue) -> String {
    let services = catalogue.offered.iter().map(|service| {
        let name = format!("{}/{}", service.namespace, service.name);
        let rest = [service.style.clone(), service.server_name.clone()];
        [name].into_iter().chain(service_cells(service)).chain(rest).collect()
    });
    let refused = catalogue.refused.iter().map(|it| vec![it.resource.clone(), it.reason.clone()]);
    let place = [vec![
        catalogue.from.clone(),
        catalogue.relationship.clone(),
        catalogue.names.join(", "),
        cell_or_dash(&catalogue.reached_at.join(", ")),
    ]];
    join_tables([
        build_table(&["FROM", "RELATIONSHIP", "NAMES", "ANNOUNCED ADDRESSES"], place),
        build_table(&["SERVICE", "PROTOCOL", "PORT", "ENDPOINTS", "STYLE", "SERVER NAME"], services),
        build_table(&["UNREADABLE", "WHY"], refused),
    ])
}

#[cfg(test)]
mod tests;
