//! Objects with Emcee's labels that another client wrote: from a backup, or from the output of `emcee
//! render`.

use emcee_core::plan::GeneratedKind;
use emcee_testkit::apiserver::{Fault, ServerState, Verb};
use emcee_testkit::prelude::*;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::world::{
    BINDINGS, EXPOSITIONS, FEDS, GATEWAYS, World, binding_of, condition, exposing, options, plural,
};
use crate::{ControllerOptions, FIELD_MANAGER, NamespaceScope, Namespaces};

const LABEL: &str = "app.kubernetes.io/managed-by";

fn is_generated(object: &Value) -> bool {
    object["metadata"]["labels"][LABEL] == "emcee"
}

/// Returns the objects that Emcee has created: plural and object.
fn generated_objects(state: &ServerState) -> Vec<(String, Value)> {
    let objects = state.list().filter(|(_, object)| is_generated(object));
    objects.map(|(key, object)| (key.plural.clone(), object.clone())).collect()
}

/// Returns the managers of an object: `manager/operation` of each entry.
fn managers(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    let of = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    entries.map(|entry| format!("{}/{}", of(entry, "manager"), of(entry, "operation"))).collect()
}

fn is_applied(object: &Value) -> bool {
    managers(object).iter().any(|manager| manager.starts_with("emcee") && manager.ends_with("/Apply"))
}

/// Returns the object as a backup has it, or as `emcee render` prints it: without what the API server adds.
fn copy_of(object: &Value, with_owners: bool) -> Value {
    let mut copy = object.clone();
    copy["metadata"] = json!({"name": object["metadata"]["name"], "namespace": object["metadata"]["namespace"],
        "labels": object["metadata"]["labels"]});
    for field in ["annotations", "ownerReferences"] {
        let value = &object["metadata"][field];
        if !value.is_null() && (with_owners || field != "ownerReferences") {
            copy["metadata"][field] = value.clone();
        }
    }
    copy
}

/// Replaces the object that exists, as `kubectl create` does.
async fn create_by_hand(world: &World, plural: &str, object: &Value) {
    let text = |field: &str| object["metadata"][field].as_str().expect("text").to_owned();
    world.server.delete(plural, &text("namespace"), &text("name"));
    let api = world.api(plural, &text("namespace"), object.clone());
    let by = kube::api::PostParams { field_manager: Some("kubectl-create".into()), ..Default::default() };
    let object = serde_json::from_value(object.clone()).expect("an object");
    api.create(&by, &object).await.expect("it is created");
}

/// Does the same while a controller runs, which would recreate an object that it sees gone.
fn replace_at_once(world: &World, plural: &str, object: Value) {
    world.put(plural, object);
}

/// Replaces everything that Emcee has created by copies.
async fn restore_copies(world: &World, with_owners: bool) -> usize {
    let all = world.server.read_state(generated_objects);
    for (plural, object) in &all {
        create_by_hand(world, plural, &copy_of(object, with_owners)).await;
    }
    all.len()
}

/// Waits until Emcee has applied each object and no other manager has a share: what is no longer desired can
/// be removed.
async fn wait_until_taken_over(world: &World) {
    let is_emcees = |object: &Value| managers(object).iter().all(|manager| manager.starts_with("emcee"));
    let is_taken = |state: &ServerState| {
        generated_objects(state).iter().all(|(_, object)| is_applied(object) && is_emcees(object))
    };
    world.wait_until("everything is taken over", is_taken).await;
}

/// Returns the Gateway of the one exposition.
fn gateway(state: &ServerState) -> Option<Value> {
    let of_exposition =
        |object: &Value| object["metadata"]["labels"]["emcee.io/owner-kind"] == "ServiceExposition";
    generated_objects(state)
        .into_iter()
        .find(|(plural, it)| plural == GATEWAYS && of_exposition(it))
        .map(|(_, it)| it)
}

fn namespace_and_name(object: &Value) -> (String, String) {
    let text = |field: &str| object["metadata"][field].as_str().expect("text").to_owned();
    (text("namespace"), text("name"))
}

async fn world_with(objects: &[(&str, Value)]) -> World {
    let world = World::new();
    for (plural, object) in objects {
        world.put(plural, object.clone());
    }
    let running = world.start();
    world.wait_until_converged().await;
    running.stop().await;
    world
}

/// Returns a cluster with the exposition of the relationship blue, whose Gateway names the peers.
async fn world_with_exposition() -> World {
    world_with(&[(EXPOSITIONS, exposing("shop", "reviews", "blue"))]).await
}

fn peers_patch(name: &str) -> Value {
    json!({"spec": {"peers": [{"name": "m2", "subject_alt_names": [name]}]}})
}

fn names_peer(gateway: &Value, name: &str) -> bool {
    gateway["spec"]["servers"].to_string().contains(name)
}

