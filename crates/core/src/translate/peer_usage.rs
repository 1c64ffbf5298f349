//! Counts the bindings that follow each peer, and builds the verdicts on relationships from these counts.

use std::collections::BTreeSet;

use emcee_api::Reason;
use foldhash::HashMap;

use super::output::UnitOutput;
use super::{Translation, Unit};
use crate::catalogue::{PeerConnection, PeerKey, PeerSyncState, RefusedAnnouncement};
use crate::key::ObjectKey;
use crate::mode::Mode;
use crate::parse::FedConfig;
use crate::problem::ResourceProblem;
use crate::resolve::{ResolvedRelationship, SkippedImport, trust_domain_not_accepted};
use crate::status::{PeerStatusDetail, ResourceVerdict};
use crate::text::{MAX_TEXT_CHARS, escape_text};

/// How many items of one kind a condition lists.
const MAX_NAMED: usize = 3;

/// The bindings that follow each peer.
#[derive(Debug, Default)]
pub(super) struct PeerUsage {
    followed_peers: HashMap<ObjectKey, PeerKey>,
    binding_counts: HashMap<PeerKey, usize>,
    /// Relationships whose verdict has to be built again.
    changed: BTreeSet<ObjectKey>,
}

impl PeerUsage {
    /// Records which peer a binding follows now.
    pub(super) fn set_followed_peer(&mut self, binding: &ObjectKey, uses: Option<PeerKey>) {
        let old = match &uses {
            Some(new) => self.followed_peers.insert(binding.clone(), new.clone()),
            None => self.followed_peers.remove(binding),
        };
        if old == uses {
            return;
        }
        // Both relationships show a count: the old one loses a binding, and the new one gains it.
        for source in [&old, &uses].into_iter().flatten() {
            self.changed.insert(source.fed_config.clone());
        }
        if let Some(new) = uses {
            *self.binding_counts.entry(new).or_default() += 1;
        }
        if let Some(old) = old
            && let Some(count) = self.binding_counts.get_mut(&old)
        {
            *count -= 1;
            if *count == 0 {
                self.binding_counts.remove(&old);
            }
        }
    }

    /// Records that the verdict on a relationship has to be built again.
    pub(super) fn mark_changed(&mut self, fed_config: &ObjectKey) {
        self.changed.insert(fed_config.clone());
    }

    /// Returns whether any verdict has to be built again.
    pub(super) fn has_changes(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Takes the relationships whose verdict has to be built again.
    pub(super) fn take_changed(&mut self) -> BTreeSet<ObjectKey> {
        std::mem::take(&mut self.changed)
    }

    fn binding_count(&self, source: &PeerKey) -> usize {
        self.binding_counts.get(source).copied().unwrap_or_default()
    }
}

impl Translation {
    /// Builds the verdicts on these relationships again. Returns the units whose verdict has changed.
    pub(super) fn refresh_relationship_verdicts(&mut self, fed_configs: BTreeSet<ObjectKey>) -> Vec<Unit> {
        let mut changed = Vec::new();
        for key in fed_configs {
            // It may have been removed since it was marked.
            let Some(relationship) = self.relationships.get(&key) else { continue };
            let verdict = self.relationship_verdict(relationship);
            let unit = Unit::MeshFedConfig(key);
            if let Some(output) = self.outputs.get_mut(&unit)
                && output.verdict() != Some(&verdict)
            {
                *output = UnitOutput::Verdict(Box::new(verdict));
                changed.push(unit);
            }
        }
        changed
    }

