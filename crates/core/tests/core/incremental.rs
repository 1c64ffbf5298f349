//! A translation follows changes of its inputs. The result is the same as that of a new translation of the same inputs.

use std::collections::BTreeMap;
use std::sync::Arc;

use emcee_core::catalogue::{AddressedAnnouncement, CatalogueUpdate, PeerPolicy};
use emcee_core::inputs::{InputCoverage, TranslationSettings};
use emcee_core::key::ObjectKey;
use emcee_core::plan::{GeneratedKind, GeneratedObject};
use emcee_core::status::ResourceVerdict;
use emcee_core::translate::{Translation, Unit};
use emcee_testkit::prelude::*;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::cases;
use crate::mesh::{self, GeneratedInput, Mesh, MeshChange, input};
use crate::plan::{objects_of_kind, owner_unit, snapshot};

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn the_order_of_inputs_never_matters(
        (mesh, shuffled) in mesh::mesh().prop_flat_map(|mesh| {
            let objects = Just(mesh.objects.clone()).prop_shuffle();
            (Just(mesh), objects)
        }),
    ) {
        let shuffled = Mesh { objects: shuffled, settings: mesh.settings.clone() }.without_import_order();
        let mesh = mesh.without_import_order();
        prop_assert_eq!(snapshot(&mesh.translate()), snapshot(&shuffled.translate()));
        let mut one_by_one = Translation::new(mesh.settings.clone());
        for change in shuffled.changes() {
            one_by_one.update([change]);
        }
        prop_assert_eq!(snapshot(&mesh.translate()), snapshot(&one_by_one));
    }

    #[test]
    fn an_updated_translation_equals_a_new_one((mesh, batches) in mesh::mesh_history()) {
        let mut followed = mesh.translate();
        let mut settings = mesh.settings.clone();
        let mut objects: BTreeMap<_, _> =
            mesh.objects.iter().map(|object| (object.id(), object.clone())).collect();
        for batch in &batches {
            let mut changes = Vec::new();
            for step in batch {
                mesh::apply_change(&mut objects, step);
                match step {
                    MeshChange::Put(object) => changes.push(input::change(&object.0)),
                    MeshChange::Remove(object) => changes.push(input::removal(&object.0)),
                    MeshChange::Settings(new) => {
                        settings.clone_from(new);
                        followed.set_settings((**new).clone());
                    }
                }
            }
            followed.update(changes);
            let mut fresh = Mesh { settings: settings.clone(), objects: objects.values().cloned().collect() };
            fresh.objects.extend(restored_imports(&followed, &objects));
            prop_assert_eq!(snapshot(&followed), snapshot(&fresh.translate()));
        }
    }

    /// A consumer that gets only the updates of units that ran has the complete catalogue.
    #[test]
    fn published_updates_are_complete((mesh, batches) in mesh::mesh_history()) {
        let mut followed = mesh.translate();
        let mut told = PublishedState::default();
        told.apply_updates(followed.catalogue_updates(&followed.units().cloned().collect::<Vec<_>>()));
        for step in batches.iter().flatten() {
            let ran = match step {
                MeshChange::Put(object) => followed.update([input::change(&object.0)]),
                MeshChange::Remove(object) => followed.update([input::removal(&object.0)]),
                MeshChange::Settings(new) => followed.set_settings((**new).clone()),
            };
            told.apply_updates(followed.catalogue_updates(&ran));
            let snapshot = snapshot(&followed);
            prop_assert_eq!(told.policies.values().cloned().collect::<Vec<_>>(), snapshot.policies);
            let offers = told.announcements.iter().flat_map(|(key, offers)| offers.iter().map(|it| (key.clone(), it.clone())));
            let mut offers: Vec<_> = offers.collect();
            offers.sort_by(|a, b| (&a.0, &a.1.fed_config).cmp(&(&b.0, &b.1.fed_config)));
            prop_assert_eq!(offers, snapshot.announcements);
        }
    }

    /// A consumer that reads only the units that ran knows all verdicts and all objects.
    #[test]
    fn reported_units_are_complete((mesh, batches) in mesh::mesh_history()) {
        let mut followed = mesh.translate();
        let mut known: BTreeMap<_, _> = followed.units().map(|unit| (unit.clone(), unit_result(&followed, unit))).collect();
        for step in batches.iter().flatten() {
            let ran = match step {
                MeshChange::Put(object) => followed.update([input::change(&object.0)]),
                MeshChange::Remove(object) => followed.update([input::removal(&object.0)]),
                MeshChange::Settings(new) => followed.set_settings((**new).clone()),
            };
            for unit in ran {
                let result = unit_result(&followed, &unit);
                known.insert(unit, result);
            }
            known.retain(|_, result| *result != UnitResult::default());
            let fresh = followed.units().map(|unit| (unit.clone(), unit_result(&followed, unit)));
            let fresh: BTreeMap<_, _> = fresh.filter(|(_, result)| *result != UnitResult::default()).collect();
            prop_assert_eq!(&known, &fresh);
        }
    }

    #[test]
    fn unchanged_inputs_run_nothing(mesh in mesh::mesh()) {
        let mut translation = mesh.translate();
        let before = snapshot(&translation);
        prop_assert!(translation.update(mesh.changes()).is_empty());
        prop_assert_eq!(before, snapshot(&translation));
    }

    #[test]
    fn removing_all_inputs_leaves_nothing(mesh in mesh::mesh()) {
        let mut translation = mesh.translate();
        translation.update(mesh.objects.iter().map(|object| input::removal(&object.0)));
        let nothing = Translation::new(TranslationSettings::default());
        prop_assert_eq!(snapshot(&nothing), snapshot(&translation));
    }

    #[test]
    fn unrelated_objects_change_nothing(mut mesh in mesh::mesh()) {
        // `true` selects the only MeshFedConfig, so a second MeshFedConfig is not unrelated to it.
        mesh.objects.retain(|object| object.0["metadata"]["labels"]["emcee.io/expose"] != "true");
        let before = mesh.translate();
        let mut after = mesh.translate();
        after.update(unrelated_objects().iter().map(input::change));
        let is_stranger = |unit: &Unit| unit_key(unit).namespace.starts_with("far");
        prop_assert_eq!(objects_except(&before, is_stranger), objects_except(&after, is_stranger));
        for (unit, verdict) in before.verdicts() {
            prop_assert_eq!(Some(without_warnings(&verdict)), after.verdict(unit).as_ref().map(without_warnings), "{}", unit);
        }
        prop_assert!(after.objects().iter().any(|object| is_stranger(&owner_unit(object))));
    }
}

