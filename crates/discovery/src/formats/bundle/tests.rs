use emcee_core::mode::Mode;
use emcee_core::protocol::Protocol;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::formats::endpoint_slice::discovery_announcement_key;

fn announcement(name: &str, endpoints: &[&str]) -> Announcement {
    let mut endpoints: Vec<_> = endpoints.iter().map(|text| text.parse().unwrap()).collect();
    endpoints.sort_unstable();
    Announcement {
        key: ObjectKey::new("default", name),
        mode: Mode::Wharf,
        server_name: format!("{name}.default.blue.emcee.internal"),
        protocol: Protocol::Grpc,
        port: 9081,
        endpoints,
        identities: vec![
            "spiffe://m2.example/ns/default/sa/a".into(),
            "spiffe://m2.example/ns/default/sa/b".into(),
        ],
        trust_domain: "m2.example".into(),
        root_hash: Some("2c26b46b68ffc68f".into()),
    }
}

fn bundle(announcements: impl Into<Vec<Announcement>>) -> Bundle {
    Bundle {
        relationship: "blue".into(),
        mesh: Some("m2".into()),
        exported_at: "2026-11-25T08:00:00Z".parse().unwrap(),
        announcements: announcements.into(),
    }
}

/// One service with one endpoint, as it appears in a file.
fn reviews() -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "reviews-ipv4",
            "namespace": "default",
            "labels": {"emcee.io/service-name": "reviews"},
            "annotations": {
                "emcee.io/exported-at": "2026-11-25T08:00:00Z",
                "emcee.io/mesh": "m2",
                "emcee.io/relationship": "blue",
                "emcee.io/root-hash": "2c26b46b68ffc68f",
                "emcee.io/server-name": "reviews.default.blue.emcee.internal",
                "emcee.io/service-port": "9081",
                "emcee.io/style": "WHARF",
                "emcee.io/subject-alt-names":
                    "spiffe://m2.example/ns/default/sa/a,spiffe://m2.example/ns/default/sa/b",
                "emcee.io/trust-domain": "m2.example",
            },
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["203.0.113.7"], "conditions": {"ready": true}}],
        "ports": [{"name": "grpc", "appProtocol": "grpc", "protocol": "TCP", "port": 15443}],
    })
}

/// The object with another value at a JSON pointer.
fn reviews_with(pointer: &str, value: Value) -> Value {
    let mut object = reviews();
    *object.pointer_mut(pointer).unwrap() = value;
    object
}

/// The object without one field.
fn reviews_without(parent: &str, name: &str) -> Value {
    let mut object = reviews();
    object.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name).unwrap();
    object
}

fn problems_of(objects: &[Value]) -> Vec<(Option<usize>, String)> {
    read(objects)
        .unwrap_err()
        .into_iter()
        .map(|problem| (problem.object_index, problem.to_string()))
        .collect()
}

#[test]
fn a_service_is_an_endpoint_slice_that_people_and_tools_can_read() {
    let written = write(&bundle([announcement("reviews", &["203.0.113.7:15443"])])).unwrap();
    assert_eq!(written, [reviews()]);
    for object in written {
        let slice: k8s_openapi::api::discovery::v1::EndpointSlice = serde_json::from_value(object).unwrap();
        let labels = slice.metadata.labels.unwrap();
        assert!(
            !labels.contains_key("kubernetes.io/service-name"),
            "it would take a local Service's traffic"
        );
    }
}

#[test]
fn a_bundle_reads_back_unchanged_in_any_object_order() {
    let announcements = [
        announcement("details", &[]),
        announcement("ratings", &["203.0.113.7:80", "203.0.113.7:81", "[2001:db8::7]:80", "a.example:80"]),
        announcement("reviews", &["203.0.113.7:15443"]),
        Announcement {
            identities: Vec::new(),
            root_hash: None,
            ..announcement("tcp", &["203.0.113.9:15443"])
        },
    ];
    for mesh in [Some("m2".to_owned()), None] {
        let bundle = Bundle { mesh, ..bundle(announcements.clone()) };
        let mut objects = write(&bundle).unwrap();
        assert_eq!(objects.len(), 1 + 4 + 1 + 1);
        assert_eq!(read(&objects), Ok(bundle.clone()));
        objects.reverse();
        assert_eq!(read(&objects), Ok(bundle));
    }
}

#[test]
fn an_announcement_that_no_mesh_accepts_is_not_exported() {
    let bad = Announcement { trust_domain: "M2".into(), ..announcement("ratings", &[]) };
    let comma = Announcement { identities: vec!["a,b".into()], ..announcement("reviews", &[]) };
    let errors = write(&bundle([bad, announcement("details", &[]), comma])).unwrap_err();
    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors.len(), 2);
    assert!(errors[0].starts_with("service default/ratings: ") && errors[0].contains("M2"), "{errors:?}");
    assert!(errors[1].starts_with("service default/reviews: ") && errors[1].contains("a,b"), "{errors:?}");
}

