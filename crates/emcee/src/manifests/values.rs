//! The values of the chart: what each is where nothing is given, what it means, and what it may be.

use serde_json::{Map, Value, json};

use super::IMAGE;
use crate::manifest::{WriteError, to_yaml};

struct Setting {
    name: &'static str,
    about: &'static str,
    default: Value,
    schema: Value,
}

/// What the container may use, where nothing else is given.
pub(super) fn resources() -> Value {
    json!({"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}})
}

const LABEL: &str = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?";

fn settings() -> Vec<Setting> {
    let of = |name, about, default, schema| Setting { name, about, default, schema };
    vec![
        of(
            "image",
            "Image of the container.",
            json!(IMAGE),
            json!({"type": "string", "pattern": "^[^\\s'\"]+$"}),
        ),
        of(
            "replicas",
            "One of them writes, the others stand by.",
            json!(2),
            json!({"type": "integer", "minimum": 0, "maximum": u16::MAX}),
        ),
        of("resources", "What a replica may use.", resources(), json!({"type": "object"})),
        of(
            "revision",
            "Istio's revision, for the gateways that Emcee creates.",
            json!(""),
            json!({"type": "string", "pattern": format!("^({LABEL})?$")}),
        ),
        of("rootNamespace", "Istio's root namespace.", json!("istio-system"), label(LABEL)),
        of("watchNamespaces", "Namespaces whose resources are followed. \"*\": all.", json!(["*"]), some()),
        of(
            "fedNamespaces",
            "Namespaces in which relationships may have their Secrets and gateways: there Emcee may read Secrets, and \
             make Roles and Deployments. \"*\": in all, which is the right to read every Secret of the cluster.",
            json!([]),
            any_or_all(),
        ),
        of(
            "gatewayNamespaces",
            "Namespaces, besides, whose gateway pods may be given a relationship's configuration and keys.",
            json!([]),
            json!({"type": "array", "items": label(LABEL)}),
        ),
        of(
            "clusterNetworks",
            "The cluster's Service and Pod ranges, as CIDRs: no endpoint of a peer lies there. Without them Emcee goes by \
             the addresses of pods, nodes and Services that it sees.",
            json!([]),
            json!({"type": "array", "items": {"type": "string", "pattern": "^[0-9a-fA-F.:]+/[0-9]{1,3}$"}}),
        ),
        of(
            "webhook",
            "Whether what users apply is checked before the API server takes it. Where Emcee is away, it takes everything.",
            json!({"enabled": true}),
            json!({
                "type": "object",
                "additionalProperties": false,
                "properties": {"enabled": {"type": "boolean"}},
            }),
        ),
        of(
            "discovery",
            "Whether meshes tell each other what they offer, and how peers come where there is no gateway (FLAT): at a \
             LoadBalancer of Emcee's own, or, with ClusterIP, not at all from outside of the cluster's network.",
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
            "Whether the chart brings the custom resource definitions. They stay when it is uninstalled.",
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

/// `values.yaml`
pub(super) fn yaml() -> Result<String, WriteError> {
    let one = |setting: Setting| {
        let value = Map::from_iter([(setting.name.to_owned(), setting.default)]);
        Ok(format!("# {}\n{}", setting.about, to_yaml(&[Value::Object(value)])?))
    };
    Ok(settings().into_iter().map(one).collect::<Result<Vec<_>, WriteError>>()?.join("\n"))
}

/// `values.schema.json`: Helm refuses what does not fit, and what is misspelt.
pub(super) fn schema() -> Value {
    let mut properties = Map::new();
    for setting in settings() {
        let mut schema = setting.schema;
        schema["description"] = setting.about.into();
        properties.insert(setting.name.to_owned(), schema);
    }
    // What a chart that has this one among its parts hands down.
    properties.insert("global".to_owned(), json!({"type": "object"}));
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    })
}
