//! Translates inputs into a plan: everything at first, and after a change only the parts that it affects.
//!
//! The work is divided into [`Unit`]s: one for each resource, and one for each thing that several bindings share (a
//! facade, a relay). The output of a unit depends only on the topics that it *read*, which are recorded, and on the
//! claims of its rivals. A change therefore runs those units again that read a changed topic, and revises those whose
//! rivals changed their claims. The result is the same as that of a new translation, whatever the order of the
//! inputs.

mod announcements;
mod claims;
mod dependencies;
mod generated_inputs;
mod last_good;
mod output;
mod peer_usage;
mod queue;
mod run;
mod unit;

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _};
use jiff::Timestamp;

use crate::block;
use crate::inputs::{InputChange, InputCoverage, Inputs, Service, TranslationSettings};
use crate::key::{ObjectKey, Precedence};
use crate::mode::GatewaySide;
use crate::plan::{self, GeneratedKind, GeneratedObject, ObjectOwner, OwnerKind};
use crate::resolve::{
    self, InputView, RelayClaim, ResolvedRelationship, ResolvedRelationships, SharedHostKey,
};
use crate::status::ResourceVerdict;
use crate::style;
use claims::Claims;
use dependencies::Dependencies;
use generated_inputs::GeneratedInputs;
pub use last_good::LastGood;
use output::{
    BindingOutput, UnitOutput, binding_objects, binding_verdict, exposition_objects, exposition_verdict,
};
use peer_usage::PeerUsage;
pub use queue::UnitBatch;
use queue::UnitQueue;
pub use unit::Unit;

/// A translation that applies changes to its inputs incrementally.
///
/// ```
/// use std::sync::Arc;
///
/// use emcee_core::inputs::{InputChange, InputCoverage, TranslationSettings};
/// use emcee_core::key::ObjectKey;
/// use emcee_core::parse::{read_binding, read_fed_config};
/// use emcee_core::translate::{Translation, Unit};
/// use serde_json::json;
///
/// let relationship = json!({
///     "apiVersion": "mm.ibm.istio.io/v1",
///     "kind": "MeshFedConfig",
///     "metadata": {"name": "yellow", "namespace": "yellow", "labels": {"fed-config": "yellow"}},
///     "spec": {"mode": "FLAT"},
/// });
/// let binding = json!({
///     "apiVersion": "mm.ibm.istio.io/v1",
///     "kind": "ServiceBinding",
///     "metadata": {"name": "ratings", "namespace": "shop"},
///     "spec": {
///         "name": "ratings",
///         "namespace": "shop",
///         "port": 9080,
///         "endpoints": ["203.0.113.7:9080"],
///         "mesh_fed_config_selector": {"fed-config": "yellow"},
///     },
/// });
/// let (config_key, binding_key) = (ObjectKey::new("yellow", "yellow"), ObjectKey::new("shop", "ratings"));
/// let settings = TranslationSettings { coverage: InputCoverage::Partial, ..Default::default() };
/// let mut translation = Translation::from_changes(
///     settings,
///     [
///         InputChange::FedConfig(config_key, Some(read_fed_config(&relationship).map(Arc::new))),
///         InputChange::Binding(binding_key.clone(), Some(read_binding(&binding).map(Arc::new))),
///     ],
/// );
/// let verdict = translation.verdict(&Unit::ServiceBinding(binding_key.clone())).expect("it was translated");
/// assert!(verdict.is_accepted(), "{verdict:?}");
/// assert!(!translation.objects().is_empty());
///
/// // A change runs only the units that it affects. Without the binding, its objects are gone.
/// translation.update([InputChange::Binding(binding_key.clone(), None)]);
/// assert!(translation.objects_of(&Unit::ServiceBinding(binding_key)).is_empty());
/// ```
#[derive(Debug)]
pub struct Translation {
    inputs: Inputs,
    relationships: ResolvedRelationships,
    dependencies: Dependencies,
    claims: Claims,
    outputs: HashMap<Unit, UnitOutput>,
    generated: GeneratedInputs,
    peer_usage: PeerUsage,
    queue: UnitQueue,
    /// Number of unit runs so far.
    unit_runs: u64,
}

/// Counters of the work that a translation has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkCounters {
    /// Number of unit runs.
    pub unit_runs: u64,
    /// Number of claims read to determine which resource holds what.
    pub claim_reads: u64,
}

impl Translation {
    /// Creates a translation without objects.
    pub fn new(settings: TranslationSettings) -> Self {
        Self {
            inputs: Inputs::new(settings),
            relationships: ResolvedRelationships::new(),
            dependencies: Dependencies::default(),
            claims: Claims::default(),
            outputs: HashMap::new(),
            generated: GeneratedInputs::default(),
            peer_usage: PeerUsage::default(),
            queue: UnitQueue::default(),
            unit_runs: 0,
        }
    }

    /// Creates a translation and applies `changes` to it.
    pub fn from_changes(
        settings: TranslationSettings,
        changes: impl IntoIterator<Item = InputChange>,
    ) -> Self {
        let mut translation = Self::new(settings);
        translation.update(changes);
        translation
    }