#[test]
fn the_discovery_announcement_is_not_exported() {
    let own =
        Announcement { key: discovery_announcement_key(), ..announcement("reviews", &["203.0.113.7:15443"]) };
    assert_eq!(write(&bundle([own])), Ok(Vec::new()));
}

#[test]
fn an_empty_bundle_is_refused() {
    assert_eq!(
        problems_of(&[]),
        [(None, "there is no EndpointSlice in it (an empty bundle withdraws nothing)".to_owned())]
    );
}

#[test]
fn each_bad_field_is_named_with_its_object() {
    let annotation = |name: &str| format!("/metadata/annotations/emcee.io~1{name}");
    for (pointer, value, expected) in [
        ("/apiVersion".into(), json!("v1"), r#"apiVersion: is "v1" (a bundle has discovery.k8s.io/v1)"#),
        ("/kind".into(), json!("Service"), r#"kind: is "Service" (a bundle has EndpointSlice)"#),
        (
            "/metadata/namespace".into(),
            json!("A"),
            r#"metadata.namespace: "A" is not a valid name (a DNS label)"#,
        ),
        (
            "/metadata/labels/emcee.io~1service-name".into(),
            json!("a.b"),
            r#"metadata.labels[emcee.io/service-name]: "a.b" is not a valid name (a DNS label)"#,
        ),
        ("/addressType".into(), json!("ipv4"), r#"addressType: "ipv4" is unknown (IPv4, IPv6 or FQDN)"#),
        (
            annotation("relationship"),
            json!("Blue"),
            r#"metadata.annotations[emcee.io/relationship]: "Blue" is not a valid name (a DNS label: at most 63 of a-z, 0-9 and `-`)"#,
        ),
        (
            annotation("mesh"),
            json!(""),
            r#"metadata.annotations[emcee.io/mesh]: "" is not a valid name (a DNS label: at most 63 of a-z, 0-9 and `-`)"#,
        ),
        (
            annotation("exported-at"),
            json!("yesterday"),
            r#"metadata.annotations[emcee.io/exported-at]: "yesterday" is not a time in RFC 3339"#,
        ),
        (
            annotation("style"),
            json!("ISLAND"),
            r#"metadata.annotations[emcee.io/style]: "ISLAND" is not allowed (BOUNDARY, PASSTHROUGH, WHARF or FLAT)"#,
        ),
        (
            annotation("service-port"),
            json!("0"),
            r#"metadata.annotations[emcee.io/service-port]: "0" is not allowed (1 to 65535)"#,
        ),
        (
            "/endpoints/0/addresses/0".into(),
            json!("0.0.0.0"),
            r#"endpoints: "0.0.0.0:15443": nothing can be reached at an unspecified or multicast address"#,
        ),
        ("/ports".into(), json!([]), "ports: has 0 entries (a slice of a bundle has 1)"),
        ("/ports/0/port".into(), json!(70_000), r#"ports[0].port: "70000" is not allowed (1 to 65535)"#),
    ] {
        let objects = [reviews(), reviews_with(&pointer, value)];
        assert_eq!(problems_of(&objects), [(Some(1), expected.to_owned())]);
    }
}

#[test]
fn what_is_missing_is_named() {
    for (parent, name, start) in [
        ("", "apiVersion", "apiVersion: is missing"),
        ("", "kind", "kind: is missing"),
        ("/metadata", "namespace", r#"metadata.namespace: "" is not a valid name"#),
        ("/metadata", "labels", r#"metadata.labels[emcee.io/service-name]: "" is not"#),
        ("/metadata", "annotations", "metadata.annotations[emcee.io/relationship]: is missing"),
        (
            "/metadata/annotations",
            "emcee.io/exported-at",
            "metadata.annotations[emcee.io/exported-at]: is missing",
        ),
        ("/metadata/annotations", "emcee.io/style", "metadata.annotations[emcee.io/style]: is missing"),
        (
            "/metadata/annotations",
            "emcee.io/trust-domain",
            "metadata.annotations[emcee.io/trust-domain]: is missing",
        ),
        ("", "ports", "ports: has 0 entries"),
        ("/ports/0", "appProtocol", "ports[0].appProtocol: is missing"),
        ("/ports/0", "port", "ports[0].port: is missing"),
    ] {
        let refusals = problems_of(&[reviews_without(parent, name)]);
        assert_eq!(refusals.len(), 1);
        assert!(refusals[0].1.starts_with(start), "{name}: {refusals:?}");
    }
    for (parent, name) in [
        ("/metadata/annotations", "emcee.io/mesh"),
        ("/metadata/annotations", "emcee.io/subject-alt-names"),
        ("/metadata/annotations", "emcee.io/root-hash"),
        ("/metadata", "name"),
        ("/endpoints/0", "conditions"),
    ] {
        assert!(read(&[reviews_without(parent, name)]).is_ok(), "{name}");
    }
}

#[test]
fn a_field_of_the_wrong_shape_is_named() {
    for (pointer, value, start) in [
        ("/endpoints", json!("x"), "endpoints: invalid type"),
        ("/endpoints/0/addresses", json!([7]), "endpoints[0].addresses[0]: invalid type"),
        (
            "/metadata/annotations/emcee.io~1style",
            json!(1),
            "metadata.annotations.emcee.io/style: invalid type",
        ),
        ("/ports/0/port", json!("80"), "ports[0].port: invalid type"),
    ] {
        let refusals = problems_of(&[reviews_with(pointer, value)]);
        assert!(refusals[0].1.starts_with(start), "{refusals:?}");
    }
    assert_eq!(
        problems_of(&[json!(1)]),
        [(Some(0), "apiVersion: is missing (a bundle has discovery.k8s.io/v1)".to_owned())]
    );
}

#[test]
fn objects_of_different_bundles_are_refused() {
    let other = |name: &str, value: &str| {
        reviews_with(&format!("/metadata/annotations/emcee.io~1{name}"), json!(value))
    };
    for (name, value) in [("relationship", "yellow"), ("mesh", "m3"), ("exported-at", "2026-11-24T08:00:00Z")]
    {
        let expected =
            format!("metadata.annotations[emcee.io/{name}]: differs from object 1 (a bundle has one)");
        assert_eq!(problems_of(&[reviews(), other(name, value)]), [(Some(1), expected)]);
    }
    let mesh = reviews_without("/metadata/annotations", "emcee.io/mesh");
    assert!(problems_of(&[reviews(), mesh])[0].1.contains("emcee.io/mesh"));
    let expected = "metadata.annotations: differs from object 1 for the same service default/reviews \
                    (only addresses may differ)";
    assert_eq!(problems_of(&[reviews(), other("style", "FLAT")]), [(Some(1), expected.to_owned())]);
}

#[test]
fn all_objects_are_judged_and_all_they_say_is_bounded() {
    let bad = reviews_with("/metadata/annotations/emcee.io~1style", json!("\n".repeat(100_000)));
    let mut objects = vec![bad; 150];
    objects.push(reviews());
    objects.push(reviews_with("/kind", json!("x".repeat(100_000))));
    let refusals = problems_of(&objects);
    assert_eq!(refusals.len(), 101);
    assert_eq!(refusals[100], (None, "51 more problems are not shown".to_owned()));
    for (_, refusal) in refusals {
        assert!(refusal.len() < 1_000 && !refusal.contains('\n'), "{refusal}");
    }
}

#[test]
fn more_than_a_peer_may_announce_is_refused() {
    assert_eq!(
        problems_of(&vec![json!({}); 10_001]),
        [(None, "10001 EndpointSlices are too many (10000 are allowed)".to_owned())]
    );

    let addresses = |from: usize, count: usize| {
        let endpoint =
            |number: usize| json!({"addresses": [format!("10.0.{}.{}", number / 250, number % 250 + 1)]});
        reviews_with("/endpoints", (from..from + count).map(endpoint).collect::<Vec<_>>().into())
    };
    assert_eq!(
        problems_of(&[addresses(0, 1_001)]),
        [(Some(0), "endpoints: 1001 are too many (1000 are allowed)".to_owned())]
    );
    assert_eq!(
        read(&[addresses(0, 600), addresses(300, 700)]).unwrap().announcements[0].endpoints.len(),
        1_000
    );
    assert_eq!(
        problems_of(&[addresses(0, 600), addresses(600, 401)]),
        [(Some(0), "endpoints: service default/reviews has 1001 in all (1000 are allowed)".to_owned())]
    );
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 16, 4, |inner| {
        let fields = prop::collection::btree_map(".{0,6}", inner.clone(), 0..4);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            fields.prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Whatever value is at whatever place: the objects are read, or refused with a reason.
    #[test]
    fn nothing_makes_reading_fail_without_a_reason(
        pointer in prop::sample::select(vec![
            "", "/metadata", "/metadata/labels", "/metadata/annotations", "/metadata/annotations/emcee.io~1mesh",
            "/metadata/annotations/emcee.io~1exported-at", "/metadata/annotations/emcee.io~1server-name",
            "/metadata/annotations/emcee.io~1subject-alt-names", "/addressType", "/endpoints", "/endpoints/0",
            "/endpoints/0/addresses", "/endpoints/0/addresses/0", "/ports", "/ports/0", "/ports/0/port",
        ]),
        value in any_json(),
    ) {
        if let Err(problems) = read(&[reviews_with(pointer, value)]) {
            prop_assert!(!problems.is_empty());
        }
    }
}
