//! What is known of a remote service: what the binding says, what is announced, what was announced.

use std::sync::Arc;

use emcee_api::{Announcement, Reason};
use jiff::Timestamp;

use super::own::OwnObjects;
use super::{Relationship, View};
use crate::catalogue::{Connection, Offer, Source};
use crate::endpoint::Endpoint;
use crate::key::Key;
use crate::names;
use crate::parse::{Binding, Remembered};
use crate::policy::Author;
use crate::problem::Problem;
use crate::protocol::Protocol;

/// What is known of the remote service of a binding. What the binding says wins over what is announced.
pub(crate) struct Remote {
    /// What is announced, or was.
    pub(super) announced: Option<Announced>,
    /// The peer that serves, if one is known.
    pub(super) peer: Option<Arc<str>>,
    /// Where it can be reached.
    pub(super) endpoints: Vec<Endpoint>,
    /// Whether the binding itself says where.
    pub(super) given: bool,
    /// Why nothing leads there.
    pub(super) problem: Option<Problem>,
    /// Since when the announcing peer is lost.
    pub(super) stale_since: Option<Timestamp>,
    /// What the status is to keep.
    pub(super) kept: Option<Announcement>,
}

/// What is announced of a service, or was.
pub(super) struct Announced {
    pub(super) peer: Arc<str>,
    pub(super) protocol: Option<Protocol>,
    pub(super) port: Option<u16>,
    endpoints: Vec<Endpoint>,
    pub(super) identities: Vec<String>,
    root_hash: Option<String>,
}

