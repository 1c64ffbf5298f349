//! Stored slices of one peer, by service. Used for accepted and for rejected ones.

use std::collections::BTreeMap;

use emcee_core::catalogue::Announcement;
use emcee_core::key::ObjectKey;

use super::{BudgetShare, DeltaClientSettings};
use crate::formats::endpoint_slice::{MAX_ENDPOINTS, ServiceSlice, SliceName, discovery_announcement_key};

/// A slice with its version and size.
#[derive(Clone, Debug)]
pub(super) struct ReceivedSlice {
    pub(super) slice: ServiceSlice,
    /// Version that the peer sent. Empty if it is not known.
    pub(super) version: String,
    /// Size of the encoded slice, in bytes.
    pub(super) size: usize,
}

/// The slices of one service. All have the same attributes.
type SliceMap = BTreeMap<SliceName, ReceivedSlice>;

/// Slices by service, with their total number and size.
#[derive(Debug, Default)]
pub(super) struct AcceptedResources {
    services: BTreeMap<ObjectKey, SliceMap>,
    count: usize,
    bytes: usize,
    share: Option<BudgetShare>,
}

impl AcceptedResources {
    /// Creates an empty store that is limited by a share of the budget of all peers.
    pub(super) fn with_share(share: BudgetShare) -> Self {
        Self { share: Some(share), ..Self::default() }
    }

    pub(super) fn slice_names(&self) -> impl Iterator<Item = &SliceName> {
        self.services.values().flat_map(BTreeMap::keys)
    }

