//! Istio's own objects, adapted where a bed differs from a cluster.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::mesh::parse_documents;
use crate::process::run_output;
use crate::toolchain::Binaries;

/// URL of istiod's webhooks, with the host name in their certificate.
const WEBHOOK: &str = "https://istiod.istio-system.svc:15017";

/// Istio's default ID of a cluster.
pub const DEFAULT_CLUSTER_ID: &str = "Kubernetes";

/// Mesh ID of all clusters that may become one mesh.
const MESH_ID: &str = "emcee-testbed";

/// The output of `istioctl manifest generate`, adapted to a bed.
#[derive(Debug, Clone)]
pub struct IstioManifests {
    /// Custom resource definitions, which must exist before the other objects.
    pub definitions: Vec<Value>,
    /// All other objects to apply.
    pub objects: Vec<Value>,
    /// The mesh config, as text.
    pub mesh_config: String,
    /// The injector's templates and their values.
    pub injection: (String, String),
    /// ID of the cluster, for istiod and its proxies.
    pub cluster_id: String,
}

impl IstioManifests {
    /// Generates the manifests with `istioctl`.
    pub async fn generate(binaries: &Binaries, trust_domain: &str, cluster_id: &str) -> Result<Self> {
        let settings = [
            "profile=minimal".to_owned(),
            "hub=local".to_owned(),
            "tag=dev".to_owned(),
            format!("meshConfig.trustDomain={trust_domain}"),
            format!("values.global.meshID={MESH_ID}"),
            format!("values.global.multiCluster.clusterName={cluster_id}"),
        ];
        let flags = settings.iter().flat_map(|setting| ["--set", setting]);
        let arguments: Vec<&str> = ["manifest", "generate"].into_iter().chain(flags).collect();
        let text = run_output(&binaries.command("istioctl"), &arguments).await?;
        let mut all: Vec<Value> =
            parse_documents(&text)?.into_iter().filter(|object| !is_for_istiod_pods(object)).collect();
        all.iter_mut().for_each(adapt_object);
        let mesh_config = config_map_data(&all, "istio", "mesh")?;
        let injection = (
            config_map_data(&all, "istio-sidecar-injector", "config")?,
            config_map_data(&all, "istio-sidecar-injector", "values")?,
        );
        let (definitions, objects) =
            all.into_iter().partition(|object| object["kind"] == "CustomResourceDefinition");
        Ok(Self { definitions, objects, mesh_config, injection, cluster_id: cluster_id.to_owned() })
    }
}

/// Whether the object belongs to the pods of istiod. In a bed, istiod is a process.
fn is_for_istiod_pods(object: &Value) -> bool {
    let kind = object["kind"].as_str().unwrap_or_default();
    ["Deployment", "HorizontalPodAutoscaler", "PodDisruptionBudget"].contains(&kind)
}

fn adapt_object(object: &mut Value) {
    if object["kind"].as_str().is_some_and(|kind| kind.ends_with("WebhookConfiguration")) {
        object["webhooks"].as_array_mut().into_iter().flatten().for_each(call_by_url);
    }
    if object["kind"] == "ConfigMap" && object["metadata"]["name"] == "istio" {
        adapt_mesh_config(&mut object["data"]["mesh"]);
    }
}

/// Replaces the webhook's Service by a URL. The Service has no endpoints: istiod is not a pod, and nothing routes
/// cluster addresses for the apiserver.
fn call_by_url(webhook: &mut Value) {
    let config = &mut webhook["clientConfig"];
    let path = config["service"]["path"].as_str().unwrap_or_default().to_owned();
    if let Some(config) = config.as_object_mut() {
        config.remove("service");
        config.insert("url".to_owned(), format!("{WEBHOOK}{path}").into());
    }
}

fn adapt_mesh_config(text: &mut Value) {
    let parsed = text.as_str().and_then(|text| parse_documents(text).ok()?.into_iter().next());
    let Some(mut config) = parsed else { return };
    if let Some(config) = config.as_object_mut() {
        // The default metrics provider emits `istio.stats`, a filter that upstream's Envoy lacks.
        config.remove("defaultProviders");
    }
    config["enablePrometheusMerge"] = json!(false);
    config["defaultConfig"]["proxyMetadata"]["ISTIO_META_DNS_CAPTURE"] = json!("true");
    config["defaultConfig"]["terminationDrainDuration"] = json!("1s");
    *text = Value::String(config.to_string());
}

fn config_map_data(objects: &[Value], name: &str, key: &str) -> Result<String> {
    let map =
        objects.iter().find(|object| object["kind"] == "ConfigMap" && object["metadata"]["name"] == name);
    let text = map.and_then(|map| map["data"][key].as_str());
    Ok(text.with_context(|| format!("istioctl printed no ConfigMap {name} with {key}"))?.to_owned())
}
