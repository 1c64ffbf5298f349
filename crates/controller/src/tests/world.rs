//! A cluster in memory, and controllers that start and stop.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use emcee_core::catalogue::{Announcement, PeerKey};
use emcee_core::inputs::InputChange;
use emcee_core::key::ObjectKey;
use emcee_core::plan::GeneratedKind;
use emcee_core::protocol::Protocol;
use emcee_core::translate::Unit;
use emcee_testkit::apiserver::{self as server, ApiServer, ServerState};
use emcee_testkit::certs::valid_pair;
use emcee_testkit::prelude::*;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, TypeMeta};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::convert::{self, WatchUpdate};
use crate::kinds::UserKind;
use crate::model::Model;
use crate::object::ObjectId;
use crate::reconcile::{DesiredObject, matches_desired};
use crate::{Controller, ControllerOptions, Metrics, NamespaceScope, Namespaces};

/// Time limit of everything.
const PATIENCE: Duration = Duration::from_mins(1);

/// A cluster in memory.
pub(super) struct World {
    pub(super) server: ApiServer,
}

/// A controller that runs.
pub(super) struct RunningController {
    leads: watch::Sender<bool>,
    end: Option<tokio::sync::oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

pub(super) const FEDS: &str = "meshfedconfigs.mm.ibm.istio.io";
pub(super) const EXPOSITIONS: &str = "serviceexpositions.mm.ibm.istio.io";
pub(super) const BINDINGS: &str = "servicebindings.mm.ibm.istio.io";
pub(super) const GATEWAYS: &str = "gateways.networking.istio.io";
pub(super) const RULES: &str = "destinationrules.networking.istio.io";

pub(crate) fn options() -> ControllerOptions {
    ControllerOptions {
        namespace: "emcee-system".into(),
        identity: "test".into(),
        scope: NamespaceScope { watch: Namespaces::All, fed: Namespaces::All, gateway: BTreeSet::default() },
        trust_domain: None,
        trust_domain_aliases: None,
        cluster_domain: "cluster.local".into(),
        root_namespace: "istio-system".into(),
        revision: None,
        cluster_networks: Vec::new(),
        mcp: false,
        concurrency: 8,
    }
}

impl World {
    /// Creates a cluster with three relationships, a service in two namespaces, and STRICT everywhere.
    pub(super) fn new() -> Self {
        let server = ApiServer::new();
        let world = Self { server };
        world.put(
            "secrets",
            secret_tls("blue", "blue").label("relationship", "blue").pair(&valid_pair("m1.example")).build(),
        );
        world.put(FEDS, boundary("blue").tls_context_selector([("relationship", "blue")]).build());
        world.put(FEDS, wharf("red").build());
        world.put(FEDS, flat("green").build());
        world.put(
            "peerauthentications.security.istio.io",
            peer_authentication("istio-system", "default").mode("STRICT").build(),
        );
        for namespace in ["shop", "bank"] {
            for name in ["reviews", "ratings"] {
                world.put(
                    "services",
                    service(namespace, name).port("http", 9080).selector([("app", name)]).build(),
                );
            }
        }
        world
    }

    pub(super) fn put(&self, plural: &str, object: Value) -> Value {
        self.server.put(plural, object)
    }

    /// Returns the key of the first object of a kind. There must be one.
    #[track_caller]
    pub(super) fn first_key(&self, plural: &str) -> server::StoreKey {
        let first =
            |state: &ServerState| state.list().map(|(key, _)| key).find(|key| key.plural == plural).cloned();
        self.server.read_state(first).expect(plural)
    }

    /// Returns the API for objects like this one, in a namespace.
    pub(super) fn api(&self, plural: &str, namespace: &str, object: Value) -> Api<DynamicObject> {
        let types: TypeMeta = serde_json::from_value(object).expect("an object has a kind");
        let (group, version) = types.api_version.rsplit_once('/').unwrap_or(("", &types.api_version));
        let gvk = GroupVersionKind::gvk(group, version, &types.kind);
        let plural = plural.split('.').next().unwrap_or_default();
        let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
        Api::namespaced_with(self.server.client(), namespace, &resource)
    }

    /// Changes an object as `kubectl edit` does.
    pub(super) async fn kubectl_edit(&self, plural: &str, namespace: &str, name: &str, patch: &Value) {
        let object = self.server.get(plural, namespace, name).unwrap_or_default();
        let api = self.api(plural, namespace, object);
        let by = PatchParams { field_manager: Some("kubectl-edit".into()), ..PatchParams::default() };
        // The object may be gone, or the server may be told to refuse. That happens to people, too.
        let _edited = api.patch(name, &by, &Patch::Merge(patch)).await;
    }

