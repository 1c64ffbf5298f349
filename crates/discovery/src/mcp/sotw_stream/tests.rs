//! Message exchanges as istiod performs them.

use emcee_api::istio::{GatewaySpec, ServiceEntrySpec};
use emcee_core::key::ObjectKey;
use emcee_core::plan::{GeneratedObject, ObjectContent, ObjectOwner, OwnerKind};
use emcee_core::translate::Unit;
use proptest::prelude::*;

use super::*;
use crate::mcp::McpStore;
use crate::wire::{RpcStatus, XdsNode};

const ENTRIES: &str = "networking.istio.io/v1/ServiceEntry";
const GATEWAYS: &str = "networking.istio.io/v1/Gateway";
const MESH: &str = "core/v1alpha1/MeshConfig";

fn object(name: &str, body: ObjectContent) -> GeneratedObject {
    let owner = ObjectOwner::new(OwnerKind::ServiceBinding, ObjectKey::new("default", name), None);
    GeneratedObject {
        namespace: "default".into(),
        name: name.into(),
        owner,
        annotations: BTreeMap::new(),
        content: body,
    }
}

fn entry(name: &str, host: &str) -> GeneratedObject {
    let spec = ServiceEntrySpec { hosts: vec![host.to_owned()], ..ServiceEntrySpec::default() };
    object(name, ObjectContent::ServiceEntry(Box::new(spec)))
}

fn gateway(name: &str) -> GeneratedObject {
    object(name, ObjectContent::Gateway(Box::<GatewaySpec>::default()))
}

fn snapshot_of(objects: &[GeneratedObject]) -> McpSnapshot {
    let mut store = McpStore::default();
    store.set_objects(&Unit::ServiceBinding(ObjectKey::new("default", "ratings")), objects);
    store.publish()
}

/// A snapshot of `count` ServiceEntries, from a store of its own.
fn service_entries(count: usize) -> McpSnapshot {
    let objects: Vec<_> = (0..count).map(|number| entry(&number.to_string(), "x")).collect();
    snapshot_of(&objects)
}

/// The first request of istiod for a type: it has a time in place of a nonce.
fn subscribe(type_url: &str) -> DiscoveryRequest {
    let nonce = "2026-11-25 03:00:00 +0000 UTC".into();
    DiscoveryRequest { type_url: type_url.into(), response_nonce: nonce, ..DiscoveryRequest::default() }
}

fn ack(response: &DiscoveryResponse) -> DiscoveryRequest {
    DiscoveryRequest {
        version_info: response.version_info.clone(),
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        ..DiscoveryRequest::default()
    }
}

fn nack(response: &DiscoveryResponse, why: &str) -> DiscoveryRequest {
    let status = RpcStatus { code: 3, message: why.into(), details: Vec::new() };
    DiscoveryRequest { error_detail: Some(status), ..ack(response) }
}

/// All responses that are due.
fn responses(session: &mut SotwServerStream, snapshot: &McpSnapshot) -> Vec<DiscoveryResponse> {
    std::iter::from_fn(|| session.next_response(snapshot)).collect()
}

/// Type and number of resources of all responses that are due.
fn sent(session: &mut SotwServerStream, snapshot: &McpSnapshot) -> Vec<(String, usize)> {
    let sent = responses(session, snapshot).into_iter();
    sent.map(|response| (response.type_url, response.resources.len())).collect()
}

fn pairs(pairs: &[(&str, usize)]) -> Vec<(String, usize)> {
    pairs.iter().map(|(type_url, count)| ((*type_url).to_owned(), *count)).collect()
}

#[test]
fn every_type_is_answered_in_dependency_order() {
    let mut session = SotwServerStream::default();
    for type_url in [MESH, GATEWAYS, "telemetry.istio.io/v1/Telemetry", ENTRIES] {
        assert_eq!(session.handle_request(subscribe(type_url)), Ok(RequestOutcome::Subscribed));
    }
    let snapshot = snapshot_of(&[entry("a", "x"), entry("b", "y"), gateway("g")]);
    let answers = sent(&mut session, &snapshot);
    assert_eq!(
        answers,
        pairs(&[(ENTRIES, 2), (GATEWAYS, 1), (MESH, 0), ("telemetry.istio.io/v1/Telemetry", 0)])
    );
}

