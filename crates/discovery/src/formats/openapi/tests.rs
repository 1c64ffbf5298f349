use emcee_core::key::ObjectKey;
use emcee_core::mode::Mode;
use emcee_core::names;
use emcee_core::protocol::Protocol;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const GOLDEN: &str = include_str!("golden/blue_for_m1.json");

fn announcement(name: &str, mode: Mode, protocol: Protocol, port: u16) -> Announcement {
    Announcement {
        key: ObjectKey::new("default", name),
        mode,
        server_name: names::server_name(name, "default", "blue"),
        protocol,
        port,
        endpoints: Vec::new(),
        identities: Vec::new(),
        trust_domain: "m2.example".to_owned(),
        root_hash: None,
    }
}

fn ratings() -> Announcement {
    announcement("ratings", Mode::Boundary, Protocol::Http, 9080)
}

fn reviews() -> Announcement {
    Announcement {
        endpoints: ["203.0.113.7:15443", "[2001:db8::7]:15443"].map(|text| text.parse().unwrap()).into(),
        identities: vec!["spiffe://m2.example/ns/default/sa/reviews".to_owned()],
        root_hash: Some("2c26b46b68ffc68f".to_owned()),
        ..announcement("reviews", Mode::Wharf, Protocol::Grpc, 9081)
    }
}

fn document_json(announcements: &[Announcement]) -> Value {
    serde_json::to_value(build_document("blue", "m1", announcements)).unwrap()
}

fn golden() -> Value {
    serde_json::from_str(GOLDEN).unwrap()
}

/// The golden document with another value at a JSON pointer.
fn golden_with(pointer: &str, value: Value) -> Value {
    let mut document = golden();
    *document.pointer_mut(pointer).unwrap() = value;
    document
}

/// The golden document without one field.
fn golden_without(parent: &str, name: &str) -> Value {
    let mut document = golden();
    document.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name).unwrap();
    document
}

fn problems_of(document: &Value) -> Vec<String> {
    read(document).unwrap_err().iter().map(ToString::to_string).collect()
}

const REVIEWS: &str = "/paths/~1default~1reviews/x-emcee";

#[test]
fn a_document_lists_the_announcements_sorted_by_name() {
    let written = document_json(&[reviews(), ratings()]);
    let version = written["info"]["version"].as_str().unwrap();
    assert!(version.len() == 12 && version.bytes().all(|byte| byte.is_ascii_hexdigit()), "{version}");
    let mut expected = golden();
    expected["info"]["version"] = version.into();
    assert_eq!(
        serde_json::to_string_pretty(&written).unwrap(),
        serde_json::to_string_pretty(&expected).unwrap()
    );
}

#[test]
fn the_version_changes_only_with_the_announcements() {
    let version = |announcements: &[Announcement]| document_json(announcements)["info"]["version"].clone();
    let one = version(&[ratings(), reviews()]);
    assert_eq!(version(&[reviews(), ratings()]), one);
    assert_ne!(version(&[reviews()]), one);
    assert_ne!(version(&[reviews(), Announcement { port: 1, ..ratings() }]), one);
}

#[test]
fn a_document_is_read_as_it_was_written() {
    let catalogue = read(&golden()).unwrap();
    assert_eq!((&*catalogue.relationship, catalogue.peer.as_deref()), ("blue", Some("m1")));
    assert_eq!(catalogue.announcements, [ratings(), reviews()]);
    assert_eq!(read(&document_json(&[])).unwrap().announcements, []);
}

#[test]
fn a_handwritten_document_may_omit_defaults_and_contain_other_openapi_fields() {
    let catalogue = read(&json!({
        "openapi": "3.1.1", "info": {"title": "t", "version": "1"}, "servers": [], "x-other": 1,
        "x-emcee": {"relationship": "blue"},
        "paths": {
            "/default/ratings": {
                "get": {"responses": {}},
                "x-emcee": {"style": "boundary", "protocol": "HTTP", "port": 9080, "trust_domain": "m2.example"},
            },
            "/default/ratings/{id}": {},
            "/status": {},
        },
    }));
    let catalogue = catalogue.unwrap();
    assert_eq!((catalogue.peer, catalogue.announcements), (None, vec![ratings()]));
}