    /// Returns the number of slices.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn service_keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.services.keys()
    }

    /// Removes and returns all slices of a service.
    pub(super) fn take_slices(&mut self, key: &ObjectKey) -> Vec<ReceivedSlice> {
        self.take_service(key).into_values().collect()
    }

    /// Removes the first service. Returns `false` if the store is empty.
    pub(super) fn remove_first_service(&mut self) -> bool {
        let first = self.services.keys().next().cloned();
        first.inspect(|key| self.remove_service(key)).is_some()
    }

    /// Keeps only those slices of a service that have the same attributes as `like`, whose slices all agree.
    pub(super) fn retain_consistent(&mut self, key: &ObjectKey, like: &[ReceivedSlice]) {
        let mut service = self.take_service(key);
        service.retain(|_, held| {
            like.first().is_some_and(|like| held.slice.attributes == like.slice.attributes)
        });
        self.put_service(key, service);
    }

    /// Whether this store and `other` together are within the quota and the budget.
    pub(super) fn fits_with(&self, other: &Self, settings: &DeltaClientSettings) -> bool {
        let bytes = self.bytes + other.bytes;
        let is_allowed = self.share.as_ref().is_none_or(|share| share.allows_bytes(bytes));
        self.count + other.count <= settings.max_resources && bytes <= settings.max_bytes && is_allowed
    }

    /// Counts `other` toward the share of this store. The next change of this store resets the count.
    pub(super) fn count_toward_share(&self, other: &Self) {
        if let Some(share) = &self.share {
            share.set_used_bytes(self.bytes + other.bytes);
        }
    }

    /// Returns names and versions for `initial_resource_versions`.
    pub(super) fn resource_versions(&self) -> BTreeMap<String, String> {
        let slices = self.services.values().flatten();
        slices.map(|(name, held)| (name.to_string(), held.version.clone())).collect()
    }

    pub(super) fn announcement(&self, key: &ObjectKey) -> Option<Announcement> {
        self.services.get(key).and_then(combine_slices)
    }

    pub(super) fn announcements(&self) -> impl Iterator<Item = Announcement> {
        self.services.values().filter_map(combine_slices)
    }

    /// Whether there is any service other than the peer's own Emcee.
    pub(super) fn has_services(&self) -> bool {
        self.services.keys().any(|key| *key != discovery_announcement_key())
    }

    /// Returns the announcement that results from adding slices of one service, which must agree. Changes nothing.
    ///
    /// # Errors
    /// Returns the reason if the result would exceed a quota or the budget.
    pub(super) fn preview_update(
        &self,
        key: &ObjectKey,
        new: &[ReceivedSlice],
        settings: &DeltaClientSettings,
    ) -> Result<Announcement, String> {
        let mut service = self.services.get(key).cloned().unwrap_or_default();
        let before: usize = service.values().map(|held| held.size).sum();
        // Counts are computed without the service and then with its new state, as contradicting slices are dropped.
        let count = self.count - service.len();
        overlay_slices(&mut service, new.to_vec());
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
        if let Some(share) =
            self.share.as_ref().filter(|share| !share.allows_bytes(self.bytes - before + after))
        {
            let most = share.budget().max_bytes();
            return Err(format!(
                "more than {most} bytes of all peers are not accepted (--max-announced-bytes)"
            ));
        }
        let announcement = combine_slices(&service).ok_or("the service has no slices")?;
        if announcement.endpoints.len() > MAX_ENDPOINTS {
            return Err(format!("its slices have more than {MAX_ENDPOINTS} endpoints together"));
        }
        Ok(announcement)
    }

    /// Adds slices of one service, which must agree. Does not check quotas.
    pub(super) fn insert_slices(&mut self, key: &ObjectKey, new: Vec<ReceivedSlice>) {
        let mut service = self.take_service(key);
        overlay_slices(&mut service, new);
        self.put_service(key, service);
    }

    pub(super) fn remove_service(&mut self, key: &ObjectKey) {
        self.take_service(key);
        self.put_service(key, SliceMap::new());
    }

    pub(super) fn remove_slice(&mut self, name: &SliceName) {
        let mut service = self.take_service(&name.key);
        service.remove(name);
        self.put_service(&name.key, service);
    }

    /// Removes all services but the peer's own Emcee, whose addresses are still needed. Returns their keys.
    pub(super) fn clear_services(&mut self) -> Vec<ObjectKey> {
        let keys: Vec<_> =
            self.services.keys().filter(|key| **key != discovery_announcement_key()).cloned().collect();
        for key in &keys {
            self.remove_service(key);
        }
        keys
    }

    /// Removes a service and subtracts it from the totals. Followed by [`put_service`](Self::put_service) after a
    /// change.
    fn take_service(&mut self, key: &ObjectKey) -> SliceMap {
        let service = self.services.remove(key).unwrap_or_default();
        self.count -= service.len();
        self.bytes -= service.values().map(|held| held.size).sum::<usize>();
        service
    }

    /// Inserts a service, adds it to the totals and updates the share. An empty service is not inserted.
    fn put_service(&mut self, key: &ObjectKey, service: SliceMap) {
        self.count += service.len();
        self.bytes += service.values().map(|held| held.size).sum::<usize>();
        if let Some(share) = &self.share {
            share.set_used_bytes(self.bytes);
        }
        if !service.is_empty() {
            self.services.insert(key.clone(), service);
        }
    }
}

/// Adds new slices to a service. Drops slices with other attributes: they are outdated, and the peer has yet to send
/// their new state.
fn overlay_slices(service: &mut SliceMap, new: Vec<ReceivedSlice>) {
    if let Some(newest) = new.first() {
        service.retain(|_, held| held.slice.attributes == newest.slice.attributes);
    }
    service.extend(new.into_iter().map(|held| (held.slice.name.clone(), held)));
}

/// Combines the slices of a service into one announcement. `None` if there are no slices.
fn combine_slices(service: &SliceMap) -> Option<Announcement> {
    let ServiceSlice { name, attributes: facts, .. } = &service.values().next()?.slice;
    let endpoints = service.values().flat_map(|held| held.slice.endpoints.iter().cloned());
    Some(facts.to_announcement(name.key.clone(), endpoints))
}
