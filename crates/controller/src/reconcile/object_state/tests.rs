//! The actions of one object, and the index of leftovers.

use emcee_core::key::ObjectKey;
use emcee_core::plan::GeneratedKind;
use serde_json::json;

use super::*;

fn rule(name: &str) -> ObjectId {
    ObjectId { kind: GeneratedKind::DestinationRule, key: ObjectKey::new("bank", name) }
}

/// Returns an object of binding bank/details that Emcee has applied.
fn applied(name: &str) -> LiveObject {
    let details = Unit::ServiceBinding(ObjectKey::new("bank", "details"));
    LiveObject {
        id: rule(name),
        uid: Uid::new(Some("1")),
        version: ResourceVersion::new("1"),
        applied_fields: Some(json!({})),
        taken_over_by_user: false,
        deleting: false,
        owner: OwnerLabels::of_unit(&details),
        body: json!({}),
    }
}

fn details() -> Arc<Unit> {
    Arc::new(Unit::ServiceBinding(ObjectKey::new("bank", "details")))
}

fn hash(number: u64) -> NonZeroU64 {
    NonZeroU64::new(number).expect("not 0")
}

#[test]
fn an_object_that_a_relist_does_not_contain_needs_a_get() {
    let mut table = ObjectTable::default();
    for name in ["listed", "unlisted"] {
        table.update(&rule(name), |entry| {
            entry.set_desired(&details(), hash(1));
            entry.record_live(&applied(name), Some(hash(1)));
        });
    }
    // An object that does not exist is not part of any list.
    table.update(&rule("missing"), |entry| entry.set_desired(&details(), hash(1)));
    let list = RelistScope { kind: GeneratedKind::DestinationRule, namespace: None };
    table.begin_relist(&list);
    table.confirm_listed(&rule("listed"));
    assert_eq!(table.end_relist(&list), [rule("unlisted")]);
    let next = |name| table.get(&rule(name)).and_then(ObjectState::next_action);
    assert_eq!((next("listed"), next("unlisted")), (None, Some(ObjectAction::Get)));
    assert_eq!(next("missing"), Some(ObjectAction::Create));
    table.begin_relist(&list);
    table.confirm_listed(&rule("unlisted"));
    table.confirm_listed(&rule("listed"));
    assert_eq!(table.end_relist(&list), []);
}

#[test]
fn an_object_is_deleted_once_and_reported_while_finalizers_block_it() {
    let mut state = ObjectState::default();
    state.set_desired(&details(), hash(1));
    state.record_live(&applied("rule"), Some(hash(1)));
    state.clear_desired();
    assert_eq!(state.next_action(), Some(ObjectAction::Delete));
    for (deletion, is_reported) in [(Deletion::Requested, false), (Deletion::BlockedByFinalizer, true)] {
        state.observed.as_mut().expect("it exists").deletion = deletion;
        assert_eq!(state.next_action(), None);
        assert_eq!(state.status_problem(&rule("rule")).is_some(), is_reported);
    }
}

#[test]
fn an_object_that_disappears_during_a_write_is_remembered_until_its_outcome() {
    let (mut table, id) = (ObjectTable::default(), rule("rule"));
    table.update(&id, |entry| {
        entry.record_live(&applied("rule"), None);
        entry.activity = WriteActivity::InFlight;
    });
    table.update(&id, ObjectState::record_absence);
    assert!(table.get(&id).is_some_and(ObjectState::is_in_flight));
    table.update(&id, |entry| entry.activity = WriteActivity::Idle);
    assert!(table.get(&id).is_none());
}

#[test]
fn other_content_is_written_without_a_delay() {
    let mut state = ObjectState::default();
    state.set_desired(&details(), hash(1));
    state.activity = WriteActivity::BackingOff;
    state.set_desired(&details(), hash(1));
    assert!(!state.is_ready());
    state.set_desired(&details(), hash(2));
    assert!(state.is_ready());
}

/// There is one for each object in the cluster. Before a part of it becomes larger, measure what a large mesh
/// needs.
#[test]
fn the_state_of_an_object_stays_small() {
    assert_eq!(size_of::<ObservedObject>(), 56);
    assert_eq!(size_of::<ObjectState>(), 104);
}

fn copy(name: &str) -> LiveObject {
    let body = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "emcee"}}});
    LiveObject { applied_fields: None, body, ..applied(name) }
}

