//! Ownership of the addresses of an exposed Service. Addresses that belong to another namespace or to the cluster are
//! not exposed, in any style.

use std::net::IpAddr;

use emcee_api::Reason;
use emcee_core::inputs::{InputCoverage, TranslationSettings};
use emcee_core::key::ObjectKey;
use emcee_core::plan::GeneratedKind;
use emcee_core::status::ResourceVerdict;
use emcee_core::translate::{Translation, Unit};
use emcee_testkit::objects::service::EndpointSlice;
use emcee_testkit::prelude::*;
use serde_json::{Value, json};

use crate::mesh::input;
use crate::plan::{objects_of_kind, to_json};

pub(crate) const STYLES: [&str; 4] = ["BOUNDARY", "PASSTHROUGH", "WHARF", "FLAT"];

fn relationship(style: &str) -> Value {
    match style {
        "BOUNDARY" => boundary("blue").build(),
        "PASSTHROUGH" => passthrough("blue").build(),
        "WHARF" => wharf("blue").build(),
        _ => flat("blue").build(),
    }
}

/// A cluster whose objects are all known: a victim in another namespace, a node, Services, and the tenant's own pod.
fn cluster(style: &str) -> Vec<Value> {
    vec![
        relationship(style),
        secret_tls("blue", "blue").label("relationship", "blue").pair(&valid_pair("m1.example")).build(),
        peer_authentication("istio-system", "default").mode("STRICT").build(),
        peer_authentication("payments", "default").mode("PERMISSIVE").build(),
        pod("payments", "ledger").label("app", "ledger").sidecar().running("10.244.1.7").build(),
        pod("mallory", "mine").label("app", "mine").sidecar().running("10.244.1.8").build(),
        service("payments", "ledger").port("http", 80).set("/spec/clusterIP", "10.96.0.7").build(),
        service("payments", "open").port("http", 80).external("198.51.100.7").build(),
        node("n1", &["192.0.2.1", "fd00::1"], &["10.244.0.0/16"]),
        workload_entry("payments", "machine").address("10.9.0.7").build(),
        exposition("mallory", "front").port(80).fed("blue").build(),
    ]
}

