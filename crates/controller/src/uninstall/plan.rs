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

use super::{Orphan, UninstallExtent};
use crate::convert::into_json;
use crate::kinds::{FINALIZER, UserKind};
use crate::object::{LiveObject, ObjectId, ObjectOrigin, OwnerClass, OwnerLabels, ResourceVersion};
use crate::reconcile::{ApplyOrder, hand_over_hint};

/// What to remove, and what stays.
#[derive(Debug, Default)]
pub(super) struct UninstallPlan {
    /// Objects to remove, by the phase in which they go.
    pub(super) phases: BTreeMap<ApplyOrder, Vec<DeletionTarget>>,
    /// User resources that have the finalizer and lose it.
    pub(super) finalizer_holders: Vec<FinalizerHolder>,
    /// Objects that stay, and the reasons.
    pub(super) kept: Vec<Orphan>,
}

/// An object to remove.
#[derive(Debug)]
pub(super) struct DeletionTarget {
    pub(super) id: ObjectId,
    pub(super) uid: Uid,
    pub(super) version: ResourceVersion,
    pub(super) owner: OwnerLabels,
}

/// A user's resource with Emcee's finalizer.
#[derive(Debug)]
pub(super) struct FinalizerHolder {
    pub(super) kind: UserKind,
    pub(super) key: ObjectKey,
    pub(super) owner: Option<OwnerLabels>,
}

/// What an uninstall knows of a user's resource.
#[derive(Debug)]
pub(super) struct UninstallResource {
    kind: UserKind,
    key: ObjectKey,
    has_finalizer: bool,
    /// Relationships that the resource selects. For a MeshFedConfig, the labels by which it is selected.
    labels: Option<Labels>,
    /// Host that a binding gives to applications.
    facade: Option<String>,
}

impl UninstallPlan {
    /// Reports whether an object has the finalizer itself: a ServiceExposition that was created for a
    /// Service, or a ServiceBinding for an announcement.
    pub(super) fn is_finalizer_holder(&self, target: &DeletionTarget) -> bool {
        matches!(target.id.kind, GeneratedKind::ServiceExposition | GeneratedKind::ServiceBinding)
            && self.finalizer_holders.iter().any(|bearer| bearer.object_ref() == target.object_ref())
    }
}

impl DeletionTarget {
    fn from_live(live: LiveObject) -> Self {
        Self { id: live.id, uid: live.uid, version: live.version, owner: live.owner }
    }

    pub(super) fn object_ref(&self) -> ObjectRef {
        ObjectRef { kind: self.id.kind.as_str(), key: self.id.key.clone() }
    }

    /// Returns the phase of the removal.
    fn deletion_phase(&self) -> ApplyOrder {
        ApplyOrder::remove(self.owner.class(), self.id.kind)
    }
}

impl FinalizerHolder {
    pub(super) fn object_ref(&self) -> ObjectRef {
        resource_ref(self.kind, &self.key)
    }
}

fn resource_ref(kind: UserKind, key: &ObjectKey) -> ObjectRef {
    ObjectRef { kind: kind.as_str(), key: key.clone() }
}

impl UninstallResource {
    /// Creates the summary of a resource. Of an invalid one only the key is known: nothing was created for
    /// it.
    pub(super) fn from_object(kind: UserKind, object: &DynamicObject) -> Self {
        let metadata = &object.metadata;
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let value = into_json(object.clone());
        let binding = (kind == UserKind::ServiceBinding).then(|| core::read_binding(&value).ok()).flatten();
        let labels = match kind {
            UserKind::MeshFedConfig => core::read_fed_config(&value).ok().map(|config| config.labels),
            UserKind::ServiceExposition => core::read_exposition(&value).ok().map(|it| it.fed_configs),
            UserKind::ServiceBinding => binding.as_ref().map(|binding| binding.fed_config.clone()),
        };
        Self {
            kind,
            key: ObjectKey::new(&text(&metadata.namespace), &text(&metadata.name)),
            has_finalizer: metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER),
            labels,
            facade: binding.map(|binding| binding.facade),
        }
    }

    fn object_ref(&self) -> ObjectRef {
        resource_ref(self.kind, &self.key)
    }

    fn selects(&self, fed_config: &Labels) -> bool {
        self.labels.as_ref().is_some_and(|selector| fed_config.has_all(selector))
    }
}

