//! Metrics of discovery.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use emcee_core::catalogue::PeerPolicy;
use emcee_core::key::ObjectKey;
use emcee_discovery::PeerRef;
use emcee_discovery::counters::{
    ConnectFailure, DiscoveryCounters, PeerCounters, StreamCounters, StreamRole,
};
use emcee_discovery::server::SharedCache;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::{SampleLabels, encode_samples};

/// What discovery shares with its metrics. Clones share the same values.
///
/// The labels `relationship` and `peer` have the values of this mesh's own MeshFedConfigs. No name or address that a
/// client chooses becomes a label.
#[derive(Clone, Debug, Default)]
pub(crate) struct DiscoveryMetrics {
    pub(crate) counters: Arc<DiscoveryCounters>,
    pub(crate) cache: Arc<SharedCache>,
    /// Peers of each MeshFedConfig.
    configured: Arc<Mutex<BTreeMap<ObjectKey, BTreeSet<PeerRef>>>>,
}

/// The configured peers with their counters, at one moment.
type PeerSnapshot = BTreeMap<PeerRef, Arc<PeerCounters>>;

/// Name and help of a metric, its type, and its value for the streams in one role. `None`: there is no sample.
type StreamMetric = (&'static str, &'static str, MetricType, fn(&StreamCounters) -> Option<u64>);

/// Metrics with the labels `relationship`, `peer` and `role`.
const STREAM_METRICS: [StreamMetric; 7] = [
    ("discovery_streams", "Open discovery streams", MetricType::Gauge, |it| Some(it.open_streams.value())),
    (
        "discovery_responses",
        "Discovery responses that the server sent, or that the client received",
        MetricType::Counter,
        |it| Some(it.responses.value()),
    ),
    ("discovery_acks", "ACKs that the server received, or that the client sent", MetricType::Counter, |it| {
        Some(it.acks.value())
    }),
    (
        "discovery_nacks",
        "NACKs that the server received, or that the client sent",
        MetricType::Counter,
        |it| Some(it.nacks.value()),
    ),
    ("discovery_sent_bytes", "Bytes sent to the peer", MetricType::Counter, |it| Some(it.sent_bytes.value())),
    ("discovery_received_bytes", "Bytes received from the peer", MetricType::Counter, |it| {
        Some(it.received_bytes.value())
    }),
    (
        "discovery_last_exchange_timestamp_seconds",
        "When the last message of the peer arrived, as Unix time",
        MetricType::Gauge,
        StreamCounters::last_exchange,
    ),
];

impl DiscoveryMetrics {
    /// Registers the metrics of discovery.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register_collector(Box::new(metrics.clone()));
        metrics
    }

    /// Sets the peers of a MeshFedConfig; none if it is gone. Call it before anything can connect to them, and after
    /// that nothing of the other peers is exported any more.
    pub(crate) fn set_policy(&self, fed_config: &ObjectKey, policy: Option<&PeerPolicy>) {
        let mut configured = self.configured.lock().unwrap_or_else(PoisonError::into_inner);
        match policy {
            Some(policy) => {
                let peers = policy.peers.iter().map(|peer| PeerRef::new(&policy.relationship, &peer.name));
                configured.insert(fed_config.clone(), peers.collect());
            }
            None => drop(configured.remove(fed_config)),
        }
        // Two MeshFedConfigs may name the same relationship until one of them is refused.
        self.counters.set_peers(&configured.values().flatten().cloned().collect());
    }

    /// Encodes what has the labels `relationship` and `peer` only.
    fn encode_peers(&self, encoder: &mut DescriptorEncoder<'_>, peers: &PeerSnapshot) -> fmt::Result {
        let subscribed = || peers.iter().filter(|(_, counters)| counters.subscriptions.value() > 0);
        let is_connected =
            |counters: &PeerCounters| counters.streams(StreamRole::Client).open_streams.value().min(1);
        encode_samples(
            encoder,
            ("discovery_peer_connected", "Whether this process receives announcements of the peer"),
            MetricType::Gauge,
            subscribed().map(|(peer, counters)| (peer_labels(peer), is_connected(counters))),
        )?;
        encode_samples(
            encoder,
            ("discovery_resources_announced", "Resources that the peer may see"),
            MetricType::Gauge,
            peers.keys().map(|peer| (peer_labels(peer), self.cache.visible_count(peer) as u64)),
        )?;
        encode_samples(
            encoder,
            ("discovery_resources_received", "Resources of the peer that are accepted"),
            MetricType::Gauge,
            subscribed().map(|(peer, counters)| (peer_labels(peer), counters.received_resources.value())),
        )?;
        encode_samples(
            encoder,
            ("discovery_resources_refused", "Resources that the receiving side refuses at present"),
            MetricType::Gauge,
            stream_samples(peers, |it| Some(it.refused_resources.value())),
        )
    }
}

