//! The values of the chart, each with its default, description and schema.

use serde_json::{Map, Value, json};

use super::IMAGE;
use crate::manifest::{WriteError, to_yaml};

struct Setting {
    name: &'static str,
    about: &'static str,
    default: Value,
    schema: Value,
}

/// Default resource requests and limits of the container.
pub(super) fn resources() -> Value {
    json!({"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}})
}

/// Pattern of a DNS label.
const LABEL: &str = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?";

fn settings() -> Vec<Setting> {
    let of = |name, about, default, schema| Setting { name, about, default, schema };
    vec![
        of(
            "image",
            "Image of Emcee's container.",
            json!(IMAGE),
            json!({"type": "string", "pattern": "^[^\\s'\"]+$"}),
        ),
        of(
            "replicas",
            "Number of replicas. One is the leader and writes, the others are on standby.",
            json!(2),
            json!({"type": "integer", "minimum": 0, "maximum": u16::MAX}),
        ),
        of("resources", "Resource requests and limits of a replica.", resources(), json!({"type": "object"})),
        of(
            "revision",
            "Istio's revision, for the gateways that Emcee creates.",
            json!(""),
            json!({"type": "string", "pattern": format!("^({LABEL})?$")}),
        ),
        of("rootNamespace", "Istio's root namespace.", json!("istio-system"), label(LABEL)),
        of("watchNamespaces", "Namespaces that Emcee watches. \"*\": all.", json!(["*"]), some()),
        of(
            "fedNamespaces",
            "Namespaces in which relationships can have their Secrets and gateways. Emcee can read Secrets and create \
             Roles and Deployments there. \"*\": all, which gives access to every Secret of the cluster.",
            json!([]),
            any_or_all(),
        ),
        of(
            "gatewayNamespaces",
            "Additional namespaces that contain your own gateways. Emcee can give their pods the configuration and keys \
             of a relationship.",
            json!([]),
            json!({"type": "array", "items": label(LABEL)}),
        ),
        of(
            "clusterNetworks",
            "The cluster's Service and Pod ranges, as CIDRs. A peer's endpoints must not be in them. By default, Emcee uses \
             the addresses of the pods, nodes and Services that it watches.",
            json!([]),
            json!({"type": "array", "items": {"type": "string", "pattern": "^[0-9a-fA-F.:]+/[0-9]{1,3}$"}}),
        ),
        of(
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
        of(
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
        of(
            "installCrds",
            "Whether the chart installs the CustomResourceDefinitions. They remain when the chart is uninstalled.",
            json!(true),
            json!({"type": "boolean"}),
        ),
    ]
}

fn label(pattern: &str) -> Value {
    json!({"type": "string", "pattern": format!("^{pattern}$")})
}

fn any_or_all() -> Value {
    json!({"type": "array", "items": label(&format!("(\\*|{LABEL})"))})
}

fn some() -> Value {
    let mut list = any_or_all();
    list["minItems"] = 1.into();
    list
}

/// Writes `values.yaml`: each default with its description as a comment.
pub(super) fn yaml() -> Result<String, WriteError> {
    let one = |setting: Setting| {
        let value = Map::from_iter([(setting.name.to_owned(), setting.default)]);
        Ok(format!("# {}\n{}", setting.about, to_yaml(&[Value::Object(value)])?))
    };
    Ok(settings().into_iter().map(one).collect::<Result<Vec<_>, WriteError>>()?.join("\n"))
}

/// Returns `values.schema.json`. Helm refuses values that do not match it, including misspelled names.
pub(super) fn schema() -> Value {
    let mut properties = Map::new();
    for setting in settings() {
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
