//! Replicas that take over from each other, with a Lease.

use std::time::Duration;

use emcee_testkit::apiserver::{ApiServer, Fault, ServerState, Verb};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::lease::Leadership;

async fn wait_for_leadership(leads: &mut watch::Receiver<bool>, expected: bool) {
    leads.wait_for(|leads| *leads == expected).await.expect("the candidate stands");
}

fn holder(server: &ApiServer) -> String {
    let lease = server.get("leases.coordination.k8s.io", "emcee-system", "emcee").unwrap_or_default();
    lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_released_lease_is_acquired_by_the_next_replica() {
    let server = ApiServer::new();
    let first = Leadership::acquire(server.client(), "emcee-system", "a");
    wait_for_leadership(&mut first.leads(), true).await;
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
    let first = Leadership::acquire(server.client(), "emcee-system", "a");
    let mut leads = first.leads();
    wait_for_leadership(&mut leads, true).await;
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
    let first = Leadership::acquire(server.client(), "emcee-system", "a");
    wait_for_leadership(&mut first.leads(), true).await;
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
    let first = Leadership::acquire(server.client(), "emcee-system", "a");
    wait_for_leadership(&mut first.leads(), true).await;
    assert_eq!(count_losses(&first.leads(), 120).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_just_before_the_deadline_counts() {
    let server = ApiServer::new();
    let first = Leadership::acquire(server.client(), "emcee-system", "a");
    wait_for_leadership(&mut first.leads(), true).await;
    server.inject(Fault::code(500).verb(Verb::Update).plural(LEASES).times(7));
    assert_eq!(count_losses(&first.leads(), 60).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_lease_allows_no_second_leader() {
    let server = ApiServer::new();
    let first = Leadership::acquire(server.client(), "emcee-system", "a");
    wait_for_leadership(&mut first.leads(), true).await;
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
    let first = Leadership::acquire(server.client(), "emcee-system", "a");
    wait_for_leadership(&mut first.leads(), true).await;
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
        let replica = Leadership::acquire(server.client(), "emcee-system", identity);
        wait_for_leadership(&mut replica.leads(), true).await;
        replica.release().await;
    }
    let lease = server.get(LEASES, "emcee-system", "emcee").unwrap_or_default();
    assert_eq!(lease["metadata"]["labels"]["team"], "mesh");
    assert_eq!(lease["spec"]["leaseTransitions"], 2);
}