#[tokio::test]
async fn a_restored_backup_is_taken_over_and_kept_in_sync() {
    for with_owners in [true, false] {
        let world = world_with(&[
            (EXPOSITIONS, exposing("shop", "reviews", "blue")),
            (BINDINGS, binding_of("bank", "details", "red")),
        ])
        .await;
        let count = restore_copies(&world, with_owners).await;
        assert!(count > 10);
        let before = world.server.read_state(|state| state.log().len());
        let running = world.start();
        wait_until_taken_over(&world).await;
        world.wait_until_converged().await;
        let deleted = world.server.read_state(|state| {
            state.log()[before..].iter().filter(|logged| logged.verb == Verb::Delete).count()
        });
        assert_eq!((deleted, world.server.read_state(generated_objects).len()), (0, count));
        world.kubectl_edit(FEDS, "blue", "blue", &peers_patch("other.example")).await;
        let follows = |state: &ServerState| gateway(state).is_some_and(|it| names_peer(&it, "other.example"));
        world.wait_until("the Gateway follows", follows).await;
        world.server.delete(EXPOSITIONS, "shop", "reviews");
        world.server.delete(BINDINGS, "bank", "details");
        world.wait_until_converged().await;
        running.stop().await;
    }
}

/// While a controller runs, too: a watch reports the copies.
#[tokio::test]
async fn objects_restored_while_running_are_taken_over() {
    let world = world_with_exposition().await;
    let running = world.start();
    world.put(BINDINGS, binding_of("bank", "details", "red"));
    world.wait_until_converged().await;
    for (plural, object) in world.server.read_state(generated_objects) {
        replace_at_once(&world, &plural, copy_of(&object, true));
    }
    wait_until_taken_over(&world).await;
    world.wait_until_converged().await;
    running.stop().await;
}

#[tokio::test]
async fn a_copy_that_differs_is_a_conflict_until_it_is_handed_over() {
    let world = world_with_exposition().await;
    let ours = world.server.read_state(gateway).expect("a Gateway");
    let mut old = copy_of(&ours, true);
    old["spec"]["selector"] = json!({"gateway": "old"});
    create_by_hand(&world, GATEWAYS, &old).await;
    let running = world.start();
    world.wait_for_reason(EXPOSITIONS, "shop", "reviews", "Programmed", "Conflict").await;
    let exposition = world.server.get(EXPOSITIONS, "shop", "reviews").expect("it is there");
    let programmed = condition(&exposition, "Programmed");
    let words = programmed["message"].as_str().unwrap_or_default();
    let (namespace, name) = namespace_and_name(&ours);
    let fix = format!(
        "`kubectl -n {namespace} get gateways.networking.istio.io {name} -o yaml | kubectl apply --server-side --field-manager emcee -f -`"
    );
    assert!(
        words.contains(&format!("Gateway {namespace}/{name} has Emcee's label")) && words.contains(&fix),
        "{words}"
    );
    assert_eq!(condition(&exposition, "Ready")["status"], "False");
    assert_eq!(world.server.read_state(gateway).expect("it stays")["spec"], old["spec"]);
    // What the message recommends. Then the object is Emcee's.
    let (api, by) = (world.api(GATEWAYS, &namespace, old.clone()), PatchParams::apply(FIELD_MANAGER));
    api.patch(&name, &by, &Patch::Apply(old)).await.expect("it is handed over");
    world.wait_for_reason(EXPOSITIONS, "shop", "reviews", "Programmed", "Programmed").await;
    world.wait_until_converged().await;
    running.stop().await;
}

/// A copy becomes the desired object by a change of the resource, not of the copy.
#[tokio::test]
async fn a_copy_is_compared_again_when_the_desired_object_changes() {
    let world = world_with_exposition().await;
    let ours = world.server.read_state(gateway).expect("a Gateway");
    let was = world.server.get(FEDS, "blue", "blue").expect("a relationship")["spec"]["peers"].clone();
    let running = world.start();
    world.kubectl_edit(FEDS, "blue", "blue", &peers_patch("other.example")).await;
    world
        .wait_until("it follows", |state| gateway(state).is_some_and(|it| names_peer(&it, "other.example")))
        .await;
    replace_at_once(&world, GATEWAYS, copy_of(&ours, true));
    world.wait_for_reason(EXPOSITIONS, "shop", "reviews", "Programmed", "Conflict").await;
    world.kubectl_edit(FEDS, "blue", "blue", &json!({"spec": {"peers": was}})).await;
    world.wait_for_reason(EXPOSITIONS, "shop", "reviews", "Programmed", "Programmed").await;
    wait_until_taken_over(&world).await;
    world.wait_until_converged().await;
    running.stop().await;
}

