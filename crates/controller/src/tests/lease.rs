//! Replicas that follow each other, by the Lease.

use emcee_testkit::apiserver::{ApiServer, Fault, Verb};
use tokio::sync::watch;

use crate::lease::Leadership;

async fn is(leads: &mut watch::Receiver<bool>, wanted: bool) {
    leads.wait_for(|leads| *leads == wanted).await.expect("the candidate stands");
}

fn holder(server: &ApiServer) -> String {
    let lease = server.get("leases.coordination.k8s.io", "emcee-system", "emcee").unwrap_or_default();
    lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_given_back_is_taken_by_the_next() {
    let server = ApiServer::new();
    let first = Leadership::seek(server.client(), "emcee-system", "a");
    is(&mut first.leads(), true).await;
    let second = Leadership::seek(server.client(), "emcee-system", "b");
    assert!(!*second.leads().borrow());
    let given_back = tokio::time::Instant::now();
    first.give_back().await;
    is(&mut second.leads(), true).await;
    assert!(given_back.elapsed().as_secs() < 3, "{:?}", given_back.elapsed());
    assert_eq!(holder(&server), "b");
    second.give_back().await;
    assert_eq!(holder(&server), "");
}

#[tokio::test(start_paused = true)]
async fn who_cannot_renew_stops_leading_and_comes_back() {
    let server = ApiServer::new();
    let first = Leadership::seek(server.client(), "emcee-system", "a");
    let mut leads = first.leads();
    is(&mut leads, true).await;
    server.pause();
    is(&mut leads, false).await;
    server.resume();
    is(&mut leads, true).await;
    first.give_back().await;
}

#[tokio::test(start_paused = true)]
async fn refusals_do_not_end_it() {
    let server = ApiServer::new();
    for code in [403, 409, 500] {
        server.inject(Fault::code(code).plural("leases.coordination.k8s.io"));
    }
    server.inject(Fault::code(409).verb(Verb::Update).plural("leases.coordination.k8s.io").after(2));
    let first = Leadership::seek(server.client(), "emcee-system", "a");
    is(&mut first.leads(), true).await;
    first.give_back().await;
    assert_eq!(holder(&server), "");
}