    /// Returns the inputs of the translation.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// Returns all generated objects, in the order of applying. They are not stored, but generated by each call.
    pub fn objects(&self) -> Vec<GeneratedObject> {
        plan::sort_for_apply(self.outputs.keys().flat_map(|unit| self.objects_of(unit)))
    }

    /// Returns the objects of one unit. They are not stored, but generated by each call.
    pub fn objects_of(&self, unit: &Unit) -> Vec<GeneratedObject> {
        let view = InputView::new(&self.inputs, &self.relationships);
        match unit {
            Unit::MeshFedConfig(key) => {
                let relationship = self.relationships.get(key);
                relationship.map(|relationship| self.relationship_objects(relationship)).unwrap_or_default()
            }
            Unit::ServiceExposition(key) => exposition_objects(&view, key, &self.claims),
            Unit::ServiceBinding(key) => binding_objects(&view, key, &self.claims),
            Unit::Facade(key) => self.facade_objects(key),
            Unit::Relay(key, server_name) => self.relay_objects(key, server_name),
            Unit::Imports(key) => self.imports_of(unit, key, None),
            Unit::SharedHost(host) => self.shared_host_objects(host),
            Unit::AutomaticExposition(_) => {
                self.automatic_output(&view, unit).map(|(_, objects)| objects).unwrap_or_default()
            }
        }
    }

    /// Returns the object of a unit with this kind, namespace and name, if the unit has it.
    pub fn object_of(&self, unit: &Unit, kind: GeneratedKind, key: &ObjectKey) -> Option<GeneratedObject> {
        let objects = match unit {
            // The one unit that may have thousands of objects.
            Unit::Imports(fed_config) => self.imports_of(unit, fed_config, Some(key)),
            unit => self.objects_of(unit),
        };
        let is_it = |object: &GeneratedObject| {
            object.kind() == kind && object.namespace == key.namespace && *object.name == *key.name
        };
        objects.into_iter().find(is_it)
    }

    /// Returns the imports of a relationship, as they were when the unit last ran: all, or only the one with this key.
    fn imports_of(
        &self,
        unit: &Unit,
        fed_config: &ObjectKey,
        only: Option<&ObjectKey>,
    ) -> Vec<GeneratedObject> {
        let output = self.outputs.get(unit);
        output.map(|output| self.import_objects(fed_config, output, only)).unwrap_or_default()
    }

    /// Returns the units that have an output: objects, a verdict, or both.
    pub fn units(&self) -> impl Iterator<Item = &Unit> {
        self.outputs.keys()
    }

