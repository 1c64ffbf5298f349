//! Checks an object against its CRD's schema.
//!
//! It checks only types, unknown fields, missing fields and enum values. The modules of the kinds check
//! ranges and patterns, because they can give better messages.
//!
//! To report all problems at once, the later step must be able to read the object even if a field has the
//! wrong type. Each such field therefore gets a placeholder value, and the later step ignores problems with
//! placeholders.

use std::sync::LazyLock;

use emcee_api::{MeshFedConfig, Reason, ServiceBinding, ServiceExposition};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use serde_json::{Map, Value};

use super::field_checker::member_path;
use super::problems::ProblemList;
use crate::problem::ResourceProblem;
use crate::text::quote_value;

pub(super) static MESH_FED_CONFIG: LazyLock<CrdSchema> =
    LazyLock::new(|| CrdSchema::from_crd(&MeshFedConfig::crd()));
pub(super) static SERVICE_EXPOSITION: LazyLock<CrdSchema> =
    LazyLock::new(|| CrdSchema::from_crd(&ServiceExposition::crd()));
pub(super) static SERVICE_BINDING: LazyLock<CrdSchema> =
    LazyLock::new(|| CrdSchema::from_crd(&ServiceBinding::crd()));

/// Top-level fields of every object, which the schema of a CRD does not list.
const ENVELOPE_FIELDS: [&str; 4] = ["apiVersion", "kind", "metadata", "status"];

pub(super) struct CrdSchema {
    spec: JSONSchemaProps,
}

impl CrdSchema {
    fn from_crd(crd: &CustomResourceDefinition) -> Self {
        let root = crd.spec.versions.first().and_then(|v| v.schema.as_ref()?.open_api_v3_schema.as_ref());
        let spec = root.and_then(|root| root.properties.as_ref()?.get("spec")).cloned();
        Self { spec: spec.expect("the derived CRD has one version, with a schema that has a spec") }
    }

    pub(super) fn check_object(&self, object: &Value) -> SchemaCheck {
        let mut problems = ProblemList::default();
        let Value::Object(fields) = object else {
            problems.push(schema_problem("", "is not an object".to_owned()));
            return SchemaCheck { object: Value::Null, problems, placeholders: Vec::new() };
        };
        for field in fields.keys().filter(|f| *f != "spec" && !ENVELOPE_FIELDS.contains(&f.as_str())) {
            if problems.is_full() {
                break;
            }
            problems.push_unknown_field("", field, ["spec"].iter().chain(&ENVELOPE_FIELDS).copied());
        }
        // Unknown fields of the spec are reported by the recursive check.
        let mut spec = without_nulls(fields.get("spec").unwrap_or(&Value::Null));
        match &spec {
            Value::Null => problems.push(schema_problem("spec", "is missing".to_owned())),
            spec => check_value(spec, &self.spec, "spec", &mut problems),
        }
        let stand_ins = self.fill_placeholders(&mut spec, problems.as_slice());
        // Unknown top-level fields were reported above. They would not change the model.
        let mut kept: Map<String, Value> = fields
            .iter()
            .filter(|(k, _)| ENVELOPE_FIELDS.contains(&k.as_str()))
            .map(|(k, v)| (k.clone(), without_nulls(v)))
            .collect();
        kept.insert("spec".into(), spec);
        SchemaCheck { object: Value::Object(kept), problems, placeholders: stand_ins }
    }

    /// Replaces each field of the spec that has a problem by a placeholder of the right type, so that the
    /// other fields can be read and checked. Returns the paths of these fields.
    fn fill_placeholders(&self, spec: &mut Value, problems: &[ResourceProblem]) -> Vec<String> {
        let Some(fields) = spec.as_object_mut() else { return Vec::new() };
        let mut stand_ins = Vec::new();
        for (name, schema) in self.spec.properties.iter().flatten() {
            let path = format!("spec.{name}");
            // Only top-level fields are replaced. A problem in a nested field replaces the whole field that
            // contains it.
            if !problems.iter().any(|problem| is_part_of(&problem.field, &path)) {
                continue;
            }
            let value = match schema.type_.as_deref() {
                Some("array") => Value::Array(Vec::new()),
                Some("boolean") => Value::Bool(true),
                Some("integer" | "number") => Value::from(1),
                Some("string") => Value::from("x"),
                _ => Value::Object(Map::new()),
            };
            let optional = !is_required(&self.spec, name);
            // No value of an enum can serve as a placeholder. An optional field is removed instead.
            if optional && schema.enum_.is_some() {
                fields.remove(name)
            } else {
                fields.insert(name.clone(), value)
            };
            stand_ins.push(path);
        }
        stand_ins
    }
}

