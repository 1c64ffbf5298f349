//! What the services cost in istiod and in etcd.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use data_encoding::BASE64;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::world::PeersBed;
use crate::Mesh;
use crate::bench::formatting::to_float;
use crate::bench::usage::processor_time;

/// Number of pushes that are forced to measure one: the kernel counts processor time in steps of 10 ms.
const PUSHES: u32 = 20;
/// Time limit for one push.
const PATIENCE: Duration = Duration::from_mins(1);
/// Keys that one request to etcd returns.
const PAGE: usize = 500;
/// Keys that change by themselves.
const VOLATILE: [&str; 3] = ["/registry/events/", "/registry/leases/", "/registry/masterleases/"];

/// istiod of the callers' mesh, and both etcds, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ControlCost {
    /// Time that istiod needs to generate and send a full push to all its proxies.
    pub push: Duration,
    /// Processor time of istiod for it.
    pub processor: Duration,
    /// Objects in the etcd of the callers' mesh.
    pub stored_here: StoredObjects,
    /// Objects in the etcd of the mesh with the services.
    pub stored_there: StoredObjects,
}

/// Objects in an etcd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoredObjects {
    /// Number of keys.
    pub objects: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

/// Measures forced pushes, and reads what is stored.
pub(super) fn read_control_cost(bed: &PeersBed) -> Result<ControlCost> {
    let (push, processor) = measure_pushes(&bed.here)?;
    Ok(ControlCost {
        push,
        processor,
        stored_here: read_stored(&bed.here)?,
        stored_there: read_stored(&bed.there)?,
    })
}

/// Changes an object that concerns all proxies, several times, each after the push before.
fn measure_pushes(mesh: &Mesh) -> Result<(Duration, Duration)> {
    let istiod = mesh.istiod_pid()?;
    let before = read_push_metrics(mesh)?;
    let begun = processor_time(&[istiod]);
    for number in 1..=PUSHES {
        mesh.apply(&push_trigger(number).to_string())?;
        wait_for_pushes(mesh, before.pushes + before.proxies * f64::from(number))?;
    }
    let (after, ended) = (read_push_metrics(mesh)?, processor_time(&[istiod]));
    let seconds = (after.seconds - before.seconds).max(0.0) / f64::from(PUSHES);
    Ok((Duration::from_secs_f64(seconds), ended.saturating_sub(begun) / PUSHES))
}

/// Matches no cluster, so that proxies are pushed and nothing changes for them.
fn push_trigger(number: u32) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
        "metadata": {"name": "push-trigger", "namespace": "istio-system"},
        "spec": {"configPatches": [{
            "applyTo": "CLUSTER",
            "match": {"cluster": {"name": "no-such-cluster"}},
            "patch": {"operation": "MERGE", "value": {"connect_timeout": format!("{number}s")}},
        }]},
    })
}

