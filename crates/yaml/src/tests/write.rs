//! Written objects read back equal.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{super::to_yaml, documents};

fn scalar() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        any::<String>(),
        "[-+.0-9_eExob:]{0,8}",
        "[ \\t\\r\\n#:|>a-c-]{0,12}",
        "(yes|no|on|off|y|n|null|~|true|<<|=|---|\\.\\.\\.|!x|&a|\\*a|%a|@a|`a|\\.nan|\\.inf)",
        "([a-z ]{0,100}\n){0,4}[a-z ]{0,5}",
    ];
    // A float without a fraction reads back as an integer, as in kubectl. No written object contains one.
    let number = prop_oneof![any::<i64>().prop_map(Value::from), any::<u64>().prop_map(Value::from)];
    let float = any::<f64>().prop_filter("not whole", |f| f.fract() != 0.0).prop_map(Value::from);
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number,
        float,
        text.prop_map(Value::from)
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(5, 40, 6, |inner| {
        let key = prop_oneof!["[a-z./]{0,8}", any::<String>(), "[-0-9yn~:# ]{0,3}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::vec((key, inner), 0..5)
                .prop_map(|fields| Value::Object(Map::from_iter(fields))),
        ]
    })
}

fn object(value: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "A", "metadata": {"name": "x"}, "spec": value})
}

proptest! {
    #[test]
    fn reads_back_equal(values in prop::collection::vec(value(), 0..4)) {
        let objects: Vec<_> = values.iter().map(object).collect();
        let yaml = to_yaml(&objects).unwrap();
        let read: Vec<_> = documents(&yaml).into_iter().map(|document| document.value).collect();
        prop_assert_eq!(read, objects, "{}", yaml);
    }
}

#[test]
fn output_is_readable() {
    let object = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
        "metadata": {"name": "8080", "labels": {"on": "yes", "date": "2001-01-01", "n": "1e3"}},
        "spec": {"hosts": ["*.example.com"], "ports": [{"number": 80, "name": "http"}],
            "text": "a\n  b\n", "long": "x ".repeat(60), "none": [], "nothing": {}, "null": null}
    });
    let expected = format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata:\n  name: \"8080\"\n  labels:\n    \"on\": \"yes\"\n    \
         date: \"2001-01-01\"\n    \"n\": \"1e3\"\nspec:\n  hosts:\n  - \"*.example.com\"\n  ports:\n  - number: 80\n    name: http\n  \
         text: |\n    a\n      b\n  long: \"{}\"\n  none: []\n  nothing: {{}}\n  \"null\": null\n",
        "x ".repeat(60)
    );
    let written = to_yaml(&[object.clone(), object]).unwrap();
    assert_eq!(written, format!("{expected}---\n{expected}"));
}