fn node(name: &str, addresses: &[&str], ranges: &[&str]) -> Value {
    let addresses: Vec<_> = addresses.iter().map(|it| json!({"type": "InternalIP", "address": it})).collect();
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"namespace": "", "name": name},
        "spec": {"podCIDRs": ranges},
        "status": {"addresses": addresses, "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

fn settings() -> TranslationSettings {
    TranslationSettings {
        now: "2026-11-23T00:00:00Z".parse().expect("a time"),
        ..TranslationSettings::default()
    }
}

fn translate(objects: &[Value]) -> Translation {
    Translation::from_changes(settings(), objects.iter().map(input::change))
}

fn unit() -> Unit {
    Unit::ServiceExposition(ObjectKey::new("mallory", "front"))
}

fn verdict(objects: &[Value]) -> ResourceVerdict {
    translate(objects).verdict(&unit()).expect("a verdict").clone()
}

/// Returns the text of the refusal. Asserts that nothing is generated for the exposition.
#[track_caller]
pub(crate) fn foreign_address_refusal(objects: &[Value]) -> String {
    refusal_for(Reason::ForeignAddress, objects)
}

#[track_caller]
pub(crate) fn refusal_for(reason: Reason, objects: &[Value]) -> String {
    let translation = translate(objects);
    let verdict = translation.verdict(&unit()).expect("a verdict");
    assert_eq!(verdict.refusals.first().map(|problem| problem.reason), Some(reason), "{verdict:?}");
    assert_eq!(translation.objects_of(&unit()).len(), 0, "nothing is generated");
    verdict.refusals[0].to_string()
}

#[track_caller]
pub(crate) fn accepted_warnings(objects: &[Value]) -> Vec<(Reason, String)> {
    let verdict = verdict(objects);
    assert!(verdict.is_programmed(), "{verdict:?}");
    verdict.warnings.iter().map(|problem| (problem.reason, problem.message.clone())).collect()
}

pub(crate) fn own_slice(address: &str) -> EndpointSlice {
    endpoint_slice("mallory", "front").by_hand().port("http", 8080).ready(address)
}

pub(crate) fn without_selector() -> Value {
    service("mallory", "front").port("http", 80).build()
}

pub(crate) fn with_selector() -> Value {
    service("mallory", "front").port("http", 80).selector([("app", "mine")]).build()
}

pub(crate) fn cluster_with(style: &str, more: impl IntoIterator<Item = Value>) -> Vec<Value> {
    cluster(style).into_iter().chain(more).collect()
}

#[test]
fn a_pod_of_another_namespace_is_refused_whatever_its_target_ref() {
    for style in STYLES {
        let message = foreign_address_refusal(&cluster_with(
            style,
            [without_selector(), own_slice("10.244.1.7").pod("mine").build()],
        ));
        assert!(
            message.contains("10.244.1.7, which is Pod payments/ledger of another namespace"),
            "{message}"
        );
        assert!(message.contains("spec.allowed_backend_networks of MeshFedConfig blue/blue"), "{message}");
        foreign_address_refusal(&cluster_with(style, [without_selector(), own_slice("10.244.1.7").build()]));
        foreign_address_refusal(&cluster_with(style, [with_selector(), own_slice("10.244.1.7").build()]));
    }
}

#[test]
fn a_reference_into_another_namespace_is_refused_whatever_the_address() {
    for style in STYLES {
        for address in ["10.244.1.7", "203.0.113.9", "10.244.1.8"] {
            for service in [without_selector(), with_selector()] {
                let mut slice = own_slice(address).build();
                slice["endpoints"][0]["targetRef"] =
                    json!({"kind": "Pod", "name": "ledger", "namespace": "payments"});
                let message = foreign_address_refusal(&cluster_with(style, [service, slice]));
                assert!(message.contains("calls it Pod payments/ledger of another namespace"), "{message}");
            }
        }
    }
}

#[test]
fn foreign_addresses_are_refused_in_every_form() {
    let foreign = [
        ("192.0.2.1", "node n1"),
        ("fd00::1", "node n1"),
        ("10.96.0.7", "Service payments/ledger"),
        ("198.51.100.7", "Service payments/open"),
        ("10.9.0.7", "WorkloadEntry payments/machine"),
        ("::ffff:10.244.1.7", "Pod payments/ledger"),
        ("64:ff9b::af4:107", "Pod payments/ledger"),
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("169.254.169.254", "link-local"),
        ("fe80::1", "link-local"),
        ("0.0.0.0", "unspecified"),
        ("224.0.0.1", "multicast"),
        ("240.240.0.17", "reserved"),
        ("10.244.9.9", "which is for Pods of node n1"),
        ("ledger.payments.svc.cluster.local", "a name, which may resolve to any address"),
    ];
    for style in STYLES {
        for (address, who) in foreign {
            for service in [without_selector(), with_selector()] {
                let message =
                    foreign_address_refusal(&cluster_with(style, [service, own_slice(address).build()]));
                assert!(message.contains(who), "{address}: {message}");
            }
        }
    }
}

#[test]
fn given_cluster_networks_are_refused() {
    let objects = cluster_with("BOUNDARY", [without_selector(), own_slice("10.77.0.9").build()]);
    assert_eq!(accepted_warnings(&objects)[0].0, Reason::Unguarded);
    let networks = vec!["10.77.0.0/16".parse().expect("a network")];
    let settings = TranslationSettings { cluster_networks: networks, ..settings() };
    let translation = Translation::from_changes(settings, objects.iter().map(input::change));
    let verdict = translation.verdict(&unit()).expect("a verdict");
    assert_eq!(verdict.refusals[0].reason, Reason::ForeignAddress);
}

#[test]
fn one_foreign_address_among_own_ones_is_refused() {
    for style in STYLES {
        let slice = own_slice("10.244.1.8").pod("mine").ready("10.244.1.7").pod("mine").build();
        foreign_address_refusal(&cluster_with(style, [without_selector(), slice]));
    }
}

#[test]
fn an_own_pod_is_recognised_by_address_not_by_name() {
    for style in STYLES {
        for slice in [own_slice("10.244.1.8").build(), own_slice("10.244.1.8").pod("other").build()] {
            let warnings = accepted_warnings(&cluster_with(style, [without_selector(), slice.clone()]));
            assert!(warnings.iter().all(|(reason, _)| *reason != Reason::Unguarded), "{style}: {warnings:?}");
            accepted_warnings(&cluster_with(style, [with_selector(), slice]));
        }
    }
}

#[test]
fn an_own_pod_that_accepts_plaintext_is_found_by_address() {
    let permissive = peer_authentication("mallory", "default").mode("PERMISSIVE").build();
    for style in ["PASSTHROUGH", "WHARF", "FLAT"] {
        for slice in [own_slice("10.244.1.8").build(), own_slice("10.244.1.8").pod("other").build()] {
            let verdict = verdict(&cluster_with(style, [without_selector(), slice, permissive.clone()]));
            assert_eq!(verdict.failures[0].reason, Reason::NotStrict, "{style}");
        }
    }
}

#[test]
fn external_addresses_are_exposed_with_a_warning() {
    for style in STYLES {
        for service in [without_selector(), with_selector()] {
            for slice in [own_slice("203.0.113.9").build(), own_slice("203.0.113.9").pod("mine").build()] {
                let warnings = accepted_warnings(&cluster_with(style, [service.clone(), slice]));
                let unguarded = |(reason, _): &&(Reason, String)| *reason == Reason::Unguarded;
                assert_eq!(warnings.iter().filter(unguarded).count(), 1, "{style}: {warnings:?}");
            }
        }
    }
}

#[test]
fn managed_slices_are_trusted_until_their_pod_is_observed() {
    for style in STYLES {
        // The address is in the range of Pods, but the Pod itself has not been observed yet.
        let slice = endpoint_slice("mallory", "front").port("http", 8080).ready("10.244.1.99").pod("new");
        let warnings = accepted_warnings(&cluster_with(style, [with_selector(), slice.clone().build()]));
        assert!(warnings.iter().all(|(reason, _)| *reason != Reason::Unguarded), "{style}: {warnings:?}");
        // Kubernetes manages no slices of a Service without selector, whatever their label is.
        foreign_address_refusal(&cluster_with(style, [without_selector(), slice.build()]));
        // An address that is known to belong to another namespace is still refused.
        let forged = endpoint_slice("mallory", "front").port("http", 8080).ready("10.244.1.7").pod("mine");
        foreign_address_refusal(&cluster_with(style, [with_selector(), forged.build()]));
    }
}

#[test]
fn host_network_pods_belong_to_their_namespace() {
    let own =
        pod("mallory", "agent").label("app", "mine").container("app", 8080).running("192.0.2.1").build();
    let slice =
        || endpoint_slice("mallory", "front").port("http", 8080).ready("192.0.2.1").pod("agent").build();
    accepted_warnings(&cluster_with("BOUNDARY", [with_selector(), slice(), own.clone()]));
    accepted_warnings(&cluster_with("BOUNDARY", [without_selector(), slice(), own]));
    // Without that Pod, the address belongs to the node, or to another namespace's Pod in the host network.
    foreign_address_refusal(&cluster_with("BOUNDARY", [without_selector(), slice()]));
}

#[test]
fn another_claim_on_a_pods_address_does_not_stop_its_exposition() {
    let claims = [
        workload_entry("payments", "claim").address("10.244.1.8").build(),
        pod("payments", "claim").sidecar().running("10.244.1.8").build(),
        service("payments", "claim").set("/spec/clusterIP", "10.244.1.8").build(),
    ];
    for style in STYLES {
        for service in [without_selector(), with_selector()] {
            let objects = cluster_with(style, [service, own_slice("10.244.1.8").pod("mine").build()]);
            accepted_warnings(&objects.into_iter().chain(claims.clone()).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_finished_pod_no_longer_owns_its_address() {
    for style in STYLES {
        for phase in ["Succeeded", "Failed"] {
            let job =
                pod("mallory", "job").sidecar().running("10.244.1.7").set("/status/phase", phase).build();
            let message = foreign_address_refusal(&cluster_with(
                style,
                [without_selector(), own_slice("10.244.1.7").pod("job").build(), job],
            ));
            assert!(message.contains("Pod payments/ledger"), "{message}");
        }
    }
}

#[test]
fn a_workload_entry_is_announced_with_its_own_identity() {
    let entry = |account: Option<&str>| {
        let entry = workload_entry("mallory", "machine").address("203.0.113.9").labels([("app", "mine")]);
        account.map_or(entry.clone(), |account| entry.set("/spec/serviceAccount", account)).build()
    };
    let announced = |account| {
        let mut objects = cluster_with("PASSTHROUGH", [with_selector(), entry(account)]);
        objects[0]["spec"]["peers"] = json!([{"name": "m2", "subject_alt_names": ["m2.example"]}]);
        let translation = translate(&objects);
        let announcements = crate::plan::snapshot(&translation).announcements;
        announcements
            .into_iter()
            .flat_map(|(_, addressed)| addressed.announcement.identities.clone())
            .collect::<Vec<_>>()
    };
    let of = |account: &str| format!("spiffe://cluster.local/ns/mallory/sa/{account}");
    assert_eq!(announced(Some("machine")), [of("default"), of("machine")]);
    assert_eq!(announced(None), [""; 0], "callers would reject a workload of unknown identity");
}

#[test]
fn the_administrator_can_allow_networks_and_domains() {
    for style in STYLES {
        let mut objects = cluster_with(style, [without_selector()]);
        objects[0]["spec"]["allowed_backend_networks"] =
            json!(["10.244.1.7/32", "192.0.2.0/24", "127.0.0.0/8", "fd00::/16"]);
        objects[0]["spec"]["allowed_backend_domains"] = json!(["example.com"]);
        for address in
            ["10.244.1.7", "::ffff:10.244.1.7", "192.0.2.1", "127.0.0.1", "fd00::1", "db.example.com"]
        {
            let allowed: Vec<_> = objects.iter().cloned().chain([own_slice(address).build()]).collect();
            let warnings = accepted_warnings(&allowed);
            assert!(
                warnings.iter().any(|(reason, _)| *reason == Reason::Unguarded),
                "{address}: {warnings:?}"
            );
        }
        for address in ["10.96.0.7", "10.244.1.99", "dbexample.com", "db.example.com.evil.test"] {
            foreign_address_refusal(
                &objects.iter().cloned().chain([own_slice(address).build()]).collect::<Vec<_>>(),
            );
        }
    }
}

#[test]
fn owners_of_addresses_are_followed() {
    for style in STYLES {
        let objects = cluster_with(style, [without_selector(), own_slice("203.0.113.9").build()]);
        let mut translation = translate(&objects);
        let is_in_place =
            |translation: &Translation| translation.verdict(&unit()).expect("one").is_programmed();
        assert!(is_in_place(&translation));
        for object in [
            pod("payments", "late").sidecar().running("203.0.113.9").build(),
            service("payments", "late").set("/spec/clusterIPs", json!(["203.0.113.9"])).build(),
            workload_entry("payments", "late").address("203.0.113.9").build(),
            node("n2", &["203.0.113.9"], &[]),
            node("n3", &[], &["203.0.113.0/24"]),
            node("n4", &[], &["203.0.112.0/20"]),
        ] {
            translation.update([input::change(&object)]);
            assert!(!is_in_place(&translation), "{style}: {object}");
            translation.update([input::removal(&object)]);
            assert!(is_in_place(&translation), "{style}: {object}");
        }
    }
}

#[test]
fn in_files_known_owners_are_refused_and_unknown_ones_cause_a_warning() {
    let partial = |objects: &[Value]| {
        let settings = TranslationSettings { coverage: InputCoverage::Partial, ..settings() };
        let translation = Translation::from_changes(settings, objects.iter().map(input::change));
        translation.verdict(&unit()).expect("a verdict").clone()
    };
    for style in STYLES {
        let known =
            partial(&cluster_with(style, [without_selector(), own_slice("10.244.1.7").pod("mine").build()]));
        assert_eq!(known.refusals[0].reason, Reason::ForeignAddress);
        // A Pod in a file may have no address. Then the slice is trusted, with a warning.
        let mut objects =
            cluster_with(style, [without_selector(), own_slice("203.0.113.9").pod("mine").build()]);
        objects.retain(|object| object["metadata"]["name"] != "mine");
        objects.push(pod("mallory", "mine").label("app", "mine").sidecar().build());
        let assumed = partial(&objects);
        assert!(assumed.is_programmed(), "{assumed:?}");
        let has_no_address = |problem: &&emcee_core::problem::ResourceProblem| {
            problem.message.contains("Pod mallory/mine has no address")
        };
        assert_eq!(assumed.warnings.iter().filter(has_no_address).count(), 1, "{assumed:?}");
    }
}

#[test]
fn ipv4_mapped_addresses_have_the_same_owner() {
    let translation = translate(&cluster_with("FLAT", [without_selector(), own_slice("10.244.1.8").build()]));
    assert_eq!(
        objects_of_kind(&translation, GeneratedKind::ServiceEntry).len(),
        0,
        "FLAT exposes without objects"
    );
    let mapped: IpAddr = "::ffff:10.244.1.8".parse().expect("an address");
    accepted_warnings(&cluster_with("FLAT", [without_selector(), own_slice(&mapped.to_string()).build()]));
}

#[test]
fn a_tls_passthrough_without_http_opens_no_listener_for_all_addresses() {
    for style in ["PASSTHROUGH", "WHARF"] {
        for (protocol, own) in [("tcp", true), ("tls", true), ("http", false), ("grpc", false)] {
            for service in [without_selector(), with_selector()] {
                let mut objects = cluster_with(style, [service, own_slice("10.244.1.8").build()]);
                let exposed = objects.iter_mut().find(|object| object["kind"] == "ServiceExposition");
                exposed.expect("it")["spec"]["protocol"] = protocol.into();
                let entries = objects_of_kind(&translate(&objects), GeneratedKind::ServiceEntry);
                let [entry] = entries.as_slice() else { panic!("one: {entries:?}") };
                let spec = &to_json(entry)["spec"];
                let address = spec["addresses"][0].as_str().map(str::parse::<std::net::Ipv4Addr>);
                assert_eq!(address.is_some(), own, "{protocol}: {spec}");
                // The address is reserved, and outside of Istio's own 240.240.0.0/16.
                let idle = address.is_none_or(|it| matches!(it.expect("it").octets(), [240, 241..=255, ..]));
                assert!(idle, "{spec}");
            }
        }
    }
}