fn wait_for_pushes(mesh: &Mesh, pushes: f64) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while read_push_metrics(mesh)?.pushes < pushes {
        ensure!(Instant::now() < deadline, "istiod of {} does not push", mesh.name());
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// istiod's own counters.
#[derive(Debug, Clone, Copy, PartialEq)]
struct PushMetrics {
    /// Connected proxies.
    proxies: f64,
    /// Pushes to a proxy.
    pushes: f64,
    /// Time for the state that all proxies share, and for generating and sending.
    seconds: f64,
}

fn read_push_metrics(mesh: &Mesh) -> Result<PushMetrics> {
    let address = SocketAddr::from((mesh.plan().node(), 15014));
    let text = mesh.run(async move { request_text(address, "GET", "/metrics", Bytes::new()).await })?;
    Ok(parse_push_metrics(&text))
}

fn parse_push_metrics(text: &str) -> PushMetrics {
    let total = |name: &str| -> f64 {
        let samples = text.lines().filter_map(|line| line.strip_prefix(name));
        let plain = samples.filter(|rest| rest.starts_with(['{', ' ']));
        plain.filter_map(|rest| rest.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    };
    PushMetrics {
        proxies: total("pilot_xds"),
        pushes: total("pilot_proxy_convergence_time_count"),
        seconds: total("pilot_xds_push_time_sum") + total("pilot_pushcontext_init_seconds_sum"),
    }
}

/// Reads all keys of a mesh's etcd, page by page.
fn read_stored(mesh: &Mesh) -> Result<StoredObjects> {
    mesh.run(async move {
        let (mut stored, mut key) = (StoredObjects::default(), b"/registry/".to_vec());
        loop {
            let body = json!({
                "key": BASE64.encode(&key), "range_end": BASE64.encode(b"/registry0"), "limit": PAGE.to_string(),
            });
            let etcd = SocketAddr::from(([127, 0, 0, 1], 2379));
            let text = request_text(etcd, "POST", "/v3/kv/range", body.to_string().into()).await?;
            let page = parse_page(&text)?;
            for (key, size) in page.iter().filter(|(key, _)| !is_volatile(key)) {
                stored.objects += 1;
                stored.bytes += u64::try_from(key.len() + size)?;
            }
            match page.last() {
                Some((last, _)) if page.len() == PAGE => key = [last.as_bytes(), b"\0"].concat(),
                _ => return Ok(stored),
            }
        }
    })
}

fn is_volatile(key: &str) -> bool {
    VOLATILE.iter().any(|prefix| key.starts_with(prefix))
}

/// The keys of a response of etcd, each with the size of its value.
fn parse_page(text: &str) -> Result<Vec<(String, usize)>> {
    let page: Value = serde_json::from_str(text).context("etcd's answer is not JSON")?;
    let pairs = page["kvs"].as_array().cloned().unwrap_or_default();
    let decoded = |value: &Value| BASE64.decode(value.as_str().unwrap_or_default().as_bytes());
    pairs
        .iter()
        .map(|pair| Ok((String::from_utf8(decoded(&pair["key"])?)?, decoded(&pair["value"])?.len())))
        .collect()
}

async fn request_text(address: SocketAddr, method: &str, path: &str, body: Bytes) -> Result<String> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header(HOST, address.to_string());
    let response = sender.send_request(request.body(Full::new(body))?).await?;
    ensure!(response.status().is_success(), "{address}{path}: {}", response.status());
    Ok(String::from_utf8(response.into_body().collect().await?.to_bytes().to_vec())?)
}

impl StoredObjects {
    /// Objects and bytes that each service adds.
    pub(super) fn per_service(self, empty: Self, services: usize) -> (f64, f64) {
        let growth = |full: u64, empty: u64| {
            to_float(usize::try_from(full.saturating_sub(empty)).unwrap_or(usize::MAX)) / to_float(services)
        };
        (growth(self.objects, empty.objects), growth(self.bytes, empty.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushes_are_counted_over_all_types() {
        let text = "pilot_xds{version=\"1\"} 2\npilot_xds_pushes{type=\"cds\"} 9\n\
                    pilot_proxy_convergence_time_count 7\n\
                    pilot_xds_push_time_sum{type=\"cds\"} 0.5\npilot_xds_push_time_sum{type=\"rds\"} 0.25\n\
                    pilot_pushcontext_init_seconds_sum 1\n";
        assert_eq!(parse_push_metrics(text), PushMetrics { proxies: 2.0, pushes: 7.0, seconds: 1.75 });
    }

    #[test]
    fn keys_and_values_of_etcd_are_decoded() {
        let text = format!(
            r#"{{"kvs": [{{"key": "{}", "value": "{}"}}], "count": "1"}}"#,
            BASE64.encode(b"/registry/leases/x"),
            BASE64.encode(b"12345")
        );
        let page = parse_page(&text).expect("a page");
        assert_eq!(page, [("/registry/leases/x".to_owned(), 5)]);
        assert!(is_volatile(&page[0].0));
        assert_eq!(parse_page("{}").expect("an empty page"), []);
    }

    #[test]
    fn each_service_adds_its_share() {
        let stored = |objects, bytes| StoredObjects { objects, bytes };
        assert_eq!(stored(30, 1000).per_service(stored(10, 0), 10), (2.0, 100.0));
    }
}
