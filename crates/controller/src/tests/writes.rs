//! Single writes: what each does to the object that it finds, and what it reports.

use emcee_core::key::ObjectKey;
use emcee_core::plan::GeneratedKind;
use emcee_core::translate::Unit;
use emcee_core::uid::Uid;
use emcee_testkit::apiserver::{Effect, Fault, Verb};
use emcee_testkit::prelude::*;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::world::{BINDINGS, FEDS, RULES, World, binding_of};
use crate::object::{ObjectId, ResourceVersion};
use crate::reconcile::{DesiredObject, WriteError, WriteOutcome, WriteRequest, execute_write};
use crate::{FIELD_MANAGER, FINALIZER};

const LABEL: &str = "app.kubernetes.io/managed-by";

fn rule() -> ObjectId {
    ObjectId { kind: GeneratedKind::DestinationRule, key: ObjectKey::new("bank", "rule") }
}

fn rule_object(spec: &Value) -> Value {
    json!({"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "spec": spec,
        "metadata": {"name": "rule", "namespace": "bank", "labels": {LABEL: "emcee"}}})
}

fn desired() -> DesiredObject {
    let manifest = rule_object(&json!({"host": "details"}));
    DesiredObject { manifest, hash: std::num::NonZeroU64::MIN }
}

fn uid_of(object: &Value) -> Uid {
    Uid::new(object["metadata"]["uid"].as_str())
}

fn version_of(object: &Value) -> ResourceVersion {
    ResourceVersion::new(object["metadata"]["resourceVersion"].as_str().expect("a version"))
}

async fn write(world: &World, write: WriteRequest) -> Result<WriteOutcome, WriteError> {
    execute_write(&world.server.client(), write).await
}

/// Returns the rule and its `spec`, as the server has it.
fn stored_spec(world: &World) -> Value {
    world.server.get(RULES, "bank", "rule").map(|rule| rule["spec"].clone()).unwrap_or_default()
}

fn count_writes(world: &World) -> usize {
    world.server.read_state(emcee_testkit::apiserver::ServerState::writes)
}

#[tokio::test]
async fn a_creation_does_not_overwrite_an_object_that_exists() {
    let world = World::new();
    world.put(RULES, rule_object(&json!({"host": "theirs"})));
    let fault = write(&world, WriteRequest::Create(rule(), desired())).await.expect_err("it exists");
    assert_eq!((fault, stored_spec(&world)), (WriteError::Conflict, json!({"host": "theirs"})));
    world.server.delete(RULES, "bank", "rule");
    let created = write(&world, WriteRequest::Create(rule(), desired())).await.expect("it does not exist");
    assert!(matches!(&created, WriteOutcome::Live(live) if live.applied_fields.is_some()), "{created:?}");
    assert_eq!(stored_spec(&world), json!({"host": "details"}));
}

#[tokio::test]
async fn an_apply_neither_changes_a_recreated_object_nor_creates_one() {
    let world = World::new();
    let before = uid_of(&world.put(RULES, rule_object(&json!({"host": "details"}))));
    world.server.delete(RULES, "bank", "rule");
    let apply = WriteRequest::Apply(rule(), desired(), before);
    assert_eq!(write(&world, apply.clone()).await.expect_err("it is gone"), WriteError::Conflict);
    assert_eq!(world.server.get(RULES, "bank", "rule"), None);
    world.put(RULES, rule_object(&json!({"host": "theirs"})));
    assert_eq!(write(&world, apply).await.expect_err("it is another"), WriteError::Conflict);
    assert_eq!(stored_spec(&world), json!({"host": "theirs"}));
}

#[tokio::test]
async fn an_apply_removes_what_others_have_added_to_the_spec() {
    let world = World::new();
    let found = world.put(RULES, rule_object(&json!({"host": "theirs", "exportTo": ["."]})));
    write(&world, WriteRequest::Apply(rule(), desired(), uid_of(&found))).await.expect("it is applied");
    assert_eq!(stored_spec(&world), json!({"host": "details"}));
}

/// The second of its two requests fails. Then the object is not reported as it should be.
#[tokio::test]
async fn an_apply_that_cannot_remove_additions_fails() {
    let world = World::new();
    let found = world.put(RULES, rule_object(&json!({"host": "theirs", "exportTo": ["."]})));
    world.server.inject(Fault::code(409).verb(Verb::Patch).plural(RULES).after(1));
    let apply = WriteRequest::Apply(rule(), desired(), uid_of(&found));
    assert_eq!(write(&world, apply).await.expect_err("it fails"), WriteError::Conflict);
    assert_eq!(stored_spec(&world), json!({"host": "details", "exportTo": ["."]}));
}

