//! Generated meshes: a few objects of every kind. Names come from small pools, so that objects match, conflict and are
//! missing.
//!
//! Objects are JSON as users and the API server write them, and are parsed like inputs in production. Invalid objects
//! are part of a mesh too.

pub(crate) mod cluster_objects;
pub(crate) mod input;
mod peer_changes;
mod resources;

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use emcee_core::inputs::{InputChange, InputCoverage, TranslationSettings};
use emcee_core::translate::Translation;
use jiff::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

/// Fed namespaces, and names of MeshFedConfigs.
pub(crate) const FEDS: [&str; 2] = ["blue", "red"];
/// Namespaces that contain applications.
pub(crate) const APPS: [&str; 2] = ["shop", "bank"];
/// Namespaces of gateway pods.
pub(crate) const GATEWAYS: [&str; 4] = ["istio-system", "istio-system", "blue", "shop"];
/// Names of services, in this mesh and in other meshes.
pub(crate) const SERVICES: [&str; 2] = ["reviews", "ratings"];
/// Aliases of facades and exposed services.
pub(crate) const ALIASES: [&str; 2] = ["reviews", "front"];

/// An object whose debug output is one line of JSON, without key material.
#[derive(Clone)]
pub(crate) struct GeneratedInput(pub(crate) Value);

impl fmt::Debug for GeneratedInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut redacted = self.0.clone();
        if let Some(data) = redacted.get_mut("data") {
            *data = "…".into();
        }
        write!(f, "{redacted}")
    }
}

impl GeneratedInput {
    /// Returns kind, namespace and name.
    pub(crate) fn id(&self) -> (String, String, String) {
        let word = |pointer| self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        (word("/kind"), word("/metadata/namespace"), word("/metadata/name"))
    }

    pub(crate) fn kind(&self) -> &str {
        self.0["kind"].as_str().unwrap_or_default()
    }
}

/// The settings and objects of a mesh. Kind, namespace and name of each object are unique.
#[derive(Clone, Debug)]
pub(crate) struct Mesh {
    pub(crate) settings: TranslationSettings,
    pub(crate) objects: Vec<GeneratedInput>,
}

impl Mesh {
    pub(crate) fn changes(&self) -> Vec<InputChange> {
        self.objects.iter().map(|object| input::change(&object.0)).collect()
    }

    pub(crate) fn translate(&self) -> Translation {
        Translation::from_changes(self.settings.clone(), self.changes())
    }

    /// Turns off automatic imports if only files are known. In that case the translation itself records which peer was
    /// the first to announce a name, so the order of inputs matters.
    pub(crate) fn without_import_order(mut self) -> Self {
        if self.settings.coverage == InputCoverage::Partial {
            self.objects.iter_mut().for_each(import_manually);
        }
        self
    }

    pub(crate) fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.objects.iter().filter(move |object| object.kind() == kind).map(|object| &object.0)
    }
}

/// One change to a mesh.
#[derive(Clone, Debug)]
pub(crate) enum MeshChange {
    Put(GeneratedInput),
    Remove(GeneratedInput),
    Settings(Box<TranslationSettings>),
}

/// Generates meshes with objects of every kind.
pub(crate) fn mesh() -> BoxedStrategy<Mesh> {
    let resources = (
        vec(resources::fed_config(), 1..5),
        vec(resources::exposition(), 0..6),
        vec(resources::binding(), 0..7),
    );
    let environment = (
        vec(peer_changes::peer_object(), 0..20),
        vec(cluster_objects::service(), 2..7),
        vec(cluster_objects::workload(), 0..8),
        vec(cluster_objects::policy(), 1..5),
        vec(cluster_objects::secret(), 1..5),
    );
    (settings(), resources, environment)
        .prop_map(|(settings, resources, environment)| {
            let (peers, services, workloads, policies, secrets) = environment;
            let environment = [peers, services, workloads, policies, secrets].concat();
            let all = [resources.0, resources.1, resources.2, environment].concat();
            Mesh { settings, objects: unique_objects(all) }
        })
        .boxed()
}

