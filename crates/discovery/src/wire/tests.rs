//! `golden/` contains each message as encoded by the original Go code; see its README.

use data_encoding::HEXLOWER;
use prost::Message;
use prost::bytes::Bytes;

use super::*;

const SLICE: &str = include_str!("golden/endpoint_slice.hex");

fn unhex(text: &str) -> Bytes {
    HEXLOWER.decode(text.split_whitespace().collect::<String>().as_bytes()).unwrap().into()
}

#[track_caller]
fn assert_matches_go<M: Message + Default + PartialEq + std::fmt::Debug>(message: &M, golden: &str) {
    assert_eq!(Bytes::from(message.encode_to_vec()), unhex(golden), "written");
    assert_eq!(&M::decode(unhex(golden)).unwrap(), message, "read");
}

fn texts<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).into()
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> std::collections::BTreeMap<String, String> {
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

#[test]
fn a_first_request_matches_the_bytes_of_go() {
    let request = DeltaDiscoveryRequest {
        node: Some(XdsNode { id: "m1".into(), user_agent_name: "emcee".into() }),
        type_url: ENDPOINT_SLICE.into(),
        resource_names_subscribe: texts(["*", "default/ratings/IPv4"]),
        resource_names_unsubscribe: texts(["default/details/IPv4"]),
        initial_resource_versions: pairs([("default/ratings/IPv4", "v2"), ("default/reviews/IPv6", "v1")]),
        ..DeltaDiscoveryRequest::default()
    };
    assert_matches_go(&request, include_str!("golden/first_request.hex"));
}

#[test]
fn a_nack_matches_the_bytes_of_go() {
    let violation =
        FieldViolation { field: "default/reviews/IPv4".into(), description: "no server name".into() };
    let detail = BadRequest { field_violations: vec![violation] };
    let status = RpcStatus {
        code: Code::InvalidArgument.into(),
        message: "1 of 2 resources refused".into(),
        details: vec![Any { type_url: BAD_REQUEST.into(), value: detail.encode_to_vec().into() }],
    };
    let request = DeltaDiscoveryRequest {
        type_url: ENDPOINT_SLICE.into(),
        response_nonce: "7".into(),
        error_detail: Some(status),
        ..DeltaDiscoveryRequest::default()
    };
    assert_matches_go(&request, include_str!("golden/nack.hex"));
}

#[test]
fn a_response_matches_the_bytes_of_go() {
    let resource = |name: &str, version: &str| XdsResource {
        name: name.into(),
        version: version.into(),
        resource: Some(Any { type_url: ENDPOINT_SLICE.into(), value: unhex(SLICE) }),
    };
    let resources = [
        resource("default/reviews/IPv4", "9f86d081884c7d65"),
        resource("default/ratings/IPv4", "2c26b46b68ffc68f"),
    ];
    let response = DeltaDiscoveryResponse {
        resources: resources.iter().map(|resource| resource.encode_to_vec().into()).collect(),
        type_url: ENDPOINT_SLICE.into(),
        nonce: "7".into(),
        removed_resources: texts(["default/details/IPv4", "default/details/IPv6"]),
    };
    assert_matches_go(&response, include_str!("golden/response.hex"));
}

/// Kubernetes encodes empty metadata fields too, so the bytes differ and only the decoded message is compared.
#[test]
fn an_endpoint_slice_written_by_kubernetes_is_decoded() {
    let endpoint = |address: &str, ready: Option<bool>| SliceEndpoint {
        addresses: texts([address]),
        conditions: Some(EndpointConditions { ready }),
    };
    let slice = EndpointSlice {
        metadata: Some(ObjectMeta {
            name: Some("reviews-ipv4".into()),
            namespace: Some("default".into()),
            labels: pairs([("kubernetes.io/service-name", "reviews")]),
            annotations: pairs([
                ("emcee.io/server-name", "reviews.default.blue.emcee.internal"),
                ("emcee.io/style", "BOUNDARY"),
            ]),
        }),
        address_type: Some("IPv4".into()),
        endpoints: vec![
            endpoint("203.0.113.7", Some(true)),
            endpoint("203.0.113.8", Some(false)),
            endpoint("203.0.113.9", None),
        ],
        ports: vec![EndpointPort {
            name: Some("http".into()),
            protocol: Some("TCP".into()),
            port: Some(15443),
            app_protocol: Some("http".into()),
        }],
    };
    assert_eq!(EndpointSlice::decode(unhex(SLICE)).unwrap(), slice);
    assert_eq!(EndpointSlice::decode(Bytes::from(slice.encode_to_vec())).unwrap(), slice);
}
