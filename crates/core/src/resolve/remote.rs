//! Resolution of a remote service from the binding, the current announcements and the stored announcement.

use std::sync::Arc;

use emcee_api::{AnnouncementStatus, Reason};
use jiff::Timestamp;

use super::ownership::ClusterOwnership;
use super::{InputView, ResolvedRelationship};
use crate::catalogue::{Announcement, PeerConnection, PeerKey};
use crate::endpoint::Endpoint;
use crate::key::ObjectKey;
use crate::names;
use crate::parse::{Binding, StoredAnnouncement};
use crate::policy::EndpointAuthor;
use crate::ports::DEFAULT_FACADE_PORT;
use crate::problem::ResourceProblem;
use crate::protocol::Protocol;

/// Remote service of a binding, as far as it is known. What the binding gives wins over what is announced.
pub(crate) struct RemoteService {
    /// Current or last known announcement of the service.
    pub(super) announced: Option<LastAnnouncement>,
    /// Peer that provides the service, if it is known.
    pub(super) peer: Option<Arc<str>>,
    /// Endpoints of the service.
    pub(super) endpoints: Vec<Endpoint>,
    /// Whether the binding itself gives the endpoints.
    pub(super) endpoints_given: bool,
    /// Why calls cannot be routed to the service; `None` if they can.
    pub(super) problem: Option<ResourceProblem>,
    /// Time since which the announcing peer is unreachable.
    pub(super) stale_since: Option<Timestamp>,
    /// Announcement to store in the status.
    pub(super) status_announcement: Option<AnnouncementStatus>,
}

/// Content of the current or last known announcement of a service.
pub(super) struct LastAnnouncement {
    pub(super) peer: Arc<str>,
    pub(super) protocol: Option<Protocol>,
    pub(super) port: Option<u16>,
    endpoints: Vec<Endpoint>,
    pub(super) identities: Vec<String>,
    root_hash: Option<String>,
}

