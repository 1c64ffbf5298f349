//! JSON Schemas of the three resources, from their custom resource definitions.

use emcee_api::{API_VERSION, GROUP};
use serde_json::{Map, Value, json};

use super::NamedSchema;

/// Returns the schema of each resource.
///
/// # Errors
/// Never: the definitions are plain data.
pub(super) fn resource_schemas() -> anyhow::Result<Vec<NamedSchema>> {
    let mut schemas = Vec::new();
    for definition in emcee_api::custom_resource_definitions() {
        let kind = definition.spec.names.kind.clone();
        let version = definition.spec.versions.into_iter().next();
        let openapi = version.and_then(|version| version.schema).and_then(|schema| schema.open_api_v3_schema);
        let mut schema = serde_json::to_value(openapi)?;
        convert_schema(&mut schema);
        complete_object(&mut schema, &kind);
        schemas.push(NamedSchema { kind, group: GROUP, schema });
    }
    Ok(schemas)
}

/// Adds what the API server knows of every object.
fn complete_object(schema: &mut Value, kind: &str) {
    let texts = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let metadata = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "namespace": {"type": "string"},
            "labels": texts,
            "annotations": texts,
        },
        "required": ["name"],
    });
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["properties"]["apiVersion"] = json!({"type": "string", "const": API_VERSION});
    schema["properties"]["kind"] = json!({"type": "string", "const": kind});
    schema["properties"]["metadata"] = metadata;
    schema["required"] = json!(["apiVersion", "kind", "metadata", "spec"]);
}

/// Converts a schema of OpenAPI 3.0, as Kubernetes uses it, to JSON Schema. Unknown fields are refused, as `kubectl
/// apply` refuses them.
fn convert_schema(schema: &mut Value) {
    match schema {
        Value::Object(object) => convert_object(object),
        Value::Array(items) => items.iter_mut().for_each(convert_schema),
        _ => {}
    }
}

fn convert_object(object: &mut Map<String, Value>) {
    object.retain(|key, _| !key.starts_with("x-kubernetes-"));
    if object.remove("nullable") == Some(Value::Bool(true))
        && let Some(Value::String(type_)) = object.get("type").cloned()
    {
        object.insert("type".to_owned(), json!([type_, "null"]));
    }
    if object.get("properties").is_some_and(Value::is_object) && !object.contains_key("additionalProperties")
    {
        object.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    for (key, value) in object.iter_mut() {
        // Values of these keys are data, not schemas.
        if !matches!(key.as_str(), "default" | "enum" | "example") {
            convert_schema(value);
        }
    }
}
