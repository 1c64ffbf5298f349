use emcee_core::catalogue::Announcement;
use prost::Message;

use super::*;
use crate::wire;

fn announcement(endpoints: &[&str]) -> Announcement {
    let mut endpoints: Vec<Endpoint> = endpoints.iter().map(|text| text.parse().unwrap()).collect();
    endpoints.sort_unstable();
    Announcement {
        key: ObjectKey::new("default", "reviews"),
        mode: Mode::Flat,
        server_name: "reviews.default.yellow.emcee.internal".into(),
        protocol: Protocol::Http,
        port: 9080,
        endpoints,
        identities: vec!["reviews.example".into(), "spiffe://cluster.local/ns/default/sa/reviews".into()],
        trust_domain: "cluster.local".into(),
        root_hash: Some("9f86d081".into()),
    }
}

fn decode_resource(encoded: &EncodedResource) -> ServiceSlice {
    decode_slice(&wire::XdsResource::decode(encoded.bytes.clone()).unwrap()).unwrap()
}

fn resource_names(announcement: &Announcement) -> Vec<String> {
    encode_announcement(announcement).unwrap().iter().map(|encoded| encoded.name.to_string()).collect()
}

#[test]
fn an_announcement_survives_encoding_and_decoding() {
    for endpoints in [
        &[][..],
        &["203.0.113.7:15443"],
        &["203.0.113.7:80", "203.0.113.8:80", "203.0.113.7:81", "[2001:db8::7]:80", "a.example:443"],
    ] {
        let announcement = announcement(endpoints);
        let slices: Vec<_> =
            encode_announcement(&announcement).unwrap().iter().map(decode_resource).collect();
        let endpoints = slices.iter().flat_map(|slice| slice.endpoints.clone());
        assert_eq!(slices[0].attributes.to_announcement(slices[0].name.key.clone(), endpoints), announcement);
        assert!(slices.iter().all(|slice| slice.attributes == slices[0].attributes));
    }
}

#[test]
fn one_slice_for_each_address_type_and_port_and_one_without_endpoints() {
    assert_eq!(resource_names(&announcement(&[])), ["default/reviews/IPv4"]);
    assert_eq!(resource_names(&announcement(&["[2001:db8::7]:80"])), ["default/reviews/IPv6"]);
    assert_eq!(
        resource_names(&announcement(&[
            "9.0.0.1:81",
            "9.0.0.2:80",
            "9.0.0.3:443",
            "[2001:db8::7]:443",
            "a.example:1"
        ])),
        [
            "default/reviews/IPv4",
            "default/reviews/IPv4-81",
            "default/reviews/IPv4-443",
            "default/reviews/IPv6",
            "default/reviews/FQDN",
        ]
    );
}

#[test]
fn the_version_follows_the_content() {
    let version = |announcement: &Announcement| encode_announcement(announcement).unwrap()[0].version.clone();
    let one = announcement(&["203.0.113.7:80"]);
    assert_eq!(version(&one), version(&one.clone()));
    assert_eq!(version(&one).len(), 32);
    for other in [
        announcement(&["203.0.113.8:80"]),
        announcement(&["203.0.113.7:81"]),
        Announcement { port: 81, ..one.clone() },
        Announcement { mode: Mode::Wharf, ..one.clone() },
        Announcement { protocol: Protocol::Grpc, ..one.clone() },
        Announcement { server_name: "x".into(), ..one.clone() },
        Announcement { identities: Vec::new(), ..one.clone() },
        Announcement { trust_domain: "x".into(), ..one.clone() },
        Announcement { root_hash: None, ..one.clone() },
    ] {
        assert_ne!(version(&one), version(&other));
    }
}