/// Which announcement of the service takes precedence.
enum AnnouncementChoice<'a> {
    Live(&'a Arc<str>, &'a Announcement),
    /// The peer is not synced yet: its stored announcement stays in use.
    Stored(&'a StoredAnnouncement),
    /// The peer is synced and no longer announces the service.
    Withdrawn(&'a StoredAnnouncement),
    Unannounced,
}

impl RemoteService {
    pub(super) fn resolve(
        view: &InputView<'_>,
        binding: &Binding,
        relationship: &ResolvedRelationship,
        warnings: &mut Vec<ResourceProblem>,
    ) -> Result<Self, ResourceProblem> {
        if let Some(peer) = &binding.peer {
            relationship
                .find_peer(peer)
                .map_err(|words| ResourceProblem::at_field(Reason::UnknownPeer, "spec.peer", words))?;
        }
        let given = !binding.endpoints.is_empty();
        let choice = match choose_announcement(view, binding, relationship) {
            // Given endpoints do not need an announcement, so it does not matter that several peers announce
            // the service.
            Err(_) if given => AnnouncementChoice::Unannounced,
            choice => choice?,
        };
        let mut remote = Self::from_choice(view, binding, relationship, &choice);
        if given {
            // The given endpoints may belong to any peer, unless the binding names one.
            remote.peer = binding.peer.as_deref().map(Arc::from);
            (remote.endpoints_given, remote.stale_since) = (true, None);
            remote.problem = given_endpoints_problem(view, binding, relationship);
            remote.endpoints = if remote.is_usable() { binding.endpoints.clone() } else { Vec::new() };
        }
        if let (Some(since), Some(peer)) = (remote.stale_since, &remote.peer) {
            let message = format!(
                "peer {peer} has been unreachable since {since}; what it last announced stays in place"
            );
            warnings.push(ResourceProblem::new(Reason::PeerLost, message));
        }
        warnings.extend(remote.different_roots_warning(view));
        Ok(remote)
    }

    /// Returns a warning if the root certificates of both meshes differ. It is only a warning: whole sets are
    /// compared, and one common root is enough.
    fn different_roots_warning(&self, view: &InputView<'_>) -> Option<ResourceProblem> {
        let announced = self.announced.as_ref().filter(|_| !self.endpoints_given && self.is_usable())?;
        let (theirs, ours) = (announced.root_hash.as_ref()?, view.settings().root_hash.as_ref()?);
        let peer = &announced.peer;
        let message = format!(
            "the workloads of peer {peer} have other root certificates than this mesh's: if none is common to both, calls fail (give both meshes a common root, or use BOUNDARY)"
        );
        (theirs != ours).then(|| ResourceProblem::new(Reason::RootsDiffer, message))
    }

    fn from_choice(
        view: &InputView<'_>,
        binding: &Binding,
        relationship: &ResolvedRelationship,
        choice: &AnnouncementChoice<'_>,
    ) -> Self {
        // A stored announcement that no longer applies is dropped from the status too.
        let stored = binding
            .stored_announcement
            .as_deref()
            .filter(|stored| is_applicable(stored, binding, relationship));
        let announced = match choice {
            AnnouncementChoice::Live(peer, current) => {
                Some(LastAnnouncement::from_live(peer, current, stored))
            }
            AnnouncementChoice::Stored(stored) | AnnouncementChoice::Withdrawn(stored) => {
                Some(LastAnnouncement::from_stored(stored))
            }
            AnnouncementChoice::Unannounced => None,
        };
        let problem = find_problem(view, binding, relationship, choice, announced.as_ref());
        let serves = problem.is_none();
        let peer = announced.as_ref().filter(|_| serves).map(|announced| Arc::clone(&announced.peer));
        let endpoints = announced.as_ref().filter(|_| serves).map(|announced| announced.endpoints.clone());
        Self {
            stale_since: peer.as_ref().and_then(|peer| stale_since(view, relationship, peer, choice)),
            // A named peer stays the provider even if it announces nothing: its names are in the client's TLS
            // settings.
            peer: peer.or_else(|| binding.peer.as_deref().map(Arc::from)),
            endpoints: endpoints.unwrap_or_default(),
            endpoints_given: false,
            status_announcement: announcement_to_store(choice, stored, announced.as_ref(), serves),
            announced,
            problem,
        }
    }

    /// Whether anything is known of the service, including that it was withdrawn.
    pub(super) fn is_known(&self) -> bool {
        self.endpoints_given || self.announced.is_some()
    }

    /// Whether calls can be routed to the service.
    pub(super) fn is_usable(&self) -> bool {
        self.problem.is_none()
    }

    /// Whether the peer withdrew the service.
    pub(super) fn is_withdrawn(&self) -> bool {
        self.problem.as_ref().is_some_and(|problem| problem.reason == Reason::Withdrawn)
    }

    /// Returns the peer whose announcement the binding follows, if it follows one.
    pub(super) fn followed_peer(&self, relationship: &ResolvedRelationship) -> Option<PeerKey> {
        let peer = self.peer.clone().filter(|_| !self.endpoints_given && self.is_usable())?;
        Some(PeerKey { fed_config: relationship.key().clone(), peer })
    }

    /// Returns the source of the endpoints: `spec`, or the name of the peer.
    pub(super) fn endpoint_source(&self) -> Option<String> {
        if self.endpoints_given {
            return Some("spec".to_owned());
        }
        self.peer.as_ref().filter(|_| self.is_usable()).map(ToString::to_string)
    }
}

impl LastAnnouncement {
    /// Creates the content of a current announcement. If it has no identities, because the service has no
    /// pods for now, the stored identities of the same peer are used: the set of accepted identities must not
    /// grow.
    fn from_live(peer: &Arc<str>, current: &Announcement, stored: Option<&StoredAnnouncement>) -> Self {
        let before = stored.filter(|stored| *stored.peer == **peer).filter(|_| current.identities.is_empty());
        Self {
            peer: Arc::clone(peer),
            protocol: Some(current.protocol),
            port: Some(current.port),
            endpoints: current.endpoints.clone(),
            identities: before
                .map_or_else(|| current.identities.clone(), |stored| stored.subject_alt_names.clone()),
            root_hash: current.root_hash.clone(),
        }
    }

    fn from_stored(stored: &StoredAnnouncement) -> Self {
        Self {
            peer: stored.peer.as_str().into(),
            protocol: stored.protocol,
            port: stored.port,
            endpoints: stored.endpoints.clone(),
            identities: stored.subject_alt_names.clone(),
            root_hash: stored.root_hash.clone(),
        }
    }
}

/// Whether a stored announcement applies. It does not if its peer is no longer listed, is not the one that
/// the binding names, or announced it in another style.
fn is_applicable(
    stored: &StoredAnnouncement,
    binding: &Binding,
    relationship: &ResolvedRelationship,
) -> bool {
    relationship.find_peer(&stored.peer).is_ok()
        && binding.peer.as_ref().is_none_or(|peer| *peer == stored.peer)
        && stored.mode.is_none_or(|mode| mode == relationship.config.mode)
}

/// Chooses the announcement to use. The peer in use stays in use as long as it announces the service or is
/// not synced. Another peer cannot take over a service by announcing it too.
fn choose_announcement<'a>(
    view: &InputView<'a>,
    binding: &'a Binding,
    relationship: &ResolvedRelationship,
) -> Result<AnnouncementChoice<'a>, ResourceProblem> {
    let is_requested = |peer: &str| binding.peer.as_ref().is_none_or(|requested| requested == peer);
    let live: Vec<_> = view
        .announcers(relationship.key(), &binding.remote_service())
        .filter(|(peer, _)| is_requested(peer) && relationship.find_peer(peer).is_ok())
        .collect();
    let stored =
        binding.stored_announcement.as_deref().filter(|stored| is_applicable(stored, binding, relationship));
    if let Some(stored) = stored.filter(|stored| !stored.withdrawn) {
        if let Some((peer, current)) = live.iter().find(|(peer, _)| ***peer == *stored.peer) {
            return Ok(AnnouncementChoice::Live(peer, current));
        }
        // After a restart, absence means nothing until the peer is synced.
        if !view.is_synced(&PeerKey::new(relationship.key().clone(), &stored.peer)) {
            return Ok(AnnouncementChoice::Stored(stored));
        }
    }
    match live.as_slice() {
        // The stored peer is gone or was never set, and exactly one peer announces the service.
        [(peer, current)] => Ok(AnnouncementChoice::Live(peer, current)),
        [] => Ok(stored.map_or(AnnouncementChoice::Unannounced, AnnouncementChoice::Withdrawn)),
        several => Err(ambiguous_peer(several.iter().map(|(peer, _)| &***peer))),
    }
}