/// Whose word counts.
enum Choice<'a> {
    Live(&'a Arc<str>, &'a Offer),
    /// The peer has not been heard yet: what it last said stays.
    Remembered(&'a Remembered),
    /// The peer has been heard, and does not say it any more.
    Withdrawn(&'a Remembered),
    Nobody,
}

impl Remote {
    pub(super) fn of(
        view: &View<'_>,
        binding: &Binding,
        relationship: &Relationship,
        warnings: &mut Vec<Problem>,
    ) -> Result<Self, Problem> {
        if let Some(peer) = &binding.peer {
            relationship.peer(peer).map_err(|words| Problem::at(Reason::UnknownPeer, "spec.peer", words))?;
        }
        let given = !binding.endpoints.is_empty();
        let choice = match choose(view, binding, relationship) {
            Err(_) if given => Choice::Nobody,
            choice => choice?,
        };
        let mut remote = Self::by(view, binding, relationship, &choice);
        if given {
            remote.peer = binding.peer.as_deref().map(Arc::from);
            (remote.given, remote.stale_since) = (true, None);
            remote.problem = given_refused(view, binding, relationship);
            remote.endpoints = if remote.serves() { binding.endpoints.clone() } else { Vec::new() };
        }
        if let (Some(since), Some(peer)) = (remote.stale_since, &remote.peer) {
            let message = format!("peer {peer} is lost since {since}; what it last announced stays in place");
            warnings.push(Problem::new(Reason::PeerLost, message));
        }
        warnings.extend(remote.roots_differ(view));
        Ok(remote)
    }

    /// Only a warning: what is compared are whole sets, and one root in both is enough.
    fn roots_differ(&self, view: &View<'_>) -> Option<Problem> {
        let announced = self.announced.as_ref().filter(|_| !self.given && self.serves())?;
        let (theirs, ours) = (announced.root_hash.as_ref()?, view.settings().root_hash.as_ref()?);
        let peer = &announced.peer;
        let message = format!(
            "the workloads of peer {peer} have other root certificates than this mesh's: if none is common to both, calls fail (give both meshes a common root, or use BOUNDARY)"
        );
        (theirs != ours).then(|| Problem::new(Reason::RootsDiffer, message))
    }

    fn by(view: &View<'_>, binding: &Binding, relationship: &Relationship, choice: &Choice<'_>) -> Self {
        let memory = binding.remembered.as_deref().filter(|memory| counts(memory, binding, relationship));
        let announced = match choice {
            Choice::Live(peer, offer) => Some(Announced::live(peer, offer, memory)),
            Choice::Remembered(memory) | Choice::Withdrawn(memory) => Some(Announced::remembered(memory)),
            Choice::Nobody => None,
        };
        let problem = problem(view, binding, relationship, choice, announced.as_ref());
        let serves = problem.is_none();
        let peer = announced.as_ref().filter(|_| serves).map(|announced| Arc::clone(&announced.peer));
        let endpoints = announced.as_ref().filter(|_| serves).map(|announced| announced.endpoints.clone());
        Self {
            stale_since: peer.as_ref().and_then(|peer| stale_since(view, relationship, peer, choice)),
            peer: peer.or_else(|| binding.peer.as_deref().map(Arc::from)),
            endpoints: endpoints.unwrap_or_default(),
            given: false,
            kept: kept(choice, memory, announced.as_ref(), serves),
            announced,
            problem,
        }
    }

    /// Whether anything is known of the service, be it that it is gone.
    pub(super) fn is_known(&self) -> bool {
        self.given || self.announced.is_some()
    }

    /// Whether calls can be led there.
    pub(super) fn serves(&self) -> bool {
        self.problem.is_none()
    }

    /// Whether the peer has taken it back.
    pub(super) fn is_withdrawn(&self) -> bool {
        self.problem.as_ref().is_some_and(|problem| problem.reason == Reason::Withdrawn)
    }

    /// The peer whose announcement is followed.
    pub(super) fn uses(&self, relationship: &Relationship) -> Option<Source> {
        let peer = self.peer.clone().filter(|_| !self.given && self.serves())?;
        Some(Source { fed_config: relationship.key().clone(), peer })
    }

    /// `spec`, or the name of the peer.
    pub(super) fn source(&self) -> Option<String> {
        if self.given {
            return Some("spec".to_owned());
        }
        self.peer.as_ref().filter(|_| self.serves()).map(ToString::to_string)
    }
}

impl Announced {
    /// One that names no identities, as its service has no pods for now, does not widen what was known.
    fn live(peer: &Arc<str>, offer: &Offer, memory: Option<&Remembered>) -> Self {
        let before = memory.filter(|memory| *memory.peer == **peer).filter(|_| offer.identities.is_empty());
        Self {
            peer: Arc::clone(peer),
            protocol: Some(offer.protocol),
            port: Some(offer.port),
            endpoints: offer.endpoints.clone(),
            identities: before
                .map_or_else(|| offer.identities.clone(), |memory| memory.subject_alt_names.clone()),
            root_hash: offer.root_hash.clone(),
        }
    }

    fn remembered(memory: &Remembered) -> Self {
        Self {
            peer: memory.peer.as_str().into(),
            protocol: memory.protocol,
            port: memory.port,
            endpoints: memory.endpoints.clone(),
            identities: memory.subject_alt_names.clone(),
            root_hash: memory.root_hash.clone(),
        }
    }
}

/// What was announced by a peer that is no longer listed, is not the wanted one, or spoke of another style, is void.
fn counts(memory: &Remembered, binding: &Binding, relationship: &Relationship) -> bool {
    relationship.peer(&memory.peer).is_ok()
        && binding.peer.as_ref().is_none_or(|peer| *peer == memory.peer)
        && memory.mode.is_none_or(|mode| mode == relationship.config.mode)
}

/// The peer in use stays in use as long as it announces, or has not been heard: nobody takes a service over by
/// announcing it too.
fn choose<'a>(
    view: &View<'a>,
    binding: &'a Binding,
    relationship: &Relationship,
) -> Result<Choice<'a>, Problem> {
    let wanted = |peer: &str| binding.peer.as_ref().is_none_or(|wanted| wanted == peer);
    let live: Vec<_> = view
        .announcers(relationship.key(), &binding.remote())
        .filter(|(peer, _)| wanted(peer) && relationship.peer(peer).is_ok())
        .collect();
    let memory = binding.remembered.as_deref().filter(|memory| counts(memory, binding, relationship));
    if let Some(memory) = memory.filter(|memory| !memory.withdrawn) {
        if let Some((peer, offer)) = live.iter().find(|(peer, _)| ***peer == *memory.peer) {
            return Ok(Choice::Live(peer, offer));
        }
        if !view.has_answered(&Source::new(relationship.key().clone(), &memory.peer)) {
            return Ok(Choice::Remembered(memory));
        }
    }
    match live.as_slice() {
        [(peer, offer)] => Ok(Choice::Live(peer, offer)),
        [] => Ok(memory.map_or(Choice::Nobody, Choice::Withdrawn)),
        several => Err(ambiguous(several.iter().map(|(peer, _)| &***peer))),
    }
}

fn ambiguous<'a>(peers: impl Iterator<Item = &'a str>) -> Problem {
    let peers: Vec<_> = peers.collect();
    let message = format!("several peers announce the service: {} (name one)", peers.join(", "));
    Problem::at(Reason::AmbiguousPeer, "spec.peer", message)
}

