//! Scalars have the same types as in kubectl.

use serde_json::{Value, json};

use super::{VALID_OBJECT, document, problems};

fn typed(scalar: &str) -> Value {
    document(format!("{VALID_OBJECT}x: {scalar}\n")).value["x"].clone()
}

#[test]
fn scalars() {
    for (text, value) in [
        ("", json!(null)),
        ("~", json!(null)),
        ("NULL", json!(null)),
        ("yes", json!(true)),
        ("On", json!(true)),
        ("y", json!(true)),
        ("OFF", json!(false)),
        ("n", json!(false)),
        ("yES", json!("yES")),
        ("\"yes\"", json!("yes")),
        ("'1'", json!("1")),
        ("1", json!(1)),
        ("-1", json!(-1)),
        ("+1", json!(1)),
        ("++1", json!("++1")),
        ("0644", json!(420)),
        ("0o17", json!(15)),
        ("0x1F", json!(31)),
        ("-0x1F", json!(-31)),
        ("0b11", json!(3)),
        ("0x", json!("0x")),
        ("08", json!(8)),
        ("1_000", json!(1000)),
        ("9223372036854775807", json!(i64::MAX)),
        ("-9223372036854775808", json!(i64::MIN)),
        ("18446744073709551615", json!(u64::MAX)),
        ("18446744073709551616", json!(18_446_744_073_709_551_616.0)),
        ("1.5", json!(1.5)),
        ("-.5", json!(-0.5)),
        ("80.0", json!(80)),
        ("1e3", json!(1000)),
        ("1.e1", json!(10)),
        ("12e4567", json!("12e4567")),
        (".", json!(".")),
        ("1.2.3", json!("1.2.3")),
        ("1e", json!("1e")),
        ("12:30", json!("12:30")),
        ("2001-12-14", json!("2001-12-14")),
        ("2001-12-14T21:59:43Z", json!("2001-12-14T21:59:43Z")),
        ("!!str 12", json!("12")),
        ("!!int \"12\"", json!(12)),
        ("!!float 12", json!(12)),
        ("! 12", json!("12")),
        ("!!null ''", json!(null)),
        ("!!seq [1]", json!([1])),
        ("10.0.0.1", json!("10.0.0.1")),
        ("fe80::1", json!("fe80::1")),
        ("9.1.2.3:15443", json!("9.1.2.3:15443")),
        ("<<", json!("<<")),
    ] {
        assert_eq!(typed(text), value, "{text}");
    }
}

#[test]
fn keys_are_text() {
    let value = document(format!("{VALID_OBJECT}8080: a\non: b\n1.5: c\n0x10: d\n")).value;
    assert_eq!(
        (&value["8080"], &value["true"], &value["1.5"], &value["16"]),
        (&json!("a"), &json!("b"), &json!("c"), &json!("d"))
    );
}

#[test]
fn values_that_json_cannot_represent_are_refused() {
    for (text, message) in [
        (".nan", "`.nan` cannot be written as JSON (quote it if it is text)"),
        ("-.inf", "`-.inf` cannot be written as JSON (quote it if it is text)"),
        ("!x 1", "the tag !x is not supported (!!str, !!int, !!float, !!bool, !!null, !!map, !!seq)"),
        ("!!set {a}", "the tag !!set is not supported (!!str, !!int, !!float, !!bool, !!null, !!map, !!seq)"),
        ("!!int x", "`x` is not what its tag !!int says"),
    ] {
        assert_eq!(
            problems(format!("{VALID_OBJECT}x: {text}\n")),
            [format!("f.yaml:4: A sound: x: {message}")]
        );
    }
}
