//! The reasons why a resource does not get what it claims.

use std::sync::Arc;

use emcee_api::Reason;

use super::{
    BindingClaim, Claims, ExpositionClaim, MAX_RESOURCES, MAX_RIVALS, QuotaKey, claimants::LimitedSlots,
    quota_key,
};
use crate::key::{ObjectKey, Precedence};
use crate::problem::ResourceProblem;
use crate::resolve::{FacadeClaim, RelayClaim};
use foldhash::HashMap;

/// The reason why a binding does not get a port of a facade.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum FacadeConflictCause {
    /// The oldest binding gives the facade another visibility.
    Visibility(Precedence),
    /// An older binding has the port.
    Port(Precedence),
}

impl FacadeConflictCause {
    /// Returns what conflicts with a claim. All ports of one facade have the visibility of its oldest binding.
    pub(super) fn find_cause(older: &[(&Precedence, &FacadeClaim)], claim: &FacadeClaim) -> Option<Self> {
        // Without an older claim there is no conflict.
        let (first, oldest) = older.first()?;
        if oldest.export_scope != claim.export_scope {
            return Some(Self::Visibility((*first).clone()));
        }
        let (holder, _) = older.iter().find(|(_, other)| other.port == claim.port)?;
        Some(Self::Port((*holder).clone()))
    }
}

impl Claims {
    /// Returns why an exposition with precedence `age` does not get its slot in the relationship, or its server name.
    pub(in crate::translate) fn exposition_conflict(
        &self,
        claim: &ExpositionClaim,
        age: &Precedence,
    ) -> Option<ResourceProblem> {
        self.slot_conflict(&self.exposition_slots, &claim.fed_config, age, "ServiceExpositions")
            .or_else(|| self.server_name_conflict(&claim.server_name, age))
    }

    /// Returns why a binding with precedence `age` does not get its slot in the relationship, or one of the names
    /// that it claims.
    pub(in crate::translate) fn binding_conflict(
        &self,
        claim: &BindingClaim,
        age: &Precedence,
    ) -> Option<ResourceProblem> {
        let facade = || self.facade_conflict(claim.facade.as_deref()?, age);
        // One conflict is enough for a verdict. The later checks run only if the earlier ones find nothing.
        self.binding_slot_conflict(claim, age)
            .or_else(facade)
            .or_else(|| self.relay_conflict(claim.relay.as_deref()?, age))
    }

    /// Returns the bindings whose ports the facade has, oldest first.
    pub(in crate::translate) fn holders_of_facade(&self, facade: &ObjectKey) -> Vec<&Precedence> {
        let claims: Vec<_> = self.facade_claims(facade).collect();
        // A binding that has the port, but lacks another claim, blocks the port for younger ones all the same: it may
        // get the other claim at any time.
        let has_port = |(place, (age, claim)): (usize, &(&Precedence, &FacadeClaim))| {
            FacadeConflictCause::find_cause(&claims[..place], claim).is_none()
                && self.holds_all_but_facade(age)
        };
        let holders = claims.iter().enumerate().filter(|member| has_port(*member));
        holders.map(|(_, (age, _))| *age).collect()
    }

    fn holds_all_but_facade(&self, binding: &Precedence) -> bool {
        let Some(of) = self.bindings.get(binding.key()) else { return false };
        let relay = of.claim.relay.as_deref().and_then(|relay| self.relay_conflict(relay, binding));
        relay.is_none() && self.binding_slot_conflict(&of.claim, binding).is_none()
    }

    fn binding_slot_conflict(&self, claim: &BindingClaim, age: &Precedence) -> Option<ResourceProblem> {
        self.slot_conflict(&self.binding_slots, claim.fed_config.as_ref()?, age, "ServiceBindings")
    }

    /// Returns whether a binding has a slot in its relationship.
    pub(in crate::translate) fn holds_slot(&self, binding: &Precedence) -> bool {
        let claims = self.bindings.get(binding.key()).filter(|of| of.age == *binding);
        claims.is_some_and(|of| self.binding_slot_conflict(&of.claim, binding).is_none())
    }