/// Reports whether Emcee wrote the object, and no other client has taken it over since.
pub(super) fn is_written_by_emcee(live: &LiveObject) -> bool {
    let owned = [labels::OWNER_KIND, labels::OWNER_NAMESPACE, labels::OWNER_NAME];
    label_text(live, labels::MANAGED_BY) == labels::MANAGED_BY_EMCEE
        && owned.iter().all(|name| !label_text(live, name).is_empty())
        && live.origin() == ObjectOrigin::Emcee
}

/// Reports whether the object exists for this MeshFedConfig.
fn is_for_relationship(live: &LiveObject, fed_config: &ObjectKey) -> bool {
    let name = format!("{}.{}", fed_config.namespace, fed_config.name);
    label_text(live, labels::MESH_FED_CONFIG) == names::label_value(&name)
}

fn label_text<'l>(live: &'l LiveObject, name: &str) -> &'l str {
    live.body["metadata"]["labels"][name].as_str().unwrap_or_default()
}

/// Decides what to remove, and what stays.
pub(super) fn build_plan(
    extent: &UninstallExtent,
    objects: Vec<LiveObject>,
    resources: &[UninstallResource],
) -> UninstallPlan {
    let mut plan = UninstallPlan::default();
    let mut staying = HashSet::new();
    let scope = RemovalScope::from_extent(extent, &objects, resources);
    for live in objects {
        let why = match (scope.decide_object(&live), is_written_by_emcee(&live)) {
            (RemovalDecision::Skip, _) => {
                // Its owner has objects of other relationships, and needs the finalizer for them.
                staying.insert(live.owner);
                continue;
            }
            (_, false) if live.taken_over_by_user => "was taken over by a user".to_owned(),
            (_, false) => format!(
                "has Emcee's label but another field manager wrote it; it stays in effect ({})",
                hand_over_hint(&live.id)
            ),
            (RemovalDecision::Shared(with), true) => format!("is shared with {with}"),
            (RemovalDecision::Remove, true) => {
                let target = DeletionTarget::from_live(live);
                plan.phases.entry(target.deletion_phase()).or_default().push(target);
                continue;
            }
        };
        plan.kept.push(Orphan {
            object: ObjectRef { kind: live.id.kind.as_str(), key: live.id.key },
            reason: why,
        });
    }
    for targets in plan.phases.values_mut() {
        targets.sort_by(|a, b| a.id.cmp(&b.id));
    }
    plan.kept.sort_by(|a, b| a.object.cmp(&b.object));
    let bearers =
        resources.iter().filter(|resource| resource.has_finalizer && scope.includes_resource(resource));
    plan.finalizer_holders = bearers
        .map(|resource| {
            let owner = OwnerLabels::of_resource(&resource.kind.unit(resource.key.clone()));
            FinalizerHolder { kind: resource.kind, key: resource.key.clone(), owner }
        })
        .filter(|bearer| bearer.owner.as_ref().is_none_or(|owner| !staying.contains(owner)))
        .collect();
    plan
}

/// Whether an object is removed.
enum RemovalDecision {
    Remove,
    /// It would be, but another binding uses it, too.
    Shared(ObjectRef),
    Skip,
}

/// The owners whose objects are removed.
struct RemovalScope<'r> {
    /// MeshFedConfig, and the labels by which it is selected; `None` for everything.
    relationship: Option<(&'r ObjectKey, Option<&'r Labels>)>,
    /// Owners of objects that exist for the relationship.
    owners: HashSet<OwnerLabels>,
    /// Bindings of each facade, by its namespace and its name as in labels.
    facades: HashMap<(&'r str, String), Vec<&'r UninstallResource>>,
}

