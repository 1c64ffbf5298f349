//! The environment of a container, and `$(NAME)` in its arguments.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVar, EnvVarSource, Pod, Secret};
use kube::{Api, ResourceExt};

use super::Node;

/// Environment of a container, in which later variables can refer to earlier ones.
pub(super) async fn container_environment(
    node: &Node,
    pod: &Pod,
    container: &Container,
    address: &str,
) -> Result<Vec<(String, String)>> {
    let mut known: BTreeMap<String, String> = default_variables(node).into();
    for variable in container.env.iter().flatten() {
        let value = variable_value(node, pod, variable, address).await?;
        if let Some(value) = value {
            let value = expand_variables(&value, &known);
            known.insert(variable.name.clone(), value);
        }
    }
    Ok(known.into_iter().collect())
}

/// Pods reach the apiserver at the node's own address, because nothing here routes cluster addresses.
fn default_variables(node: &Node) -> [(String, String); 4] {
    let pairs = [
        ("HOME", "/".to_owned()),
        ("KUBERNETES_SERVICE_HOST", node.plan.node().to_string()),
        ("KUBERNETES_SERVICE_PORT", "6443".to_owned()),
        ("KUBERNETES_SERVICE_PORT_HTTPS", "6443".to_owned()),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value))
}

async fn variable_value(node: &Node, pod: &Pod, variable: &EnvVar, address: &str) -> Result<Option<String>> {
    match &variable.value_from {
        Some(source) => value_from_source(node, pod, source, address).await,
        None => Ok(Some(variable.value.clone().unwrap_or_default())),
    }
}

async fn value_from_source(
    node: &Node,
    pod: &Pod,
    source: &EnvVarSource,
    address: &str,
) -> Result<Option<String>> {
    let namespace = pod.namespace().unwrap_or_default();
    if let Some(field) = &source.field_ref {
        return Ok(Some(self::downward_field(node, pod, &field.field_path, address)));
    }
    if let Some(resource) = &source.resource_field_ref {
        return Ok(Some(self::resource_limit(&resource.resource)));
    }
    if let Some(key) = &source.secret_key_ref {
        let secret = Api::<Secret>::namespaced(node.client.clone(), &namespace).get_opt(&key.name).await?;
        let bytes = secret.and_then(|secret| secret.data?.get(&key.key).cloned());
        let text = bytes.map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned());
        return require_unless_optional(text, key.optional, &key.name);
    }
    if let Some(key) = &source.config_map_key_ref {
        let map = Api::<ConfigMap>::namespaced(node.client.clone(), &namespace).get_opt(&key.name).await?;
        return require_unless_optional(
            map.and_then(|map| map.data?.get(&key.key).cloned()),
            key.optional,
            &key.name,
        );
    }
    Ok(None)
}

fn require_unless_optional(
    value: Option<String>,
    optional: Option<bool>,
    object: &str,
) -> Result<Option<String>> {
    if optional == Some(true) {
        return Ok(value);
    }
    value.with_context(|| format!("the key does not exist in {object}")).map(Some)
}

/// A field of the pod, by its path in the downward API.
pub(super) fn downward_field(node: &Node, pod: &Pod, path: &str, address: &str) -> String {
    let keyed = |prefix: &str| path.strip_prefix(prefix)?.strip_suffix("']").map(str::to_owned);
    if let Some(key) = keyed("metadata.labels['") {
        return pod.labels().get(&key).cloned().unwrap_or_default();
    }
    if let Some(key) = keyed("metadata.annotations['") {
        return pod.annotations().get(&key).cloned().unwrap_or_default();
    }
    match path {
        "metadata.name" => pod.name_any(),
        "metadata.namespace" => pod.namespace().unwrap_or_default(),
        "metadata.uid" => pod.uid().unwrap_or_default(),
        "metadata.labels" => format_map(pod.labels()),
        "metadata.annotations" => format_map(pod.annotations()),
        "status.podIP" | "status.podIPs" => address.to_owned(),
        "status.hostIP" | "status.hostIPs" => node.plan.node().to_string(),
        "spec.nodeName" => node.name(),
        "spec.serviceAccountName" => service_account(pod),
        _ => String::new(),
    }
}

/// Name of the pod's service account.
pub(super) fn service_account(pod: &Pod) -> String {
    let name = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone());
    name.unwrap_or_else(|| "default".to_owned())
}

fn format_map(map: &BTreeMap<String, String>) -> String {
    let all: Vec<String> = map.iter().map(|(key, value)| format!("{key}={value:?}")).collect();
    all.join("\n")
}

fn resource_limit(name: &str) -> String {
    let value: u64 = if name.ends_with("cpu") { 1 } else { 512 << 20 };
    value.to_string()
}

/// Replaces `$(NAME)`. `$$` is a dollar sign, and an unknown name stays as it is.
pub(super) fn expand_variables(text: &str, known: &BTreeMap<String, String>) -> String {
    let Some((before, rest)) = text.split_once('$') else { return text.to_owned() };
    if let Some(rest) = rest.strip_prefix('$') {
        return format!("{before}${}", expand_variables(rest, known));
    }
    let named = rest.strip_prefix('(').and_then(|inner| inner.split_once(')'));
    match named.and_then(|(name, rest)| Some((known.get(name)?, rest))) {
        Some((value, rest)) => format!("{before}{value}{}", expand_variables(rest, known)),
        None => format!("{before}${}", expand_variables(rest, known)),
    }
}

#[cfg(test)]
mod tests {
    use super::expand_variables;

    #[test]
    fn arguments_are_expanded_as_a_kubelet_does() {
        let known = [("NS".to_owned(), "default".to_owned())].into();
        assert_eq!(expand_variables("$(NS).svc.cluster.local", &known), "default.svc.cluster.local");
        assert_eq!(expand_variables("$(UNKNOWN) $$(NS) $x $(NS)", &known), "$(UNKNOWN) $(NS) $x default");
    }
}