#[test]
fn an_object_is_created_applied_and_then_left() {
    let mut state = ObjectState::default();
    assert_eq!(state.next_action(), None);
    state.set_desired(&details(), hash(1));
    assert_eq!(state.next_action(), Some(ObjectAction::Create));
    state.record_live(&applied("rule"), None);
    assert_eq!(state.next_action(), Some(ObjectAction::Apply));
    state.record_live(&applied("rule"), Some(hash(2)));
    assert_eq!(state.next_action(), Some(ObjectAction::Apply), "it is as an earlier version asked for");
    state.record_live(&applied("rule"), Some(hash(1)));
    assert_eq!(state.next_action(), None);
    state.needs_get = true;
    assert_eq!(state.next_action(), Some(ObjectAction::Get));
}

#[test]
fn a_copy_is_taken_over_only_while_it_stays_and_has_the_desired_content() {
    let mut state = ObjectState::default();
    state.set_desired(&details(), hash(1));
    state.record_live(&copy("rule"), Some(hash(1)));
    assert_eq!(state.next_action(), Some(ObjectAction::TakeOver));
    state.record_live(&LiveObject { deleting: true, ..copy("rule") }, Some(hash(1)));
    assert_eq!(state.next_action(), None);
    state.record_live(&copy("rule"), None);
    assert!(state.next_action().is_none() && state.is_left_alone());
    assert!(state.status_problem(&rule("rule")).is_some());
    // Its content may be what is desired now.
    state.set_desired(&details(), hash(2));
    assert_eq!(state.next_action(), Some(ObjectAction::Get));
}

#[test]
fn only_a_desired_object_counts_as_deleted_externally() {
    let mut state = ObjectState::default();
    state.set_desired(&details(), hash(1));
    state.record_absence();
    assert!(!state.deleted_externally, "it never existed");
    state.record_live(&applied("rule"), Some(hash(1)));
    state.record_absence();
    assert!(state.deleted_externally);
    state.record_live(&applied("rule"), Some(hash(1)));
    assert!(!state.deleted_externally, "it exists again");
    state.clear_desired();
    state.record_absence();
    assert!(!state.deleted_externally, "it had to go");
}

#[test]
fn an_absence_ends_the_backoff_and_not_a_write_in_flight() {
    let mut state = ObjectState::default();
    state.set_desired(&details(), hash(1));
    state.activity = WriteActivity::BackingOff;
    state.failure = Some(Box::new((WriteError::Conflict, 9)));
    state.record_absence();
    assert!(state.is_ready() && state.failure.is_none());
    state.activity = WriteActivity::InFlight;
    state.record_absence();
    assert!(state.is_in_flight());
}

#[test]
fn a_passing_error_leaves_the_object_unsettled_until_it_is_reported() {
    let mut state = ObjectState::default();
    state.set_desired(&details(), hash(1));
    state.activity = WriteActivity::BackingOff;
    for (attempts, is_settled) in [(3, false), (4, true)] {
        state.failure = Some(Box::new((WriteError::Conflict, attempts)));
        assert_eq!(state.is_settled(), is_settled, "{attempts}");
        assert_eq!(state.status_problem(&rule("rule")).is_some(), is_settled, "{attempts}");
    }
    state.activity = WriteActivity::InFlight;
    assert!(!state.is_settled(), "the outcome is not known yet");
}

#[test]
fn a_leftover_is_indexed_by_its_owner_until_it_is_gone_or_desired_again() {
    let (mut table, id) = (ObjectTable::default(), rule("rule"));
    let owner = OwnerLabels::of_unit(&details());
    let leftovers =
        |table: &ObjectTable| table.leftovers_of(&owner).map(|(id, _)| id.clone()).collect::<Vec<_>>();
    table.update(&id, |entry| {
        entry.set_desired(&details(), hash(1));
        entry.record_live(&applied("rule"), Some(hash(1)));
    });
    assert!(!table.has_leftovers());
    table.update(&id, ObjectState::clear_desired);
    assert_eq!(leftovers(&table), [rule("rule")]);
    table.update(&id, |entry| entry.set_desired(&details(), hash(1)));
    assert!(!table.has_leftovers());
    table.update(&id, ObjectState::clear_desired);
    table.update(&id, ObjectState::record_absence);
    assert!(!table.has_leftovers() && table.get(&id).is_none());
}
