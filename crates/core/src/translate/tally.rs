//! Counts the bindings that follow each peer, and builds the verdicts on relationships from these counts.

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

/// How many items of one kind a condition lists.
const NAMED: usize = 3;

/// The bindings that follow each peer.
#[derive(Debug, Default)]
pub(super) struct Tally {
    of_binding: HashMap<Key, Source>,
    counts: HashMap<Source, usize>,
    /// Relationships whose verdict has to be built again.
    news: BTreeSet<Key>,
}

impl Tally {
    /// Records which peer a binding follows now.
    pub(super) fn note(&mut self, binding: &Key, uses: Option<Source>) {
        let old = match &uses {
            Some(new) => self.of_binding.insert(binding.clone(), new.clone()),
            None => self.of_binding.remove(binding),
        };
        if old == uses {
            return;
        }
        // Both relationships show a count: the old one loses a binding, and the new one gains it.
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

    /// Records that the verdict on a relationship has to be built again.
    pub(super) fn has_news(&mut self, fed_config: &Key) {
        self.news.insert(fed_config.clone());
    }

    /// Returns whether any verdict has to be built again.
    pub(super) fn has_any_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// Takes the relationships whose verdict has to be built again.
    pub(super) fn take_news(&mut self) -> BTreeSet<Key> {
        std::mem::take(&mut self.news)
    }

    fn count(&self, source: &Source) -> usize {
        self.counts.get(source).copied().unwrap_or_default()
    }
}

impl Translation {
    /// Builds the verdicts on these relationships again. Returns the units whose verdict has changed.
    pub(super) fn report(&mut self, fed_configs: BTreeSet<Key>) -> Vec<Unit> {
        let mut changed = Vec::new();
        for key in fed_configs {
            // It may have been removed since it was marked.
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

    /// Builds the verdict on a relationship, with a warning for each problem of a peer.
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
    /// Returns whether an exposition selects a relationship, whether or not it is in place.
    fn exposes_through(&self, config: &FedConfig) -> bool {
        let mut expositions = self.inputs.expositions.values().filter_map(|parsed| parsed.as_ref().ok());
        expositions.any(|exposition| config.matches(&exposition.fed_configs))
    }

    /// Marks all FLAT relationships. Their verdicts depend on whether this mesh exposes anything, and they have no
    /// gateway that would show it.
    pub(super) fn has_news_of_expositions(&mut self) {
        for relationship in self.relationships.values() {
            if relationship.config.mode == Mode::Flat {
                self.tally.has_news(relationship.key());
            }
        }
    }
}

/// Sanitizes the reason of a lost connection, which may contain a peer's own words.
fn plainly(connection: &Connection) -> Connection {
    match connection {
        Connection::Lost { since, error } => {
            Connection::Lost { since: *since, error: error.as_deref().map(plain) }
        }
        connection => connection.clone(),
    }
}

/// Returns the warnings about a peer. They do not contain the reason of a lost connection, which may change while the
/// peer stays unreachable.
fn troubles(peer: &str, state: &PeerState) -> Vec<Problem> {
    let lost = state.lost_since().map(|since| {
        let message =
            format!("peer {peer} has been unreachable since {since}; what it last announced stays in place");
        Problem::new(Reason::PeerLost, message)
    });
    let here = refused(&state.refused).map(|which| {
        let message = format!("some announcements of peer {peer} are refused: {which}");
        Problem::new(Reason::AnnouncementRefused, message)
    });
    let there = refused(&state.refused_by_peer).map(|which| {
        let message = format!("peer {peer} refuses some announcements of this mesh: {which}");
        Problem::new(Reason::RefusedByPeer, message)
    });
    [lost, here, there].into_iter().flatten().collect()
}

/// Summarizes refused announcements. They are sorted, as they arrive in any order, and sanitized, as they contain a
/// peer's words.
fn refused(refused: &[Refused]) -> Option<String> {
    let mut refused: Vec<_> = refused.iter().collect();
    refused.sort();
    named(
        refused
            .into_iter()
            .map(|refused| format!("{}: {}", plain(&refused.resource), plain(&refused.reason))),
    )
}

/// Returns a warning for each reason why announcements are not imported. A namespace that the user has not listed is
/// no reason for one.
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

/// Joins the first few texts, and adds how many more there are.
fn named(mut all: impl Iterator<Item = String>) -> Option<String> {
    let first: Vec<_> = all.by_ref().take(NAMED).collect();
    let more = all.count();
    let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
    (!first.is_empty()).then(|| first.join("; ") + &rest)
}
