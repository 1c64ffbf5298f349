//! Checks a JSON document with a JSON Schema. Knows the keywords of Emcee's own schemas, and panics for any other
//! keyword that restricts a document, so that no test passes because a keyword was ignored.

use serde_json::{Map, Value};

/// Keywords that do not restrict a document.
const ANNOTATIONS: [&str; 8] =
    ["$schema", "title", "description", "default", "format", "definitions", "examples", "$comment"];

/// Returns what is wrong with a document, each with its JSON pointer. Empty if the document is valid.
///
/// # Panics
/// The schema has a keyword that this function does not know.
pub fn schema_problems(schema: &Value, document: &Value) -> Vec<String> {
    let mut checker = SchemaChecker { root: schema, problems: Vec::new() };
    checker.check_value(schema, document, "");
    checker.problems
}

struct SchemaChecker<'s> {
    root: &'s Value,
    problems: Vec<String>,
}

impl SchemaChecker<'_> {
    fn check_value(&mut self, schema: &Value, value: &Value, path: &str) {
        let Value::Object(keywords) = schema else {
            // `true` allows everything, `false` nothing.
            self.require(schema != &Value::Bool(false), path, "is not allowed");
            return;
        };
        for (keyword, argument) in keywords {
            self.check_keyword(keywords, keyword, argument, value, path);
        }
    }

    fn check_keyword(
        &mut self,
        keywords: &Map<String, Value>,
        keyword: &str,
        argument: &Value,
        value: &Value,
        path: &str,
    ) {
        match keyword {
            "type" => {
                let is_one = match argument {
                    Value::Array(types) => types.iter().any(|type_| has_type(value, type_)),
                    type_ => has_type(value, type_),
                };
                self.require(is_one, path, &format!("is not of type {argument}"));
            }
            "const" => self.require(value == argument, path, &format!("is not {argument}")),
            "enum" => {
                let is_listed = argument.as_array().is_some_and(|allowed| allowed.contains(value));
                self.require(is_listed, path, &format!("is none of {argument}"));
            }
            "$ref" => {
                let pointer = argument.as_str().and_then(|text| text.strip_prefix('#'));
                let target = pointer.and_then(|pointer| self.root.pointer(pointer)).cloned();
                self.check_value(&target.expect("the reference leads into the schema"), value, path);
            }
            "allOf" => {
                for schema in argument.as_array().into_iter().flatten() {
                    self.check_value(schema, value, path);
                }
            }
            "anyOf" | "oneOf" => {
                let mut schemas = argument.as_array().into_iter().flatten();
                let fits = schemas.any(|schema| {
                    let mut checker = SchemaChecker { root: self.root, problems: Vec::new() };
                    checker.check_value(schema, value, path);
                    checker.problems.is_empty()
                });
                self.require(fits, path, "matches none of the alternatives");
            }
            "required" => {
                for name in argument.as_array().into_iter().flatten().filter_map(Value::as_str) {
                    let is_there = value.as_object().is_none_or(|object| object.contains_key(name));
                    self.require(is_there, path, &format!("has no {name}"));
                }
            }
            "properties" | "additionalProperties" => {
                // Both are checked together, once.
                if keyword == "properties" || !keywords.contains_key("properties") {
                    self.check_members(keywords, value, path);
                }
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    self.check_value(argument, item, &format!("{path}/{index}"));
                }
            }
            "minimum" | "maximum" => {
                let (number, bound) = (value.as_f64(), argument.as_f64());
                let fits = number.zip(bound).is_none_or(|(number, bound)| {
                    if keyword == "minimum" { number >= bound } else { number <= bound }
                });
                self.require(fits, path, &format!("is outside of {keyword} {argument}"));
            }
            "minLength" | "maxLength" => {
                let length = value.as_str().map(|text| text.chars().count());
                self.check_length(length, keyword == "minLength", argument, path);
            }
            "minItems" | "maxItems" => {
                self.check_length(value.as_array().map(Vec::len), keyword == "minItems", argument, path);
            }
            "minProperties" | "maxProperties" => {
                self.check_length(
                    value.as_object().map(Map::len),
                    keyword == "minProperties",
                    argument,
                    path,
                );
            }
            // A regular expression needs a library; the tests of the API server check these.
            "pattern" => {}
            other => assert!(ANNOTATIONS.contains(&other), "unknown keyword {other} at {path}"),
        }
    }

    fn check_members(&mut self, keywords: &Map<String, Value>, value: &Value, path: &str) {
        for (name, member) in value.as_object().into_iter().flatten() {
            let known = keywords.get("properties").and_then(|properties| properties.get(name));
            let schema = known.or_else(|| keywords.get("additionalProperties"));
            if let Some(schema) = schema {
                self.check_value(schema, member, &format!("{path}/{name}"));
            }
        }
    }

    fn check_length(&mut self, length: Option<usize>, is_minimum: bool, argument: &Value, path: &str) {
        let bound = argument.as_u64().and_then(|bound| usize::try_from(bound).ok());
        let fits = length
            .zip(bound)
            .is_none_or(|(length, bound)| if is_minimum { length >= bound } else { length <= bound });
        self.require(fits, path, &format!("has a length outside of {argument}"));
    }

    fn require(&mut self, holds: bool, path: &str, words: &str) {
        if !holds {
            self.problems.push(format!("{path}: {words}"));
        }
    }
}

/// Returns whether a value has a type of JSON Schema.
fn has_type(value: &Value, type_: &Value) -> bool {
    match type_.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::schema_problems;

    #[test]
    fn each_keyword_finds_what_does_not_fit() {
        let schema = json!({
            "type": "object", "required": ["a"], "additionalProperties": false,
            "properties": {"a": {"type": "integer", "minimum": 1}, "b": {"$ref": "#/definitions/list"}},
            "definitions": {"list": {"type": "array", "maxItems": 1, "items": {"enum": ["x"]}}},
        });
        assert!(schema_problems(&schema, &json!({"a": 1, "b": ["x"]})).is_empty());
        for wrong in [
            json!([]),
            json!({}),
            json!({"a": 0}),
            json!({"a": "1"}),
            json!({"a": 1, "c": 1}),
            json!({"a": 1, "b": ["y"]}),
            json!({"a": 1, "b": ["x", "x"]}),
        ] {
            assert!(!schema_problems(&schema, &wrong).is_empty(), "{wrong}");
        }
    }
}