/// `emcee render | kubectl apply`, and then the controller: a peer that is replaced is no longer admitted, or
/// the exposition does not report that it is programmed.
#[tokio::test]
async fn a_gateway_that_admits_a_removed_peer_is_never_programmed() {
    let world = world_with_exposition().await;
    restore_copies(&world, false).await;
    world.kubectl_edit(FEDS, "blue", "blue", &peers_patch("other.example")).await;
    let generation =
        world.server.get(FEDS, "blue", "blue").expect("it is there")["metadata"]["generation"].clone();
    // The status of an earlier controller is about earlier objects.
    let mut exposition = world.server.get(EXPOSITIONS, "shop", "reviews").expect("it is there");
    exposition["status"] = Value::Null;
    world.put(EXPOSITIONS, exposition);
    let running = world.start();
    let mut reported = false;
    let judged = |state: &ServerState| {
        let exposition = state.get(EXPOSITIONS, "shop", "reviews").expect("it is there");
        let lets_in = gateway(state).is_some_and(|it| !names_peer(&it, "other.example"));
        // `Ready` needs an address, and `Programmed`.
        let programmed = condition(exposition, "Programmed")["status"] == "True";
        assert!(!(programmed && lets_in), "Programmed, and the Gateway has the old peer");
        reported |= condition(exposition, "Programmed")["reason"] == "Conflict";
        reported
            && state.get(FEDS, "blue", "blue").expect("it is there")["status"]["observedGeneration"]
                == generation
    };
    world.wait_until("the conflict is said", judged).await;
    running.stop().await;
}

/// In the relationship's own namespace, Kubernetes would collect the object if Emcee had written it.
#[tokio::test]
async fn a_deletion_waits_for_undeletable_objects_and_reports_them() {
    for namespace in ["shop", "blue"] {
        let world = World::new();
        world.put(
            "services",
            service("blue", "reviews").port("http", 9080).selector([("app", "reviews")]).build(),
        );
        world.put(EXPOSITIONS, exposing(namespace, "reviews", "blue"));
        let running = world.start();
        world.wait_until_converged().await;
        running.stop().await;
        let ours = world.server.read_state(gateway).expect("a Gateway");
        let mut old = copy_of(&ours, false);
        old["spec"]["selector"] = json!({"gateway": "old"});
        create_by_hand(&world, GATEWAYS, &old).await;
        let running = world.start();
        world.wait_for_reason(EXPOSITIONS, namespace, "reviews", "Programmed", "Conflict").await;
        let has_finalizer = |object: &Value| !object["metadata"]["finalizers"].is_null();
        world
            .wait_until("it is kept", |state| {
                state.get(EXPOSITIONS, namespace, "reviews").is_some_and(has_finalizer)
            })
            .await;
        world.kubectl_delete(EXPOSITIONS, namespace, "reviews");
        let is_said = |state: &ServerState| {
            let exposition = state.get(EXPOSITIONS, namespace, "reviews").expect("it waits");
            let programmed = condition(exposition, "Programmed");
            programmed["message"]
                .as_str()
                .is_some_and(|it| it.contains("is no longer wanted but still there: it has Emcee's label"))
        };
        world.wait_until("why it waits is said", is_said).await;
        let ready =
            condition(&world.server.get(EXPOSITIONS, namespace, "reviews").expect("it waits"), "Ready");
        assert_eq!((&ready["status"], &ready["reason"]), (&json!("False"), &json!("Conflict")));
        // A controller that starts now knows the same.
        running.kill().await;
        let running = world.start();
        world.put(BINDINGS, binding_of("bank", "details", "green"));
        world.wait_for_reason(BINDINGS, "bank", "details", "Programmed", "Programmed").await;
        assert!(world.server.read_state(|state| is_said(state) && gateway(state).is_some()));
        let (of, name) = namespace_and_name(&ours);
        world.server.delete(GATEWAYS, &of, &name);
        world
            .wait_until("it is let go", |state| state.get(EXPOSITIONS, namespace, "reviews").is_none())
            .await;
        running.stop().await;
    }
}

/// An older backup contains what is not asked for any more.
#[tokio::test]
async fn a_withdrawal_waits_for_a_copy_and_one_that_is_handed_over_is_removed() {
    let world = world_with_exposition().await;
    let ours = world.server.read_state(gateway).expect("a Gateway");
    let permissive = peer_authentication("istio-system", "default").mode("PERMISSIVE").build();
    world.put(FEDS, flat("blue").build());
    world.put("peerauthentications.security.istio.io", permissive);
    let running = world.start();
    world.wait_until("the Gateway is gone", |state| gateway(state).is_none()).await;
    create_by_hand(&world, GATEWAYS, &copy_of(&ours, true)).await;
    let still = |state: &ServerState| {
        let programmed =
            condition(state.get(EXPOSITIONS, "shop", "reviews").expect("it is there"), "Programmed");
        programmed["status"] == "False" && programmed["message"].to_string().contains("still there")
    };
    world.wait_until("it is said", still).await;
    let ((namespace, name), copy) = (namespace_and_name(&ours), copy_of(&ours, true));
    let api = world.api(GATEWAYS, &namespace, copy.clone());
    api.patch(&name, &PatchParams::apply(FIELD_MANAGER), &Patch::Apply(copy))
        .await
        .expect("it is handed over");
    world.wait_until("it is removed", |state| gateway(state).is_none() && !still(state)).await;
    running.stop().await;
}

