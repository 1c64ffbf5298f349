//! The translation of the core, and what the controller keeps of each resource.

use std::collections::HashMap;

use emcee_core::inputs::{InputChange, TranslationSettings};
use emcee_core::status::ResourceVerdict;
use emcee_core::translate::{LastGood, Translation, Unit, UnitBatch};
use emcee_core::uid::Uid;

use jiff::Timestamp;
use tracing::warn;

use crate::mesh_config::MeshTrustDomains;
use crate::object::{ObjectId, OwnerLabels, ResourceVersion, UserResource};
use crate::options::{ControllerOptions, Namespaces};
use crate::status_digest::StatusDigest;

/// The translation, and the resources that it is made from.
pub(crate) struct Model {
    last_good: LastGood,
    resources: HashMap<Unit, ResourceMeta>,
    /// Whether the trust domain follows Istio's mesh configuration, as no option sets it.
    follows_trust_domain: bool,
    /// Whether the aliases follow Istio's mesh configuration, as no option sets them.
    follows_aliases: bool,
    /// Namespaces in which relationships may have objects, wherever their resources are.
    fed_namespaces: Namespaces,
}

/// A user's resource, as the API server has it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ResourceMeta {
    pub(crate) uid: Uid,
    pub(crate) version: ResourceVersion,
    pub(crate) generation: Option<i64>,
    pub(crate) deleting: bool,
    pub(crate) finalizer: bool,
    pub(crate) status: StatusDigest,
}

impl Model {
    pub(crate) fn new(options: &ControllerOptions) -> Self {
        let mut last_good = LastGood::new(options.core_settings(Timestamp::now()));
        // Assume that the namespaces to which Emcee is confined exist: it may not watch them. If one does not
        // exist, writes into it fail.
        let confined = options.scope.confined_namespaces().into_iter();
        last_good.update(confined.map(|namespace| InputChange::Namespace(namespace.into(), true)));
        Self {
            last_good,
            resources: HashMap::new(),
            follows_trust_domain: options.trust_domain.is_none(),
            follows_aliases: options.trust_domain_aliases.is_none(),
            fed_namespaces: options.scope.secret_namespaces(),
        }
    }

    pub(crate) fn translation(&self) -> &Translation {
        self.last_good.translation()
    }

    pub(crate) fn settings(&self) -> &TranslationSettings {
        self.translation().inputs().settings()
    }

    pub(crate) fn verdict(&self, unit: &Unit) -> Option<ResourceVerdict> {
        self.last_good.verdict(unit)
    }

    pub(crate) fn resource(&self, unit: &Unit) -> Option<&ResourceMeta> {
        self.resources.get(unit)
    }

    /// Returns the UID of the owner of a unit's objects.
    pub(crate) fn owner_uid(&self, unit: &Unit) -> Option<&Uid> {
        match unit {
            Unit::AutomaticExposition(service) => {
                let service = self.translation().inputs().find_service(service)?;
                service.expose_request.as_ref().map(|expose| &expose.uid)
            }
            Unit::Imports(key) => self.owner_uid(&Unit::MeshFedConfig(key.clone())),
            unit => self.resource(unit).map(|known| &known.uid),
        }
    }

    /// Returns the unit that asks, or asked, for an object with these labels. `None` if the object is where
    /// the owner has no objects: a stranger could set these labels, and a finalizer, to block a resource of
    /// another user. An object that is known to have been asked for (`is_known`) can be anywhere.
    pub(crate) fn owning_unit(&self, owner: &OwnerLabels, id: &ObjectId, is_known: bool) -> Option<Unit> {
        let namespace = &*id.key.namespace;
        // If every namespace may be a fed namespace, that proves nothing.
        let is_operators = || match &self.fed_namespaces {
            Namespaces::All => self.settings().gateway_namespaces.iter().any(|it| **it == *namespace),
            some @ Namespaces::Only(_) => some.contains(namespace),
        };
        let has_relationship = || {
            let mut relationships = self.translation().inputs().fed_configs();
            relationships.any(|(key, _)| *key.namespace == *namespace)
        };
        let may_be = is_known || owner.is_in_namespace(namespace) || is_operators() || has_relationship();
        may_be.then(|| owner.owning_unit(id.kind, self.resources.keys())).flatten()
    }