    /// Builds the verdict on a relationship, with a warning for each problem of a peer.
    fn relationship_verdict(&self, relationship: &ResolvedRelationship) -> ResourceVerdict {
        let imports = self.outputs.get(&Unit::Imports(relationship.key().clone()));
        let mut warnings =
            imports.map(|output| skipped_import_warnings(output.skipped_imports())).unwrap_or_default();
        let mut peers = Vec::new();
        for peer in &relationship.config.peers {
            let source = PeerKey::new(relationship.key().clone(), &peer.name);
            let state = self.inputs.peers.get(&source);
            warnings.extend(state.into_iter().flat_map(|state| peer_warnings(&peer.name, state)));
            let announced = self.inputs.announcements.trust_domains(&source);
            let settings = self.inputs.settings();
            let exposes = || self.has_exposition_through(&relationship.config);
            let config = &relationship.config;
            warnings.extend(trust_domain_not_accepted(settings, config, peer, announced, exposes));
            peers.push(PeerStatusDetail {
                name: peer.name.clone(),
                connection: state.map(|state| sanitize_connection(&state.connection)),
                announced: self.inputs.announcements.service_count(&source),
                imported: self.peer_usage.binding_count(&source),
            });
        }
        ResourceVerdict::for_relationship(relationship, peers, warnings)
    }
}

impl Translation {
    /// Returns whether an exposition selects a relationship, whether or not it is in place.
    fn has_exposition_through(&self, config: &FedConfig) -> bool {
        let mut expositions = self.inputs.expositions.values().filter_map(|parsed| parsed.as_ref().ok());
        expositions.any(|exposition| config.has_labels(&exposition.fed_configs))
    }

    /// Marks all FLAT relationships. Their verdicts depend on whether this mesh exposes anything, and they have no
    /// gateway that would show it.
    pub(super) fn mark_flat_relationships_changed(&mut self) {
        for relationship in self.relationships.values() {
            if relationship.config.mode == Mode::Flat {
                self.peer_usage.mark_changed(relationship.key());
            }
        }
    }
}

/// Sanitizes the reason of a lost connection, which may contain a peer's own words.
fn sanitize_connection(connection: &PeerConnection) -> PeerConnection {
    match connection {
        PeerConnection::Unreachable { since, error } => {
            let error = error.as_deref().map(|error| escape_text(error, MAX_TEXT_CHARS));
            PeerConnection::Unreachable { since: *since, error }
        }
        connection => connection.clone(),
    }
}

/// Returns the warnings about a peer. They do not contain the reason of a lost connection, which may change while the
/// peer stays unreachable.
fn peer_warnings(peer: &str, state: &PeerSyncState) -> Vec<ResourceProblem> {
    let lost = state.unreachable_since().map(|since| {
        let message =
            format!("peer {peer} has been unreachable since {since}; what it last announced stays in place");
        ResourceProblem::new(Reason::PeerLost, message)
    });
    let here = refused_summary(&state.refused).map(|which| {
        let message = format!("some announcements of peer {peer} are refused: {which}");
        ResourceProblem::new(Reason::AnnouncementRefused, message)
    });
    let refused_by_peer = refused_summary(&state.refused_by_peer).map(|which| {
        let message = format!("peer {peer} refuses some announcements of this mesh: {which}");
        ResourceProblem::new(Reason::RefusedByPeer, message)
    });
    [lost, here, refused_by_peer].into_iter().flatten().collect()
}

/// Summarizes refused announcements. They are sorted, as they arrive in any order, and sanitized, as they contain a
/// peer's words.
fn refused_summary(refused: &[RefusedAnnouncement]) -> Option<String> {
    let mut refused: Vec<_> = refused.iter().collect();
    refused.sort();
    let escape = |text: &str| escape_text(text, MAX_TEXT_CHARS);
    summarize_first(
        refused
            .into_iter()
            .map(|refused| format!("{}: {}", escape(&refused.resource), escape(&refused.reason))),
    )
}

/// Returns a warning for each reason why announcements are not imported. A namespace that the user has not listed is
/// no reason for one.
fn skipped_import_warnings(skipped: &[SkippedImport]) -> Vec<ResourceProblem> {
    let of = |reason: Reason| {
        let those = skipped.iter().filter(move |skipped| skipped.problem.reason == reason);
        let which = summarize_first(
            those.map(|it| format!("{} of peer {}: {}", it.service, it.peer, it.problem.message)),
        )?;
        Some(ResourceProblem::at_field(reason, "spec.discovery", format!("not imported: {which}")))
    };
    let reasons = [
        Reason::Invalid,
        Reason::IdentityNeeded,
        Reason::NamespaceMissing,
        Reason::NameHeld,
        Reason::ImportLimit,
    ];
    reasons.into_iter().filter_map(of).collect()
}

/// Joins the first few texts, and adds how many more there are.
fn summarize_first(mut all: impl Iterator<Item = String>) -> Option<String> {
    let first: Vec<_> = all.by_ref().take(MAX_NAMED).collect();
    let more = all.count();
    let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
    (!first.is_empty()).then(|| first.join("; ") + &rest)
}