impl<'r> RemovalScope<'r> {
    fn from_extent(
        extent: &'r UninstallExtent,
        objects: &[LiveObject],
        resources: &'r [UninstallResource],
    ) -> Self {
        let UninstallExtent::Relationship(key) = extent else {
            return Self { relationship: None, owners: HashSet::new(), facades: HashMap::new() };
        };
        let is_it =
            |resource: &&UninstallResource| resource.kind == UserKind::MeshFedConfig && resource.key == *key;
        let labels = resources.iter().find(is_it).and_then(|resource| resource.labels.as_ref());
        let mut facades: HashMap<_, Vec<_>> = HashMap::new();
        for resource in resources {
            if let Some(facade) = &resource.facade {
                let name = (&*resource.key.namespace, names::label_value(facade));
                facades.entry(name).or_default().push(resource);
            }
        }
        let owners =
            objects.iter().filter(|live| is_for_relationship(live, key)).map(|live| live.owner.clone());
        Self { relationship: Some((key, labels)), owners: owners.collect(), facades }
    }

    fn includes_resource(&self, resource: &UninstallResource) -> bool {
        let Some((key, labels)) = self.relationship else { return true };
        let owner = || OwnerLabels::of_resource(&resource.kind.unit(resource.key.clone()));
        match resource.kind {
            UserKind::MeshFedConfig => resource.key == *key,
            _ if labels.is_some_and(|labels| resource.selects(labels)) => true,
            // Also if the MeshFedConfig is gone, or has other labels by now.
            _ => owner().is_some_and(|owner| self.owners.contains(&owner)),
        }
    }

    fn decide_object(&self, live: &LiveObject) -> RemovalDecision {
        let Some((key, _)) = self.relationship else { return RemovalDecision::Remove };
        match live.owner.class() == OwnerClass::Facade {
            true => self.decide_facade(
                label_text(live, labels::OWNER_NAMESPACE),
                label_text(live, labels::OWNER_NAME),
            ),
            false if is_for_relationship(live, key) => RemovalDecision::Remove,
            false => RemovalDecision::Skip,
        }
    }

    /// Returns whether a facade is removed. Its labels do not name relationships, so its bindings decide.
    fn decide_facade(&self, namespace: &str, name: &str) -> RemovalDecision {
        let bindings = self.facades.get(&(namespace, name.to_owned()));
        let (own, others): (Vec<&UninstallResource>, Vec<&UninstallResource>) =
            bindings.into_iter().flatten().partition(|binding| self.includes_resource(binding));
        match (own.as_slice(), others.as_slice()) {
            ([], _) => RemovalDecision::Skip,
            (_, []) => RemovalDecision::Remove,
            (_, [other, ..]) => RemovalDecision::Shared(other.object_ref()),
        }
    }
}

#[cfg(test)]
mod tests {
    use emcee_testkit::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// Returns an object of an owner, as Emcee has applied it for the MeshFedConfig `fed` in its own namespace.
    fn object(kind: GeneratedKind, name: &str, owner: (&str, &str, &str), fed: &str) -> LiveObject {
        let mut labels = json!({(labels::MANAGED_BY): labels::MANAGED_BY_EMCEE, (labels::OWNER_KIND): owner.0,
            (labels::OWNER_NAMESPACE): owner.1, (labels::OWNER_NAME): owner.2});
        if !fed.is_empty() {
            labels[labels::MESH_FED_CONFIG] = format!("{fed}.{fed}").into();
        }
        let text = |name: &str| labels[name].as_str().unwrap_or_default();
        let pairs =
            [labels::OWNER_KIND, labels::OWNER_NAMESPACE, labels::OWNER_NAME].map(|name| (name, text(name)));
        LiveObject {
            id: ObjectId { kind, key: ObjectKey::new("shop", name) },
            uid: Uid::new(Some(name)),
            version: ResourceVersion::new("1"),
            applied_fields: Some(json!({})),
            taken_over_by_user: false,
            deleting: false,
            owner: OwnerLabels::from_labels(pairs.into_iter()),
            body: json!({"metadata": {"labels": labels}}),
        }
    }

