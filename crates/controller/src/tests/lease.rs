//! Replicas that take over from each other, with a Lease.

use std::time::Duration;

use emcee_testkit::apiserver::{ApiServer, Fault, ServerState, Verb};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::lease::Leadership;

async fn wait_for_leadership(leads: &mut watch::Receiver<bool>, expected: bool) {
    leads.wait_for(|leads| *leads == expected).await.expect("the candidate stands");
}

/// Starts a candidate, and waits until it leads.
async fn become_leader(server: &ApiServer, identity: &str) -> Leadership {
    let candidate = Leadership::acquire(server.client(), "emcee-system", identity);
    wait_for_leadership(&mut candidate.leads(), true).await;
    candidate
}

fn holder(server: &ApiServer) -> String {
    let lease = server.get("leases.coordination.k8s.io", "emcee-system", "emcee").unwrap_or_default();
    lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_released_lease_is_acquired_by_the_next_replica() {
    let server = ApiServer::new();
    let first = become_leader(&server, "a").await;
    let second = Leadership::acquire(server.client(), "emcee-system", "b");
    assert!(!*second.leads().borrow());
    let given_back = tokio::time::Instant::now();
    first.release().await;
    wait_for_leadership(&mut second.leads(), true).await;
    assert!(given_back.elapsed().as_secs() < 3, "{:?}", given_back.elapsed());
    assert_eq!(holder(&server), "b");
    second.release().await;
    assert_eq!(holder(&server), "");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_stops_and_recovers() {
    let server = ApiServer::new();
    let first = become_leader(&server, "a").await;
    let mut leads = first.leads();
    server.pause();
    wait_for_leadership(&mut leads, false).await;
    server.resume();
    wait_for_leadership(&mut leads, true).await;
    first.release().await;
}

#[tokio::test(start_paused = true)]
async fn errors_do_not_end_the_election() {
    let server = ApiServer::new();
    for code in [403, 409, 500] {
        server.inject(Fault::code(code).plural("leases.coordination.k8s.io"));
    }
    server.inject(Fault::code(409).verb(Verb::Update).plural("leases.coordination.k8s.io").after(2));
    let first = become_leader(&server, "a").await;
    first.release().await;
    assert_eq!(holder(&server), "");
}

const LEASES: &str = "leases.coordination.k8s.io";

/// Returns how often the replica stops leading within so many seconds.
async fn count_losses(leads: &watch::Receiver<bool>, seconds: u64) -> usize {
    let mut leads = leads.clone();
    leads.borrow_and_update();
    // In its own task: the test's own future is polled rarely, and would miss short changes.
    let count = tokio::spawn(async move {
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut losses = 0;
        while timeout_at(end, leads.changed()).await.is_ok() {
            losses += usize::from(!*leads.borrow_and_update());
        }
        losses
    });
    count.await.expect("it counts")
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_renews_keeps_leading() {
    let server = ApiServer::new();
    let first = become_leader(&server, "a").await;
    assert_eq!(count_losses(&first.leads(), 120).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_just_before_the_deadline_counts() {
    let server = ApiServer::new();
    let first = become_leader(&server, "a").await;
    server.inject(Fault::code(500).verb(Verb::Update).plural(LEASES).times(7));
    assert_eq!(count_losses(&first.leads(), 60).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_lease_allows_no_second_leader() {
    let server = ApiServer::new();
    let first = become_leader(&server, "a").await;
    let second = Leadership::acquire(server.client(), "emcee-system", "b");
    // The second replica has seen the holder.
    let looks = |state: &ServerState| state.log().iter().filter(|logged| logged.verb == Verb::Get).count();
    server.wait_until(|state| looks(state) >= 3).await;
    server.delete(LEASES, "emcee-system", "emcee");
    assert_eq!(count_losses(&first.leads(), 60).await, 0);
    assert!(!*second.leads().borrow());
    assert_eq!(holder(&server), "a");
}

#[tokio::test(start_paused = true)]
async fn the_lease_is_released_after_a_failed_renewal() {
    let server = ApiServer::new();
    let first = become_leader(&server, "a").await;
    server.inject(Fault::code(500).verb(Verb::Update).plural(LEASES));
    server.wait_until(|state| state.log().iter().any(|logged| logged.code == 500)).await;
    first.release().await;
    assert_eq!(holder(&server), "");
}

#[tokio::test(start_paused = true)]
async fn foreign_labels_stay_and_transitions_are_counted() {
    let server = ApiServer::new();
    let metadata = json!({"name": "emcee", "namespace": "emcee-system", "labels": {"team": "mesh"}});
    server
        .put(LEASES, json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata}));
    for identity in ["a", "b"] {
        let replica = become_leader(&server, identity).await;
        replica.release().await;
    }
    let lease = server.get(LEASES, "emcee-system", "emcee").unwrap_or_default();
    assert_eq!(lease["metadata"]["labels"]["team"], "mesh");
    assert_eq!(lease["spec"]["leaseTransitions"], 2);
}

/// Stores the Lease as a client writes that holds it.
fn put_lease(server: &ApiServer, spec: &Value) {
    let metadata = json!({"name": "emcee", "namespace": "emcee-system"});
    server.put(
        LEASES,
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}),
    );
}

/// Returns how long a candidate waits until it leads.
async fn time_until_leading(server: &ApiServer) -> Duration {
    let begun = Instant::now();
    let candidate = become_leader(server, "b").await;
    let waited = begun.elapsed();
    candidate.release().await;
    waited
}

#[tokio::test(start_paused = true)]
async fn a_stolen_lease_ends_the_leadership_and_is_not_taken_back() {
    let server = ApiServer::new();
    let first = become_leader(&server, "a").await;
    let mut leads = first.leads();
    put_lease(&server, &json!({"holderIdentity": "thief", "leaseDurationSeconds": 15}));
    let stolen = Instant::now();
    wait_for_leadership(&mut leads, false).await;
    // At its next renewal and not at its deadline.
    assert!(stolen.elapsed() < Duration::from_secs(5), "{:?}", stolen.elapsed());
    first.release().await;
    assert_eq!(holder(&server), "thief", "only the holder releases the lease");
}

#[tokio::test(start_paused = true)]
async fn a_lease_with_an_empty_holder_is_acquired_at_once() {
    let server = ApiServer::new();
    put_lease(&server, &json!({"holderIdentity": "", "leaseDurationSeconds": 3600}));
    assert!(time_until_leading(&server).await < Duration::from_secs(1));
}

/// The clock of the holder may be wrong, so its times do not count.
#[tokio::test(start_paused = true)]
async fn a_lease_expires_after_its_duration_and_not_by_the_times_in_it() {
    for (seconds, renewed, expires) in [
        (json!(15), "2020-01-01T00:00:00.000000Z", 15),
        (json!(60), "2999-01-01T00:00:00.000000Z", 60),
        // Without a usable duration, that of Emcee counts.
        (json!(0), "2020-01-01T00:00:00.000000Z", 15),
        (json!(-1), "2020-01-01T00:00:00.000000Z", 15),
        (Value::Null, "2020-01-01T00:00:00.000000Z", 15),
    ] {
        let server = ApiServer::new();
        let spec = json!({"holderIdentity": "a", "leaseDurationSeconds": seconds, "renewTime": renewed});
        put_lease(&server, &spec);
        let waited = time_until_leading(&server).await.as_secs();
        assert!((expires..expires + 4).contains(&waited), "{spec}: {waited} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_candidate_without_permission_tries_less_often() {
    for (code, expected) in [(403, 6..=9), (500, 50..=62)] {
        let server = ApiServer::new();
        server.inject(Fault::code(code).plural(LEASES).times(usize::MAX));
        let candidate = Leadership::acquire(server.client(), "emcee-system", "a");
        assert_eq!(count_losses(&candidate.leads(), 60).await, 0);
        let attempts = server.read_state(|state| state.count(Verb::Get));
        assert!(expected.contains(&attempts), "{code}: {attempts} attempts");
        assert!(!*candidate.leads().borrow());
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewal_changes_neither_the_acquisition_nor_the_transitions() {
    let server = ApiServer::new();
    let first = become_leader(&server, "a").await;
    let spec = || server.get(LEASES, "emcee-system", "emcee").unwrap_or_default()["spec"].clone();
    let acquired = spec();
    assert_eq!(acquired["leaseTransitions"], 0, "the creation is no transition");
    server.wait_until(|state| state.count(Verb::Update) >= 3).await;
    let renewed = spec();
    assert_eq!(renewed["acquireTime"], acquired["acquireTime"]);
    assert_eq!((&renewed["leaseTransitions"], &renewed["leaseDurationSeconds"]), (&json!(0), &json!(15)));
    first.release().await;
    assert_eq!(spec()["acquireTime"], acquired["acquireTime"], "a release is no acquisition");
}

#[tokio::test(start_paused = true)]
async fn a_leader_without_permission_stops_at_its_deadline() {
    let server = ApiServer::new();
    let first = become_leader(&server, "a").await;
    let mut leads = first.leads();
    server.inject(Fault::code(403).plural(LEASES).times(usize::MAX));
    let begun = Instant::now();
    wait_for_leadership(&mut leads, false).await;
    let held = begun.elapsed();
    assert!((Duration::from_secs(8)..=Duration::from_secs(10)).contains(&held), "{held:?}");
    // A leader must not wait as long as a candidate: about one attempt for each second.
    let attempts = server.read_state(|state| state.log().iter().filter(|logged| logged.code == 403).count());
    assert!((6..=10).contains(&attempts), "{attempts}");
}