/// Result of the schema check. The object can be read, even if it has problems.
pub(super) struct SchemaCheck {
    /// Object without nulls: as for the API server, a null is an absent field.
    pub(super) object: Value,
    pub(super) problems: ProblemList,
    /// Paths of fields whose value is a placeholder.
    pub(super) placeholders: Vec<String>,
}

/// Whether `field` is `path` or a member of it.
fn is_part_of(field: &str, path: &str) -> bool {
    field.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn is_required(schema: &JSONSchemaProps, name: &str) -> bool {
    schema.required.iter().flatten().any(|required| required == name)
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.clone(), without_nulls(value)))
            .collect(),
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

fn check_value(value: &Value, schema: &JSONSchemaProps, path: &str, problems: &mut ProblemList) {
    let expected = schema.type_.as_deref().unwrap_or("object");
    match (expected, value) {
        ("object", Value::Object(fields)) => check_fields(fields, schema, path, problems),
        ("array", Value::Array(items)) => check_items(items, schema, path, problems),
        ("string", Value::String(_)) | ("boolean", Value::Bool(_)) => {
            check_enum(value, schema, path, problems);
        }
        ("integer", Value::Number(number)) if number.as_i64().is_some() => {}
        ("number", Value::Number(_)) => {}
        _ => problems.push(schema_problem(
            path,
            format!("is {}, and must be {}", describe_value(value), describe_type(expected)),
        )),
    }
}

fn check_fields(
    fields: &Map<String, Value>,
    schema: &JSONSchemaProps,
    path: &str,
    problems: &mut ProblemList,
) {
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema.additional_properties {
        // A map with arbitrary keys, such as a label selector.
        let within = check_count(fields.len(), schema.max_properties, path, problems);
        for (name, value) in fields.iter().take(within) {
            if problems.is_full() {
                return;
            }
            check_value(value, values, &member_path(path, name), problems);
        }
        return;
    }
    let known = schema.properties.iter().flatten();
    let mut misspelt = Vec::new();
    for (name, value) in fields {
        if problems.is_full() {
            return;
        }
        match schema.properties.as_ref().and_then(|known| known.get(name)) {
            Some(field) => check_value(value, field, &format!("{path}.{name}"), problems),
            None => {
                // A misspelt field is also missing under its right name. One problem is enough.
                misspelt.extend(problems.push_unknown_field(
                    path,
                    name,
                    known.clone().map(|(name, _)| name.as_str()),
                ));
            }
        }
    }
    let missing = schema.required.iter().flatten().filter(|name| !fields.contains_key(*name));
    for name in missing.filter(|name| !misspelt.contains(&name.as_str())) {
        problems.push(schema_problem(&format!("{path}.{name}"), "is missing".to_owned()));
    }
}

fn check_items(items: &[Value], schema: &JSONSchemaProps, path: &str, problems: &mut ProblemList) {
    let within = check_count(items.len(), schema.max_items, path, problems);
    if let Some(JSONSchemaPropsOrArray::Schema(each)) = &schema.items {
        for (index, item) in items.iter().take(within).enumerate() {
            // Stop early: a hostile object could have millions of items.
            if problems.is_full() {
                return;
            }
            check_value(item, each, &format!("{path}[{index}]"), problems);
        }
    }
}

/// Adds a problem if there are too many entries. Returns how many of them to check.
fn check_count(count: usize, limit: Option<i64>, path: &str, problems: &mut ProblemList) -> usize {
    let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| count > *limit)
    else {
        return count;
    };
    problems.push(schema_problem(path, format!("has {count} entries (at most {limit})")));
    limit
}

fn check_enum(value: &Value, schema: &JSONSchemaProps, path: &str, problems: &mut ProblemList) {
    let Some(allowed) = &schema.enum_ else { return };
    if allowed.iter().all(|one| one.0 != *value) {
        let allowed: Vec<_> = allowed.iter().filter_map(|one| one.0.as_str()).collect();
        problems.push(schema_problem(
            path,
            format!("{} is unknown ({})", describe_value(value), allowed.join(", ")),
        ));
    }
}

pub(super) fn schema_problem(field: &str, message: String) -> ResourceProblem {
    ResourceProblem::at_field(Reason::Invalid, field, message)
}

fn describe_value(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => quote_value(text),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
    }
}

fn describe_type(expected: &str) -> &'static str {
    match expected {
        "array" => "a list",
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        "string" => "a text (in quotes if it looks like a number or true/false)",
        _ => "an object",
    }
}