impl Collector for DiscoveryMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let peers = self.counters.peers();
        encode_connected(&mut encoder, &peers)?;
        self.encode_peers(&mut encoder, &peers)?;
        for (name, help, kind, value) in STREAM_METRICS {
            encode_samples(&mut encoder, (name, help), kind, stream_samples(&peers, value))?;
        }
        encode_connections(&mut encoder, &peers)?;
        encode_samples(
            &mut encoder,
            (
                "discovery_unauthenticated_connections",
                "Connections that ended before the client authenticated",
            ),
            MetricType::Counter,
            std::iter::once((Vec::new(), self.counters.unauthenticated_connections.value())),
        )
    }
}

/// Encodes the number of connected peers of each relationship.
fn encode_connected(encoder: &mut DescriptorEncoder<'_>, peers: &PeerSnapshot) -> fmt::Result {
    let mut connected = BTreeMap::new();
    for (peer, counters) in peers {
        for role in StreamRole::ALL {
            let count = connected.entry((&*peer.relationship, role.as_str())).or_insert(0);
            *count += counters.streams(role).open_streams.value().min(1);
        }
    }
    encode_samples(
        encoder,
        ("discovery_connected_peers", "Peers with an open discovery stream"),
        MetricType::Gauge,
        connected.into_iter().map(|((relationship, role), count)| {
            (vec![("relationship", relationship), ("role", role)], count)
        }),
    )
}

/// Encodes the attempts to connect to each peer, and the failures by reason.
fn encode_connections(encoder: &mut DescriptorEncoder<'_>, peers: &PeerSnapshot) -> fmt::Result {
    encode_samples(
        encoder,
        ("discovery_connection_attempts", "Attempts to connect to an address of the peer"),
        MetricType::Counter,
        peers.iter().map(|(peer, counters)| (peer_labels(peer), counters.connection_attempts.value())),
    )?;
    let failures = peers.iter().flat_map(|(peer, counters)| {
        ConnectFailure::ALL.into_iter().map(move |reason| {
            let labels = [peer_labels(peer), vec![("reason", reason.as_str())]].concat();
            (labels, counters.connection_failures(reason))
        })
    });
    encode_samples(
        encoder,
        ("discovery_connection_failures", "Attempts that failed, and connections that were lost"),
        MetricType::Counter,
        failures,
    )
}

fn peer_labels(peer: &PeerRef) -> SampleLabels<'_> {
    vec![("relationship", &peer.relationship), ("peer", &peer.peer)]
}

/// Samples with the labels `relationship`, `peer` and `role`.
fn stream_samples(
    peers: &PeerSnapshot,
    value: impl Fn(&StreamCounters) -> Option<u64>,
) -> impl Iterator<Item = (SampleLabels<'_>, u64)> {
    peers.iter().flat_map(move |(peer, counters)| {
        let samples = StreamRole::ALL.map(|role| {
            let labels = [peer_labels(peer), vec![("role", role.as_str())]].concat();
            Some((labels, value(counters.streams(role))?))
        });
        samples.into_iter().flatten()
    })
}