    fn resource(kind: UserKind, object: Value, finalizers: &[&str]) -> UninstallResource {
        let mut object = object;
        object["metadata"]["finalizers"] = json!(finalizers);
        UninstallResource::from_object(kind, &serde_json::from_value(object).expect("an object"))
    }

    fn relationship(name: &str) -> UninstallExtent {
        UninstallExtent::Relationship(ObjectKey::new(name, name))
    }

    fn removed_names(plan: &UninstallPlan) -> Vec<String> {
        plan.phases.values().flatten().map(|target| target.id.key.name.to_string()).collect()
    }

    fn holders(plan: &UninstallPlan) -> Vec<String> {
        plan.finalizer_holders.iter().map(|holder| holder.object_ref().to_string()).collect()
    }

    const EXPOSITION: (&str, &str, &str) = ("ServiceExposition", "shop", "reviews");
    const FACADE: (&str, &str, &str) = ("Facade", "shop", "details");

    #[test]
    fn targets_are_removed_by_phase_and_then_by_name() {
        let objects = vec![
            object(GeneratedKind::ServiceEntry, "b", EXPOSITION, "blue"),
            object(GeneratedKind::ServiceAccount, "account", ("MeshFedConfig", "blue", "blue"), "blue"),
            object(GeneratedKind::ServiceEntry, "a", EXPOSITION, "blue"),
            object(GeneratedKind::Service, "facade", FACADE, ""),
            object(GeneratedKind::Gateway, "gateway", EXPOSITION, "blue"),
        ];
        let plan = build_plan(&UninstallExtent::All, objects, &[]);
        assert_eq!(removed_names(&plan), ["facade", "gateway", "a", "b", "account"]);
        assert_eq!(plan.phases.len(), 4, "objects of one kind and class are removed together");
        assert_eq!(plan.kept, []);
    }

    #[test]
    fn an_object_that_lacks_an_owner_label_is_kept() {
        for missing in [labels::OWNER_KIND, labels::OWNER_NAMESPACE, labels::OWNER_NAME, labels::MANAGED_BY] {
            let mut live = object(GeneratedKind::Gateway, "gateway", EXPOSITION, "blue");
            live.body["metadata"]["labels"][missing] = Value::Null;
            let plan = build_plan(&UninstallExtent::All, vec![live], &[]);
            assert_eq!(removed_names(&plan), [""; 0], "{missing}");
            let [kept] = plan.kept.as_slice() else { panic!("{missing}: {:?}", plan.kept) };
            assert_eq!(kept.object.to_string(), "Gateway shop/gateway");
        }
    }

