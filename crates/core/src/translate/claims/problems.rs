//! The reasons why a resource does not get what it claims.

use std::sync::Arc;

use emcee_api::Reason;

use super::{BindingClaim, Claims, MAX_RESOURCES, MAX_RIVALS, OfferingClaim, QuotaKey, group::Places, quota};
use crate::key::{Age, Key};
use crate::problem::Problem;
use crate::resolve::{FacadeClaim, RelayClaim};
use foldhash::HashMap;

/// The reason why a binding does not get a port of a facade.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum FacadeRival {
    /// The oldest binding gives the facade another visibility.
    Seen(Age),
    /// An older binding has the port.
    Port(Age),
}

impl FacadeRival {
    /// Returns what conflicts with a claim. All ports of one facade have the visibility of its oldest binding.
    pub(super) fn of(older: &[(&Age, &FacadeClaim)], claim: &FacadeClaim) -> Option<Self> {
        // Without an older claim there is no conflict.
        let (first, oldest) = older.first()?;
        if oldest.visibility != claim.visibility {
            return Some(Self::Seen((*first).clone()));
        }
        let (holder, _) = older.iter().find(|(_, other)| other.port == claim.port)?;
        Some(Self::Port((*holder).clone()))
    }
}

impl Claims {
    /// Returns why an exposition with precedence `age` does not get its slot in the relationship, or its server name.
    pub(in crate::translate) fn exposition_conflict(
        &self,
        claim: &OfferingClaim,
        age: &Age,
    ) -> Option<Problem> {
        self.no_place(&self.expositions_in, &claim.fed_config, age, "ServiceExpositions")
            .or_else(|| self.server_name_conflict(&claim.server_name, age))
    }

    /// Returns why a binding with precedence `age` does not get its slot in the relationship, or one of the names
    /// that it claims.
    pub(in crate::translate) fn binding_conflict(&self, claim: &BindingClaim, age: &Age) -> Option<Problem> {
        let facade = || self.facade_conflict(claim.facade.as_deref()?, age);
        // One conflict is enough for a verdict. The later checks run only if the earlier ones find nothing.
        self.no_place_of_binding(claim, age)
            .or_else(facade)
            .or_else(|| self.relay_conflict(claim.relay.as_deref()?, age))
    }

    /// Returns the bindings whose ports the facade has, oldest first.
    pub(in crate::translate) fn holders_of_facade(&self, facade: &Key) -> Vec<&Age> {
        let claims: Vec<_> = self.facade(facade).collect();
        // A binding that has the port, but lacks another claim, blocks the port for younger ones all the same: it may
        // get the other claim at any time.
        let has_port = |(place, (age, claim)): (usize, &(&Age, &FacadeClaim))| {
            FacadeRival::of(&claims[..place], claim).is_none() && self.has_all_but_facade(age)
        };
        let holders = claims.iter().enumerate().filter(|member| has_port(*member));
        holders.map(|(_, (age, _))| *age).collect()
    }

    fn has_all_but_facade(&self, binding: &Age) -> bool {
        let Some(of) = self.of_bindings.get(binding.key()) else { return false };
        let relay = of.claim.relay.as_deref().and_then(|relay| self.relay_conflict(relay, binding));
        relay.is_none() && self.no_place_of_binding(&of.claim, binding).is_none()
    }

    fn no_place_of_binding(&self, claim: &BindingClaim, age: &Age) -> Option<Problem> {
        self.no_place(&self.bindings_in, claim.fed_config.as_ref()?, age, "ServiceBindings")
    }

    /// Returns whether a binding gets everything that it claims.
    pub(in crate::translate) fn has_all(&self, binding: &Age) -> bool {
        // A resource that was deleted and created again has the same key, but another precedence.
        let claims = self.of_bindings.get(binding.key()).filter(|of| of.age == *binding);
        claims.is_some_and(|of| self.binding_conflict(&of.claim, binding).is_none())
    }

    fn no_place(
        &self,
        places: &HashMap<QuotaKey, Places>,
        fed_config: &Key,
        age: &Age,
        what: &str,
    ) -> Option<Problem> {
        self.look();
        if !places.get(&quota(fed_config, age))?.is_beyond(age) {
            return None;
        }
        let namespace = &age.key().namespace;
        let message = format!(
            "namespace {namespace} has {MAX_RESOURCES} older {what} in MeshFedConfig {fed_config}, which accepts no more from one namespace (delete some, or use another namespace)"
        );
        Some(Problem::at(Reason::LimitExceeded, "spec.mesh_fed_config_selector", message))
    }

    fn server_name_conflict(&self, server_name: &Arc<str>, age: &Age) -> Option<Problem> {
        let group = self.server_names.get(server_name)?;
        // Rivals are in order, so the older ones come first. The limit bounds the cost for popular names.
        let older = group.iter().take(MAX_RIVALS).inspect(|_| self.look());
        let older: Vec<_> = older.map(|(other, ())| other).take_while(|other| *other < age).collect();
        let holder = older.first()?;
        if older.len() == MAX_RIVALS {
            let message = format!(
                "{MAX_RIVALS} older ServiceExpositions claim the server name {server_name}, which only one can have (set alias to another name)"
            );
            return Some(Problem::at(Reason::LimitExceeded, "spec.alias", message));
        }
        let message = format!(
            "the older ServiceExposition {} already has the server name {server_name} (set alias to another name)",
            holder.key()
        );
        Some(Problem::at(Reason::ServerNameConflict, "spec.alias", message))
    }

    fn facade_conflict(&self, claim: &FacadeClaim, age: &Age) -> Option<Problem> {
        let facade = &claim.facade;
        let older: Vec<_> = self.facade(facade).take_while(|(other, _)| *other < age).collect();
        if older.len() == MAX_RIVALS {
            let message = format!(
                "{MAX_RIVALS} older ServiceBindings claim {facade}, which has at most {MAX_RIVALS} ports (set spec.alias to another name)"
            );
            return Some(Problem::at(Reason::LimitExceeded, "spec.alias", message));
        }
        Some(match FacadeRival::of(&older, claim)? {
            FacadeRival::Seen(first) => {
                let message = format!(
                    "the older ServiceBinding {} gives {facade} another visibility (set the same export_to, or another spec.alias)",
                    first.key()
                );
                Problem::at(Reason::FacadeConflict, "spec.export_to", message)
            }
            FacadeRival::Port(holder) => {
                let message = format!(
                    "the older ServiceBinding {} already has port {} of {facade} (set spec.port or spec.alias)",
                    holder.key(),
                    claim.port
                );
                Problem::at(Reason::FacadeConflict, "spec.port", message)
            }
        })
    }

    /// Returns why a binding cannot use a relay: the oldest claim determines its endpoints.
    fn relay_conflict(&self, claim: &RelayClaim, age: &Age) -> Option<Problem> {
        let (holder, oldest) = self.relay(&claim.namespace, &claim.server_name).next()?;
        if holder == age || agree(claim, oldest) {
            return None;
        }
        let message = format!(
            "the older ServiceBinding {} routes {} to {} through an egress gateway in the same namespace (use the same endpoints, or have the exposing mesh set an alias)",
            holder.key(),
            claim.server_name,
            oldest.source
        );
        Some(Problem::at(Reason::ServerNameConflict, "spec.endpoints", message))
    }
}

/// Returns whether two bindings can share a relay: the same relationship, and the same peer or given endpoints.
pub(super) fn agree(one: &RelayClaim, other: &RelayClaim) -> bool {
    one.source == other.source && one.relationship == other.relationship
}
