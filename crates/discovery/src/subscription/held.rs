//! Stored slices of one peer, by service. Used for accepted and for rejected ones.

use std::collections::BTreeMap;

use emcee_core::catalogue::Announcement;
use emcee_core::key::ObjectKey;

use super::{Settings, Share};
use crate::slice::{MAX_ENDPOINTS, Slice, SliceName, discovery_announcement_key};

/// A slice with its version and size.
#[derive(Clone, Debug)]
pub(super) struct HeldSlice {
    pub(super) slice: Slice,
    /// Version that the peer sent. Empty if it is not known.
    pub(super) version: String,
    /// Size of the encoded slice, in bytes.
    pub(super) size: usize,
}

/// The slices of one service. All have the same attributes.
type Service = BTreeMap<SliceName, HeldSlice>;

/// Slices by service, with their total number and size.
#[derive(Debug, Default)]
pub(super) struct Held {
    services: BTreeMap<ObjectKey, Service>,
    count: usize,
    bytes: usize,
    share: Option<Share>,
}

impl Held {
    /// Creates an empty store that is limited by a share of the budget of all peers.
    pub(super) fn within(share: Share) -> Self {
        Self { share: Some(share), ..Self::default() }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &SliceName> {
        self.services.values().flat_map(BTreeMap::keys)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.services.keys()
    }

    /// Removes and returns all slices of a service.
    pub(super) fn take(&mut self, key: &ObjectKey) -> Vec<HeldSlice> {
        self.take_service(key).into_values().collect()
    }

    /// Removes the first service. Returns `false` if the store is empty.
    pub(super) fn forget_first(&mut self) -> bool {
        let first = self.services.keys().next().cloned();
        first.inspect(|key| self.forget(key)).is_some()
    }

    /// Keeps only those slices of a service that have the same attributes as `like`, whose slices all agree.
    pub(super) fn retain_like(&mut self, key: &ObjectKey, like: &[HeldSlice]) {
        let mut service = self.take_service(key);
        service.retain(|_, held| like.first().is_some_and(|like| held.slice.facts == like.slice.facts));
        self.put_service(key, service);
    }

    /// Whether this store and `other` together are within the quota and the budget.
    pub(super) fn fits_with(&self, other: &Self, settings: &Settings) -> bool {
        let bytes = self.bytes + other.bytes;
        let is_allowed = self.share.as_ref().is_none_or(|share| share.allows(bytes));
        self.count + other.count <= settings.max_resources && bytes <= settings.max_bytes && is_allowed
    }

    /// Counts `other` toward the share of this store. The next change of this store resets the count.
    pub(super) fn count_in(&self, other: &Self) {
        if let Some(share) = &self.share {
            share.set(self.bytes + other.bytes);
        }
    }

    /// Returns names and versions for `initial_resource_versions`.
    pub(super) fn versions(&self) -> BTreeMap<String, String> {
        let slices = self.services.values().flatten();
        slices.map(|(name, held)| (name.to_string(), held.version.clone())).collect()
    }

    pub(super) fn offer(&self, key: &ObjectKey) -> Option<Announcement> {
        self.services.get(key).and_then(combined)
    }

    pub(super) fn offers(&self) -> impl Iterator<Item = Announcement> {
        self.services.values().filter_map(combined)
    }

    /// Whether there is any service other than the peer's own Emcee.
    pub(super) fn has_services(&self) -> bool {
        self.services.keys().any(|key| *key != discovery_announcement_key())
    }

    /// Returns the announcement that results from adding slices of one service, which must agree. Changes nothing.
    ///
    /// # Errors
    /// Returns the reason if the result would exceed a quota or the budget.
    pub(super) fn with(
        &self,
        key: &ObjectKey,
        new: &[HeldSlice],
        settings: &Settings,
    ) -> Result<Announcement, String> {
        let mut service = self.services.get(key).cloned().unwrap_or_default();
        let before: usize = service.values().map(|held| held.size).sum();
        // Counts are computed without the service and then with its new state, as contradicting slices are dropped.
        let count = self.count - service.len();
        overlay(&mut service, new.to_vec());
        if count + service.len() > settings.max_resources {
            return Err(format!(
                "more than {} resources of one peer are not accepted",
                settings.max_resources
            ));
        }
        let after: usize = service.values().map(|held| held.size).sum();
        if self.bytes - before + after > settings.max_bytes {
            return Err(format!("more than {} bytes of one peer are not accepted", settings.max_bytes));
        }
        if let Some(share) = self.share.as_ref().filter(|share| !share.allows(self.bytes - before + after)) {
            let most = share.budget().most();
            return Err(format!(
                "more than {most} bytes of all peers are not accepted (--max-announced-bytes)"
            ));
        }
        let announcement = combined(&service).ok_or("the service has no slices")?;
        if announcement.endpoints.len() > MAX_ENDPOINTS {
            return Err(format!("its slices have more than {MAX_ENDPOINTS} endpoints together"));
        }
        Ok(announcement)
    }

    /// Adds slices of one service, which must agree. Does not check quotas.
    pub(super) fn update(&mut self, key: &ObjectKey, new: Vec<HeldSlice>) {
        let mut service = self.take_service(key);
        overlay(&mut service, new);
        self.put_service(key, service);
    }

    pub(super) fn forget(&mut self, key: &ObjectKey) {
        self.take_service(key);
        self.put_service(key, Service::new());
    }

    pub(super) fn remove(&mut self, name: &SliceName) {
        let mut service = self.take_service(&name.key);
        service.remove(name);
        self.put_service(&name.key, service);
    }

    /// Removes all services but the peer's own Emcee, whose addresses are still needed. Returns their keys.
    pub(super) fn clear(&mut self) -> Vec<ObjectKey> {
        let keys: Vec<_> =
            self.services.keys().filter(|key| **key != discovery_announcement_key()).cloned().collect();
        for key in &keys {
            self.forget(key);
        }
        keys
    }

    /// Removes a service and subtracts it from the totals. Followed by [`put_service`](Self::put_service) after a
    /// change.
    fn take_service(&mut self, key: &ObjectKey) -> Service {
        let service = self.services.remove(key).unwrap_or_default();
        self.count -= service.len();
        self.bytes -= service.values().map(|held| held.size).sum::<usize>();
        service
    }

    /// Inserts a service, adds it to the totals and updates the share. An empty service is not inserted.
    fn put_service(&mut self, key: &ObjectKey, service: Service) {
        self.count += service.len();
        self.bytes += service.values().map(|held| held.size).sum::<usize>();
        if let Some(share) = &self.share {
            share.set(self.bytes);
        }
        if !service.is_empty() {
            self.services.insert(key.clone(), service);
        }
    }
}

/// Adds new slices to a service. Drops slices with other attributes: they are outdated, and the peer has yet to send
/// their new state.
fn overlay(service: &mut Service, new: Vec<HeldSlice>) {
    if let Some(newest) = new.first() {
        service.retain(|_, held| held.slice.facts == newest.slice.facts);
    }
    service.extend(new.into_iter().map(|held| (held.slice.name.clone(), held)));
}

/// Combines the slices of a service into one announcement. `None` if there are no slices.
fn combined(service: &Service) -> Option<Announcement> {
    let Slice { name, facts, .. } = &service.values().next()?.slice;
    let endpoints = service.values().flat_map(|held| held.slice.endpoints.iter().cloned());
    Some(facts.offer(name.key.clone(), endpoints))
}