#[test]
fn no_response_before_the_first_snapshot() {
    let mut session = SotwServerStream::default();
    session.handle_request(subscribe(ENTRIES)).unwrap();
    assert_eq!(sent(&mut session, &McpSnapshot::default()), []);
    assert_eq!(sent(&mut session, &service_entries(0)), pairs(&[(ENTRIES, 0)]));
}

#[test]
fn a_change_sends_the_whole_set_of_its_type_and_of_no_other() {
    let mut session = SotwServerStream::default();
    session.handle_request(subscribe(ENTRIES)).unwrap();
    session.handle_request(subscribe(GATEWAYS)).unwrap();
    for response in responses(&mut session, &snapshot_of(&[entry("a", "x"), gateway("g")])) {
        assert_eq!(session.handle_request(ack(&response)), Ok(RequestOutcome::Acked));
    }
    let snapshot = snapshot_of(&[entry("a", "x"), entry("b", "y"), gateway("g")]);
    let changed = responses(&mut session, &snapshot);
    assert_eq!(changed.len(), 1);
    assert_eq!((&*changed[0].type_url, changed[0].resources.len()), (ENTRIES, 2));
    assert_eq!(changed[0].version_info, snapshot.resources_of(ENTRIES).unwrap().version);
    assert_eq!(sent(&mut session, &snapshot), []);
}

#[test]
fn only_the_last_nonce_is_accepted() {
    let mut session = SotwServerStream::default();
    session.handle_request(subscribe(ENTRIES)).unwrap();
    let first = session.next_response(&service_entries(1)).unwrap();
    assert_eq!(session.handle_request(ack(&first)), Ok(RequestOutcome::Acked));
    let second = session.next_response(&service_entries(2)).unwrap();
    assert_ne!(first.nonce, second.nonce);
    assert_eq!(session.in_flight(), 1);
    assert_eq!(session.handle_request(ack(&first)), Ok(RequestOutcome::Stale));
    assert_eq!(session.handle_request(subscribe(ENTRIES)), Ok(RequestOutcome::Stale));
    assert_eq!(session.in_flight(), 1);
    assert_eq!(session.handle_request(ack(&second)), Ok(RequestOutcome::Acked));
    assert_eq!(session.handle_request(nack(&second, "too late")), Ok(RequestOutcome::Stale));
    assert_eq!((session.in_flight(), session.nacked_types().count()), (0, 0));
}

#[test]
fn a_slow_client_gets_the_newest_set_and_no_history() {
    let mut session = SotwServerStream::default();
    session.handle_request(subscribe(ENTRIES)).unwrap();
    let first = session.next_response(&service_entries(1)).unwrap();
    assert_eq!(sent(&mut session, &service_entries(2)), []);
    assert_eq!(sent(&mut session, &service_entries(3)), []);
    session.handle_request(ack(&first)).unwrap();
    assert_eq!(sent(&mut session, &service_entries(3)), pairs(&[(ENTRIES, 3)]));
}

#[test]
fn a_change_that_was_undone_is_not_sent() {
    let mut session = SotwServerStream::default();
    session.handle_request(subscribe(ENTRIES)).unwrap();
    let first = session.next_response(&service_entries(1)).unwrap();
    assert_eq!(sent(&mut session, &service_entries(2)), []);
    session.handle_request(ack(&first)).unwrap();
    assert_eq!(sent(&mut session, &service_entries(1)), []);
}

#[test]
fn a_nacked_set_is_reported_and_not_resent_before_it_changes() {
    let mut session = SotwServerStream::default();
    session.handle_request(subscribe(ENTRIES)).unwrap();
    session.handle_request(subscribe(GATEWAYS)).unwrap();
    let first = session.next_response(&service_entries(1)).unwrap();
    let why = format!("no\nport {}", "x".repeat(100_000));
    assert_eq!(session.handle_request(nack(&first, &why)), Ok(RequestOutcome::Nacked));
    let refusals: Vec<_> = session.nacked_types().collect();
    assert_eq!(refusals.len(), 1);
    assert_eq!(refusals[0].0, ENTRIES);
    assert!(refusals[0].1.starts_with("no port x") && refusals[0].1.len() <= 300);
    assert_eq!(
        sent(&mut session, &service_entries(1)),
        pairs(&[(GATEWAYS, 0)]),
        "other types are still sent"
    );
    let second = session.next_response(&service_entries(2)).unwrap();
    session.handle_request(ack(&second)).unwrap();
    assert_eq!(session.nacked_types().count(), 0);
}

