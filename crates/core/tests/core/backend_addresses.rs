//! Which addresses of an exposed Service are checked: all that Istio may use, up to a limit.

use emcee_api::Reason;
use emcee_testkit::objects::service::EndpointSlice;
use emcee_testkit::prelude::*;
use serde_json::{Value, json};

use crate::backends::{
    STYLES, accepted_warnings, cluster_with, foreign_address_refusal, own_slice, refusal_for, with_selector,
    without_selector,
};

/// A BOUNDARY gateway routes by the name of the Service, so Istio uses every address of it. In the other styles, Istio
/// uses the addresses that Emcee generates.
#[test]
fn where_istio_uses_every_address_their_number_is_limited() {
    let address = |number: usize| format!("203.0.{}.{}", number / 250, number % 250 + 1);
    let many =
        |count| (0..count).fold(own_slice("203.0.113.9"), |slice, number| slice.ready(&address(number)));
    for style in STYLES {
        accepted_warnings(&cluster_with(style, [without_selector(), many(999).build()]));
    }
    let message = refusal_for(
        Reason::LimitExceeded,
        &cluster_with("BOUNDARY", [without_selector(), many(1_000).build()]),
    );
    assert!(message.contains("more than 1000 addresses"), "{message}");
}

#[test]
fn every_address_is_checked_whatever_its_position() {
    let name = |name: &str, slice: EndpointSlice| slice.set("/metadata/name", name).build();
    let address = |number: usize| format!("10.244.1.{}", number % 250 + 1);
    let own = (0..250).map(|number| {
        let pod = pod("mallory", &format!("mine-{number}")).label("app", "mine").sidecar();
        pod.running(&address(number)).build()
    });
    let own: Vec<_> = own.collect();
    let full =
        |count| (1..count).fold(own_slice("10.244.1.1"), |slice, number| slice.ready(&address(number)));
    let of = |slices: Vec<Value>| {
        let mut objects = cluster_with("BOUNDARY", [with_selector()]);
        objects.retain(|object| object["metadata"]["name"] != "ledger" || object["kind"] != "Pod");
        objects.extend(own.clone());
        objects.extend(slices);
        objects
    };
    accepted_warnings(&of(vec![name("a", full(2_000)), name("b", full(2_000))]));
    let message = foreign_address_refusal(&of(vec![
        name("a", full(2_000)),
        name("b", full(2_000)),
        name("c", own_slice("192.0.2.1")),
    ]));
    assert!(message.contains("mallory/c has 192.0.2.1, which is node n1"), "{message}");
    let message = refusal_for(Reason::LimitExceeded, &of(vec![name("a", full(2_000).ready("192.0.2.1"))]));
    assert!(message.contains("EndpointSlice mallory/a has more addresses than are checked"), "{message}");
}

/// Istio sends traffic to such an address if the Service requests it (persistent sessions, traffic distribution), or if
/// a DestinationRule sets a panic threshold.
#[test]
fn unready_addresses_are_checked_where_istio_may_use_them() {
    let unready = json!({"ready": false});
    let draining = json!({"ready": false, "serving": true, "terminating": true});
    for conditions in [unready, draining] {
        let slice = || {
            let slice = endpoint_slice("mallory", "front").port("http", 8080).not_ready("10.244.1.7");
            slice.set("/endpoints/0/conditions", conditions.clone())
        };
        for service in [without_selector(), with_selector()] {
            let message =
                foreign_address_refusal(&cluster_with("BOUNDARY", [service, slice().by_hand().build()]));
            assert!(
                message.contains("10.244.1.7, which is Pod payments/ledger of another namespace"),
                "{message}"
            );
        }
        // Kubernetes corrects its own slices, but not those of a Service without selector, whatever their labels are.
        foreign_address_refusal(&cluster_with("BOUNDARY", [without_selector(), slice().build()]));
        accepted_warnings(&cluster_with("BOUNDARY", [with_selector(), slice().build()]));
        // If Emcee gives a gateway the addresses, it gives only the ready ones.
        accepted_warnings(&cluster_with("PASSTHROUGH", [without_selector(), slice().by_hand().build()]));
    }
}

#[test]
fn selected_workload_entries_are_checked_like_slices() {
    let entry = |address: &str| {
        workload_entry("mallory", "machine").address(address).labels([("app", "mine"), ("x", "y")]).build()
    };
    for style in STYLES {
        for address in
            ["10.244.1.7", "192.0.2.1", "10.96.0.7", "10.9.0.7", "127.0.0.1", "10.244.9.9", "a.example"]
        {
            let message = foreign_address_refusal(&cluster_with(style, [with_selector(), entry(address)]));
            assert!(message.contains(&format!("WorkloadEntry mallory/machine has {address}")), "{message}");
        }
        foreign_address_refusal(&cluster_with(style, [with_selector(), entry("unix:///var/run/x")]));
        let warnings = accepted_warnings(&cluster_with(style, [with_selector(), entry("203.0.113.9")]));
        assert!(warnings.iter().any(|(reason, _)| *reason == Reason::Unguarded), "{style}: {warnings:?}");
        // An entry that is not selected is ignored.
        let other =
            workload_entry("mallory", "other").address("10.244.1.7").labels([("app", "else")]).build();
        accepted_warnings(&cluster_with(style, [with_selector(), other]));
    }
    // The labels of the object take precedence over those of its spec.
    let by_own = workload_entry("mallory", "machine").address("10.244.1.7").labels([("app", "else")]);
    foreign_address_refusal(&cluster_with(
        "BOUNDARY",
        [with_selector(), by_own.label("app", "mine").build()],
    ));
}
