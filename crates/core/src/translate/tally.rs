//! Which bindings follow which peers, and what a relationship's verdict says of them.

use std::collections::BTreeSet;

use emcee_api::Reason;
use foldhash::HashMap;

use super::output::Output;
use super::{Translation, Unit};
use crate::catalogue::{Connection, PeerState, Refused, Source};
use crate::key::Key;
use crate::mode::Mode;
use crate::parse::{FedConfig, plain};
use crate::problem::Problem;
use crate::resolve::{Relationship, Skipped, trust_domain_not_accepted};
use crate::status::{PeerDetail, Verdict};

/// How many of a kind a condition names.
const NAMED: usize = 3;

/// Which bindings follow which peers.
#[derive(Debug, Default)]
pub(super) struct Tally {
    of_binding: HashMap<Key, Source>,
    counts: HashMap<Source, usize>,
    /// Relationships of which something is to be said anew.
    news: BTreeSet<Key>,
}

impl Tally {
    /// Notes which peer a binding follows now.
    pub(super) fn note(&mut self, binding: &Key, uses: Option<Source>) {
        let old = match &uses {
            Some(new) => self.of_binding.insert(binding.clone(), new.clone()),
            None => self.of_binding.remove(binding),
        };
        if old == uses {
            return;
        }
        for source in [&old, &uses].into_iter().flatten() {
            self.news.insert(source.fed_config.clone());
        }
        if let Some(new) = uses {
            *self.counts.entry(new).or_default() += 1;
        }
        if let Some(old) = old
            && let Some(count) = self.counts.get_mut(&old)
        {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&old);
            }
        }
    }

    /// Notes that there is news of a relationship.
    pub(super) fn has_news(&mut self, fed_config: &Key) {
        self.news.insert(fed_config.clone());
    }

    /// Whether there is any news.
    pub(super) fn has_any_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// The relationships of which there is news. Each is given once.
    pub(super) fn take_news(&mut self) -> BTreeSet<Key> {
        std::mem::take(&mut self.news)
    }

    fn count(&self, source: &Source) -> usize {
        self.counts.get(source).copied().unwrap_or_default()
    }
}

impl Translation {
    /// Says of relationships how it stands with their peers; says of which that is another than before.
    pub(super) fn report(&mut self, fed_configs: BTreeSet<Key>) -> Vec<Unit> {
        let mut changed = Vec::new();
        for key in fed_configs {
            let Some(relationship) = self.relationships.get(&key) else { continue };
            let verdict = self.verdict_of(relationship);
            let unit = Unit::MeshFedConfig(key);
            if let Some(output) = self.outputs.get_mut(&unit)
                && output.verdict() != Some(&verdict)
            {
                *output = Output::Verdict(Box::new(verdict));
                changed.push(unit);
            }
        }
        changed
    }

    fn verdict_of(&self, relationship: &Relationship) -> Verdict {
        let imports = self.outputs.get(&Unit::Imports(relationship.key().clone()));
        let mut warnings = imports.map(|output| skipped(output.skipped())).unwrap_or_default();
        let mut peers = Vec::new();
        for peer in &relationship.config.peers {
            let source = Source::new(relationship.key().clone(), &peer.name);
            let state = self.inputs.peers.get(&source);
            warnings.extend(state.into_iter().flat_map(|state| troubles(&peer.name, state)));
            let announced = self.inputs.announcements.trust_domains(&source);
            let settings = self.inputs.settings();
            let exposes = || self.exposes_through(&relationship.config);
            let config = &relationship.config;
            warnings.extend(trust_domain_not_accepted(settings, config, peer, announced, exposes));
            peers.push(PeerDetail {
                name: peer.name.clone(),
                connection: state.map(|state| plainly(&state.connection)),
                announced: self.inputs.announcements.count(&source),
                imported: self.tally.count(&source),
            });
        }
        Verdict::of_relationship(relationship, peers, warnings)
    }
}

impl Translation {
    /// Whether an exposition selects a relationship, in place or not.
    fn exposes_through(&self, config: &FedConfig) -> bool {
        let mut expositions = self.inputs.expositions.values().filter_map(|parsed| parsed.as_ref().ok());
        expositions.any(|exposition| config.matches(&exposition.fed_configs))
    }

    /// A FLAT relationship has no gateway that says whether this mesh exposes anything through it.
    pub(super) fn has_news_of_expositions(&mut self) {
        for relationship in self.relationships.values() {
            if relationship.config.mode == Mode::Flat {
                self.tally.has_news(relationship.key());
            }
        }
    }
}

/// Why a connection was lost may be a peer's words.
fn plainly(connection: &Connection) -> Connection {
    match connection {
        Connection::Lost { since, error } => {
            Connection::Lost { since: *since, error: error.as_deref().map(plain) }
        }
        connection => connection.clone(),
    }
}

/// What is worth knowing of a peer. Why it is lost is said beside, as those words may change while it stays lost.
fn troubles(peer: &str, state: &PeerState) -> Vec<Problem> {
    let lost = state.lost_since().map(|since| {
        let message = format!("peer {peer} is lost since {since}; what it last announced stays in place");
        Problem::new(Reason::PeerLost, message)
    });
    let here = refused(&state.refused).map(|which| {
        let message = format!("of what peer {peer} announces, some is refused: {which}");
        Problem::new(Reason::AnnouncementRefused, message)
    });
    let there = refused(&state.refused_by_peer).map(|which| {
        let message = format!("peer {peer} refuses some of what is announced to it: {which}");
        Problem::new(Reason::RefusedByPeer, message)
    });
    [lost, here, there].into_iter().flatten().collect()
}

/// In order, as they come in any; and cut, as they are a peer's words.
fn refused(refused: &[Refused]) -> Option<String> {
    let mut refused: Vec<_> = refused.iter().collect();
    refused.sort();
    named(
        refused
            .into_iter()
            .map(|refused| format!("{}: {}", plain(&refused.resource), plain(&refused.reason))),
    )
}

/// What is not imported, by reason. That a namespace is not listed is as it was meant.
fn skipped(skipped: &[Skipped]) -> Vec<Problem> {
    let of = |reason: Reason| {
        let those = skipped.iter().filter(move |skipped| skipped.problem.reason == reason);
        let which =
            named(those.map(|it| format!("{} of peer {}: {}", it.service, it.peer, it.problem.message)))?;
        Some(Problem::at(reason, "spec.discovery", format!("not imported: {which}")))
    };
    let said = [
        Reason::Invalid,
        Reason::IdentityNeeded,
        Reason::NamespaceMissing,
        Reason::NameHeld,
        Reason::ImportLimit,
    ];
    said.into_iter().filter_map(of).collect()
}

/// The first few, and how many more.
fn named(mut all: impl Iterator<Item = String>) -> Option<String> {
    let first: Vec<_> = all.by_ref().take(NAMED).collect();
    let more = all.count();
    let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
    (!first.is_empty()).then(|| first.join("; ") + &rest)
}