/// Generates a mesh and batches of changes to it.
pub(crate) fn mesh_history() -> BoxedStrategy<(Mesh, Vec<Vec<MeshChange>>)> {
    (mesh(), vec(vec(mesh_change(), 1..4), 1..7)).boxed()
}

/// Turns off the automatic imports of a MeshFedConfig. Other objects do not change.
pub(crate) fn import_manually(object: &mut GeneratedInput) {
    if let Some(discovery) = object.0.pointer_mut("/spec/discovery") {
        discovery["import"] = "Manual".into();
    }
}

/// Applies a step to the objects of a mesh.
pub(crate) fn apply_change(
    objects: &mut BTreeMap<(String, String, String), GeneratedInput>,
    step: &MeshChange,
) {
    match step {
        MeshChange::Put(given) => drop(objects.insert(given.id(), given.clone())),
        MeshChange::Remove(given) => drop(objects.remove(&given.id())),
        MeshChange::Settings(_) => {}
    }
}

fn mesh_change() -> BoxedStrategy<MeshChange> {
    prop_oneof![
        5 => any_object().prop_map(MeshChange::Put),
        3 => any_object().prop_map(MeshChange::Remove),
        1 => settings().prop_map(|settings| MeshChange::Settings(Box::new(settings))),
    ]
    .boxed()
}

fn any_object() -> BoxedStrategy<GeneratedInput> {
    prop_oneof![
        2 => resources::fed_config(),
        2 => resources::exposition(),
        2 => resources::binding(),
        2 => peer_changes::peer_object(),
        1 => cluster_objects::service(),
        1 => cluster_objects::workload(),
        1 => cluster_objects::policy(),
        1 => cluster_objects::secret(),
    ]
    .boxed()
}

fn settings() -> BoxedStrategy<TranslationSettings> {
    let knowledge = select(vec![InputCoverage::Complete, InputCoverage::Partial]);
    let allowed = prop_oneof![
        2 => Just(vec!["istio-system".to_owned()]),
        1 => subsequence(vec!["istio-system".to_owned(), "shop".to_owned()], 0..=2),
    ];
    // The generated certificates are valid, in their last month, or expired.
    let now = select(vec!["2026-11-23T00:00:00Z", "2026-12-20T00:00:00Z", "2027-06-01T00:00:00Z"]);
    let revision = proptest::option::weighted(0.2, Just("canary".to_owned()));
    let root_hash = select(vec![None, Some(peer_changes::ROOT_HASH.to_owned()), Some("ffff".to_owned())]);
    (knowledge, allowed, now, revision, root_hash)
        .prop_map(|(knowledge, gateway_namespaces, now, revision, root_hash)| TranslationSettings {
            coverage: knowledge,
            gateway_namespaces,
            revision,
            root_hash,
            now: now.parse::<Timestamp>().expect("a time"),
            ..TranslationSettings::default()
        })
        .boxed()
}

fn unique_objects(objects: Vec<GeneratedInput>) -> Vec<GeneratedInput> {
    let mut seen = HashSet::new();
    objects.into_iter().filter(|object| seen.insert(object.id())).collect()
}

/// Adds metadata with the creation time and UID of the object, or without them, as in a file.
fn with_age(object: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<GeneratedInput> {
    let created = optional(0.8, select_one(&["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]));
    let uid = optional(0.8, select_one(&["1", "2", "3"]));
    let with_age = |(mut object, created, uid)| {
        set_field(&mut object, "/metadata/creationTimestamp", created);
        set_field(&mut object, "/metadata/uid", uid);
        GeneratedInput(object)
    };
    (object, created, uid).prop_map(with_age).boxed()
}

fn select_one(words: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    select(words)
}

/// Generates a value with probability `present`.
fn optional<S: Strategy>(present: f64, strategy: S) -> impl Strategy<Value = Option<S::Value>> {
    proptest::option::weighted(present, strategy)
}

fn build_object(api_version: &str, kind: &str, namespace: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"namespace": namespace, "name": name},
        "spec": spec,
    })
}

/// Sets a field if there is a value. The object that contains the field must exist.
fn set_field(object: &mut Value, pointer: &str, value: Option<impl Into<Value>>) {
    let Some(value) = value else { return };
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    object.pointer_mut(parent).expect("the object of the field")[field] = value.into();
}