#[tokio::test]
async fn an_object_is_recreated_only_while_its_owner_exists() {
    let world = World::new();
    let owner = world.put(BINDINGS, binding_of("bank", "details", "green"));
    let unit = || Unit::ServiceBinding(ObjectKey::new("bank", "details"));
    let recreate = |uid: Uid| WriteRequest::Recreate(rule(), desired(), unit(), uid);
    let before = count_writes(&world);
    let fault = write(&world, recreate(Uid::new(Some("another")))).await.expect_err("another owner");
    assert_eq!(fault, WriteError::OwnerMissing);
    let mut leaving = owner.clone();
    leaving["metadata"]["finalizers"] = json!(["example.com/theirs"]);
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    world.put(BINDINGS, leaving);
    assert_eq!(write(&world, recreate(uid_of(&owner))).await.expect_err("it goes"), WriteError::OwnerMissing);
    world.server.delete(BINDINGS, "bank", "details");
    assert_eq!(
        write(&world, recreate(uid_of(&owner))).await.expect_err("it is gone"),
        WriteError::OwnerMissing
    );
    assert_eq!(count_writes(&world), before, "nothing is written for a missing owner");
    let owner = world.put(BINDINGS, binding_of("bank", "details", "green"));
    write(&world, recreate(uid_of(&owner))).await.expect("the owner exists");
    assert_eq!(stored_spec(&world), json!({"host": "details"}));
}

/// Otherwise an outage would look like the deletion of the owner.
#[tokio::test]
async fn an_owner_that_cannot_be_read_is_not_missing() {
    let world = World::new();
    let service = world.put("services", service("bank", "exposed").port("http", 80).build());
    let owner = Unit::AutomaticExposition(ObjectKey::new("bank", "exposed"));
    let recreate = || WriteRequest::Recreate(rule(), desired(), owner.clone(), uid_of(&service));
    world.server.inject(Fault::code(503).verb(Verb::Get).plural("services"));
    let fault = write(&world, recreate()).await.expect_err("it cannot be read");
    assert!(matches!(fault, WriteError::Transient(_)), "{fault:?}");
    write(&world, recreate()).await.expect("the Service owns it");
}

#[tokio::test]
async fn a_deletion_spares_an_object_that_has_changed() {
    let world = World::new();
    let seen = world.put(RULES, rule_object(&json!({"host": "details"})));
    let delete = |seen: &Value| WriteRequest::Delete(rule(), uid_of(seen), version_of(seen));
    let changed = world.put(RULES, rule_object(&json!({"host": "theirs"})));
    assert_eq!(write(&world, delete(&seen)).await.expect_err("it changed"), WriteError::Conflict);
    let done = write(&world, delete(&changed)).await.expect("it is as seen");
    assert!(matches!(done, WriteOutcome::Done), "{done:?}");
    assert_eq!(write(&world, delete(&changed)).await.expect_err("it is gone"), WriteError::NotFound);
}

#[tokio::test]
async fn a_deletion_reports_finalizers_that_block_it() {
    let world = World::new();
    let mut kept = rule_object(&json!({}));
    kept["metadata"]["finalizers"] = json!(["example.com/theirs"]);
    let kept = world.put(RULES, kept);
    let delete = WriteRequest::Delete(rule(), uid_of(&kept), version_of(&kept));
    let done = write(&world, delete).await.expect("it is accepted");
    assert!(matches!(done, WriteOutcome::BlockedByFinalizer), "{done:?}");
}

#[tokio::test]
async fn a_lost_answer_is_no_success() {
    let world = World::new();
    world.server.inject(Fault::new(Effect::DropAfter).verb(Verb::Patch).plural(RULES));
    let fault = write(&world, WriteRequest::Create(rule(), desired())).await.expect_err("no answer");
    assert!(matches!(fault, WriteError::Transient(_)), "{fault:?}");
    // It was processed all the same, which the next attempt finds out.
    let fault = write(&world, WriteRequest::Create(rule(), desired())).await.expect_err("it exists");
    assert_eq!(fault, WriteError::Conflict);
}

#[tokio::test]
async fn a_copy_is_taken_over_as_it_was_seen_or_not_at_all() {
    let world = World::new();
    let api = world.api(RULES, "bank", rule_object(&json!({})));
    let by = |manager: &str| PatchParams::apply(manager).force();
    let copy = Patch::Apply(rule_object(&json!({"host": "details"})));
    api.patch("rule", &by("kubectl"), &copy).await.expect("a copy");
    let status = rule_object(&json!({}));
    let status = json!({"apiVersion": status["apiVersion"], "kind": status["kind"], "status": {"ok": true}});
    api.patch_status("rule", &by("theirs"), &Patch::Apply(status)).await.expect("its status");
    let seen = world.server.get(RULES, "bank", "rule").expect("a copy");
    let take_over = |seen: &Value| WriteRequest::TakeOver(rule(), desired(), uid_of(seen), version_of(seen));
    world.kubectl_edit(RULES, "bank", "rule", &json!({"metadata": {"labels": {"theirs": "1"}}})).await;
    assert_eq!(write(&world, take_over(&seen)).await.expect_err("it changed"), WriteError::Conflict);
    let seen = world.server.get(RULES, "bank", "rule").expect("a copy");
    write(&world, take_over(&seen)).await.expect("it is as seen");
    let taken = world.server.get(RULES, "bank", "rule").expect("it is there");
    let entries = taken["metadata"]["managedFields"].as_array().expect("managers");
    let mut managers: Vec<_> =
        entries.iter().map(|entry| entry["manager"].as_str().unwrap_or_default()).collect();
    managers.sort_unstable();
    assert_eq!(managers, [FIELD_MANAGER, "theirs"], "the status belongs to its own controller");
}