    #[test]
    fn kept_objects_are_sorted_and_say_who_wrote_them() {
        let copy = |name| LiveObject {
            applied_fields: None,
            ..object(GeneratedKind::Service, name, EXPOSITION, "blue")
        };
        let taken =
            LiveObject { taken_over_by_user: true, ..object(GeneratedKind::Service, "b", FACADE, "") };
        let plan = build_plan(&UninstallExtent::All, vec![copy("c"), taken, copy("a")], &[]);
        let kept: Vec<_> = plan.kept.iter().map(|it| (&*it.object.key.name, it.reason.as_str())).collect();
        assert_eq!(kept.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(kept[1].1, "was taken over by a user");
        assert!(kept[0].1.contains("another field manager wrote it"), "{}", kept[0].1);
    }

    #[test]
    fn a_relationship_without_its_config_is_removed_by_labels() {
        let objects = vec![
            object(GeneratedKind::Gateway, "of-blue", EXPOSITION, "blue"),
            object(GeneratedKind::Gateway, "of-red", ("ServiceExposition", "shop", "other"), "red"),
        ];
        let exposition = |name| exposition("shop", name).port(80).fed("blue").build();
        let resources = [
            resource(UserKind::ServiceExposition, exposition("reviews"), &[FINALIZER]),
            resource(UserKind::ServiceExposition, exposition("other"), &[FINALIZER]),
        ];
        let plan = build_plan(&relationship("blue"), objects, &resources);
        assert_eq!(removed_names(&plan), ["of-blue"]);
        assert_eq!(holders(&plan), ["ServiceExposition shop/reviews"]);
    }

    /// Nothing else would remove its other objects.
    #[test]
    fn an_owner_with_objects_of_another_relationship_keeps_its_finalizer() {
        let exposition = exposition("shop", "reviews").port(80).fed("blue").build();
        let resources = [
            resource(UserKind::MeshFedConfig, flat("blue").build(), &[FINALIZER]),
            resource(UserKind::ServiceExposition, exposition, &[FINALIZER]),
        ];
        let of_blue = || object(GeneratedKind::Gateway, "of-blue", EXPOSITION, "blue");
        let plan = build_plan(&relationship("blue"), vec![of_blue()], &resources);
        assert_eq!(holders(&plan), ["MeshFedConfig blue/blue", "ServiceExposition shop/reviews"]);
        let of_red = object(GeneratedKind::Gateway, "of-red", EXPOSITION, "red");
        let plan = build_plan(&relationship("blue"), vec![of_blue(), of_red], &resources);
        assert_eq!(
            (removed_names(&plan), holders(&plan)),
            (vec!["of-blue".into()], vec!["MeshFedConfig blue/blue".into()])
        );
    }

    #[test]
    fn a_facade_without_bindings_is_no_part_of_a_relationship() {
        let facade = || vec![object(GeneratedKind::Service, "details", FACADE, "")];
        let plan = build_plan(&relationship("blue"), facade(), &[]);
        assert_eq!((removed_names(&plan).len(), plan.kept.len()), (0, 0));
        assert_eq!(removed_names(&build_plan(&UninstallExtent::All, facade(), &[])), ["details"]);
    }

    #[test]
    fn an_invalid_resource_loses_its_finalizer_and_others_keep_theirs() {
        let invalid = json!({"apiVersion": "mm.ibm.istio.io/v1", "kind": "ServiceBinding", "spec": 7,
            "metadata": {"name": "broken", "namespace": "shop"}});
        let resources = [
            resource(UserKind::ServiceBinding, invalid, &[FINALIZER, "example.com/theirs"]),
            resource(UserKind::ServiceBinding, binding("shop", "a").build(), &["example.com/theirs"]),
            resource(UserKind::ServiceBinding, binding("shop", "b").build(), &[]),
        ];
        let plan = build_plan(&UninstallExtent::All, Vec::new(), &resources);
        assert_eq!(holders(&plan), ["ServiceBinding shop/broken"]);
    }

    /// Such an object goes only after it has lost the finalizer.
    #[test]
    fn a_generated_resource_with_the_finalizer_is_a_holder_itself() {
        let imported = object(GeneratedKind::ServiceBinding, "a", ("MeshFedConfig", "blue", "blue"), "blue");
        let other = object(GeneratedKind::ServiceBinding, "b", ("MeshFedConfig", "blue", "blue"), "blue");
        let resources = [resource(UserKind::ServiceBinding, binding("shop", "a").build(), &[FINALIZER])];
        let plan = build_plan(&UninstallExtent::All, vec![imported, other], &resources);
        let targets = plan.phases.values().flatten();
        let found: Vec<_> = targets.map(|target| plan.is_finalizer_holder(target)).collect();
        assert_eq!(found, [true, false]);
    }
}