/// A user who may write Gateways in some namespace can give one the labels of any owner.
#[tokio::test]
async fn a_strangers_copy_blocks_no_resource() {
    for fed in [Namespaces::from_names(&["blue", "red", "green"]), Namespaces::All] {
        check_strangers_copy(fed).await;
    }
}

async fn check_strangers_copy(fed: Namespaces) {
    let world = world_with_exposition().await;
    let ours = world.server.read_state(gateway).expect("a Gateway");
    let mut theirs = copy_of(&ours, false);
    (theirs["metadata"]["namespace"], theirs["metadata"]["name"]) = ("bank".into(), "theirs".into());
    create_by_hand(&world, GATEWAYS, &theirs).await;
    let scope = NamespaceScope { fed, ..options().scope };
    let running = world.start_with(ControllerOptions { scope, ..options() }, true);
    // Through the same queues: everything before it has been processed.
    world.put(BINDINGS, binding_of("shop", "later", "green"));
    world.wait_for_reason(BINDINGS, "shop", "later", "Programmed", "Programmed").await;
    world.wait_for_reason(EXPOSITIONS, "shop", "reviews", "Programmed", "Programmed").await;
    world.kubectl_delete(EXPOSITIONS, "shop", "reviews");
    world.wait_until("it is let go", |state| state.get(EXPOSITIONS, "shop", "reviews").is_none()).await;
    let now = world.server.get(GATEWAYS, "bank", "theirs").expect("it stays");
    assert_eq!((&now["spec"], is_applied(&now)), (&theirs["spec"], false));
    running.stop().await;
}

/// Another client may change the copy between the read and the write. Then it is judged again.
#[tokio::test]
async fn a_copy_that_changes_meanwhile_is_not_taken_over() {
    let world = world_with_exposition().await;
    let ours = world.server.read_state(gateway).expect("a Gateway");
    let (namespace, name) = namespace_and_name(&ours);
    create_by_hand(&world, GATEWAYS, &copy_of(&ours, true)).await;
    world.server.inject(Fault::code(409).verb(Verb::Patch).plural(GATEWAYS).name(&name).times(1));
    let running = world.start();
    wait_until_taken_over(&world).await;
    world.wait_until_converged().await;
    running.stop().await;
    let looked = world.server.read_state(|state| {
        let mut looks = state.log().iter().filter(|logged| logged.verb == Verb::Get);
        looks.any(|logged| logged.path.contains(&namespace) && logged.path.ends_with(&name))
    });
    assert!(looked, "it was not looked at again");
}

/// An earlier version of Emcee wrote it, or one with another flag.
#[tokio::test]
async fn obsolete_fields_are_removed_after_a_restart() {
    let world = world_with_exposition().await;
    for kind in [GeneratedKind::Deployment, GeneratedKind::Gateway] {
        let plural = plural(kind);
        let found = world.server.read_state(generated_objects).into_iter().find(|(it, _)| *it == plural);
        let (_, ours) = found.expect("there is one");
        let (namespace, name) = namespace_and_name(&ours);
        let mut older = copy_of(&ours, true);
        older["metadata"]["labels"]["istio.io/rev"] = "prod".into();
        older["metadata"]["annotations"]["emcee.io/older"] = "yes".into();
        if kind == GeneratedKind::Deployment {
            older["spec"]["template"]["metadata"]["labels"]["istio.io/rev"] = "prod".into();
        }
        let api = world.api(&plural, &namespace, older.clone());
        api.patch(&name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(older))
            .await
            .expect("applied");
        // What others have added stays.
        let theirs = json!({"metadata": {"annotations": {"deployment.kubernetes.io/revision": "1"}}});
        world.kubectl_edit(&plural, &namespace, &name, &theirs).await;
        let running = world.start();
        let is_gone = |state: &ServerState| {
            let now = state.get(&plural, &namespace, &name).expect("it is there");
            let text =
                json!([now["metadata"]["labels"], now["metadata"]["annotations"], now["spec"]]).to_string();
            !text.contains("istio.io/rev") && !text.contains("emcee.io/older")
        };
        world.wait_until("what is no longer wanted is gone", is_gone).await;
        let now = world.server.get(&plural, &namespace, &name).expect("it is there");
        assert_eq!(now["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "1");
        running.stop().await;
    }
}
