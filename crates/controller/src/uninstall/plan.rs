//! Decides what to remove, in which order, and what stays. Without I/O.

use std::collections::{BTreeMap, HashMap, HashSet};

use emcee_api::labels;
use emcee_core::key::{ObjectKey, ObjectRef};
use emcee_core::labels::Labels;
use emcee_core::names;
use emcee_core::parse as core;
use emcee_core::plan::GeneratedKind;
use emcee_core::uid::Uid;
use kube::api::DynamicObject;

use super::{Extent, Remnant};
use crate::FINALIZER;
use crate::apply::hand_over;
use crate::observe::fact::{Live, ObjectId, Origin, OwnerLabels, Version};
use crate::parse::UserKind;

/// What to remove, and what stays.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Objects to remove, by the phase in which they go.
    pub(super) phases: BTreeMap<(u8, usize), Vec<Target>>,
    /// User resources that have the finalizer and lose it.
    pub(super) bearers: Vec<Bearer>,
    /// Objects that stay, and the reasons.
    pub(super) kept: Vec<Remnant>,
}

/// An object to remove.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) id: ObjectId,
    pub(super) uid: Uid,
    pub(super) version: Version,
    pub(super) owner: OwnerLabels,
}

/// A user's resource with Emcee's finalizer.
#[derive(Debug)]
pub(super) struct Bearer {
    pub(super) kind: UserKind,
    pub(super) key: ObjectKey,
    pub(super) owner: Option<OwnerLabels>,
}

/// What an uninstall knows of a user's resource.
#[derive(Debug)]
pub(super) struct Resource {
    kind: UserKind,
    key: ObjectKey,
    finalizer: bool,
    /// Relationships that the resource selects. For a MeshFedConfig, the labels by which it is selected.
    labels: Option<Labels>,
    /// Host that a binding gives to applications.
    facade: Option<String>,
}

impl Plan {
    /// Reports whether an object has the finalizer itself: a ServiceExposition that was created for a
    /// Service, or a ServiceBinding for an announcement.
    pub(super) fn is_borne(&self, target: &Target) -> bool {
        matches!(target.id.kind, GeneratedKind::ServiceExposition | GeneratedKind::ServiceBinding)
            && self.bearers.iter().any(|bearer| bearer.name() == target.name())
    }
}

impl Target {
    fn of(live: Live) -> Self {
        Self { id: live.id, uid: live.uid, version: live.version, owner: live.owner }
    }

    pub(super) fn name(&self) -> ObjectRef {
        ObjectRef { kind: self.id.kind.as_str(), key: self.id.key.clone() }
    }

    /// Returns the phase of the removal: the reverse order of applying.
    fn phase(&self) -> (u8, usize) {
        // `Kind::ALL` is in the order of applying.
        let place = GeneratedKind::ALL.iter().position(|kind| *kind == self.id.kind).unwrap_or_default();
        (u8::MAX - self.owner.class(), GeneratedKind::ALL.len() - place)
    }
}

impl Bearer {
    pub(super) fn name(&self) -> ObjectRef {
        name(self.kind, &self.key)
    }
}

fn name(kind: UserKind, key: &ObjectKey) -> ObjectRef {
    let kind = match kind {
        UserKind::MeshFedConfig => "MeshFedConfig",
        UserKind::ServiceExposition => "ServiceExposition",
        UserKind::ServiceBinding => "ServiceBinding",
    };
    ObjectRef { kind, key: key.clone() }
}

impl Resource {
    /// Creates the summary of a resource. Of an invalid one only the key is known: nothing was created for
    /// it.
    pub(super) fn of(kind: UserKind, object: &DynamicObject) -> Self {
        let metadata = &object.metadata;
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let value = serde_json::to_value(object).unwrap_or_default();
        let binding = (kind == UserKind::ServiceBinding).then(|| core::read_binding(&value).ok()).flatten();
        let labels = match kind {
            UserKind::MeshFedConfig => core::read_fed_config(&value).ok().map(|config| config.labels),
            UserKind::ServiceExposition => core::read_exposition(&value).ok().map(|it| it.fed_configs),
            UserKind::ServiceBinding => binding.as_ref().map(|binding| binding.fed_config.clone()),
        };
        Self {
            kind,
            key: ObjectKey::new(&text(&metadata.namespace), &text(&metadata.name)),
            finalizer: metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER),
            labels,
            facade: binding.map(|binding| binding.facade),
        }
    }

    fn name(&self) -> ObjectRef {
        name(self.kind, &self.key)
    }

    fn selects(&self, fed_config: &Labels) -> bool {
        self.labels.as_ref().is_some_and(|selector| fed_config.has_all(selector))
    }
}

/// Reports whether Emcee wrote the object, and no other client has taken it over since.
pub(super) fn is_ours(live: &Live) -> bool {
    let owned = [labels::OWNER_KIND, labels::OWNER_NAMESPACE, labels::OWNER_NAME];
    label(live, labels::MANAGED_BY) == labels::MANAGED_BY_EMCEE
        && owned.iter().all(|name| !label(live, name).is_empty())
        && live.origin() == Origin::Emcee
}

