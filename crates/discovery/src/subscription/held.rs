//! The slices that are held, by service.

use std::collections::BTreeMap;

use emcee_core::catalogue::Offer;
use emcee_core::key::Key;

use super::{Settings, Share};
use crate::slice::{MAX_ENDPOINTS, Slice, SliceName, discovery_key};

/// A slice with what is known about it.
#[derive(Clone, Debug)]
pub(super) struct HeldSlice {
    pub(super) slice: Slice,
    /// As the peer gave it; empty: not known.
    pub(super) version: String,
    /// Encoded.
    pub(super) size: usize,
}

/// The slices of a service. They have the same facts.
type Service = BTreeMap<SliceName, HeldSlice>;

#[derive(Debug, Default)]
pub(super) struct Held {
    services: BTreeMap<Key, Service>,
    count: usize,
    bytes: usize,
    share: Option<Share>,
}

impl Held {
    /// One that holds no more than its share of what all peers may.
    pub(super) fn within(share: Share) -> Self {
        Self { share: Some(share), ..Self::default() }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &SliceName> {
        self.services.values().flat_map(BTreeMap::keys)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.services.keys()
    }

    /// Takes out all of a service.
    pub(super) fn take(&mut self, key: &Key) -> Vec<HeldSlice> {
        self.take_service(key).into_values().collect()
    }

    /// Forgets one service, if there is one.
    pub(super) fn forget_first(&mut self) -> bool {
        let first = self.services.keys().next().cloned();
        first.inspect(|key| self.forget(key)).is_some()
    }

    /// Of a service, keeps only the slices with the facts of these, which agree.
    pub(super) fn retain_like(&mut self, key: &Key, like: &[HeldSlice]) {
        let mut service = self.take_service(key);
        service.retain(|_, held| like.first().is_some_and(|like| held.slice.facts == like.slice.facts));
        self.put_service(key, service);
    }

    /// Whether this and the other are together no more than may be held.
    pub(super) fn fits_with(&self, other: &Self, settings: &Settings) -> bool {
        let bytes = self.bytes + other.bytes;
        let is_allowed = self.share.as_ref().is_none_or(|share| share.allows(bytes));
        self.count + other.count <= settings.max_resources && bytes <= settings.max_bytes && is_allowed
    }

    /// Counts the other to this one's share, until this one changes.
    pub(super) fn count_in(&self, other: &Self) {
        if let Some(share) = &self.share {
            share.set(self.bytes + other.bytes);
        }
    }

    /// As `initial_resource_versions` has them.
    pub(super) fn versions(&self) -> BTreeMap<String, String> {
        let slices = self.services.values().flatten();
        slices.map(|(name, held)| (name.to_string(), held.version.clone())).collect()
    }

    pub(super) fn offer(&self, key: &Key) -> Option<Offer> {
        self.services.get(key).and_then(combined)
    }

    pub(super) fn offers(&self) -> impl Iterator<Item = Offer> {
        self.services.values().filter_map(combined)
    }

    /// Whether anything but the peer itself is held.
    pub(super) fn has_services(&self) -> bool {
        self.services.keys().any(|key| *key != discovery_key())
    }

    /// What the service would be with these slices, which agree, if it may be.
    pub(super) fn with(&self, key: &Key, new: &[HeldSlice], settings: &Settings) -> Result<Offer, String> {
        let mut service = self.services.get(key).cloned().unwrap_or_default();
        let before: usize = service.values().map(|held| held.size).sum();
        let count = self.count - service.len();
        overlay(&mut service, new.to_vec());
        if count + service.len() > settings.max_resources {
            return Err(format!("more than {} resources of one peer are not held", settings.max_resources));
        }
        let after: usize = service.values().map(|held| held.size).sum();
        if self.bytes - before + after > settings.max_bytes {
            return Err(format!("more than {} bytes of one peer are not held", settings.max_bytes));
        }
        if let Some(share) = self.share.as_ref().filter(|share| !share.allows(self.bytes - before + after)) {
            let most = share.budget().most();
            return Err(format!("more than {most} bytes of all peers are not held (--max-announced-bytes)"));
        }
        let offer = combined(&service).ok_or("there is nothing in it")?;
        if offer.endpoints.len() > MAX_ENDPOINTS {
            return Err(format!("its slices have more than {MAX_ENDPOINTS} endpoints together"));
        }
        Ok(offer)
    }

    /// Takes slices of one service, which agree.
    pub(super) fn update(&mut self, key: &Key, new: Vec<HeldSlice>) {
        let mut service = self.take_service(key);
        overlay(&mut service, new);
        self.put_service(key, service);
    }

    pub(super) fn forget(&mut self, key: &Key) {
        self.take_service(key);
        self.put_service(key, Service::new());
    }

    pub(super) fn remove(&mut self, name: &SliceName) {
        let mut service = self.take_service(&name.key);
        service.remove(name);
        self.put_service(&name.key, service);
    }

    /// Drops everything but where the peer can be reached, and says what it was.
    pub(super) fn clear(&mut self) -> Vec<Key> {
        let keys: Vec<_> = self.services.keys().filter(|key| **key != discovery_key()).cloned().collect();
        for key in &keys {
            self.forget(key);
        }
        keys
    }

    fn take_service(&mut self, key: &Key) -> Service {
        let service = self.services.remove(key).unwrap_or_default();
        self.count -= service.len();
        self.bytes -= service.values().map(|held| held.size).sum::<usize>();
        service
    }

    fn put_service(&mut self, key: &Key, service: Service) {
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

/// What says something else than the new slices is outdated: the peer has yet to send it again.
fn overlay(service: &mut Service, new: Vec<HeldSlice>) {
    if let Some(newest) = new.first() {
        service.retain(|_, held| held.slice.facts == newest.slice.facts);
    }
    service.extend(new.into_iter().map(|held| (held.slice.name.clone(), held)));
}

fn combined(service: &Service) -> Option<Offer> {
    let Slice { name, facts, .. } = &service.values().next()?.slice;
    let endpoints = service.values().flat_map(|held| held.slice.endpoints.iter().cloned());
    Some(facts.offer(name.key.clone(), endpoints))
}
