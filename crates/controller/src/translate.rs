//! The core's translation, and what the controller keeps of each resource beside it.

use std::collections::HashMap;

use emcee_core::inputs::{Change, Settings};
use emcee_core::status::Verdict;
use emcee_core::translate::{LastGood, Piece, Translation, Unit};
use emcee_core::uid::Uid;

use jiff::Timestamp;
use tracing::warn;

use crate::istio_mesh::MeshTrust;
use crate::observe::fact::{ObjectId, OwnerLabels, Resource, Said, Version};
use crate::options::{Namespaces, Options};

/// What is translated, and the resources that it is translated from.
pub(crate) struct Model {
    last_good: LastGood,
    resources: HashMap<Unit, Known>,
    /// Whether Istio's mesh configuration says the trust domain; else it was given.
    follows_trust_domain: bool,
    /// Whether Istio's mesh configuration says its aliases; else they were given.
    follows_aliases: bool,
    /// Where relationships may have objects, wherever their resources are.
    fed: Namespaces,
}

/// A user's resource, as the API server has it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Known {
    pub(crate) uid: Uid,
    pub(crate) version: Version,
    pub(crate) generation: Option<i64>,
    pub(crate) deleting: bool,
    pub(crate) finalizer: bool,
    pub(crate) said: Said,
}

impl Model {
    pub(crate) fn new(options: &Options) -> Self {
        let mut last_good = LastGood::new(options.settings(Timestamp::now()));
        // Those to which Emcee is confined are taken to be there: what is written into one that is not is refused then.
        let confined = options.scope.confined().into_iter();
        last_good.update(confined.map(|namespace| Change::Namespace(namespace.into(), true)));
        Self {
            last_good,
            resources: HashMap::new(),
            follows_trust_domain: options.trust_domain.is_none(),
            follows_aliases: options.trust_domain_aliases.is_none(),
            fed: options.scope.secrets(),
        }
    }

    pub(crate) fn translation(&self) -> &Translation {
        self.last_good.translation()
    }

    pub(crate) fn settings(&self) -> &Settings {
        self.translation().inputs().settings()
    }

    pub(crate) fn verdict(&self, unit: &Unit) -> Option<Verdict> {
        self.last_good.verdict(unit)
    }

    pub(crate) fn resource(&self, unit: &Unit) -> Option<&Known> {
        self.resources.get(unit)
    }

    /// UID of the object that the objects of a unit belong to.
    pub(crate) fn owner_uid(&self, unit: &Unit) -> Option<&Uid> {
        match unit {
            Unit::AutomaticExposition(service) => {
                let service = self.translation().inputs().service(service)?;
                service.expose.as_ref().map(|expose| &expose.uid)
            }
            Unit::Imports(key) => self.owner_uid(&Unit::MeshFedConfig(key.clone())),
            unit => self.resource(unit).map(|known| &known.uid),
        }
    }

    /// The unit that asks, or asked, for an object with these labels; none where none has objects: labels, and an object that
    /// does not go, may be a stranger's who wants to hold up somebody else's resource. One that is known to have been asked
    /// for can be anywhere.
    pub(crate) fn unit_of(&self, owner: &OwnerLabels, id: &ObjectId, is_known: bool) -> Option<Unit> {
        let namespace = &*id.key.namespace;
        // Where all namespaces may be fed namespaces, that a namespace is one says nothing.
        let is_operators = || match &self.fed {
            Namespaces::All => self.settings().gateway_namespaces.iter().any(|it| **it == *namespace),
            some @ Namespaces::Only(_) => some.contains(namespace),
        };
        let has_relationship = || {
            let mut relationships = self.translation().inputs().fed_configs();
            relationships.any(|(key, _)| *key.namespace == *namespace)
        };
        let may_be = is_known || owner.is_in(namespace) || is_operators() || has_relationship();
        may_be.then(|| owner.unit(id.kind, self.resources.keys())).flatten()
    }

    pub(crate) fn resources(&self) -> impl Iterator<Item = (&Unit, &Known)> {
        self.resources.iter()
    }

    /// Notes what a resource is now. Says what the core is to be told: nothing of what is older than what is known, and
    /// of one that was made anew that its predecessor is gone, whose last good version is not its own.
    pub(crate) fn note(&mut self, resource: Resource) -> Vec<Change> {
        let Resource { unit, uid, version, generation, deleting, finalizer, status, change } = resource;
        let mut changes = Vec::new();
        match self.resources.get(&unit) {
            Some(known) if !version.is_newer(&known.version) => return changes,
            Some(known) if known.uid != uid => changes.extend(self.forget(&unit)),
            _ => {}
        }
        self.resources.insert(unit, Known { uid, version, generation, deleting, finalizer, said: status });
        changes.push(change);
        changes
    }

    /// A resource is gone. Says what the core is to be told.
    pub(crate) fn forget(&mut self, unit: &Unit) -> Option<Change> {
        self.resources.remove(unit);
        match unit {
            Unit::MeshFedConfig(key) => Some(Change::FedConfig(key.clone(), None)),
            Unit::ServiceExposition(key) => Some(Change::Exposition(key.clone(), None)),
            Unit::ServiceBinding(key) => Some(Change::Binding(key.clone(), None)),
            Unit::AutomaticExposition(_) | Unit::Imports(_) | Unit::Facade(_) | Unit::Relay(..) => None,
        }
    }

    /// Takes changes in, and runs all that they reach.
    pub(crate) fn update(&mut self, changes: Vec<Change>) {
        self.last_good.update(changes);
    }

    /// Takes changes in. What they reach is to [`work`](Self::work).
    pub(crate) fn take(&mut self, changes: Vec<Change>) {
        self.last_good.take(changes);
    }

    /// Runs units while `goes_on` says so; returns those that may have other objects or another verdict, in pieces that
    /// belong together.
    pub(crate) fn work(&mut self, goes_on: impl FnMut() -> bool) -> Vec<Piece> {
        self.last_good.work(goes_on)
    }

    /// What came of a piece has been passed on.
    pub(crate) fn passed_on(&mut self, piece: &Piece) {
        self.last_good.passed_on(piece);
    }

    /// Has a unit be among those that [`work`](Self::work) returns.
    pub(crate) fn recall(&mut self, unit: Unit) {
        self.last_good.recall(unit);
    }

    /// Changes the surroundings. What that reaches is to [`work`](Self::work).
    pub(crate) fn take_settings(&mut self, change: impl FnOnce(&mut Settings)) {
        let mut settings = self.settings().clone();
        change(&mut settings);
        if settings != *self.settings() {
            self.last_good.take_settings(settings);
        }
    }

    /// Takes over what Istio's mesh configuration says of trust domains, as far as no flag says it. A configuration that
    /// cannot be read changes nothing: every identity depends on it.
    pub(crate) fn take_mesh_trust(&mut self, trust: Result<MeshTrust, String>) {
        let MeshTrust { trust_domain, aliases } = match trust {
            Ok(trust) => trust,
            Err(why) => {
                warn!(why, "Istio's mesh configuration cannot be read; the trust domain stays as it was");
                return;
            }
        };
        let (follows_trust_domain, follows_aliases) = (self.follows_trust_domain, self.follows_aliases);
        self.take_settings(|settings| {
            if follows_trust_domain {
                settings.trust_domain = trust_domain.unwrap_or_else(|| Settings::default().trust_domain);
            }
            if follows_aliases {
                settings.trust_domain_aliases = aliases;
            }
        });
    }
}