#[test]
fn an_announcement_that_no_peer_accepts_is_not_encoded() {
    let many = (0..=MAX_IDENTITIES).map(|n| format!("spiffe://a.example/{n}")).collect();
    let error = encode_announcement(&Announcement { identities: many, ..announcement(&[]) }).unwrap_err();
    assert_eq!(error.to_string(), "cannot be announced: 101 identities are too many (100 are allowed)");
    let error = encode_announcement(&Announcement { identities: vec!["a,b".into()], ..announcement(&[]) })
        .unwrap_err();
    assert_eq!(error.to_string(), r#"cannot be announced: the identity "a,b" contains a comma"#);
    assert!(encode_announcement(&Announcement { server_name: "A b".into(), ..announcement(&[]) }).is_err());
}

#[test]
fn too_many_endpoints_are_truncated() {
    let many: Vec<_> = (0..1_100).map(|n| format!("10.0.{}.{}:80", n / 250, n % 250)).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let encoded = encode_announcement(&announcement(&many)).unwrap();
    assert_eq!(decode_resource(&encoded[0]).endpoints, announcement(&many).endpoints[..MAX_ENDPOINTS]);
}

#[test]
fn the_largest_resource_fits_in_a_response() {
    let long = |n: usize| format!("{}.{}.{}.{n:059}", "a".repeat(63), "b".repeat(63), "c".repeat(63));
    let hosts: Vec<_> = (0..MAX_ENDPOINTS).map(|n| format!("{}a:443", long(n))).collect();
    let hosts: Vec<_> = hosts.iter().map(String::as_str).collect();
    let path = |n: usize| format!("spiffe://a.example/{n:02}{}", "x".repeat(2_048 - 21));
    let identities = (0..MAX_IDENTITIES).map(path).collect();
    let encoded = encode_announcement(&Announcement { identities, ..announcement(&hosts) }).unwrap();
    let response = wire::DeltaDiscoveryResponse {
        resources: vec![encoded[0].bytes.clone()],
        ..wire::DeltaDiscoveryResponse::default()
    };
    assert!(encoded[0].bytes.len() > 400_000, "{}", encoded[0].bytes.len());
    assert!(response.encoded_len() + 1_000 < wire::MAX_RESPONSE_BYTES);
}

#[test]
fn the_discovery_key_is_no_valid_namespace() {
    let own = Announcement {
        key: discovery_announcement_key(),
        server_name: emcee_core::names::discovery_server_name("blue"),
        ..announcement(&["203.0.113.7:15443"])
    };
    assert_eq!(resource_names(&own), ["_emcee/discovery/IPv4"]);
    for other in ["_emcee/x/IPv4", "_emcee2/discovery/IPv4", "a/_emcee/IPv4"] {
        assert!(other.parse::<SliceName>().is_err(), "{other}");
    }
}

/// The error for a valid resource after `spoil` has changed it.
fn decode_error_of(spoil: impl Fn(&mut wire::XdsResource, &mut wire::EndpointSlice)) -> String {
    let encoded = encode_announcement(&announcement(&["203.0.113.7:80"])).unwrap();
    let mut resource = wire::XdsResource::decode(encoded[0].bytes.clone()).unwrap();
    let mut slice = wire::EndpointSlice::decode(resource.resource.clone().unwrap().value).unwrap();
    spoil(&mut resource, &mut slice);
    if let Some(any) = &mut resource.resource
        && !any.value.is_empty()
    {
        any.value = slice.encode_to_vec().into();
    }
    decode_slice(&resource).unwrap_err().to_string()
}

fn annotation_error_of(name: &'static str, value: &str) -> String {
    decode_error_of(|_, slice| {
        let annotations = &mut slice.metadata.as_mut().unwrap().annotations;
        annotations.insert(name.to_owned(), value.to_owned());
    })
}

#[test]
fn a_refusal_names_the_field_the_value_and_what_is_allowed() {
    assert_eq!(
        annotation_error_of(STYLE_ANNOTATION, "ROUND"),
        r#"emcee.io/style: "ROUND" is not allowed (BOUNDARY, PASSTHROUGH, WHARF or FLAT)"#
    );
    assert_eq!(
        decode_error_of(|resource, _| resource.name = "reviews".into()),
        r#"name: "reviews" is not allowed (<namespace>/<service>/<IPv4, IPv6 or FQDN>, or that with -<port>)"#
    );
    assert_eq!(
        decode_error_of(|_, slice| slice.metadata.as_mut().unwrap().namespace = Some("kube-system".into())),
        r#"metadata.namespace: "kube-system" is not allowed (the same as in the resource's name)"#
    );
    assert_eq!(
        decode_error_of(|_, slice| slice.endpoints[0].addresses[0] = "0.0.0.0".into()),
        r#"endpoints: "0.0.0.0:80": nothing can be reached at an unspecified or multicast address"#
    );
    assert_eq!(
        decode_error_of(|_, slice| slice.endpoints = vec![slice.endpoints[0].clone(); 1_001]),
        "1001 endpoints are too many (1000 are allowed)"
    );
}

#[test]
fn whatever_is_missing_or_malformed_is_refused() {
    for (expected, refusal) in [
        ("no content", decode_error_of(|resource, _| resource.resource = None)),
        (
            "type_url",
            decode_error_of(|resource, _| resource.resource.as_mut().unwrap().type_url = "x".into()),
        ),
        (
            "metadata is not set",
            decode_error_of(|resource, _| resource.resource.as_mut().unwrap().value.clear()),
        ),
        ("version", decode_error_of(|resource, _| resource.version = "v".repeat(65))),
        ("metadata is not set", decode_error_of(|_, slice| slice.metadata = None)),
        ("0 ports", decode_error_of(|_, slice| slice.ports.clear())),
        ("2 ports", decode_error_of(|_, slice| slice.ports.push(slice.ports[0].clone()))),
        ("appProtocol is not set", decode_error_of(|_, slice| slice.ports[0].app_protocol = None)),
        ("appProtocol", decode_error_of(|_, slice| slice.ports[0].app_protocol = Some("smtp".into()))),
        ("protocol", decode_error_of(|_, slice| slice.ports[0].protocol = Some("UDP".into()))),
        ("port is not set", decode_error_of(|_, slice| slice.ports[0].port = None)),
        ("1 to 65535", decode_error_of(|_, slice| slice.ports[0].port = Some(0))),
        ("1 to 65535", decode_error_of(|_, slice| slice.ports[0].port = Some(-1))),
        ("1 to 65535", decode_error_of(|_, slice| slice.ports[0].port = Some(65_536))),
        ("resource's name", decode_error_of(|resource, _| resource.name = "default/reviews/IPv4-81".into())),
        ("resource's name", decode_error_of(|resource, _| resource.name = "default/reviews/IPv6".into())),
        ("resource's name", decode_error_of(|_, slice| slice.address_type = Some("FQDN".into()))),
        ("addressType is not set", decode_error_of(|_, slice| slice.address_type = None)),
        ("service-name", decode_error_of(|_, slice| slice.metadata.as_mut().unwrap().labels.clear())),
        ("addresses", decode_error_of(|_, slice| slice.endpoints[0].addresses.clear())),
        ("addressType", decode_error_of(|_, slice| slice.endpoints[0].addresses[0] = "a.example".into())),
        ("has a space", decode_error_of(|_, slice| slice.endpoints[0].addresses[0] = "a b".into())),
        ("server-name", annotation_error_of(SERVER_NAME_ANNOTATION, "*.example")),
        ("service-port", annotation_error_of(SERVICE_PORT_ANNOTATION, "0")),
        ("subject-alt-names", annotation_error_of(SUBJECT_ALT_NAMES_ANNOTATION, "spiffe://a.example/x,,b")),
        ("subject-alt-names", annotation_error_of(SUBJECT_ALT_NAMES_ANNOTATION, "spiffe://a.example/../x")),
        ("trust-domain", annotation_error_of(TRUST_DOMAIN_ANNOTATION, "")),
        ("root-hash", annotation_error_of(ROOT_HASH_ANNOTATION, "a b")),
    ] {
        assert!(refusal.contains(expected), "{expected}: {refusal}");
    }
}

#[test]
fn a_refusal_is_a_short_line_whatever_the_peer_writes() {
    for text in ["\n".repeat(100_000), "\u{10ffff}".repeat(100_000), "x".repeat(1_000_000)] {
        for refusal in [
            decode_error_of(|resource, _| resource.name.clone_from(&text)),
            decode_error_of(|resource, _| resource.version.clone_from(&text)),
            annotation_error_of(STYLE_ANNOTATION, &text),
            annotation_error_of(SUBJECT_ALT_NAMES_ANNOTATION, &text),
            decode_error_of(|_, slice| slice.address_type = Some(text.clone())),
            decode_error_of(|_, slice| slice.endpoints[0].addresses[0].clone_from(&text)),
        ] {
            assert!(refusal.len() < 1_000 && !refusal.contains('\n'), "{refusal}");
        }
    }
}

#[test]
fn a_slice_name_has_one_spelling() {
    for name in ["default/reviews/IPv4", "a/b/FQDN-8080"] {
        assert_eq!(name.parse::<SliceName>().unwrap().to_string(), name);
    }
    for name in
        ["", "a", "a/b", "a/b/ipv4", "a/b/IPv4-", "a/b/IPv4-080", "a/b/IPv4-65536", "A/b/IPv4", "a/b/c/IPv4"]
    {
        assert!(name.parse::<SliceName>().is_err(), "{name}");
    }
}

#[test]
fn endpoints_that_are_not_ready_are_ignored() {
    let encoded =
        encode_announcement(&announcement(&["203.0.113.7:80", "203.0.113.8:80", "203.0.113.9:80"])).unwrap();
    let mut resource = wire::XdsResource::decode(encoded[0].bytes.clone()).unwrap();
    let mut slice = wire::EndpointSlice::decode(resource.resource.clone().unwrap().value).unwrap();
    slice.endpoints[0].conditions = Some(wire::EndpointConditions { ready: Some(false) });
    slice.endpoints[1].conditions = None;
    resource.resource.as_mut().unwrap().value = slice.encode_to_vec().into();
    let reached: Vec<_> =
        decode_slice(&resource).unwrap().endpoints.iter().map(ToString::to_string).collect();
    assert_eq!(reached, ["203.0.113.8:80", "203.0.113.9:80"]);
}
