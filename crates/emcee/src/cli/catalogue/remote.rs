//! The Emcee of another mesh, asked as one of its peers asks.

mod secret;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use emcee_core::catalogue::Offer;
use emcee_core::endpoint::Endpoint;
use emcee_core::key::Key;
use emcee_discovery::Audience;
use emcee_discovery::client::{ConnectError, Judge, PeerEvent, PeerTarget, Trouble, follow};
use emcee_discovery::subscription::{Event, Settings};
use emcee_discovery::tls::{CertificateRefusal, Material, Relationship, SubjectAltName, TlsError};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::source::SourceArgs;
use super::table::facts;
use crate::catalogue::{Refused, Service};
use crate::cli::Outcome;
use crate::cli::sources::dns_label;
use crate::cli::table::{Format, shown, table, tables};
use crate::cli::uninstall::time;
use crate::cluster::read::converse;
use crate::console::Console;

/// Longer than name, TCP, TLS, HTTP/2 and a first response may take, at each of a name's addresses.
const FIRST: Duration = Duration::from_mins(2);
/// However much a peer has to say.
const LONGEST: Duration = Duration::from_mins(1);
/// The peer, as this side calls it: it is the only one.
const PEER: &str = "peer";

/// A peer, asked directly.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Another mesh")]
pub(super) struct RemoteArgs {
    /// Ask the Emcee of another mesh, there: at its ingress gateway, or itself
    #[arg(long, value_name = "HOST:PORT", requires_all = ["relationship", "secret"], conflicts_with_all = ["admin", "filename"])]
    from: Option<Endpoint>,

    /// Name of the relationship
    #[arg(long, value_name = "NAME", requires = "from", value_parser = dns_label)]
    relationship: Option<String>,

    /// This mesh's Secret of the relationship: a file, or one of the cluster
    #[arg(long, value_name = "FILE|NAMESPACE/NAME", requires = "from")]
    secret: Option<String>,

    /// Names of that mesh: its certificate has to carry one. Without it, any certificate of the relationship's CA is
    /// taken, and its name said
    #[arg(long, value_name = "SAN,…", value_delimiter = ',', requires = "from")]
    peer_name: Vec<String>,

    /// How long it has to be silent to have said all there is
    #[arg(long, value_name = "TIME", default_value = "2s", requires = "from", value_parser = time)]
    silence: Duration,
}

/// Whom to ask, and as whom.
pub(super) struct Target<'a> {
    address: &'a Endpoint,
    relationship: &'a str,
    secret: &'a str,
    names: &'a [String],
    silence: Duration,
}

impl RemoteArgs {
    /// Whom to ask, if anybody.
    pub(super) fn target(&self) -> Option<Target<'_>> {
        Some(Target {
            address: self.from.as_ref()?,
            relationship: self.relationship.as_deref()?,
            secret: self.secret.as_deref()?,
            names: &self.peer_name,
            silence: self.silence,
        })
    }
}

/// What was heard.
#[derive(Debug, Serialize)]
struct Heard {
    from: String,
    relationship: String,
    names: Vec<String>,
    offered: Vec<Service>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refused: Vec<Refused>,
    /// Where else it says to be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reached_at: Vec<String>,
}

pub(super) fn run(
    target: &Target<'_>,
    source: &SourceArgs,
    format: Format,
    console: &mut Console<'_>,
) -> anyhow::Result<Outcome> {
    let Some(material) = secret::read(target.secret, source, console)? else {
        return Ok(Outcome::Refused);
    };
    match converse(async { Ok(ask(target, &material).await) })? {
        Ok(heard) => {
            console.data(&format.text(&heard, text)?)?;
            if target.names.is_empty() {
                console.note(format_args!(
                    "note: its certificate carries {}; --peer-name makes sure that it does",
                    heard.names.join(", ")
                ))?;
            }
            if heard.offered.is_empty() {
                console.note("it offers nothing to this mesh (by the names in this mesh's certificate)")?;
            }
            Ok(Outcome::Fine)
        }
        Err(trouble) => {
            console.refusal(format_args!("emcee: relationship {}: {trouble}", target.relationship))?;
            Ok(Outcome::Refused)
        }
    }
}

/// Asks; without names first whoever is there for its name, of which nothing else is taken.
async fn ask(target: &Target<'_>, material: &Material) -> Result<Heard, Trouble> {
    if !target.names.is_empty() {
        return listen(target, material, target.names).await;
    }
    // No certificate carries a name that is empty.
    match listen(target, material, &[String::new()]).await {
        Ok(heard) => Ok(heard),
        Err(trouble) => match shown_name(&trouble) {
            Some(name) => listen(target, material, &[name]).await,
            None => Err(trouble),
        },
    }
}