    /// Deletes an object as `kubectl delete` does: with a finalizer, it is only marked.
    pub(super) fn kubectl_delete(&self, plural: &str, namespace: &str, name: &str) {
        let Some(mut object) = self.server.get(plural, namespace, name) else { return };
        if object["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty()) {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            self.put(plural, object);
        } else {
            self.server.delete(plural, namespace, name);
        }
    }

    pub(super) fn start(&self) -> RunningController {
        self.start_as(true)
    }

    /// Starts a controller, as leader or not.
    pub(super) fn start_as(&self, leads: bool) -> RunningController {
        self.start_with(options(), leads)
    }

    /// Starts a controller with other options.
    pub(super) fn start_with(&self, options: ControllerOptions, leads: bool) -> RunningController {
        let (leads, leader) = watch::channel(leads);
        let (end, ended) = tokio::sync::oneshot::channel();
        let mut controller = Controller::new(self.server.client(), options, Metrics::unregistered());
        let task = tokio::spawn(async move {
            let end = async { drop(ended.await) };
            controller.run(leader, end).await.expect("watches do not end");
        });
        RunningController { leads, end: Some(end), task }
    }

    /// Waits until the cluster is exactly as its resources ask for, and their statuses say so.
    pub(super) async fn wait_until_converged(&self) {
        let mut last = Vec::new();
        let done = self.server.wait_until(|state| {
            last = differences(state);
            last.is_empty()
        });
        let done = tokio::time::timeout(PATIENCE, done).await;
        assert!(done.is_ok(), "after {} s: {last:#?}", PATIENCE.as_secs());
    }

    /// Waits until the state satisfies a condition.
    pub(super) async fn wait_until(&self, what: &str, is: impl FnMut(&ServerState) -> bool) {
        let done = tokio::time::timeout(PATIENCE, self.server.wait_until(is)).await;
        assert!(done.is_ok(), "{what}: not after {} s", PATIENCE.as_secs());
    }

    /// Waits until a condition of a resource has this reason.
    pub(super) async fn wait_for_reason(
        &self,
        plural: &str,
        namespace: &str,
        name: &str,
        type_: &str,
        reason: &str,
    ) {
        let what = format!("{type_} of {plural} {namespace}/{name} is {reason}");
        self.wait_until(&what, |state| {
            let object = state.get(plural, namespace, name);
            object.is_some_and(|object| condition(object, type_)["reason"] == reason)
        })
        .await;
    }
}

impl RunningController {
    pub(super) fn set_leading(&self, leads: bool) {
        self.leads.send_replace(leads);
    }

    /// Stops the controller like SIGTERM.
    pub(super) async fn stop(mut self) {
        if let Some(end) = self.end.take() {
            let _ended_already = end.send(());
        }
        self.task.await.expect("it ends");
    }

    /// Stops the controller like SIGKILL.
    pub(super) async fn kill(self) {
        self.task.abort();
        let _cancelled = self.task.await;
    }
}

pub(super) fn condition(object: &Value, type_: &str) -> Value {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|condition| condition["type"] == type_).unwrap_or_default()
}

