//! Hostile input never causes a panic, and its refusals are readable.

use std::time::{Duration, Instant};

use emcee_core::parse;
use emcee_core::problem::ResourceProblem;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use crate::cases;

/// Maximum characters of a refusal, so that a terminal and a condition can show it.
const MAX_MESSAGE_CHARS: usize = 1_000;
/// Texts that often break parsers.
const HOSTILE_TEXTS: [&str; 14] = [
    "",
    " ",
    "\n",
    "a\nb",
    "\u{0}",
    "\u{1b}[31m",
    "ä",
    "名前",
    "\u{202e}abc",
    "..",
    "*",
    "a.b",
    "UPPER",
    "${x}",
];

/// Returns all problems of an object of any kind.
fn parse_problems(object: &Value) -> Vec<ResourceProblem> {
    let results = match object["kind"].as_str() {
        Some("MeshFedConfig") => [parse::read_fed_config(object).err(), None, None],
        Some("ServiceExposition") => [parse::read_exposition(object).err(), None, None],
        Some("ServiceBinding") => [parse::read_binding(object).err(), None, None],
        _ => [
            parse::read_fed_config(object).err(),
            parse::read_exposition(object).err(),
            parse::read_binding(object).err(),
        ],
    };
    results.into_iter().flatten().flatten().collect()
}

/// Returns why a refusal cannot be shown, or `None` if it can.
fn why_unreadable(problem: &ResourceProblem) -> Option<String> {
    let line = problem.to_string();
    let excerpt: String = line.chars().take(200).collect();
    if line.chars().count() > MAX_MESSAGE_CHARS {
        Some(format!("{} characters: {excerpt}", line.chars().count()))
    } else if line.chars().any(char::is_control) {
        Some(format!("control characters: {excerpt:?}"))
    } else {
        (problem.message.is_empty() || !is_field_path(&problem.field))
            .then(|| format!("no field or no message: {excerpt:?}"))
    }
}

/// Returns whether a field is a path like `spec.peers[1].name`, which begins at the top of the object and has no empty
/// part.
fn is_field_path(field: &str) -> bool {
    let first = field.split(['.', '[']).next().unwrap_or_default();
    field.is_empty() || (!first.is_empty() && !field.ends_with('.'))
}

fn assert_readable(object: &Value) -> Result<(), TestCaseError> {
    for problem in parse_problems(object) {
        prop_assert_eq!(why_unreadable(&problem), None);
    }
    Ok(())
}

/// Returns one object of each kind with every field set.
pub(crate) fn complete_objects() -> [Value; 3] {
    let metadata = json!({"namespace": "shop", "name": "reviews", "uid": "1", "creationTimestamp": "2026-01-01T00:00:00Z", "generation": 1, "labels": {"a": "b"}});
    let selector = json!({"fed-config": "blue"});
    let fed_config = json!({
        "mode": "BOUNDARY", "tls_context_selector": {"a": "b"}, "use_egress_gateway": true,
        "use_ingress_gateway": true, "egress_gateway_selector": {"istio": "edge"},
        "ingress_gateway_selector": {"istio": "edge"}, "egress_gateway_port": 443, "ingress_gateway_port": 443,
        "relationship": "blue", "allowed_namespaces": ["shop"],
        "allowed_server_names": ["one.example.com", "*.example.org"], "gateway_replicas": 3,
        "allowed_backend_networks": ["10.0.0.0/8"], "allowed_backend_domains": ["example.com"],
        "ingress_gateway_service_type": "NodePort",
        "peers": [{"name": "m2", "subject_alt_names": ["m2.example", "spiffe://m2/ns/a/sa/b"],
            "discovery": "203.0.113.7:15443", "networks": ["10.0.0.0/8"], "domains": ["example.com"],
            "trust_domains": ["m2"]}],
        "discovery": {"announce": true, "import": "Automatic", "namespaces": ["shop"], "max_imports": 5,
            "on_peer_loss": "Expire", "expire_after": "10m", "direct": false},
    });
    let exposition = json!({
        "name": "reviews", "port": 80, "mesh_fed_config_selector": selector, "alias": "front", "subset": "v1",
        "directory": false, "protocol": "grpc", "peers": ["m2"], "subject_alt_names": ["spiffe://m1/ns/a/sa/b"],
        "endpoints": ["203.0.113.7:15443"], "clusters": ["m2"],
    });
    let binding = json!({
        "name": "reviews", "namespace": "bank", "mesh_fed_config_selector": selector, "alias": "front", "port": 80,
        "endpoints": ["203.0.113.7:15443", "[2001:db8::7]:443"], "subset": "v1", "protocol": "tcp", "peer": "m2",
        "server_name": "one.example.com", "subject_alt_names": ["m2.example"], "export_to": ["."],
    });
    let status = json!({"ready": true, "announcement": {"peer": "m2", "endpoints": ["203.0.113.7:15443"]}});
    let object = |kind: &str, spec: &Value| json!({"apiVersion": "mm.ibm.istio.io/v1", "kind": kind, "metadata": metadata, "spec": spec});
    let mut bound = object("ServiceBinding", &binding);
    bound["status"] = status;
    [object("MeshFedConfig", &fed_config), object("ServiceExposition", &exposition), bound]
}

