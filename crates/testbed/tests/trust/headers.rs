//! What a peer learns from HTTP headers.

use anyhow::{Context, Result, ensure};
use emcee_testbed::{Bed, Mesh};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::world::{WEB, World, consuming_resources, gateway_name};
use crate::workloads::ask;

const CALL: [&str; 2] = ["http", "blue-hello.web:5000"];

/// The ingress of a curious peer forwards what the proxies of callers send, so the service shows it.
pub(crate) fn callers_are_hidden(bed: &Bed) -> Result<()> {
    let World { m1, m2, .. } = World::shared(bed)?;
    ask(&m1, WEB, &CALL)?;
    let ingress = gateway_name(&m2, "blue", "ingress")?;
    let before = m2.wait_address("blue", &ingress)?;
    forward_client_certificates(&m2, &ingress)?;
    m2.wait_other_address("blue", &ingress, &before)?;
    m1.apply(&consuming_resources(&m2, "blue", "BOUNDARY")?)?;
    let answer = ask(&m1, WEB, &CALL)?;
    let caller = answer["caller"].as_str().unwrap_or_default();
    ensure!(caller.contains("DNS=m1.example"), "the peer mesh is identified: {answer}");
    ensure!(!caller.contains("/ns/web/") && !caller.contains("sa/sleep"), "the caller is not: {answer}");
    // The bed's proxies send no metadata headers, so the application sends them.
    let written = ["--header", "x-envoy-peer-metadata=web", "--header", "x-envoy-peer-metadata-id=sleep"];
    let answer = ask(&m1, WEB, &[&CALL[..], &written, &["--header", "traceparent=00-0a"]].concat())?;
    let headers = answer["headers"].as_object().context("the server shows no headers")?;
    ensure!(headers.contains_key("traceparent"), "traces are not broken: {answer}");
    ensure!(!headers.keys().any(|name| name.starts_with("x-envoy-peer-metadata")), "{answer}");
    Ok(())
}

/// The peer's operator configures the ingress to forward client certificates instead of replacing them.
fn forward_client_certificates(mesh: &Mesh, ingress: &str) -> Result<()> {
    let config = json!({"gatewayTopology": {"forwardClientCertDetails": "APPEND_FORWARD"}}).to_string();
    let annotations = json!({"proxy.istio.io/config": config});
    let patch = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
    let (api, name) = (Api::<Deployment>::namespaced(mesh.client(), "blue"), ingress.to_owned());
    mesh.run(
        async move { Ok(api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)?) },
    )?;
    mesh.wait_rolled_out("blue", ingress)
}