/// Returns the differences between a fresh translation of the cluster and the cluster.
fn differences(state: &ServerState) -> Vec<String> {
    let mut model = Model::new(&options());
    let changes = state.list().flat_map(|(key, object)| changes(&mut model, &key.plural, object)).collect();
    model.apply_changes(changes);
    let mut desired = desired_objects(&model);
    let mut found = Vec::new();
    for (key, object) in state.list() {
        let managed = object["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "emcee";
        let Some(kind) = GeneratedKind::ALL.into_iter().find(|kind| key.plural == plural(*kind)) else {
            continue;
        };
        let id = ObjectId { kind, key: ObjectKey::new(&key.namespace, &key.name) };
        match desired.remove(&id) {
            Some(body) if matches_desired(kind, object, &body.manifest) => {}
            Some(body) => found.push(format!("{key:?} differs: {object} is not {}", body.manifest)),
            None if managed => found.push(format!("{key:?} is left")),
            None => {}
        }
    }
    found.extend(desired.into_keys().map(|id| format!("{id:?} is missing")));
    found.extend(unready_resources(state));
    found
}

/// Returns the resources without a status of their current generation, or being deleted.
fn unready_resources(state: &ServerState) -> Vec<String> {
    let resources = state.list().filter(|(key, _)| key.plural.ends_with(".mm.ibm.istio.io"));
    let unsaid = resources.filter(|(_, object)| {
        let metadata = &object["metadata"];
        !metadata["deletionTimestamp"].is_null()
            || condition(object, "Programmed")["status"] != "True"
            || object["status"]["observedGeneration"] != metadata["generation"]
    });
    unsaid.map(|(key, object)| format!("{key:?}: {} {}", object["metadata"], object["status"])).collect()
}

fn desired_objects(model: &Model) -> BTreeMap<ObjectId, DesiredObject> {
    let units: Vec<&Unit> = model.translation().units().collect();
    let objects = units.into_iter().flat_map(|unit| {
        let uid = model.resource(unit).map(|known| known.uid.clone());
        let objects = model.translation().objects_of(unit);
        objects.into_iter().map(move |object| (object, uid.clone()))
    });
    objects
        .map(|(object, uid)| {
            let id = ObjectId { kind: object.kind(), key: ObjectKey::new(&object.namespace, &object.name) };
            (id, DesiredObject::from_object(&object, uid.as_ref()))
        })
        .collect()
}

/// Returns the plural as the API server in memory has it.
pub(super) fn plural(kind: GeneratedKind) -> String {
    match kind.group() {
        "" => kind.plural().to_owned(),
        group => format!("{}.{group}", kind.plural()),
    }
}

fn changes(model: &mut Model, plural: &str, object: &Value) -> Vec<InputChange> {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    let key = ObjectKey::new(&text("namespace"), &text("name"));
    let dynamic = || serde_json::from_value::<DynamicObject>(object.clone()).ok();
    let user = |kind| Some(convert::resource_update(kind, &key, dynamic()));
    let fact = match plural {
        FEDS => user(UserKind::MeshFedConfig),
        EXPOSITIONS => user(UserKind::ServiceExposition),
        BINDINGS => user(UserKind::ServiceBinding),
        "services" => {
            Some(convert::service_update(&key, serde_json::from_value(object.clone()).ok().as_ref()))
        }
        "secrets" => Some(convert::secret_update(&key, serde_json::from_value(object.clone()).ok().as_ref())),
        "deployments.apps" => {
            Some(convert::deployment_update(&key, serde_json::from_value(object.clone()).ok().as_ref()))
        }
        "peerauthentications.security.istio.io" => Some(convert::peer_authentication_update(&key, dynamic())),
        "workloadentries.networking.istio.io" => Some(convert::workload_entry_update(&key, dynamic())),
        "destinationrules.networking.istio.io" => {
            convert::destination_rule_update("cluster.local", &key, dynamic())
        }
        _ => None,
    };
    match fact {
        Some(WatchUpdate::Input(change)) => vec![change],
        Some(WatchUpdate::Resource(resource)) => model.record_resource(*resource),
        _ => Vec::new(),
    }
}

/// Returns what a watch reports of a resource in this version.
pub(super) fn resource_update(kind: UserKind, object: &Value, version: usize) -> WatchUpdate {
    let mut object = object.clone();
    object["metadata"]["resourceVersion"] = version.to_string().into();
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    let key = ObjectKey::new(&text("namespace"), &text("name"));
    let object: DynamicObject = serde_json::from_value(object).expect("an object");
    convert::resource_update(kind, &key, Some(object))
}

/// Returns the key of the peer `m2` of a relationship.
pub(super) fn peer_key(fed: &str) -> PeerKey {
    PeerKey::new(ObjectKey::new(fed, fed), "m2")
}

/// Returns an announcement of the peer `m2`: a FLAT service in the namespace `shop`.
pub(super) fn announcement_of(name: &str, fed: &str) -> InputChange {
    let key = ObjectKey::new("shop", name);
    let announcement = Announcement {
        key: key.clone(),
        mode: "FLAT".parse().expect("a mode"),
        server_name: format!("{name}.shop.{fed}.emcee.internal"),
        protocol: Protocol::Http,
        port: 80,
        endpoints: vec!["203.0.113.7:80".parse().expect("an endpoint")],
        identities: vec!["spiffe://m2.example/ns/shop/sa/reviews".into()],
        trust_domain: "m2.example".into(),
        root_hash: None,
    };
    InputChange::Announcement(peer_key(fed), key, Some(announcement))
}

/// Returns an exposition of a service through a relationship.
pub(super) fn exposing(namespace: &str, name: &str, fed: &str) -> Value {
    exposition(namespace, name).of_service(name).port(9080).fed(fed).build()
}

/// Returns a binding of a service of another mesh.
pub(super) fn binding_of(namespace: &str, name: &str, fed: &str) -> Value {
    let mut object = binding(namespace, name).port(9080).fed(fed).endpoints(["203.0.113.7:15443"]).build();
    object["spec"]["name"] = "details".into();
    object["spec"]["alias"] = json!(format!("{name}-there"));
    object["spec"]["subject_alt_names"] = json!(["spiffe://cluster.local/ns/there/sa/details"]);
    object
}