/// Why nothing leads there. What was accepted once is judged again, as the terms may have changed since.
fn problem(
    view: &View<'_>,
    binding: &Binding,
    relationship: &Relationship,
    choice: &Choice<'_>,
    announced: Option<&Announced>,
) -> Option<Problem> {
    let service = binding.remote();
    let (peer, judged) = match (choice, announced) {
        (Choice::Live(peer, offer), _) => (&***peer, relationship.terms.judge(peer, offer)),
        (Choice::Remembered(memory), _) => {
            let offer = memory.offer(&service, relationship);
            (memory.peer.as_str(), relationship.terms.judge(&memory.peer, &offer))
        }
        (Choice::Withdrawn(memory), _) => {
            let message = format!(
                "peer {} no longer announces {service} (wait until it does again, or delete the binding)",
                memory.peer
            );
            return Some(Problem::new(Reason::Withdrawn, message));
        }
        (Choice::Nobody, _) => return Some(not_discovered()),
    };
    let endpoints = announced.map_or(&[][..], |announced| &announced.endpoints);
    let refused = judged.err().or_else(|| {
        let own = OwnObjects::of(view, relationship);
        let (index, words) = own.refused(Author::Peer, &relationship.config, Some(peer), endpoints)?;
        Some(Problem::at(Reason::AddressNotAllowed, format!("endpoints[{index}]"), words))
    })?;
    let message = format!("what peer {peer} announces of {service} is refused: {refused}");
    Some(Problem::new(refused.reason, message))
}

/// Why the endpoints that a binding gives are not where its peer, or one of the peers, may be.
fn given_refused(view: &View<'_>, binding: &Binding, relationship: &Relationship) -> Option<Problem> {
    let own = OwnObjects::of(view, relationship);
    let (config, peer) = (&relationship.config, binding.peer.as_deref());
    let (index, words) = own.refused(Author::User, config, peer, &binding.endpoints)?;
    Some(Problem::at(Reason::EndpointNotAllowed, format!("spec.endpoints[{index}]"), words))
}

fn not_discovered() -> Problem {
    let message = "neither are endpoints given nor is the service announced (give spec.endpoints, or see that a peer announces it)";
    Problem::at(Reason::NotDiscovered, "spec.endpoints", message)
}

/// Over a restart the earlier time stays.
fn stale_since(
    view: &View<'_>,
    relationship: &Relationship,
    peer: &Arc<str>,
    choice: &Choice<'_>,
) -> Option<Timestamp> {
    let source = Source { fed_config: relationship.key().clone(), peer: Arc::clone(peer) };
    let before = match choice {
        Choice::Remembered(memory) => memory.stale_since,
        _ => None,
    };
    match view.peer(&source).map(|state| &state.connection) {
        Some(Connection::Connected(_)) => None,
        Some(Connection::Lost { since, .. }) => Some(before.map_or(*since, |before| before.min(*since))),
        Some(Connection::Pending) | None => before,
    }
}

fn kept(
    choice: &Choice<'_>,
    memory: Option<&Remembered>,
    announced: Option<&Announced>,
    serves: bool,
) -> Option<Announcement> {
    match (choice, announced) {
        (Choice::Live(_, offer), Some(announced)) if serves => Some(announcement(offer, announced)),
        (Choice::Withdrawn(memory), _) => {
            Some(Announcement { endpoints: Vec::new(), withdrawn: true, ..memory.announcement() })
        }
        _ => memory.map(Remembered::announcement),
    }
}

fn announcement(offer: &Offer, announced: &Announced) -> Announcement {
    Announcement {
        peer: announced.peer.to_string(),
        protocol: Some(offer.protocol.to_string()),
        port: Some(offer.port.into()),
        endpoints: offer.endpoints.iter().map(ToString::to_string).collect(),
        subject_alt_names: announced.identities.clone(),
        version: Some(offer.version()),
        mode: Some(offer.mode.to_string()),
        trust_domain: Some(offer.trust_domain.clone()).filter(|domain| !domain.is_empty()),
        root_hash: offer.root_hash.clone(),
        withdrawn: false,
    }
}

impl Remembered {
    /// As it stands in a status.
    fn announcement(&self) -> Announcement {
        Announcement {
            peer: self.peer.clone(),
            protocol: self.protocol.map(|protocol| protocol.to_string()),
            port: self.port.map(Into::into),
            endpoints: self.endpoints.iter().map(ToString::to_string).collect(),
            subject_alt_names: self.subject_alt_names.clone(),
            version: self.version.clone(),
            mode: self.mode.map(|mode| mode.to_string()),
            trust_domain: self.trust_domain.clone(),
            root_hash: self.root_hash.clone(),
            withdrawn: self.withdrawn,
        }
    }

    /// As the peer announced it. What an older status did not keep is filled in with what it can only have been.
    pub(crate) fn offer(&self, service: &Key, relationship: &Relationship) -> Offer {
        /// The first prototype's, where a status has none.
        const PORT: u16 = 5000;
        let config = &relationship.config;
        Offer {
            key: service.clone(),
            mode: config.mode,
            server_name: names::server_name(&service.name, &service.namespace, &config.relationship),
            protocol: self.protocol.unwrap_or(Protocol::Http),
            port: self.port.unwrap_or(PORT),
            endpoints: self.endpoints.clone(),
            identities: self.subject_alt_names.clone(),
            trust_domain: self.trust_domain.clone().unwrap_or_default(),
            root_hash: self.root_hash.clone(),
        }
    }
}
