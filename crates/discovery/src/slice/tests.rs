use emcee_core::catalogue::Announcement;
use prost::Message;

use super::*;
use crate::wire;

fn offer(endpoints: &[&str]) -> Announcement {
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

fn decoded(encoded: &Encoded) -> Slice {
    decode(&wire::Resource::decode(encoded.bytes.clone()).unwrap()).unwrap()
}

fn names(announcement: &Announcement) -> Vec<String> {
    encode(announcement).unwrap().iter().map(|encoded| encoded.name.to_string()).collect()
}

#[test]
fn an_offer_comes_back_as_it_was() {
    for endpoints in [
        &[][..],
        &["203.0.113.7:15443"],
        &["203.0.113.7:80", "203.0.113.8:80", "203.0.113.7:81", "[2001:db8::7]:80", "a.example:443"],
    ] {
        let announcement = offer(endpoints);
        let slices: Vec<_> = encode(&announcement).unwrap().iter().map(decoded).collect();
        let endpoints = slices.iter().flat_map(|slice| slice.endpoints.clone());
        assert_eq!(slices[0].facts.offer(slices[0].name.key.clone(), endpoints), announcement);
        assert!(slices.iter().all(|slice| slice.facts == slices[0].facts));
    }
}

#[test]
fn there_is_a_slice_for_each_address_type_and_port_and_one_for_nothing() {
    assert_eq!(names(&offer(&[])), ["default/reviews/IPv4"]);
    assert_eq!(names(&offer(&["[2001:db8::7]:80"])), ["default/reviews/IPv6"]);
    assert_eq!(
        names(&offer(&["9.0.0.1:81", "9.0.0.2:80", "9.0.0.3:443", "[2001:db8::7]:443", "a.example:1"])),
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
fn a_version_is_that_of_the_content() {
    let version = |announcement: &Announcement| encode(announcement).unwrap()[0].version.clone();
    let one = offer(&["203.0.113.7:80"]);
    assert_eq!(version(&one), version(&one.clone()));
    assert_eq!(version(&one).len(), 32);
    for other in [
        offer(&["203.0.113.8:80"]),
        offer(&["203.0.113.7:81"]),
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
fn an_offer_that_no_peer_would_take_is_not_announced() {
    let many = (0..=MAX_IDENTITIES).map(|n| format!("spiffe://a.example/{n}")).collect();
    let error = encode(&Announcement { identities: many, ..offer(&[]) }).unwrap_err();
    assert_eq!(error.to_string(), "cannot be announced: 101 identities are too many (100 are allowed)");
    let error = encode(&Announcement { identities: vec!["a,b".into()], ..offer(&[]) }).unwrap_err();
    assert_eq!(error.to_string(), r#"cannot be announced: the identity "a,b" contains a comma"#);
    assert!(encode(&Announcement { server_name: "A b".into(), ..offer(&[]) }).is_err());
}

#[test]
fn of_too_many_endpoints_the_first_are_announced() {
    let many: Vec<_> = (0..1_100).map(|n| format!("10.0.{}.{}:80", n / 250, n % 250)).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let encoded = encode(&offer(&many)).unwrap();
    assert_eq!(decoded(&encoded[0]).endpoints, offer(&many).endpoints[..MAX_ENDPOINTS]);
}

#[test]
fn the_largest_resource_fits_in_a_response() {
    let long = |n: usize| format!("{}.{}.{}.{n:059}", "a".repeat(63), "b".repeat(63), "c".repeat(63));
    let hosts: Vec<_> = (0..MAX_ENDPOINTS).map(|n| format!("{}a:443", long(n))).collect();
    let hosts: Vec<_> = hosts.iter().map(String::as_str).collect();
    let path = |n: usize| format!("spiffe://a.example/{n:02}{}", "x".repeat(2_048 - 21));
    let identities = (0..MAX_IDENTITIES).map(path).collect();
    let encoded = encode(&Announcement { identities, ..offer(&hosts) }).unwrap();
    let response = wire::DeltaDiscoveryResponse {
        resources: vec![encoded[0].bytes.clone()],
        ..wire::DeltaDiscoveryResponse::default()
    };
    assert!(encoded[0].bytes.len() > 400_000, "{}", encoded[0].bytes.len());
    assert!(response.encoded_len() + 1_000 < wire::MAX_RESPONSE);
}

#[test]
fn an_emcee_announces_itself_where_no_namespace_can_be() {
    let own = Announcement {
        key: discovery_announcement_key(),
        server_name: crate::tls::server_name("blue"),
        ..offer(&["203.0.113.7:15443"])
    };
    assert_eq!(names(&own), ["_emcee/discovery/IPv4"]);
    for other in ["_emcee/x/IPv4", "_emcee2/discovery/IPv4", "a/_emcee/IPv4"] {
        assert!(other.parse::<SliceName>().is_err(), "{other}");
    }
}

/// The error for a valid resource after `spoil` has changed it.
fn spoilt(spoil: impl Fn(&mut wire::Resource, &mut wire::EndpointSlice)) -> String {
    let encoded = encode(&offer(&["203.0.113.7:80"])).unwrap();
    let mut resource = wire::Resource::decode(encoded[0].bytes.clone()).unwrap();
    let mut slice = wire::EndpointSlice::decode(resource.resource.clone().unwrap().value).unwrap();
    spoil(&mut resource, &mut slice);
    if let Some(any) = &mut resource.resource
        && !any.value.is_empty()
    {
        any.value = slice.encode_to_vec().into();
    }
    decode(&resource).unwrap_err().to_string()
}

fn spoilt_note(name: &'static str, value: &str) -> String {
    spoilt(|_, slice| {
        let annotations = &mut slice.metadata.as_mut().unwrap().annotations;
        annotations.insert(name.to_owned(), value.to_owned());
    })
}

#[test]
fn a_refusal_names_the_field_the_value_and_what_is_allowed() {
    assert_eq!(
        spoilt_note(STYLE, "ROUND"),
        r#"emcee.io/style: "ROUND" is not allowed (BOUNDARY, PASSTHROUGH, WHARF or FLAT)"#
    );
    assert_eq!(
        spoilt(|resource, _| resource.name = "reviews".into()),
        r#"name: "reviews" is not allowed (<namespace>/<service>/<IPv4, IPv6 or FQDN>, or that with -<port>)"#
    );
    assert_eq!(
        spoilt(|_, slice| slice.metadata.as_mut().unwrap().namespace = Some("kube-system".into())),
        r#"metadata.namespace: "kube-system" is not allowed (the same as in the resource's name)"#
    );
    assert_eq!(
        spoilt(|_, slice| slice.endpoints[0].addresses[0] = "0.0.0.0".into()),
        r#"endpoints: "0.0.0.0:80": nothing can be reached at an unspecified or multicast address"#
    );
    assert_eq!(
        spoilt(|_, slice| slice.endpoints = vec![slice.endpoints[0].clone(); 1_001]),
        "1001 endpoints are too many (1000 are allowed)"
    );
}

#[test]
fn whatever_is_missing_or_malformed_is_refused() {
    for (said, refusal) in [
        ("no content", spoilt(|resource, _| resource.resource = None)),
        ("type_url", spoilt(|resource, _| resource.resource.as_mut().unwrap().type_url = "x".into())),
        ("metadata is not set", spoilt(|resource, _| resource.resource.as_mut().unwrap().value.clear())),
        ("version", spoilt(|resource, _| resource.version = "v".repeat(65))),
        ("metadata is not set", spoilt(|_, slice| slice.metadata = None)),
        ("0 ports", spoilt(|_, slice| slice.ports.clear())),
        ("2 ports", spoilt(|_, slice| slice.ports.push(slice.ports[0].clone()))),
        ("appProtocol is not set", spoilt(|_, slice| slice.ports[0].app_protocol = None)),
        ("appProtocol", spoilt(|_, slice| slice.ports[0].app_protocol = Some("smtp".into()))),
        ("protocol", spoilt(|_, slice| slice.ports[0].protocol = Some("UDP".into()))),
        ("port is not set", spoilt(|_, slice| slice.ports[0].port = None)),
        ("1 to 65535", spoilt(|_, slice| slice.ports[0].port = Some(0))),
        ("1 to 65535", spoilt(|_, slice| slice.ports[0].port = Some(-1))),
        ("1 to 65535", spoilt(|_, slice| slice.ports[0].port = Some(65_536))),
        ("resource's name", spoilt(|resource, _| resource.name = "default/reviews/IPv4-81".into())),
        ("resource's name", spoilt(|resource, _| resource.name = "default/reviews/IPv6".into())),
        ("resource's name", spoilt(|_, slice| slice.address_type = Some("FQDN".into()))),
        ("addressType is not set", spoilt(|_, slice| slice.address_type = None)),
        ("service-name", spoilt(|_, slice| slice.metadata.as_mut().unwrap().labels.clear())),
        ("addresses", spoilt(|_, slice| slice.endpoints[0].addresses.clear())),
        ("addressType", spoilt(|_, slice| slice.endpoints[0].addresses[0] = "a.example".into())),
        ("neither", spoilt(|_, slice| slice.endpoints[0].addresses[0] = "a b".into())),
        ("server-name", spoilt_note(SERVER_NAME, "*.example")),
        ("service-port", spoilt_note(SERVICE_PORT, "0")),
        ("subject-alt-names", spoilt_note(SUBJECT_ALT_NAMES, "spiffe://a.example/x,,b")),
        ("subject-alt-names", spoilt_note(SUBJECT_ALT_NAMES, "spiffe://a.example/../x")),
        ("trust-domain", spoilt_note(TRUST_DOMAIN, "")),
        ("root-hash", spoilt_note(ROOT_HASH, "a b")),
    ] {
        assert!(refusal.contains(said), "{said}: {refusal}");
    }
}

#[test]
fn a_refusal_is_a_short_line_whatever_the_peer_writes() {
    for text in ["\n".repeat(100_000), "\u{10ffff}".repeat(100_000), "x".repeat(1_000_000)] {
        for refusal in [
            spoilt(|resource, _| resource.name.clone_from(&text)),
            spoilt(|resource, _| resource.version.clone_from(&text)),
            spoilt_note(STYLE, &text),
            spoilt_note(SUBJECT_ALT_NAMES, &text),
            spoilt(|_, slice| slice.address_type = Some(text.clone())),
            spoilt(|_, slice| slice.endpoints[0].addresses[0].clone_from(&text)),
        ] {
            assert!(refusal.len() < 1_000 && !refusal.contains('\n'), "{refusal}");
        }
    }
}

#[test]
fn a_name_is_written_in_one_way() {
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
fn an_endpoint_that_is_not_ready_is_none() {
    let encoded = encode(&offer(&["203.0.113.7:80", "203.0.113.8:80", "203.0.113.9:80"])).unwrap();
    let mut resource = wire::Resource::decode(encoded[0].bytes.clone()).unwrap();
    let mut slice = wire::EndpointSlice::decode(resource.resource.clone().unwrap().value).unwrap();
    slice.endpoints[0].conditions = Some(wire::EndpointConditions { ready: Some(false) });
    slice.endpoints[1].conditions = None;
    resource.resource.as_mut().unwrap().value = slice.encode_to_vec().into();
    let reached: Vec<_> = decode(&resource).unwrap().endpoints.iter().map(ToString::to_string).collect();
    assert_eq!(reached, ["203.0.113.8:80", "203.0.113.9:80"]);
}
