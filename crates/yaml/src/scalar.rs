//! Resolves scalars to the same types as kubectl.
//!
//! kubectl converts YAML to JSON with `sigs.k8s.io/yaml`, which follows YAML 1.1 as implemented in Go's yaml.v2. The
//! API server sees only that JSON. So `yes`, `on` and `y` are booleans, `0644` is octal, `1_000` and `0x10` are
//! integers, `80.0` is 80, and dates stay text. As keys, all of them become text: `8080: x` has the key `8080`, and
//! `on: x` has the key `true`.

use serde_json::{Number, Value};
use serde_saphyr::granit_parser::{ScalarStyle, Tag};

use super::fault::DocumentFault;

/// 2^53. Below it, a float without a fraction is exact and can be written as an integer.
const MAX_EXACT_INTEGER: f64 = 9_007_199_254_740_992.0;

/// Resolves a scalar by its tag, or else by its style and text.
pub(super) fn resolve_scalar(
    text: &str,
    style: ScalarStyle,
    tag: Option<&Tag>,
) -> Result<Value, DocumentFault> {
    match (tag, style) {
        (Some(tag), _) => resolve_tagged(text, tag),
        (None, ScalarStyle::Plain) => resolve_plain(text),
        (None, _) => Ok(text.into()),
    }
}

/// Converts a scalar to the key of a mapping.
pub(super) fn to_key(value: Value) -> Result<String, DocumentFault> {
    match value {
        Value::String(text) => Ok(text),
        Value::Null => Err(DocumentFault::NullKey),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        Value::Array(_) | Value::Object(_) => Err(DocumentFault::ComplexKey),
    }
}

fn resolve_tagged(text: &str, tag: &Tag) -> Result<Value, DocumentFault> {
    let name = tag.suffix_in_namespace("tag:yaml.org,2002:");
    // The tag does not convert: it only restricts the types that the text may resolve to.
    let is_wanted: fn(&Value) -> bool = match name.as_deref() {
        Some("str" | "timestamp") => return Ok(text.into()),
        None if is_non_specific(tag) => return Ok(text.into()),
        Some("null") => Value::is_null,
        Some("bool") => Value::is_boolean,
        Some("int") => |value| value.is_i64() || value.is_u64(),
        Some("float") => Value::is_number,
        _ => return Err(DocumentFault::UnsupportedTag(tag.original())),
    };
    let mismatch = || DocumentFault::TagMismatch { tag: tag.original(), text: text.into() };
    Some(resolve_plain(text)?).filter(is_wanted).ok_or_else(mismatch)
}

/// Returns whether the tag is a plain `!`, which means that the scalar is text.
fn is_non_specific(tag: &Tag) -> bool {
    tag.original() == "!"
}

fn resolve_plain(text: &str) -> Result<Value, DocumentFault> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => {
            Value::Bool(true)
        }
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" => {
            Value::Bool(false)
        }
        _ if is_not_finite(text) => return Err(DocumentFault::NotFinite(text.into())),
        _ => parse_number(text).map_or_else(|| text.into(), Value::Number),
    })
}

fn is_not_finite(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN")
}

fn parse_number(text: &str) -> Option<Number> {
    if !text.starts_with(['+', '-', '.', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']) {
        return None;
    }
    // yaml.v2 ignores underscores in numbers, but a text such as `.1_0` is never a number.
    if text.contains('_') && !text.starts_with('.') {
        let text = text.replace('_', "");
        return parse_integer(&text).or_else(|| parse_float(&text));
    }
    parse_integer(text).or_else(|| parse_float(text))
}

fn parse_integer(text: &str) -> Option<Number> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (radix, digits) = split_radix(unsigned);
    // `from_str_radix` accepts a sign, so `++1` would be a number.
    if !digits.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    if text.starts_with('-') {
        return 0_i64.checked_sub_unsigned(magnitude).map(Number::from);
    }
    Some(magnitude.into())
}

/// Splits off the radix as Go does for base 0: from a prefix, or octal for a plain leading zero.
fn split_radix(digits: &str) -> (u32, &str) {
    match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    }
}

/// Parses a float that JSON can represent. A number that is out of range stays text, as in kubectl.
fn parse_float(text: &str) -> Option<Number> {
    if !is_float(text) {
        return None;
    }
    let float: f64 = text.parse().ok()?;
    if float.fract() == 0.0 && float.abs() < MAX_EXACT_INTEGER {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
        return Some((float as i64).into());
    }
    Number::from_f64(float)
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = text.split_once(['e', 'E']).map_or((text, None), |(m, e)| (m, Some(e)));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let exponent = exponent.map_or("0", |e| e.strip_prefix(['+', '-']).unwrap_or(e));
    let all = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit());
    all(whole)
        && all(fraction)
        && all(exponent)
        && !exponent.is_empty()
        && !(whole.is_empty() && fraction.is_empty())
        && (!whole.is_empty() || mantissa.starts_with('.'))
}
