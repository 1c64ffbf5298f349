//! Publishes this mesh's announcements: those of exposed services, and that of its own discovery server.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use emcee_core::catalogue::{AddressedAnnouncement, Announcement, PeerPolicy};
use emcee_core::endpoint::Endpoint;
use emcee_core::key::ObjectKey;
use emcee_core::names;
use emcee_core::protocol::Protocol;
use emcee_discovery::delta::cache::{ChangedViews, PeerVisibility, ResourceCache};
use emcee_discovery::formats::endpoint_slice::discovery_announcement_key;
use emcee_discovery::server::SharedCache;
use tracing::warn;

/// Key of an announcement: the name of the relationship, and the key of the service within it.
type AnnouncementKey = (Arc<str>, ObjectKey);

/// Writes announcements to the cache that the streams of the discovery server read.
pub(super) struct Publisher {
    announcer: Arc<SharedCache>,
    /// Addresses of `--discovery-advertise`.
    advertised: Vec<Endpoint>,
    /// Name and policy of each open relationship, by its MeshFedConfig.
    policies: BTreeMap<ObjectKey, (Arc<str>, Arc<PeerPolicy>)>,
    /// Keys of the announcements of each ServiceExposition.
    announced: HashMap<ObjectKey, Box<[AnnouncementKey]>>,
    /// ServiceExposition that announces under a key. If a key moves to another exposition, the update of the new owner
    /// may come before that of the old one, which then must not withdraw it.
    owners: HashMap<AnnouncementKey, ObjectKey>,
}

impl Publisher {
    pub(super) fn new(announcer: Arc<SharedCache>, advertised: Vec<Endpoint>) -> Self {
        Self {
            announcer,
            advertised,
            policies: BTreeMap::new(),
            announced: HashMap::new(),
            owners: HashMap::new(),
        }
    }

    /// Marks the cache as complete: from now on the server opens streams.
    pub(super) fn mark_synced(&self) {
        self.announcer.mark_synced();
    }

    /// Opens, changes or closes (`None`) a relationship.
    pub(super) fn set_policy(&mut self, fed_config: &ObjectKey, policy: Option<Arc<PeerPolicy>>) {
        let before = self.policies.remove(fed_config);
        // A renamed relationship is another one: its streams end, as its server names and peers' view differ.
        if let Some((_, before)) = &before
            && policy.as_ref().is_none_or(|policy| policy.relationship != before.relationship)
        {
            self.close_relationship(&before.relationship);
        }
        let Some(policy) = policy else { return };
        self.take_over(&policy.relationship);
        // The key of this mesh's own announcement is always the same, so a change replaces it.
        let own = self.own_announcement(&policy);
        self.announcer.update(|cache| match &own {
            Some(own) => put_announcement(cache, &policy.relationship, own, &PeerVisibility::All),
            None => cache.withdraw(&policy.relationship, &discovery_announcement_key()),
        });
        self.policies.insert(fed_config.clone(), (policy.relationship.as_str().into(), policy));
    }

    /// Closes a relationship that another MeshFedConfig holds: its peers must not see what the other one announced. If a
    /// relationship moves from one MeshFedConfig to another, the new one may open it before the old one closes it. The
    /// old one then has nothing left to close.
    fn take_over(&mut self, relationship: &str) {
        let holder = self.policies.iter().find(|(_, (name, _))| **name == *relationship);
        if let Some(holder) = holder.map(|(fed_config, _)| fed_config.clone()) {
            self.policies.remove(&holder);
            self.close_relationship(relationship);
        }
    }

    /// Removes all announcements of a relationship without a withdrawal: peers see a lost connection.
    fn close_relationship(&mut self, relationship: &str) {
        // `announced` may still list these keys. They have no owner any more, so nothing withdraws them later.
        self.owners.retain(|(of, _), _| **of != *relationship);
        self.announcer.update(|cache| {
            cache.remove_relationship(relationship);
            // No stream has to send anything: TLS closes the connections of the relationship.
            ChangedViews::default()
        });
    }