/// Returns the JSON pointers of all fields and items of a value.
fn json_pointers(value: &Value) -> Vec<String> {
    let step = |(name, value): (String, &Value)| {
        let deeper =
            json_pointers(value).into_iter().map(|rest| format!("/{name}{rest}")).collect::<Vec<_>>();
        [format!("/{name}")].into_iter().chain(deeper)
    };
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, v)| (name.replace('~', "~0").replace('/', "~1"), v))
            .flat_map(step)
            .collect(),
        Value::Array(items) => {
            items.iter().enumerate().map(|(i, v)| (i.to_string(), v)).flat_map(step).collect()
        }
        _ => Vec::new(),
    }
}

fn with_value(object: &Value, pointer: &str, value: Value) -> Value {
    let mut object = object.clone();
    *object.pointer_mut(pointer).expect("a pointer into the object") = value;
    object
}

fn without_value(object: &Value, pointer: &str) -> Value {
    let mut object = object.clone();
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    match object.pointer_mut(parent) {
        Some(Value::Object(fields)) => drop(fields.shift_remove(name)),
        Some(Value::Array(items)) => drop(items.remove(name.parse().expect("an index"))),
        _ => {}
    }
    object
}

fn any_json() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
        select(&HOSTILE_TEXTS[..]).prop_map(Value::from),
    ];
    let field = prop_oneof!["[a-z_]{1,12}", ".{0,10}", select(&HOSTILE_TEXTS[..]).prop_map(str::to_owned)];
    leaf.prop_recursive(6, 40, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            fields(field.clone().boxed(), inner.boxed())
        ]
    })
    .boxed()
}

fn fields(name: BoxedStrategy<String>, value: BoxedStrategy<Value>) -> impl Strategy<Value = Value> {
    btree_map(name, value, 0..5).prop_map(|fields| fields.into_iter().collect())
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn arbitrary_json_is_refused_with_readable_messages(object in any_json(), spec in any_json()) {
        assert_readable(&object)?;
        for complete in complete_objects() {
            assert_readable(&with_value(&complete, "/spec", spec.clone()))?;
        }
    }

    #[test]
    fn arbitrary_values_are_refused_with_readable_messages(
        kind in 0..3_usize, places in vec((any::<Index>(), any_json()), 1..4),
    ) {
        let mut object = complete_objects()[kind].clone();
        for (place, value) in places {
            let pointers = json_pointers(&object);
            if !pointers.is_empty() {
                object = with_value(&object, &pointers[place.index(pointers.len())], value);
            }
        }
        assert_readable(&object)?;
    }
}

/// Returns values that are invalid for almost every field.
fn wrong_values() -> Vec<Value> {
    let mut values: Vec<_> = HOSTILE_TEXTS.iter().map(|text| json!(text)).collect();
    values.extend([
        json!(null),
        json!(true),
        json!(-1),
        json!(0),
        json!(70_000),
        json!(i64::MAX),
        json!(u64::MAX),
    ]);
    values.extend([
        json!(1.5),
        json!(1e300),
        json!([]),
        json!({}),
        json!([[]]),
        json!([null]),
        json!({"a": {}}),
    ]);
    values.extend([json!(["a", "a"]), json!({"": ""}), json!({"a\nb": "c\nd"}), json!("\n".repeat(5_000))]);
    values.extend([json!("x".repeat(64)), json!("x".repeat(254)), json!(vec!["x".repeat(5_000)])]);
    values
}

#[track_caller]
fn assert_all_readable(objects: impl IntoIterator<Item = (String, Value)>) {
    let bad = objects.into_iter().flat_map(|(what, object)| {
        let lines: Vec<_> = parse_problems(&object).iter().filter_map(why_unreadable).collect();
        lines.into_iter().map(move |line| format!("{what}: {line}"))
    });
    let mut bad: Vec<_> = bad.collect();
    bad.dedup();
    assert!(
        bad.is_empty(),
        "{} refusals cannot be shown:\n{}",
        bad.len(),
        bad[..bad.len().min(40)].join("\n")
    );
}

#[test]
fn complete_objects_are_accepted() {
    for object in complete_objects() {
        assert_eq!(parse_problems(&object), [], "{object}");
    }
}

#[test]
fn every_field_may_be_missing_or_wrong() {
    let mut objects = Vec::new();
    for object in complete_objects() {
        for pointer in json_pointers(&object) {
            objects.push((format!("without {pointer}"), without_value(&object, &pointer)));
            let spoilt = wrong_values()
                .into_iter()
                .map(|value| (pointer.clone(), with_value(&object, &pointer, value)));
            objects.extend(spoilt);
        }
    }
    assert_all_readable(objects);
}