/// Reports whether the object exists for this MeshFedConfig.
fn is_labelled(live: &Live, fed_config: &ObjectKey) -> bool {
    let name = format!("{}.{}", fed_config.namespace, fed_config.name);
    label(live, labels::MESH_FED_CONFIG) == names::label_value(&name)
}

fn label<'l>(live: &'l Live, name: &str) -> &'l str {
    live.body["metadata"]["labels"][name].as_str().unwrap_or_default()
}

/// Decides what to remove, and what stays.
pub(super) fn plan(extent: &Extent, objects: Vec<Live>, resources: &[Resource]) -> Plan {
    let mut plan = Plan::default();
    let mut staying = HashSet::new();
    let scope = Scope::of(extent, &objects, resources);
    for live in objects {
        let why = match (scope.has(&live), is_ours(&live)) {
            (Membership::Others, _) => {
                // Its owner has objects of other relationships, and needs the finalizer for them.
                staying.insert(live.owner);
                continue;
            }
            (_, false) if live.released => "was taken over by a user".to_owned(),
            (_, false) => format!(
                "has Emcee's label but another field manager wrote it; it stays in effect ({})",
                hand_over(&live.id)
            ),
            (Membership::Shared(with), true) => format!("is shared with {with}"),
            (Membership::Own, true) => {
                let target = Target::of(live);
                plan.phases.entry(target.phase()).or_default().push(target);
                continue;
            }
        };
        plan.kept.push(Remnant { object: ObjectRef { kind: live.id.kind.as_str(), key: live.id.key }, why });
    }
    for targets in plan.phases.values_mut() {
        targets.sort_by(|a, b| a.id.cmp(&b.id));
    }
    plan.kept.sort_by(|a, b| a.object.cmp(&b.object));
    let bearers = resources.iter().filter(|resource| resource.finalizer && scope.concerns(resource));
    plan.bearers = bearers
        .map(|resource| {
            let owner = OwnerLabels::of_resource(&resource.kind.unit(resource.key.clone()));
            Bearer { kind: resource.kind, key: resource.key.clone(), owner }
        })
        .filter(|bearer| bearer.owner.as_ref().is_none_or(|owner| !staying.contains(owner)))
        .collect();
    plan
}

/// Whether an object is removed.
enum Membership {
    Own,
    /// It would be, but another binding uses it, too.
    Shared(ObjectRef),
    Others,
}

/// The owners whose objects are removed.
struct Scope<'r> {
    /// MeshFedConfig, and the labels by which it is selected; `None` for everything.
    relationship: Option<(&'r ObjectKey, Option<&'r Labels>)>,
    /// Owners of objects that exist for the relationship.
    owners: HashSet<OwnerLabels>,
    /// Bindings of each facade, by its namespace and its name as in labels.
    facades: HashMap<(&'r str, String), Vec<&'r Resource>>,
}

impl<'r> Scope<'r> {
    fn of(extent: &'r Extent, objects: &[Live], resources: &'r [Resource]) -> Self {
        let Extent::Relationship(key) = extent else {
            return Self { relationship: None, owners: HashSet::new(), facades: HashMap::new() };
        };
        let is_it = |resource: &&Resource| resource.kind == UserKind::MeshFedConfig && resource.key == *key;
        let labels = resources.iter().find(is_it).and_then(|resource| resource.labels.as_ref());
        let mut facades: HashMap<_, Vec<_>> = HashMap::new();
        for resource in resources {
            if let Some(facade) = &resource.facade {
                let name = (&*resource.key.namespace, names::label_value(facade));
                facades.entry(name).or_default().push(resource);
            }
        }
        let owners = objects.iter().filter(|live| is_labelled(live, key)).map(|live| live.owner.clone());
        Self { relationship: Some((key, labels)), owners: owners.collect(), facades }
    }

    fn concerns(&self, resource: &Resource) -> bool {
        let Some((key, labels)) = self.relationship else { return true };
        let owner = || OwnerLabels::of_resource(&resource.kind.unit(resource.key.clone()));
        match resource.kind {
            UserKind::MeshFedConfig => resource.key == *key,
            _ if labels.is_some_and(|labels| resource.selects(labels)) => true,
            // Also if the MeshFedConfig is gone, or has other labels by now.
            _ => owner().is_some_and(|owner| self.owners.contains(&owner)),
        }
    }

    fn has(&self, live: &Live) -> Membership {
        let Some((key, _)) = self.relationship else { return Membership::Own };
        match live.owner.is_facade() {
            true => self.has_facade(label(live, labels::OWNER_NAMESPACE), label(live, labels::OWNER_NAME)),
            false if is_labelled(live, key) => Membership::Own,
            false => Membership::Others,
        }
    }

    /// Returns whether a facade is removed. Its labels do not name relationships, so its bindings decide.
    fn has_facade(&self, namespace: &str, name: &str) -> Membership {
        let bindings = self.facades.get(&(namespace, name.to_owned()));
        let (own, others): (Vec<&Resource>, Vec<&Resource>) =
            bindings.into_iter().flatten().partition(|binding| self.concerns(binding));
        match (own.as_slice(), others.as_slice()) {
            ([], _) => Membership::Others,
            (_, []) => Membership::Own,
            (_, [other, ..]) => Membership::Shared(other.name()),
        }
    }
}