fn ambiguous_peer<'a>(peers: impl Iterator<Item = &'a str>) -> ResourceProblem {
    let peers: Vec<_> = peers.collect();
    let message = format!("several peers announce the service: {} (name one)", peers.join(", "));
    ResourceProblem::at_field(Reason::AmbiguousPeer, "spec.peer", message)
}

/// Returns why calls cannot be routed to the service. An announcement that was accepted once is checked
/// again, because the policy may have changed since.
fn find_problem(
    view: &InputView<'_>,
    binding: &Binding,
    relationship: &ResolvedRelationship,
    choice: &AnnouncementChoice<'_>,
    announced: Option<&LastAnnouncement>,
) -> Option<ResourceProblem> {
    let service = binding.remote_service();
    let (peer, judged) = match (choice, announced) {
        (AnnouncementChoice::Live(peer, current), _) => {
            (&***peer, relationship.peer_policy.validate(peer, current))
        }
        (AnnouncementChoice::Stored(stored), _) => {
            let current = stored.to_announcement(&service, relationship);
            (stored.peer.as_str(), relationship.peer_policy.validate(&stored.peer, &current))
        }
        (AnnouncementChoice::Withdrawn(stored), _) => {
            let message = format!(
                "peer {} no longer announces {service} (wait until it does again, or delete the binding)",
                stored.peer
            );
            return Some(ResourceProblem::new(Reason::Withdrawn, message));
        }
        (AnnouncementChoice::Unannounced, _) => return Some(not_discovered()),
    };
    let endpoints = announced.map_or(&[][..], |announced| &announced.endpoints);
    // The policy checks only what it knows without the cluster's objects, so also check against their
    // addresses.
    let refused = judged.err().or_else(|| {
        let own = ClusterOwnership::for_relationship(view, relationship);
        let (index, words) =
            own.first_refused(EndpointAuthor::Peer, &relationship.config, Some(peer), endpoints)?;
        Some(ResourceProblem::at_field(Reason::AddressNotAllowed, format!("endpoints[{index}]"), words))
    })?;
    let message = format!("the announcement of {service} by peer {peer} is refused: {refused}");
    Some(ResourceProblem::new(refused.reason, message))
}