    /// Returns the bindings that share a unit. Empty for a unit of a single resource.
    pub fn bindings_sharing(&self, unit: &Unit) -> Vec<Unit> {
        match unit {
            Unit::Facade(key) => self.claims.sharers_of_facade(key),
            Unit::Relay(key, server_name) => {
                let relationship = self.relationships.get(key);
                let egress =
                    relationship.and_then(|relationship| relationship.gateway(GatewaySide::Egress).ok());
                egress.map_or_else(Vec::new, |egress| {
                    self.claims.sharers_of_relay(&egress.namespace, server_name, key)
                })
            }
            Unit::SharedHost(host) => {
                let members = self.claims.members_of_shared_host(host);
                members.map(|age| Unit::ServiceBinding(age.key().clone())).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Returns the counters of the work so far. They depend on the changes only, not on the speed of the machine.
    pub fn work_counters(&self) -> WorkCounters {
        WorkCounters { unit_runs: self.unit_runs, claim_reads: self.claims.read_count() }
    }

    /// Returns the units that a binding shares with others. Empty for any other unit.
    pub fn shared_units_of(&self, unit: &Unit) -> Vec<Unit> {
        match unit {
            Unit::ServiceBinding(key) => self.claims.shared_units_of(key).collect(),
            _ => Vec::new(),
        }
    }

    /// Returns the Service whose labels request this ServiceExposition. `None` if a user wrote it.
    pub fn exposing_service(&self, exposition: &ObjectKey) -> Option<&ObjectKey> {
        self.generated.exposing_service(exposition)
    }

    /// Returns whether a valid version of a user's resource is in place.
    pub fn has_valid_resource(&self, unit: &Unit) -> bool {
        let Inputs { fed_configs, expositions, bindings, .. } = &self.inputs;
        let valid = match unit {
            Unit::MeshFedConfig(key) => fed_configs.get(key).is_some_and(Result::is_ok),
            Unit::ServiceExposition(key) => expositions.get(key).is_some_and(Result::is_ok),
            Unit::ServiceBinding(key) => bindings.get(key).is_some_and(Result::is_ok),
            _ => false,
        };
        // In file mode, generated resources are among the inputs too. They are no user's last good version.
        valid && (!self.feeds_back_generated() || self.generated.is_user_provided(unit))
    }

    /// Returns whether generated resources are fed back as inputs at once. In a cluster, they come back from the API
    /// server instead.
    fn feeds_back_generated(&self) -> bool {
        self.inputs.settings().coverage == InputCoverage::Partial
    }

    /// Returns the unit of a Service that requests its exposition by labels, or did so before the change.
    fn automatic_unit(&self, change: &InputChange) -> Option<Unit> {
        let InputChange::Service(key, new) = change else { return None };
        let labelled =
            |service: Option<&Service>| service.is_some_and(|service| service.expose_request.is_some());
        (labelled(new.as_ref()) || labelled(self.inputs.find_service(key)))
            .then(|| Unit::AutomaticExposition(key.clone()))
    }

    /// Returns the verdict on each resource, in order.
    pub fn verdicts(&self) -> Vec<(&Unit, ResourceVerdict)> {
        let units = self.outputs.keys();
        let mut verdicts: Vec<_> = units.filter_map(|unit| Some((unit, self.verdict(unit)?))).collect();
        verdicts.sort_unstable_by(|a, b| a.0.cmp(b.0));
        verdicts
    }

    /// Returns the end of the validity of the certificate, and its CA, that a relationship uses.
    pub fn certificate_expiry(&self, fed_config: &ObjectKey) -> Option<Timestamp> {
        let certificate = &self.relationships.get(fed_config)?.certificate;
        certificate.credential().map(|credential| credential.not_after)
    }

    /// Returns the verdict on one resource. Verdicts on services are not stored, but computed by each call.
    pub fn verdict(&self, unit: &Unit) -> Option<ResourceVerdict> {
        let view = InputView::new(&self.inputs, &self.relationships);
        match unit {
            Unit::ServiceExposition(key) => exposition_verdict(&view, key, &self.claims),
            Unit::ServiceBinding(key) => binding_verdict(&view, key, &self.claims),
            unit => self.outputs.get(unit)?.verdict().cloned(),
        }
    }

    fn relationship_objects(&self, relationship: &ResolvedRelationship) -> Vec<GeneratedObject> {
        block::relationship::objects(relationship, self.inputs.settings().revision.as_deref())
    }

    fn facade_objects(&self, key: &ObjectKey) -> Vec<GeneratedObject> {
        // Only bindings that hold all of their claims provide a port. So a facade has no port that leads nowhere
        // because of another conflict.
        let holders = self.claims.holders_of_facade(key);
        let binds = holders.into_iter().filter_map(|age| self.binding_output(age));
        let ports: Vec<_> = binds.filter_map(|binds| binds.facade_port.as_ref()).collect();
        block::facade::objects(key, &ports, &self.inputs.settings().cluster_domain)
    }

    /// Returns the objects of a relay. The oldest binding that is in place determines its endpoints.
    fn relay_objects(&self, fed_config: &ObjectKey, server_name: &str) -> Vec<GeneratedObject> {
        let Some(relationship) = self.relationships.get(fed_config) else { return Vec::new() };
        let Ok(egress) = relationship.gateway(GatewaySide::Egress) else { return Vec::new() };
        let leads = |(age, claim): &(&Precedence, &RelayClaim)| {
            // Two relationships may use the same gateway pods. Each relay has the claims of one relationship.
            claim.relationship == *fed_config
                && self.binding_output(age).is_some_and(|binds| binds.uses_relay)
                && self.claims.holds_all_claims(age)
        };
        let Some((_, claim)) = self.claims.relay_claims(&egress.namespace, server_name).find(leads) else {
            return Vec::new();
        };
        // The owner is the server name in the gateway's namespace, not a binding: the objects survive a change of the
        // oldest binding.
        let owner = ObjectKey { namespace: Arc::clone(&egress.namespace), name: server_name.into() };
        let owner = ObjectOwner::new(OwnerKind::Relay, owner, Some(fed_config.clone()));
        let relay = resolve::EgressRelay {
            name: owner.base_name().to_owned(),
            owner,
            egress,
            server_name,
            endpoints: &claim.endpoints,
        };
        style::for_mode(relationship.config.mode).relay_objects(&relay)
    }

    /// Returns the objects of a shared host. They include the endpoints of bindings that do not get their facade: these
    /// have no subset, so no call reaches them, and the cost does not grow with the number of rivals.
    fn shared_host_objects(&self, key: &SharedHostKey) -> Vec<GeneratedObject> {
        let Some(relationship) = self.relationships.get(&key.fed_config) else { return Vec::new() };
        let egress = relationship.gateway(GatewaySide::Egress).ok().filter(|_| key.through_egress);
        if key.through_egress && egress.is_none() {
            return Vec::new();
        }
        let counted = self.claims.members_of_shared_host(key).filter(|age| self.claims.holds_slot(age));
        let mut members: Vec<_> =
            counted.filter_map(|age| self.binding_output(age)?.shared_member.as_deref()).collect();
        if members.is_empty() {
            return Vec::new();
        }
        // By name: a binding that is created again changes nothing.
        members.sort_unstable();
        block::shared_host::objects(&resolve::SharedHost { owner: key.to_owner(), key, egress, members })
    }

    fn binding_output(&self, age: &Precedence) -> Option<&BindingOutput> {
        self.outputs.get(&Unit::ServiceBinding(age.key().clone()))?.binding_output()
    }
}