/// An unknown field is refused at any level, with its full path.
#[test]
fn unknown_fields_are_refused_with_their_path() {
    for object in complete_objects() {
        for pointer in json_pointers(&object).iter().filter(|pointer| pointer.starts_with("/spec")) {
            let place = object.pointer(pointer).expect("an existing field");
            let is_free = pointer.ends_with("selector");
            if !place.is_object() || is_free {
                continue;
            }
            let mut place = place.clone();
            place["prot"] = 1.into();
            let refused = parse_problems(&with_value(&object, pointer, place));
            let at = pointer[1..].replace("/0", "[0]").replace('/', ".") + ".prot";
            assert!(refused.iter().any(|problem| problem.field == at), "{at}: {refused:?}");
        }
    }
}

/// A text of 10 MiB in any field is refused quickly, with a short message.
#[test]
fn huge_texts_are_truncated() {
    let huge = "x".repeat(10 << 20);
    for object in complete_objects() {
        let leaves =
            json_pointers(&object).into_iter().filter(|p| object.pointer(p).is_some_and(Value::is_string));
        for pointer in leaves {
            let started = Instant::now();
            assert_all_readable([(pointer.clone(), with_value(&object, &pointer, json!(huge)))]);
            assert!(started.elapsed() < Duration::from_secs(5), "{pointer} took {:?}", started.elapsed());
        }
    }
}

/// Long field names are truncated too. The names are shorter than 10 MiB, but long enough to detect quadratic cost.
#[test]
fn huge_field_names_are_truncated() {
    for object in complete_objects() {
        for length in [1_000, 200_000] {
            for place in ["/spec", "/spec/mesh_fed_config_selector", "/spec/tls_context_selector"] {
                if object.pointer(place).is_none() {
                    continue;
                }
                let mut spoilt = object.clone();
                spoilt.pointer_mut(place).expect("an existing field")["x".repeat(length)] = json!("a b");
                let started = Instant::now();
                assert_all_readable([(format!("{length} characters in {place}"), spoilt)]);
                assert!(started.elapsed() < Duration::from_secs(2), "took {:?}", started.elapsed());
            }
        }
    }
}

/// Emcee writes the status itself. It does not affect whether an object is valid.
#[test]
fn an_invalid_status_is_ignored() {
    for object in complete_objects() {
        for status in wrong_values() {
            let mut object = object.clone();
            object["status"] = status.clone();
            assert_eq!(parse_problems(&object), [], "{status}");
        }
    }
}

/// Returns objects with `count` mistakes, each object in a different place.
fn objects_with_mistakes(count: usize) -> Vec<Value> {
    let [fed_config, exposition, binding] = complete_objects();
    let unknown = |length: usize| -> serde_json::Map<String, Value> {
        (0..count).map(|number| (format!("{number:x>length$}"), json!(1))).collect()
    };
    let all = |value: &str| Value::from(vec![value; count]);
    let mut top = exposition.clone();
    top.as_object_mut().expect("an object").extend(unknown(8));
    let mut longer = exposition.clone();
    longer["spec"].as_object_mut().expect("an object").extend(unknown(60));
    vec![
        top,
        longer,
        with_value(&exposition, "/spec", Value::Object(unknown(5))),
        with_value(&binding, "/spec/endpoints", all("nowhere")),
        with_value(&binding, "/spec/endpoints", all("203.0.113.7:1")),
        with_value(&binding, "/spec/mesh_fed_config_selector", Value::Object(unknown(60))),
        with_value(&fed_config, "/spec/peers", Value::from(vec![json!({"nmae": 1}); count])),
        with_value(&fed_config, "/spec/peers/0/networks", all("?")),
        with_value(&fed_config, "/spec/allowed_namespaces", Value::from(vec![json!(7); count])),
    ]
}

#[test]
fn the_cost_and_number_of_problems_is_limited() {
    for object in objects_with_mistakes(250_000) {
        let began = Instant::now();
        let problems = parse_problems(&object);
        let took = began.elapsed();
        assert!((1..=101).contains(&problems.len()), "{} problems", problems.len());
        // It takes about a second on an idle machine.
        assert!(took < Duration::from_secs(30), "{took:?}: {}", problems[0]);
    }
}

#[test]
fn omitted_problems_are_reported() {
    let of = |count: usize| {
        let fields = (0..count).map(|number| (format!("f{number}"), json!(1))).collect();
        parse_problems(&with_value(&complete_objects()[1], "/spec", Value::Object(fields)))
    };
    let last = of(1_000).last().expect("a problem").to_string();
    assert_eq!(last, "and more problems: only the first 100 of this object are listed");
    // Three fields are missing in addition.
    assert_eq!((of(97).len(), of(98).len()), (100, 101));
}

/// The first unknown fields get a suggestion. The suggested fields are not reported as missing.
#[test]
fn the_first_unknown_fields_get_a_suggestion() {
    let spec = json!({"nmae": "a", "prot": 80, "mesh_fed_config_selectr": {"a": "b"}});
    let problems = parse_problems(&with_value(&complete_objects()[1], "/spec", spec));
    let lines: Vec<_> =
        problems.iter().filter(|problem| !problem.field.is_empty()).map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "spec.nmae: unknown field (did you mean `name`?)",
            "spec.prot: unknown field (did you mean `port`?)",
            "spec.mesh_fed_config_selectr: unknown field (did you mean `mesh_fed_config_selector`?)"
        ]
    );
}