    pub(crate) fn resources(&self) -> impl Iterator<Item = (&Unit, &ResourceMeta)> {
        self.resources.iter()
    }

    /// Records the current version of a resource, and returns the changes for the core. A version that is
    /// not newer than the known one is ignored: then there are none. If the resource was recreated, the core is told first that the
    /// previous one is gone: its last good version must not apply to the new one.
    pub(crate) fn record_resource(&mut self, resource: UserResource) -> Vec<InputChange> {
        let UserResource { unit, uid, version, generation, deleting, finalizer, status, change } = resource;
        let mut changes = Vec::new();
        match self.resources.get(&unit) {
            // Watch events and responses to writes arrive in any order.
            Some(known) if !version.is_newer(&known.version) => return changes,
            Some(known) if known.uid != uid => changes.extend(self.remove_resource(&unit)),
            _ => {}
        }
        self.resources.insert(unit, ResourceMeta { uid, version, generation, deleting, finalizer, status });
        changes.push(change);
        changes
    }

    /// Records that a resource is gone, and returns the change for the core.
    pub(crate) fn remove_resource(&mut self, unit: &Unit) -> Option<InputChange> {
        self.resources.remove(unit);
        match unit {
            Unit::MeshFedConfig(key) => Some(InputChange::FedConfig(key.clone(), None)),
            Unit::ServiceExposition(key) => Some(InputChange::Exposition(key.clone(), None)),
            Unit::ServiceBinding(key) => Some(InputChange::Binding(key.clone(), None)),
            Unit::AutomaticExposition(_)
            | Unit::Imports(_)
            | Unit::Facade(_)
            | Unit::Relay(..)
            | Unit::SharedHost(_) => None,
        }
    }

    /// Applies changes, and translates everything that they affect.
    pub(crate) fn apply_changes(&mut self, changes: Vec<InputChange>) {
        self.last_good.update(changes);
    }

    /// Applies changes. Call [`work`](Self::work) to translate what they affect.
    pub(crate) fn queue_changes(&mut self, changes: Vec<InputChange>) {
        self.last_good.accept_changes(changes);
    }

    /// Translates while `goes_on` returns true. Returns the units that may have other objects or another
    /// verdict, in pieces that belong together.
    pub(crate) fn work(&mut self, goes_on: impl FnMut() -> bool) -> Vec<UnitBatch> {
        self.last_good.run_units(goes_on)
    }

    /// Records that the results of a piece have been propagated.
    pub(crate) fn mark_propagated(&mut self, piece: &UnitBatch) {
        self.last_good.acknowledge_batch(piece);
    }

    /// Adds a unit to those that [`work`](Self::work) returns.
    pub(crate) fn requeue_unit(&mut self, unit: Unit) {
        self.last_good.requeue_for_report(unit);
    }

    /// Changes the settings. Call [`work`](Self::work) to translate what that affects.
    pub(crate) fn update_settings(&mut self, change: impl FnOnce(&mut TranslationSettings)) {
        let mut settings = self.settings().clone();
        change(&mut settings);
        // A change of the settings can affect every unit.
        if settings != *self.settings() {
            self.last_good.accept_settings(settings);
        }
    }

    /// Applies the trust domains of Istio's mesh configuration, unless options set them. A configuration that
    /// cannot be read changes nothing, because every identity depends on it.
    pub(crate) fn update_trust_domains(&mut self, trust: Result<MeshTrustDomains, String>) {
        let MeshTrustDomains { trust_domain, aliases } = match trust {
            Ok(trust) => trust,
            Err(why) => {
                warn!(
                    error = why,
                    "cannot read Istio's mesh configuration; the trust domain stays as it was"
                );
                return;
            }
        };
        let (follows_trust_domain, follows_aliases) = (self.follows_trust_domain, self.follows_aliases);
        self.update_settings(|settings| {
            if follows_trust_domain {
                settings.trust_domain =
                    trust_domain.unwrap_or_else(|| TranslationSettings::default().trust_domain);
            }
            if follows_aliases {
                settings.trust_domain_aliases = aliases;
            }
        });
    }
}
