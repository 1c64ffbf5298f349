//! What a proxy's configuration consists of, from Envoy's admin interface.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::users::SERVICE_PREFIX;
use crate::Mesh;

/// What a proxy needs for its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProxyCost {
    /// Size of the configuration dump, in bytes.
    pub config: u64,
    /// Memory that Envoy has allocated, in bytes.
    pub memory: u64,
    /// Number of clusters.
    pub clusters: u64,
    /// Number of clusters with a TLS context.
    pub tls_clusters: u64,
    /// Number of the benchmark's services that have a cluster.
    pub services: u64,
}

/// Readings of the memory; the least of them has the least of short-lived allocations.
const MEMORY_READINGS: usize = 5;

/// Reads what a pod's proxy has now.
pub(super) fn read_proxy_cost(mesh: &Mesh, pod: &str) -> Result<ProxyCost> {
    let cost = parse_config_dump(&admin_request(mesh, pod, "/config_dump")?)?;
    let mut memory = u64::MAX;
    for _ in 0..MEMORY_READINGS {
        memory = memory.min(parse_memory(&admin_request(mesh, pod, "/memory")?)?);
    }
    Ok(ProxyCost { memory, ..cost })
}

/// Reads everything but the memory.
pub(super) fn read_config_size(mesh: &Mesh, pod: &str) -> Result<ProxyCost> {
    parse_config_dump(&admin_request(mesh, pod, "/config_dump")?)
}

fn admin_request(mesh: &Mesh, pod: &str, path: &str) -> Result<String> {
    let url = format!("http://127.0.0.1:15000{path}");
    let output = mesh.exec(pod, &["curl", "-sS", "--fail", &url])?;
    ensure!(output.code == 0, "{path} of the proxy of {pod}: {}", output.stderr.trim());
    Ok(output.stdout)
}

/// Sizes and numbers of a configuration dump.
fn parse_config_dump(text: &str) -> Result<ProxyCost> {
    let dump: Value = serde_json::from_str(text).context("the configuration dump is not JSON")?;
    let sections = dump["configs"].as_array().context("the configuration dump has no sections")?;
    let clusters =
        sections.iter().filter_map(|section| section["dynamic_active_clusters"].as_array()).flatten();
    let mut cost = ProxyCost { config: u64::try_from(text.len())?, ..ProxyCost::default() };
    for cluster in clusters.map(|entry| &entry["cluster"]) {
        cost.clusters += 1;
        cost.tls_clusters += u64::from(has_tls_context(cluster));
        cost.services += u64::from(is_service_cluster(cluster));
    }
    Ok(cost)
}

fn has_tls_context(cluster: &Value) -> bool {
    let matches = cluster["transport_socket_matches"].as_array().into_iter().flatten();
    let mut sockets = matches.map(|one| &one["transport_socket"]).chain([&cluster["transport_socket"]]);
    sockets.any(|socket| {
        let kind = socket["typed_config"]["@type"].as_str().unwrap_or_default();
        kind.ends_with("UpstreamTlsContext")
    })
}

/// Whether it is the cluster of one of the benchmark's Services, without a subset.
fn is_service_cluster(cluster: &Value) -> bool {
    let name = cluster["name"].as_str().unwrap_or_default();
    let mut parts = name.split('|');
    let (direction, _, subset, host) = (parts.next(), parts.next(), parts.next(), parts.next());
    direction == Some("outbound")
        && subset == Some("")
        && host.is_some_and(|host| host.starts_with(SERVICE_PREFIX) && host.ends_with(".svc.cluster.local"))
}

fn parse_memory(text: &str) -> Result<u64> {
    let memory: Value = serde_json::from_str(text).context("the memory statistics are not JSON")?;
    memory["allocated"].as_str().and_then(|bytes| bytes.parse().ok()).context("no allocated memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(clusters: &str) -> String {
        format!(r#"{{"configs": [{{"@type": "x"}}, {{"dynamic_active_clusters": [{clusters}]}}]}}"#)
    }

    #[test]
    fn clusters_are_counted_with_their_tls_contexts() {
        let tls = r#"{"typed_config": {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"}}"#;
        let raw = r#"{"typed_config": {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"}}"#;
        let text = dump(&format!(
            r#"{{"cluster": {{"name": "outbound|80||service-1.apps.svc.cluster.local",
                "transport_socket_matches": [{{"transport_socket": {raw}}}, {{"transport_socket": {tls}}}]}}}},
               {{"cluster": {{"name": "outbound|80|emcee|x.binding.emcee.internal", "transport_socket": {tls}}}}},
               {{"cluster": {{"name": "outbound|80|v1|service-1.apps.svc.cluster.local", "transport_socket": {raw}}}}}"#
        ));
        let cost = parse_config_dump(&text).expect("a dump");
        assert_eq!((cost.clusters, cost.tls_clusters, cost.services), (3, 2, 1));
        assert_eq!(usize::try_from(cost.config).ok(), Some(text.len()));
    }

    #[test]
    fn the_allocated_memory_counts() {
        let text = r#"{"allocated": "1234", "heap_size": "9999"}"#;
        assert_eq!(parse_memory(text).expect("memory"), 1234);
        assert!(parse_memory("{}").is_err());
    }
}