/// Returns why the endpoints that a binding gives are not allowed for its peer, or for any of the peers.
fn given_endpoints_problem(
    view: &InputView<'_>,
    binding: &Binding,
    relationship: &ResolvedRelationship,
) -> Option<ResourceProblem> {
    let own = ClusterOwnership::for_relationship(view, relationship);
    let (config, peer) = (&relationship.config, binding.peer.as_deref());
    let (index, words) = own.first_refused(EndpointAuthor::User, config, peer, &binding.endpoints)?;
    Some(ResourceProblem::at_field(Reason::EndpointNotAllowed, format!("spec.endpoints[{index}]"), words))
}

fn not_discovered() -> ResourceProblem {
    let message = "no endpoints are given, and no peer announces the service (set spec.endpoints, or have a peer announce the service)";
    ResourceProblem::at_field(Reason::NotDiscovered, "spec.endpoints", message)
}

/// Returns the time since which the peer is unreachable. After a restart, the earlier time of the status is
/// kept.
fn stale_since(
    view: &InputView<'_>,
    relationship: &ResolvedRelationship,
    peer: &Arc<str>,
    choice: &AnnouncementChoice<'_>,
) -> Option<Timestamp> {
    let peer_key = PeerKey { fed_config: relationship.key().clone(), peer: Arc::clone(peer) };
    let before = match choice {
        AnnouncementChoice::Stored(stored) => stored.stale_since,
        _ => None,
    };
    match view.peer_state(&peer_key).map(|state| &state.connection) {
        Some(PeerConnection::Connected(_)) => None,
        Some(PeerConnection::Unreachable { since, .. }) => {
            Some(before.map_or(*since, |before| before.min(*since)))
        }
        // Not contacted yet since the restart: the stored time is still the best known.
        Some(PeerConnection::Pending) | None => before,
    }
}

fn announcement_to_store(
    choice: &AnnouncementChoice<'_>,
    stored: Option<&StoredAnnouncement>,
    announced: Option<&LastAnnouncement>,
    serves: bool,
) -> Option<AnnouncementStatus> {
    match (choice, announced) {
        (AnnouncementChoice::Live(_, current), Some(announced)) if serves => {
            Some(live_announcement_status(current, announced))
        }
        // Keep the announcement without its endpoints, so that a restart does not revive the service.
        (AnnouncementChoice::Withdrawn(stored), _) => {
            Some(AnnouncementStatus { endpoints: Vec::new(), withdrawn: true, ..stored.to_status() })
        }
        // A refused announcement does not replace the last accepted one.
        _ => stored.map(StoredAnnouncement::to_status),
    }
}

fn live_announcement_status(current: &Announcement, announced: &LastAnnouncement) -> AnnouncementStatus {
    AnnouncementStatus {
        peer: announced.peer.to_string(),
        protocol: Some(current.protocol.to_string()),
        port: Some(current.port.into()),
        endpoints: current.endpoints.iter().map(ToString::to_string).collect(),
        subject_alt_names: announced.identities.clone(),
        version: Some(current.content_version()),
        mode: Some(current.mode.to_string()),
        trust_domain: Some(current.trust_domain.clone()).filter(|domain| !domain.is_empty()),
        root_hash: current.root_hash.clone(),
        withdrawn: false,
    }
}

impl StoredAnnouncement {
    /// Returns the announcement as stored in a status.
    fn to_status(&self) -> AnnouncementStatus {
        AnnouncementStatus {
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

    /// Returns the announcement as the peer sent it. Fields that an older status did not store get the only
    /// possible value.
    pub(crate) fn to_announcement(
        &self,
        service: &ObjectKey,
        relationship: &ResolvedRelationship,
    ) -> Announcement {
        let config = &relationship.config;
        Announcement {
            key: service.clone(),
            mode: config.mode,
            server_name: names::server_name(&service.name, &service.namespace, &config.relationship),
            protocol: self.protocol.unwrap_or(Protocol::Http),
            port: self.port.unwrap_or(DEFAULT_FACADE_PORT),
            endpoints: self.endpoints.clone(),
            identities: self.subject_alt_names.clone(),
            trust_domain: self.trust_domain.clone().unwrap_or_default(),
            root_hash: self.root_hash.clone(),
        }
    }
}
