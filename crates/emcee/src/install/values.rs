//! The values of the chart, each with its default, description and schema.

use emcee_core::inputs::DEFAULT_ROOT_NAMESPACE;
use emcee_yaml::{YamlWriteError, to_yaml};
use serde_json::{Map, Value, json};

use super::DEFAULT_IMAGE;

struct ChartValue {
    name: &'static str,
    about: &'static str,
    default: Value,
    schema: Value,
}

/// Default resource requests and limits of the container.
pub(super) fn default_resources() -> Value {
    json!({"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}})
}

/// Pattern of a DNS label.
const LABEL_PATTERN: &str = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?";

fn chart_values() -> Vec<ChartValue> {
    [program_values(), scope_values(), feature_values()].into_iter().flatten().collect()
}

fn value_of(name: &'static str, about: &'static str, default: Value, schema: Value) -> ChartValue {
    ChartValue { name, about, default, schema }
}

/// Values of the Deployment and of the Istio around it.
fn program_values() -> Vec<ChartValue> {
    vec![
        value_of(
            "image",
            "Image of Emcee's container.",
            json!(DEFAULT_IMAGE),
            json!({"type": "string", "pattern": "^[^\\s'\"]+$"}),
        ),
        value_of(
            "replicas",
            "Number of replicas. One is the leader and writes, the others are on standby.",
            json!(2),
            json!({"type": "integer", "minimum": 0, "maximum": u16::MAX}),
        ),
        value_of(
            "resources",
            "Resource requests and limits of a replica.",
            default_resources(),
            json!({"type": "object"}),
        ),
        value_of(
            "revision",
            "Istio's revision, for the gateways that Emcee creates.",
            json!(""),
            json!({"type": "string", "pattern": format!("^({LABEL_PATTERN})?$")}),
        ),
        value_of(
            "rootNamespace",
            "Istio's root namespace.",
            json!(DEFAULT_ROOT_NAMESPACE),
            string_schema(LABEL_PATTERN),
        ),
    ]
}

/// Values that say what Emcee can read and write.
fn scope_values() -> Vec<ChartValue> {
    vec![
        value_of(
            "watchNamespaces",
            "Namespaces that Emcee watches. \"*\": all.",
            json!(["*"]),
            non_empty_namespaces_schema(),
        ),
        value_of(
            "fedNamespaces",
            "Namespaces in which relationships can have their Secrets and gateways. Emcee can read Secrets and create \
             Roles and Deployments there. \"*\": all, which gives access to every Secret of the cluster.",
            json!([]),
            namespaces_schema(),
        ),
        value_of(
            "gatewayNamespaces",
            "Additional namespaces that contain your own gateways. Emcee can give their pods the configuration and keys \
             of a relationship.",
            json!([]),
            json!({"type": "array", "items": string_schema(LABEL_PATTERN)}),
        ),
        value_of(
            "clusterNetworks",
            "The cluster's Service and Pod ranges, as CIDRs. A peer's endpoints must not be in them. By default, Emcee uses \
             the addresses of the pods, nodes and Services that it watches.",
            json!([]),
            json!({"type": "array", "items": {"type": "string", "pattern": "^[0-9a-fA-F.:]+/[0-9]{1,3}$"}}),
        ),
    ]
}

/// Values of what Emcee serves and installs.
fn feature_values() -> Vec<ChartValue> {
    vec![
        value_of(
            "aggregateUserRole",
            "Whether the rules of the ClusterRole emcee-user are added to Kubernetes' roles edit and admin. Then every user who \
             may deploy in a namespace may also expose its Services to peers, if the MeshFedConfig allows the namespace.",
            json!(false),
            json!({"type": "boolean"}),
        ),
        value_of(
            "webhook",
            "Whether Emcee validates resources before the API server accepts them. If Emcee is unavailable, the API server \
             accepts all of them.",
            json!({"enabled": true}),
            json!({
                "type": "object",
                "additionalProperties": false,
                "properties": {"enabled": {"type": "boolean"}},
            }),
        ),
        value_of(
            "discovery",
            "Whether meshes announce exposed services to each other, and the type of the Service through which peers connect \
             if there is no gateway (FLAT). With ClusterIP, peers outside of the cluster's network cannot connect.",
            json!({"enabled": true, "serviceType": "ClusterIP"}),
            json!({
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "enabled": {"type": "boolean"},
                    "serviceType": {"enum": ["ClusterIP", "LoadBalancer", "NodePort"]},
                },
            }),
        ),
        value_of(
            "installCrds",
            "Whether the chart installs the CustomResourceDefinitions. They remain when the chart is uninstalled.",
            json!(true),
            json!({"type": "boolean"}),
        ),
    ]
}

fn string_schema(pattern: &str) -> Value {
    json!({"type": "string", "pattern": format!("^{pattern}$")})
}

fn namespaces_schema() -> Value {
    json!({"type": "array", "items": string_schema(&format!("(\\*|{LABEL_PATTERN})"))})
}

fn non_empty_namespaces_schema() -> Value {
    let mut list = namespaces_schema();
    list["minItems"] = 1.into();
    list
}

/// Writes `values.yaml`: each default with its description as a comment.
pub(super) fn yaml() -> Result<String, YamlWriteError> {
    let one = |setting: ChartValue| {
        let value = Map::from_iter([(setting.name.to_owned(), setting.default)]);
        Ok(format!("# {}\n{}", setting.about, to_yaml(&[Value::Object(value)])?))
    };
    Ok(chart_values().into_iter().map(one).collect::<Result<Vec<_>, YamlWriteError>>()?.join("\n"))
}

/// Returns `values.schema.json`. Helm refuses values that do not match it, including misspelled names.
pub(super) fn schema() -> Value {
    let mut properties = Map::new();
    for setting in chart_values() {
        let mut schema = setting.schema;
        schema["description"] = setting.about.into();
        properties.insert(setting.name.to_owned(), schema);
    }
    // Helm passes `global` to subcharts, so a parent chart would fail without it.
    properties.insert("global".to_owned(), json!({"type": "object"}));
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    })
}
