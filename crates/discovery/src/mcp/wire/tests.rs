//! Compares each message with `golden/`, which contains the encoding of other implementations. See its README.

use data_encoding::HEXLOWER;
use emcee_api::istio::{Endpoint, IstioSpec, Location, Resolution, ServiceEntrySpec, ServicePort};
use prost::Message;

use super::*;

fn unhex(text: &str) -> Bytes {
    HEXLOWER.decode(text.split_whitespace().collect::<String>().as_bytes()).unwrap().into()
}

#[track_caller]
fn assert_matches_go<M: Message + Default + PartialEq + std::fmt::Debug>(message: &M, golden: &str) {
    assert_eq!(Bytes::from(message.encode_to_vec()), unhex(golden), "written");
    assert_eq!(&M::decode(unhex(golden)).unwrap(), message, "read");
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

#[test]
fn a_request_matches_the_go_encoding() {
    let id = "sidecar~10.0.0.1~istiod-7d4.istio-system~istio-system.svc.cluster.local";
    let request = DiscoveryRequest {
        node: Some(XdsNode { id: id.into(), ..XdsNode::default() }),
        type_url: "networking.istio.io/v1/ServiceEntry".into(),
        response_nonce: "2026-11-25 03:00:00.123456789 +0000 UTC m=+0.1".into(),
        ..DiscoveryRequest::default()
    };
    assert_matches_go(&request, include_str!("../golden/request.hex"));
}

#[test]
fn a_nack_matches_the_go_encoding() {
    let request = DiscoveryRequest {
        version_info: "v1".into(),
        type_url: "networking.istio.io/v1/Gateway".into(),
        response_nonce: "7".into(),
        error_detail: Some(RpcStatus { code: 3, message: "no such port".into(), details: Vec::new() }),
        ..DiscoveryRequest::default()
    };
    assert_matches_go(&request, include_str!("../golden/nack.hex"));
}

#[test]
fn a_response_matches_the_go_encoding() {
    let ratings = ServiceEntrySpec {
        hosts: vec!["ratings.default.blue.emcee.internal".into()],
        ports: vec![ServicePort {
            number: 9080,
            protocol: "HTTP".into(),
            name: "http".into(),
            ..ServicePort::default()
        }],
        location: Location::MeshInternal.into(),
        resolution: Resolution::Static.into(),
        endpoints: vec![Endpoint {
            address: "203.0.113.7".into(),
            ports: [("http".to_owned(), 15443)].into(),
            ..Endpoint::default()
        }],
        export_to: vec![".".into()],
        ..ServiceEntrySpec::default()
    };
    let reviews = ServiceEntrySpec {
        hosts: vec!["reviews.default.blue.emcee.internal".into()],
        ..ServiceEntrySpec::default()
    };
    let first = McpMetadata {
        name: "default/emcee-ratings".into(),
        create_time: Some(ProtoTimestamp::default()),
        version: "h1".into(),
        labels: pairs([("app.kubernetes.io/managed-by", "emcee"), ("emcee.io/owner-kind", "ServiceBinding")]),
        annotations: pairs([("a", "b")]),
    };
    let second = McpMetadata {
        name: "default/emcee-reviews".into(),
        create_time: Some(ProtoTimestamp { seconds: 1_795_575_600, nanos: 500_000_000 }),
        version: "h2".into(),
        ..McpMetadata::default()
    };
    let response = DiscoveryResponse {
        version_info: "v2".into(),
        resources: vec![resource(first, &ratings), resource(second, &reviews)],
        type_url: "networking.istio.io/v1/ServiceEntry".into(),
        nonce: "7".into(),
    };
    assert_matches_go(&response, include_str!("../golden/response.hex"));
}

fn resource(metadata: McpMetadata, spec: &ServiceEntrySpec) -> Bytes {
    let body = Any { type_url: ServiceEntrySpec::TYPE_URL.into(), value: spec.encode_to_vec().into() };
    let resource = McpResource { metadata: Some(metadata), body: Some(body) };
    Any { type_url: RESOURCE_TYPE_URL.into(), value: resource.encode_to_vec().into() }.encode_to_vec().into()
}

/// A client decodes what it receives as one message.
#[test]
fn the_parts_of_a_response_add_up_to_it() {
    let resources: Vec<Bytes> = (0..10_u8).map(|byte| Bytes::from(vec![byte; 100])).collect();
    let response =
        DiscoveryResponse { version_info: "v".into(), resources, type_url: "t".into(), nonce: "7".into() };
    for (part_bytes, count) in [(1, 10), (300, 4), (10_000, 1)] {
        let parts = response.clone().into_parts(part_bytes);
        assert_eq!(parts.len(), count);
        let encoded: Vec<u8> = parts.iter().flat_map(Message::encode_to_vec).collect();
        assert_eq!(DiscoveryResponse::decode(&*encoded), Ok(response.clone()));
    }
    assert_eq!(DiscoveryResponse::default().into_parts(1), [DiscoveryResponse::default()]);
}
