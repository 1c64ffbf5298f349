//! Validates the announcements of a peer again after its policy has changed.

use std::collections::BTreeSet;

use emcee_core::key::ObjectKey;

use super::{AnnouncementEvent, DeltaClient, ValidateAnnouncement};
use crate::wire::{DeltaDiscoveryRequest, ENDPOINT_SLICE};

impl DeltaClient {
    /// Validates all announcements again after the policy has changed: rejects accepted ones and accepts rejected ones.
    ///
    /// Returns the changes, and the names to [request again](Self::refetch_request) so that the peer receives an ACK
    /// or NACK for them. Their number is bounded. They are empty without a stream.
    pub fn revalidate(
        &mut self,
        validate: ValidateAnnouncement<'_>,
    ) -> (Vec<AnnouncementEvent>, BTreeSet<String>) {
        let validated: Vec<_> = self
            .accepted
            .announcements()
            .map(|announcement| (validate(&announcement), announcement.key))
            .collect();
        let refused = validated.into_iter().filter_map(|(result, key)| Some((key, result.err()?)));
        let refused: Vec<_> = refused.collect();
        let mut keys: BTreeSet<_> = refused.iter().map(|(key, _)| key.clone()).collect();
        keys.extend(self.rejected.service_keys().cloned());
        let before = self.rejection_reasons.clone();
        let events = self.collect_events(keys, |this| {
            for (key, reason) in &refused {
                this.reject_accepted(key, reason);
            }
            for key in this.rejected.service_keys().cloned().collect::<Vec<_>>() {
                this.retry_rejected(&key, validate);
            }
            this.shrink_rejected();
        });
        // Before the first response there is nothing to correct: the peer has received no ACK or NACK yet.
        let has_responded = self.stream.first_response.is_some();
        (
            events,
            if has_responded { before.names_that_differ(&self.rejection_reasons) } else { BTreeSet::new() },
        )
    }

    /// Returns a request that makes the server send resources again: it subscribes to their names and unsubscribes in
    /// the same message. The wildcard subscription still includes them, so the server sends them once more.
    pub fn refetch_request(names: &BTreeSet<String>) -> DeltaDiscoveryRequest {
        let names: Vec<_> = names.iter().cloned().collect();
        DeltaDiscoveryRequest {
            type_url: ENDPOINT_SLICE.to_owned(),
            resource_names_subscribe: names.clone(),
            resource_names_unsubscribe: names,
            ..DeltaDiscoveryRequest::default()
        }
    }

    /// Moves the accepted slices of a service to the rejected ones. Slices that were rejected before are newer and
    /// stay.
    fn reject_accepted(&mut self, key: &ObjectKey, reason: &str) {
        let newer = self.rejected.take_slices(key);
        let slices = self.accepted.take_slices(key);
        for name in slices.iter().map(|held| &held.slice.name) {
            self.pending_removals.remove(name);
            self.stream.initial_resources.remove(name);
            self.rejection_reasons.insert(&name.to_string(), reason);
        }
        // The order makes newer slices win: inserting drops contradicting ones.
        self.rejected.insert_slices(key, slices);
        self.rejected.insert_slices(key, newer);
    }

    /// Accepts the rejected slices of a service if they are valid now.
    fn retry_rejected(&mut self, key: &ObjectKey, validate: ValidateAnnouncement<'_>) {
        let slices = self.rejected.take_slices(key);
        let names = slices.iter().map(|held| held.slice.name.to_string());
        let names: Vec<_> = names.collect();
        match self
            .accepted
            .preview_update(key, &slices, &self.settings)
            .and_then(|announcement| validate(&announcement))
        {
            Ok(()) => {
                self.accepted.insert_slices(key, slices);
                for name in &names {
                    self.rejection_reasons.remove(name);
                }
            }
            Err(reason) => {
                self.rejected.insert_slices(key, slices);
                for name in &names {
                    self.rejection_reasons.insert(name, &reason);
                }
            }
        }
    }
}