/// The verdict and the objects of a unit.
type UnitResult = (Option<ResourceVerdict>, Vec<Value>);

fn unit_result(translation: &Translation, unit: &Unit) -> UnitResult {
    let objects = translation.objects_of(unit).into_iter().map(crate::plan::to_json).collect();
    (translation.verdict(unit), objects)
}

/// The state of discovery according to the published updates.
#[derive(Default)]
struct PublishedState {
    policies: BTreeMap<ObjectKey, Arc<PeerPolicy>>,
    announcements: BTreeMap<ObjectKey, Vec<AddressedAnnouncement>>,
}

impl PublishedState {
    fn apply_updates(&mut self, published: Vec<CatalogueUpdate>) {
        for update in published {
            match update {
                CatalogueUpdate::PeerPolicy(key, Some(policy)) => drop(self.policies.insert(key, policy)),
                CatalogueUpdate::PeerPolicy(key, None) => drop(self.policies.remove(&key)),
                CatalogueUpdate::Announcements(key, announcements) => {
                    drop(self.announcements.insert(key, announcements));
                }
            }
        }
    }
}

/// Objects that an API server returned stay inputs after a switch to files only.
#[test]
fn existing_imports_are_not_generated_again() {
    let relationship = |spec: Value| {
        json!({"apiVersion": "mm.ibm.istio.io/v1", "kind": "MeshFedConfig",
               "metadata": {"namespace": "red", "name": "blue"}, "spec": spec})
    };
    let at_first = relationship(
        json!({"mode": "BOUNDARY", "use_egress_gateway": true, "tls_context_selector": {"relationship": "blue"}, "peers": []}),
    );
    let imported = json!({
        "apiVersion": "mm.ibm.istio.io/v1", "kind": "ServiceBinding",
        "metadata": {"namespace": "shop", "name": "reviews", "labels": {
            "app.kubernetes.io/managed-by": "emcee", "emcee.io/owner-kind": "MeshFedConfig",
            "emcee.io/owner-namespace": "red", "emcee.io/owner-name": "blue"}},
        "spec": {"name": "reviews", "mesh_fed_config_selector": {"fed-config": "blue"}, "peer": "m2"},
        "status": {"announcement": {"peer": "m2", "endpoints": [], "port": 80}}
    });
    let automatic = relationship(json!({
        "mode": "BOUNDARY", "use_egress_gateway": true, "tls_context_selector": {"relationship": "blue"},
        "discovery": {"announce": false, "import": "Automatic", "namespaces": ["shop"]},
        "peers": [{"name": "m2", "subject_alt_names": ["m2.example"], "discovery": "203.0.113.12:15443"}]
    }));
    let knowing = |knowledge| TranslationSettings { coverage: knowledge, ..TranslationSettings::default() };
    let theirs = service("shop", "reviews").port("http", 80).selector([("app", "reviews")]).build();
    let mut followed = Translation::from_changes(
        knowing(InputCoverage::Complete),
        [&at_first, &imported, &theirs].map(input::change),
    );
    followed.set_settings(knowing(InputCoverage::Partial));
    followed.update([input::change(&automatic)]);
    let fresh = Translation::from_changes(
        knowing(InputCoverage::Partial),
        [&automatic, &imported, &theirs].map(input::change),
    );
    assert_eq!(snapshot(&followed), snapshot(&fresh));
}

