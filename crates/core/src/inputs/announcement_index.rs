//! Index of the accepted announcements of peers.

use std::collections::BTreeMap;
use std::sync::Arc;

use foldhash::HashMap;

use crate::catalogue::{Announcement, PeerKey};
use crate::key::ObjectKey;

/// The accepted announcements, by peer and by service.
#[derive(Clone, Debug, Default)]
pub(crate) struct AnnouncementIndex {
    by_peer: HashMap<PeerKey, BTreeMap<ObjectKey, Arc<Announcement>>>,
    /// The announcing peers of each service. The key is the MeshFedConfig, and the remote namespace and exposed name.
    by_service: HashMap<(ObjectKey, ObjectKey), BTreeMap<Arc<str>, Arc<Announcement>>>,
    /// The trust domains that each peer's announcements name, and the number of announcements for each. All
    /// announcements of a peer should name the same one. If they do not, that is the peer's fault, and the map is
    /// bounded by the number of its announcements.
    trust_domains: HashMap<PeerKey, BTreeMap<String, usize>>,
}

impl AnnouncementIndex {
    /// Sets or removes an announcement. Returns whether that changed anything.
    pub(super) fn set(&mut self, source: &PeerKey, service: &ObjectKey, new: Option<Announcement>) -> bool {
        let old = self.by_peer.get(source).and_then(|announcements| announcements.get(service));
        if old.map(|announcement| &**announcement) == new.as_ref() {
            return false;
        }
        let old = old.map(|announcement| announcement.trust_domain.clone());
        self.count_trust_domain(
            source,
            old.as_deref(),
            new.as_ref().map(|announcement| &*announcement.trust_domain),
        );
        match new.map(Arc::new) {
            Some(new) => self.insert(source, service, &new),
            None => self.remove(source, service),
        }
        true
    }

    fn count_trust_domain(&mut self, source: &PeerKey, old: Option<&str>, new: Option<&str>) {
        if old == new {
            return;
        }
        let counts = self.trust_domains.entry(source.clone()).or_default();
        // An announcement may name no trust domain. It is not counted.
        if let Some(new) = new.filter(|domain| !domain.is_empty()) {
            *counts.entry(new.to_owned()).or_default() += 1;
        }
        if let Some(old) = old
            && let Some(count) = counts.get_mut(old)
        {
            *count -= 1;
            if *count == 0 {
                counts.remove(old);
            }
        }
        if counts.is_empty() {
            self.trust_domains.remove(source);
        }
    }

    /// Returns the trust domains that a peer's announcements name, in order.
    pub(crate) fn trust_domains(&self, source: &PeerKey) -> impl Iterator<Item = &str> {
        self.trust_domains.get(source).into_iter().flat_map(|counts| counts.keys().map(String::as_str))
    }

    fn insert(&mut self, source: &PeerKey, service: &ObjectKey, new: &Arc<Announcement>) {
        self.by_peer.entry(source.clone()).or_default().insert(service.clone(), Arc::clone(new));
        let announcers = self.by_service.entry((source.fed_config.clone(), service.clone())).or_default();
        announcers.insert(Arc::clone(&source.peer), Arc::clone(new));
    }

    fn remove(&mut self, source: &PeerKey, service: &ObjectKey) {
        if let Some(announcements) = self.by_peer.get_mut(source) {
            announcements.remove(service);
            if announcements.is_empty() {
                self.by_peer.remove(source);
            }
        }
        let id = (source.fed_config.clone(), service.clone());
        if let Some(announcers) = self.by_service.get_mut(&id) {
            announcers.remove(&source.peer);
            if announcers.is_empty() {
                self.by_service.remove(&id);
            }
        }
    }

    /// Returns all accepted announcements of a peer, in order of the service.
    pub(crate) fn announced_by<'a>(
        &'a self,
        source: &PeerKey,
    ) -> impl Iterator<Item = (&'a ObjectKey, &'a Arc<Announcement>)> + use<'a> {
        self.by_peer.get(source).into_iter().flatten()
    }

    /// Returns the number of services that a peer announces.
    pub(crate) fn service_count(&self, source: &PeerKey) -> usize {
        self.by_peer.get(source).map_or(0, BTreeMap::len)
    }

    /// Returns the peers that announce a service, in order of their names.
    pub(crate) fn announcers_of<'a>(
        &'a self,
        fed_config: &ObjectKey,
        service: &ObjectKey,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Arc<Announcement>)> + use<'a> {
        self.by_service.get(&(fed_config.clone(), service.clone())).into_iter().flatten()
    }
}