    /// Announcement of this mesh's discovery server. `None` if the relationship does not announce services, or if no
    /// address of the server is known.
    fn own_announcement(&self, policy: &PeerPolicy) -> Option<Announcement> {
        let mut endpoints = if policy.own_addresses.is_empty() {
            self.advertised.clone()
        } else {
            policy.own_addresses.clone()
        };
        // The version of an announcement is a hash of its content, so the order must not depend on the source.
        endpoints.sort_unstable();
        endpoints.dedup();
        let port = endpoints.first()?.port;
        policy.announce.then(|| Announcement {
            key: discovery_announcement_key(),
            mode: policy.mode,
            server_name: names::discovery_server_name(&policy.relationship),
            protocol: Protocol::Tls,
            port,
            endpoints,
            identities: Vec::new(),
            trust_domain: policy.local_mesh.trust_domain.clone(),
            root_hash: None,
        })
    }

    /// Replaces the announcements of each exposition in the batch.
    ///
    /// The whole batch is one change of the cache: no stream sees a part of it.
    pub(super) fn set_announcements(&mut self, batch: Vec<(ObjectKey, Vec<AddressedAnnouncement>)>) {
        let announcer = Arc::clone(&self.announcer);
        announcer.update(|cache| {
            let mut changed = ChangedViews::default();
            for (exposition, announcements) in batch {
                changed = changed.merge(self.replace_announcements(cache, &exposition, announcements));
            }
            changed
        });
    }

    /// Replaces the announcements of one exposition: adds the current ones, then withdraws those that are gone.
    fn replace_announcements(
        &mut self,
        cache: &mut ResourceCache,
        exposition: &ObjectKey,
        announcements: Vec<AddressedAnnouncement>,
    ) -> ChangedViews {
        let mut changed = ChangedViews::default();
        let before = self.announced.remove(exposition).unwrap_or_default();
        let mut now = Vec::new();
        for addressed in announcements {
            // Policies were applied before, so the relationship is not open: nothing is announced through it.
            let Some((relationship, policy)) = self.policies.get(&addressed.fed_config) else { continue };
            let key = (Arc::clone(relationship), addressed.announcement.key.clone());
            changed = changed.merge(put_announcement(
                cache,
                &key.0,
                &addressed.announcement,
                &visible_to(policy, &addressed),
            ));
            self.owners.insert(key.clone(), exposition.clone());
            now.push(key);
        }
        for key in before.into_iter().filter(|key| !now.contains(key)) {
            // Another exposition may announce under this key by now: then the announcement is not ours to withdraw.
            if self.owners.get(&key) == Some(exposition) {
                self.owners.remove(&key);
                changed = changed.merge(cache.withdraw(&key.0, &key.1));
            }
        }
        if !now.is_empty() {
            self.announced.insert(exposition.clone(), now.into());
        }
        changed
    }
}

/// Peers that may see an announcement.
///
/// `All` if these are all peers of the relationship: such announcements share one log in the cache, whatever peers the
/// expositions list.
fn visible_to(policy: &PeerPolicy, addressed: &AddressedAnnouncement) -> PeerVisibility {
    let all = policy.peers.iter().all(|peer| addressed.peers.iter().any(|name| **name == *peer.name));
    let some = || addressed.peers.iter().map(|name| Arc::from(name.as_str())).collect::<BTreeSet<_>>();
    if all { PeerVisibility::All } else { PeerVisibility::Peers(some()) }
}

/// Adds or replaces an announcement. If it cannot be encoded, logs a warning and keeps the previous one.
fn put_announcement(
    cache: &mut ResourceCache,
    relationship: &str,
    announcement: &Announcement,
    visibility: &PeerVisibility,
) -> ChangedViews {
    cache.announce(relationship, announcement, visibility).unwrap_or_else(|error| {
        warn!(relationship, service = %announcement.key, %error, "announcement not encoded, keeping the previous one");
        ChangedViews::default()
    })
}

#[cfg(test)]
pub(super) mod tests;