/// Returns the imports that are in place if only files are known. They are read back after a restart, as an API server
/// would return them.
fn restored_imports(
    followed: &Translation,
    objects: &BTreeMap<(String, String, String), GeneratedInput>,
) -> impl Iterator<Item = GeneratedInput> {
    let partial = followed.inputs().settings().coverage == InputCoverage::Partial;
    let imports = objects_of_kind(followed, GeneratedKind::ServiceBinding).into_iter().filter(|_| partial);
    let imports: Vec<_> = imports.map(|object| GeneratedInput(crate::plan::to_json(object))).collect();
    imports.into_iter().filter(|import| !objects.contains_key(&import.id()))
}

/// Builds two relationships and a service in each direction that are unrelated to the other objects.
fn unrelated_objects() -> Vec<Value> {
    vec![
        passthrough("far").unset("/spec/tls_context_selector").build(),
        boundary("far-too").peer(Peer::new("m7", ["m7.example"])).build(),
        exposition("far-apps", "reviews").port(80).fed("far").build(),
        binding("far-apps", "ratings").fed("far").endpoints(["203.0.113.99:15443"]).port(80).build(),
        service("far-apps", "reviews").port("http", 80).selector([("app", "far")]).build(),
        pod("far-apps", "far").label("app", "far").container("app", 80).sidecar().build(),
        peer_authentication("far-apps", "default").mode("STRICT").build(),
        destination_rule("far-apps", "reviews").host("reviews").subset("v1", [("version", "v1")]).build(),
        secret_tls("far-apps", "far").label("relationship", "blue").build(),
        endpoint_slice("far-apps", "reviews").port("http", 80).ready("10.9.9.9").build(),
    ]
}

fn unit_key(unit: &Unit) -> &ObjectKey {
    match unit {
        Unit::MeshFedConfig(key)
        | Unit::ServiceExposition(key)
        | Unit::ServiceBinding(key)
        | Unit::AutomaticExposition(key)
        | Unit::Imports(key)
        | Unit::Facade(key)
        | Unit::Relay(key, _) => key,
        Unit::SharedHost(host) => &host.fed_config,
    }
}

fn objects_except(translation: &Translation, strange: impl Fn(&Unit) -> bool) -> Vec<Value> {
    let known = |object: &GeneratedObject| !strange(&owner_unit(object));
    translation.objects().into_iter().filter(known).map(crate::plan::to_json).collect()
}

/// Returns the verdict without its warnings. Warnings may mention all relationships.
fn without_warnings(verdict: &ResourceVerdict) -> Value {
    json!([
        format!("{:?}", verdict.refusals),
        format!("{:?}", verdict.failures),
        verdict.is_ready(),
        format!("{:?}", verdict.detail)
    ])
}