#[test]
fn a_removal_is_a_set_without_it() {
    let mut session = SotwServerStream::default();
    session.handle_request(subscribe(ENTRIES)).unwrap();
    let first = session.next_response(&service_entries(1)).unwrap();
    session.handle_request(ack(&first)).unwrap();
    assert_eq!(sent(&mut session, &service_entries(0)), pairs(&[(ENTRIES, 0)]));
}

/// The default limit of gRPC for a received message is 4 MiB. istiod disables it.
#[test]
fn a_large_set_is_one_response() {
    let mut session = SotwServerStream::default();
    session.handle_request(subscribe(ENTRIES)).unwrap();
    assert_eq!(sent(&mut session, &service_entries(2_000)), pairs(&[(ENTRIES, 2_000)]));
}

#[test]
fn a_new_stream_gets_everything() {
    let snapshot = service_entries(2);
    for _ in 0..2 {
        let mut session = SotwServerStream::default();
        session.handle_request(ack(&DiscoveryResponse { nonce: "9".into(), ..response(&snapshot) })).unwrap();
        assert_eq!(sent(&mut session, &snapshot), pairs(&[(ENTRIES, 2)]));
    }
}

fn response(snapshot: &McpSnapshot) -> DiscoveryResponse {
    let mut session = SotwServerStream::default();
    session.handle_request(subscribe(ENTRIES)).unwrap();
    session.next_response(snapshot).unwrap()
}

#[test]
fn a_client_names_itself_in_a_line_of_bounded_length() {
    let mut session = SotwServerStream::default();
    let node = XdsNode { id: "sidecar~10.0.0.1\n".repeat(1_000), ..XdsNode::default() };
    session.handle_request(DiscoveryRequest { node: Some(node), ..subscribe(ENTRIES) }).unwrap();
    session.handle_request(subscribe(GATEWAYS)).unwrap();
    assert!(session.client_id().starts_with("sidecar~10.0.0.1 ") && session.client_id().len() <= 300);
    assert!(!session.client_id().contains('\n'));
}

#[test]
fn invalid_or_too_many_types_end_the_stream() {
    let mut session = SotwServerStream::default();
    assert_eq!(session.handle_request(subscribe("")), Err(SotwRequestError::InvalidTypeUrl(0)));
    assert_eq!(
        session.handle_request(subscribe(&"x".repeat(257))),
        Err(SotwRequestError::InvalidTypeUrl(257))
    );
    for number in 0..64 {
        session.handle_request(subscribe(&format!("a/b/{number}"))).unwrap();
    }
    assert_eq!(
        session.handle_request(subscribe("a/b/0")),
        Ok(RequestOutcome::Stale),
        "a type that is subscribed already"
    );
    assert_eq!(session.handle_request(subscribe("a/b/64")), Err(SotwRequestError::TooManyTypes));
}

proptest! {
    /// After any order of requests, ACKs, NACKs and changes, a client that acknowledges everything has the current
    /// sets.
    #[test]
    fn a_client_that_answers_ends_with_what_there_is(steps in prop::collection::vec((0..5_u8, 0..4_usize), 0..60)) {
        let mut session = SotwServerStream::default();
        let mut has: BTreeMap<String, usize> = BTreeMap::new();
        let mut open: Vec<DiscoveryResponse> = Vec::new();
        let mut count = 0;
        for (step, number) in steps {
            match step {
                0 => count = number,
                1 => drop(session.handle_request(subscribe([ENTRIES, GATEWAYS, MESH, "a/b/C"][number])).unwrap()),
                2 => drop(open.pop().map(|response| session.handle_request(ack(&response)))),
                3 => drop(open.pop().map(|response| session.handle_request(nack(&response, "no")))),
                _ => open.extend(session.next_response(&service_entries(count))),
            }
            for response in &open {
                has.insert(response.type_url.clone(), response.resources.len());
            }
        }
        for _ in 0..2 {
            for response in open.drain(..) {
                session.handle_request(ack(&response)).unwrap();
            }
            open.extend(responses(&mut session, &service_entries(count)));
            for response in &open {
                has.insert(response.type_url.clone(), response.resources.len());
            }
        }
        prop_assert!(open.is_empty(), "no response is left");
        for (type_url, resources) in has {
            prop_assert_eq!(resources, if type_url == ENTRIES { count } else { 0 });
        }
    }
}