#[tokio::test]
async fn a_status_is_written_to_the_resource_that_it_is_about() {
    let world = World::new();
    let seen = world.put(BINDINGS, binding_of("bank", "details", "green"));
    let unit = Unit::ServiceBinding(ObjectKey::new("bank", "details"));
    let write_status =
        |seen: &Value| WriteRequest::Status(unit.clone(), uid_of(seen), json!({"observedGeneration": 1}));
    world.server.delete(BINDINGS, "bank", "details");
    let missing = write(&world, write_status(&seen)).await.expect_err("it is gone");
    assert_eq!(missing, WriteError::NotFound);
    let recreated = world.put(BINDINGS, binding_of("bank", "details", "green"));
    assert_eq!(write(&world, write_status(&seen)).await.expect_err("another"), WriteError::Conflict);
    let done = write(&world, write_status(&recreated)).await.expect("it exists");
    let WriteOutcome::Resource(resource) = done else { panic!("{done:?}") };
    assert!(resource.status.matches_status(&json!({"observedGeneration": 1})));
}

const THEIRS: &str = "example.com/theirs";

/// Returns the finalizers of the relationship, sorted.
fn finalizers(world: &World) -> Vec<String> {
    let config = world.server.get(FEDS, "green", "green").expect("a relationship");
    let all = config["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let mut all: Vec<_> = all.iter().map(|it| it.as_str().unwrap_or_default().to_owned()).collect();
    all.sort();
    all
}

/// Sets all finalizers, as a client does that writes the object back as a whole.
async fn set_finalizers(world: &World, finalizers: &[&str]) -> Uid {
    let patch = json!({"metadata": {"finalizers": finalizers}});
    world.kubectl_edit(FEDS, "green", "green", &patch).await;
    uid_of(&world.server.get(FEDS, "green", "green").expect("a relationship"))
}

#[tokio::test]
async fn the_finalizer_is_added_and_removed_without_touching_others() {
    let world = World::new();
    let uid = set_finalizers(&world, &[THEIRS]).await;
    let unit = Unit::MeshFedConfig(ObjectKey::new("green", "green"));
    let finalizer = |desired| WriteRequest::Finalizer(unit.clone(), uid.clone(), desired);
    write(&world, finalizer(true)).await.expect("it is added");
    assert_eq!(finalizers(&world), [FINALIZER, THEIRS]);
    write(&world, finalizer(false)).await.expect("it is removed");
    assert_eq!(finalizers(&world), [THEIRS]);
    set_finalizers(&world, &[THEIRS, FINALIZER]).await;
    write(&world, finalizer(false)).await.expect("it is removed, although another client owns it");
    assert_eq!(finalizers(&world), [THEIRS]);
}

#[tokio::test]
async fn a_finalizer_that_changes_meanwhile_is_a_conflict() {
    let world = World::new();
    let uid = set_finalizers(&world, &[THEIRS, FINALIZER]).await;
    let unit = Unit::MeshFedConfig(ObjectKey::new("green", "green"));
    // The apply succeeds. The merge that follows it does not.
    world.server.inject(Fault::code(409).verb(Verb::Patch).plural(FEDS).after(1));
    let fault = write(&world, WriteRequest::Finalizer(unit, uid, false)).await.expect_err("it changed");
    assert_eq!((fault, finalizers(&world)), (WriteError::Conflict, vec![FINALIZER.into(), THEIRS.into()]));
}

#[test]
fn each_write_is_counted_by_its_operation_and_kind() {
    let (uid, unit) = (|| Uid::new(None), Unit::MeshFedConfig(ObjectKey::new("green", "green")));
    let version = || ResourceVersion::new("1");
    for (write, operation, kind) in [
        (WriteRequest::Create(rule(), desired()), "create", "DestinationRule"),
        (WriteRequest::Recreate(rule(), desired(), unit.clone(), uid()), "create", "DestinationRule"),
        (WriteRequest::Apply(rule(), desired(), uid()), "apply", "DestinationRule"),
        (WriteRequest::TakeOver(rule(), desired(), uid(), version()), "apply", "DestinationRule"),
        (WriteRequest::Get(rule()), "get", "DestinationRule"),
        (WriteRequest::Delete(rule(), uid(), version()), "delete", "DestinationRule"),
        (WriteRequest::Status(unit.clone(), uid(), Value::Null), "status", "MeshFedConfig"),
        (WriteRequest::Finalizer(unit.clone(), uid(), true), "finalizer", "MeshFedConfig"),
    ] {
        assert_eq!(write.metric_labels(), (operation, kind), "{write:?}");
    }
}