/// A name of a certificate that is good but for its names.
fn shown_name(trouble: &Trouble) -> Option<String> {
    let Trouble::Tried(tried) = trouble else { return None };
    tried.iter().find_map(|(_, why)| match why {
        ConnectError::Tls(TlsError::Certificate(CertificateRefusal::WrongNames { found, .. })) => {
            found.split(", ").next().map(str::to_owned)
        }
        _ => None,
    })
}

/// Listens until it has been silent for long enough, as what it says has no end.
async fn listen(target: &Target<'_>, material: &Material, names: &[String]) -> Result<Heard, Trouble> {
    let name: Arc<str> = target.relationship.into();
    let wanted = names.iter().map(|name| SubjectAltName::from(name.as_str()));
    let relationship = Arc::new(Relationship::new(&name, material.clone(), [(PEER, wanted)]));
    let relationships = [(name, relationship)].into_iter().collect();
    // While they are kept, nothing changes; when they are gone, nothing can.
    let (_relationships, open) = watch::channel(Arc::new(relationships));
    let accept: Judge = Arc::new(|_| Ok(()));
    let (_judge, judge) = watch::channel(accept);
    let peer = PeerTarget {
        audience: Audience::new(target.relationship, PEER),
        addresses: vec![target.address.clone()],
        via: None,
        settings: Settings::default(),
        seed: Vec::new(),
        budget: None,
    };
    let mut following = follow(peer, open, judge);
    let mut heard = Ear::default();
    let silence = target.silence.min(LONGEST);
    let mut end = Instant::now() + FIRST;
    let mut last = None;
    while let Ok(Some(event)) = timeout_at(last.map_or(end, |last| end.min(last)), following.next()).await {
        match event {
            PeerEvent::Connected { .. } => last = Some(Instant::now() + LONGEST),
            PeerEvent::Lost(trouble) => return Err(trouble),
            PeerEvent::Changed(event) => heard.change(event),
            PeerEvent::Refused(refused) => heard.refused = refused,
        }
        end = Instant::now() + silence;
    }
    if last.is_none() {
        let late = ConnectError::TimedOut { what: "all that was tried", after: FIRST };
        return Err(Trouble::Tried(vec![(target.address.clone(), late)]));
    }
    Ok(heard.heard(target, names))
}

/// What is offered, so far.
#[derive(Default)]
struct Ear {
    offered: BTreeMap<Key, Offer>,
    refused: Vec<(String, String)>,
    reached_at: Vec<Endpoint>,
}

impl Ear {
    fn change(&mut self, event: Event) {
        match event {
            Event::Offered(offer) => drop(self.offered.insert(offer.key.clone(), offer)),
            Event::Withdrawn(key) | Event::Expired(key) => drop(self.offered.remove(&key)),
            Event::Addresses(addresses) => self.reached_at = addresses,
        }
    }

    fn heard(self, target: &Target<'_>, names: &[String]) -> Heard {
        let refused = self.refused.into_iter().map(|(resource, reason)| Refused { resource, reason });
        Heard {
            from: target.address.to_string(),
            relationship: target.relationship.to_owned(),
            names: names.to_vec(),
            offered: self.offered.values().map(Service::of).collect(),
            refused: refused.collect(),
            reached_at: self.reached_at.iter().map(ToString::to_string).collect(),
        }
    }
}

fn text(heard: &Heard) -> String {
    let offered = heard.offered.iter().map(|service| {
        let name = format!("{}/{}", service.namespace, service.name);
        let rest = [service.style.clone(), service.server_name.clone()];
        [name].into_iter().chain(facts(service)).chain(rest).collect()
    });
    let refused = heard.refused.iter().map(|it| vec![it.resource.clone(), it.reason.clone()]);
    let place = [vec![
        heard.from.clone(),
        heard.relationship.clone(),
        heard.names.join(", "),
        shown(&heard.reached_at.join(", ")),
    ]];
    tables([
        table(&["FROM", "RELATIONSHIP", "NAMES", "SAYS TO BE AT"], place),
        table(&["SERVICE", "PROTOCOL", "PORT", "ENDPOINTS", "STYLE", "SERVER NAME"], offered),
        table(&["CANNOT BE READ", "WHY"], refused),
    ])
}

#[cfg(test)]
mod tests;