    /// Returns whether a binding gets everything that it claims.
    pub(in crate::translate) fn holds_all_claims(&self, binding: &Precedence) -> bool {
        // A resource that was deleted and created again has the same key, but another precedence.
        let claims = self.bindings.get(binding.key()).filter(|of| of.age == *binding);
        claims.is_some_and(|of| self.binding_conflict(&of.claim, binding).is_none())
    }

    fn slot_conflict(
        &self,
        places: &HashMap<QuotaKey, LimitedSlots>,
        fed_config: &ObjectKey,
        age: &Precedence,
        what: &str,
    ) -> Option<ResourceProblem> {
        self.count_read();
        if !places.get(&quota_key(fed_config, age))?.is_waiting(age) {
            return None;
        }
        let namespace = &age.key().namespace;
        let message = format!(
            "namespace {namespace} has {MAX_RESOURCES} older {what} in MeshFedConfig {fed_config}, which accepts no more from one namespace (delete some, or use another namespace)"
        );
        Some(ResourceProblem::at_field(Reason::LimitExceeded, "spec.mesh_fed_config_selector", message))
    }

    fn server_name_conflict(&self, server_name: &Arc<str>, age: &Precedence) -> Option<ResourceProblem> {
        let group = self.server_names.get(server_name)?;
        // Rivals are in order, so the older ones come first. The limit bounds the cost for popular names.
        let older = group.iter().take(MAX_RIVALS).inspect(|_| self.count_read());
        let older: Vec<_> = older.map(|(other, ())| other).take_while(|other| *other < age).collect();
        let holder = older.first()?;
        if older.len() == MAX_RIVALS {
            let message = format!(
                "{MAX_RIVALS} older ServiceExpositions claim the server name {server_name}, which only one can have (set alias to another name)"
            );
            return Some(ResourceProblem::at_field(Reason::LimitExceeded, "spec.alias", message));
        }
        let message = format!(
            "the older ServiceExposition {} already has the server name {server_name} (set alias to another name)",
            holder.key()
        );
        Some(ResourceProblem::at_field(Reason::ServerNameConflict, "spec.alias", message))
    }

    fn facade_conflict(&self, claim: &FacadeClaim, age: &Precedence) -> Option<ResourceProblem> {
        let facade = &claim.facade;
        let older: Vec<_> = self.facade_claims(facade).take_while(|(other, _)| *other < age).collect();
        if older.len() == MAX_RIVALS {
            let message = format!(
                "{MAX_RIVALS} older ServiceBindings claim {facade}, which has at most {MAX_RIVALS} ports (set spec.alias to another name)"
            );
            return Some(ResourceProblem::at_field(Reason::LimitExceeded, "spec.alias", message));
        }
        Some(match FacadeConflictCause::find_cause(&older, claim)? {
            FacadeConflictCause::Visibility(first) => {
                let message = format!(
                    "the older ServiceBinding {} gives {facade} another visibility (set the same export_to, or another spec.alias)",
                    first.key()
                );
                ResourceProblem::at_field(Reason::FacadeConflict, "spec.export_to", message)
            }
            FacadeConflictCause::Port(holder) => {
                let message = format!(
                    "the older ServiceBinding {} already has port {} of {facade} (set spec.port or spec.alias)",
                    holder.key(),
                    claim.port
                );
                ResourceProblem::at_field(Reason::FacadeConflict, "spec.port", message)
            }
        })
    }

    /// Returns why a binding cannot use a relay: the oldest claim determines its endpoints.
    fn relay_conflict(&self, claim: &RelayClaim, age: &Precedence) -> Option<ResourceProblem> {
        let (holder, oldest) = self.relay_claims(&claim.namespace, &claim.server_name).next()?;
        if holder == age || can_share_relay(claim, oldest) {
            return None;
        }
        let message = format!(
            "the older ServiceBinding {} routes {} to {} through an egress gateway in the same namespace (use the same endpoints, or have the exposing mesh set an alias)",
            holder.key(),
            claim.server_name,
            oldest.origin
        );
        Some(ResourceProblem::at_field(Reason::ServerNameConflict, "spec.endpoints", message))
    }
}

/// Returns whether two bindings can share a relay: the same relationship, and the same peer or given endpoints.
pub(super) fn can_share_relay(one: &RelayClaim, other: &RelayClaim) -> bool {
    one.origin == other.origin && one.relationship == other.relationship
}