#[test]
fn each_bad_field_of_a_service_is_named_with_what_is_allowed() {
    let at = "paths[/default/reviews].x-emcee";
    for (field, value, expected) in [
        ("style", json!("ISLAND"), r#"style: "ISLAND" is unknown (BOUNDARY, PASSTHROUGH, WHARF or FLAT)"#),
        ("style", json!(null), "style: is null, and must be a string"),
        ("protocol", json!("udp"), r#"protocol: "udp" is unknown (http, http2, grpc, tcp or tls)"#),
        ("port", json!(0), "port: 0 is not a port (1 to 65535)"),
        ("port", json!(65536), "port: 65536 is not a port (1 to 65535)"),
        ("port", json!("9081"), r#"port: "9081" is not a port (1 to 65535)"#),
        ("port", json!(1.5), "port: 1.5 is not a port (1 to 65535)"),
        (
            "server_name",
            json!("Reviews"),
            r#"server_name: "Reviews" is not a DNS name (without it, it is reviews.default.blue.emcee.internal)"#,
        ),
        (
            "endpoints",
            json!("203.0.113.7:80"),
            r#"endpoints: is "203.0.113.7:80", and must be a list of strings"#,
        ),
        ("endpoints", json!(["203.0.113.7:80", 1]), "endpoints[1]: is 1, and must be a string"),
        (
            "endpoints",
            json!(["203.0.113.7:80", "203.0.113.7"]),
            r#"endpoints[1]: "203.0.113.7" has no port (host:port, such as 203.0.113.7:15443)"#,
        ),
        (
            "subject_alt_names",
            json!(["spiffe://M2/x"]),
            r#"subject_alt_names: "spiffe://M2/x" is not allowed (DNS names or SPIFFE IDs of at most 2048 characters, separated by commas)"#,
        ),
        (
            "trust_domain",
            json!("M2"),
            r#"trust_domain: "M2" is not allowed (1 to 255 of a-z, 0-9, `.`, `-` and `_`)"#,
        ),
        ("root_hash", json!("a b"), r#"root_hash: "a b" is not allowed (1 to 128 letters and digits)"#),
    ] {
        let document = golden_with(&format!("{REVIEWS}/{field}"), value);
        assert_eq!(problems_of(&document), [format!("{at}.{expected}")]);
    }
}

#[test]
fn each_missing_or_unknown_field_is_named() {
    for field in ["style", "protocol", "port", "trust_domain"] {
        let refusals = problems_of(&golden_without(REVIEWS, field));
        assert_eq!(refusals.len(), 1);
        let start = format!("paths[/default/reviews].x-emcee.{field}: is missing (");
        assert!(refusals[0].starts_with(&start), "{refusals:?}");
    }
    for field in ["server_name", "endpoints", "subject_alt_names", "root_hash"] {
        assert!(read(&golden_without(REVIEWS, field)).is_ok(), "{field}");
    }
    let mut document = golden();
    document.pointer_mut(REVIEWS).unwrap()["identites"] = json!([]);
    assert_eq!(
        problems_of(&document),
        [
            "paths[/default/reviews].x-emcee[identites]: unknown field (style, server_name, protocol, port, endpoints, \
          subject_alt_names, trust_domain, root_hash)"
        ]
    );
}

#[test]
fn a_document_of_the_wrong_shape_is_refused_with_the_field() {
    for (document, expected) in [
        (json!([]), "is a list, and must be an object"),
        (golden_without("", "openapi"), r#"openapi: is missing ("3.1.0", or another 3.1)"#),
        (golden_with("/openapi", json!("3.0.3")), r#"openapi: is "3.0.3" ("3.1.0", or another 3.1)"#),
        (golden_with("/openapi", json!(3.1)), r#"openapi: is 3.1 ("3.1.0", or another 3.1)"#),
        (golden_without("", "x-emcee"), "x-emcee: is missing (an object with the name of the relationship)"),
        (
            golden_without("/x-emcee", "relationship"),
            "x-emcee.relationship: is missing (the name of the relationship)",
        ),
        (
            golden_with("/x-emcee/relationship", json!("Blue")),
            r#"x-emcee.relationship: "Blue" is not a valid name (a DNS label: at most 63 of a-z, 0-9 and `-`)"#,
        ),
        (golden_with("/x-emcee/peer", json!(1)), "x-emcee.peer: is 1, and must be a string"),
        (golden_without("", "paths"), "paths: is missing (an object with a path for each service)"),
        (golden_with("/paths", json!("x")), r#"paths: is "x", and must be an object"#),
        (
            golden_with("/paths", json!({"/default/reviews": {"get": {}}})),
            "paths: no path has x-emcee, so there is no service (is this a catalogue?)",
        ),
        (golden_with(REVIEWS, json!(1)), "paths[/default/reviews].x-emcee: is 1, and must be an object"),
        (
            golden_with("/paths", json!({"/reviews": {"x-emcee": {}}})),
            "paths[/reviews]: is not a service path (/<namespace>/<service>, both DNS labels)",
        ),
    ] {
        assert_eq!(problems_of(&document), [expected]);
    }
}

#[test]
fn all_problems_are_reported_at_once() {
    let mut document = golden();
    document["openapi"] = json!("2.0");
    let service = document.pointer_mut(REVIEWS).unwrap();
    service["style"] = json!("?");
    service["endpoints"] = json!(["x", "203.0.113.7:80", "y"]);
    let fields: Vec<_> = read(&document).unwrap_err().into_iter().map(|problem| problem.field).collect();
    let at = |field: &str| format!("paths[/default/reviews].x-emcee.{field}");
    assert_eq!(fields, ["openapi".to_owned(), at("style"), at("endpoints[0]"), at("endpoints[2]")]);

    let mut document = golden();
    let service = document.pointer_mut(REVIEWS).unwrap();
    service["subject_alt_names"] = json!(["a,b"]);
    service["trust_domain"] = json!("");
    service["root_hash"] = json!("");
    let fields: Vec<_> = read(&document).unwrap_err().into_iter().map(|problem| problem.field).collect();
    assert_eq!(fields, [at("subject_alt_names"), at("trust_domain"), at("root_hash")]);
}

#[test]
fn problems_are_lines_of_bounded_length_and_number() {
    let mut document = golden();
    let bad = json!({"style": "\n".repeat(100_000), "x".repeat(100_000): 1, "endpoints": vec!["y"; 500]});
    for number in 0..200 {
        document["paths"][format!("/default/{}{number}", "z".repeat(1_000))] = json!({"x-emcee": {}});
        document["paths"][format!("/default/s{number}")] = json!({"x-emcee": bad});
    }
    let refusals = problems_of(&document);
    assert_eq!(refusals.len(), 101);
    assert!(refusals[100].ends_with("more problems are not shown"), "{}", refusals[100]);
    for refusal in refusals {
        assert!(refusal.len() < 1_000 && !refusal.contains('\n'), "{refusal}");
    }
}

#[test]
fn more_than_a_mesh_can_have_is_refused_as_a_whole() {
    let service = golden().pointer(REVIEWS).unwrap().clone();
    let many: serde_json::Map<_, _> =
        (0..10_001).map(|number| (format!("/default/s{number}"), json!({"x-emcee": service}))).collect();
    assert_eq!(
        problems_of(&golden_with("/paths", many.into())),
        ["paths: 10001 services are too many (10000 are allowed)"]
    );
    for (field, count) in [("endpoints", 1_001), ("subject_alt_names", 101)] {
        let refusals =
            problems_of(&golden_with(&format!("{REVIEWS}/{field}"), json!(vec!["a.example:1"; count])));
        assert_eq!(refusals.len(), 1);
        assert!(refusals[0].contains(&format!("{field}: {count} are too many")), "{refusals:?}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let name = prop_oneof![Just("x-emcee".to_owned()), Just("/a/b".to_owned()), ".{0,6}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name, inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Whatever value is at whatever place: the document is read, or refused with a reason.
    #[test]
    fn nothing_makes_reading_fail_without_a_reason(
        pointer in prop::sample::select(vec![
            "", "/openapi", "/x-emcee", "/x-emcee/peer", "/paths", "/paths/~1default~1reviews",
            "/paths/~1default~1reviews/x-emcee", "/paths/~1default~1reviews/x-emcee/endpoints",
            "/paths/~1default~1reviews/x-emcee/endpoints/0", "/paths/~1default~1reviews/x-emcee/port",
            "/paths/~1default~1reviews/x-emcee/subject_alt_names/0", "/paths/~1default~1reviews/x-emcee/root_hash",
        ]),
        value in any_json(),
    ) {
        if let Err(problems) = read(&golden_with(pointer, value)) {
            prop_assert!(!problems.is_empty());
        }
    }
}
