//! Metrics of the process: one registry for each process, which `/metrics` exposes.
//!
//! The controller and the webhook register their own metrics. The discovery crate does not know Prometheus. It counts,
//! and the [`Collector`]s here read its counters when the metrics are scraped.

mod discovery;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use emcee_discovery::counters::McpCounters;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

pub(crate) use self::discovery::DiscoveryMetrics;

/// Creates the registry of a process, without metrics.
pub(crate) fn new_registry() -> Registry {
    Registry::with_prefix("emcee")
}

/// Labels of a sample, in the order of export.
type SampleLabels<'a> = Vec<(&'static str, &'a str)>;

/// Encodes all samples of one metric.
fn encode_samples<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    kind: MetricType,
    samples: impl Iterator<Item = (SampleLabels<'a>, u64)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in samples {
        if labels.is_empty() {
            // A family without labels would be written with empty braces.
            encode_sample(&mut metric, kind, value)?;
        } else {
            encode_sample(&mut metric.encode_family(&labels)?, kind, value)?;
        }
    }
    Ok(())
}

fn encode_sample(metric: &mut MetricEncoder<'_>, kind: MetricType, value: u64) -> fmt::Result {
    match kind {
        MetricType::Counter => metric.encode_counter::<NoLabelSet, u64, f64>(&value, None),
        _ => metric.encode_gauge(&value),
    }
}

/// Exports the counters of the MCP server.
#[derive(Debug)]
struct McpCollector(Arc<McpCounters>);

/// Registers the metrics of the MCP server. Returns the counters for it.
pub(crate) fn register_mcp(registry: &mut Registry) -> Arc<McpCounters> {
    let counters = Arc::<McpCounters>::default();
    registry.register_collector(Box::new(McpCollector(Arc::clone(&counters))));
    counters
}

impl Collector for McpCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let McpCounters { open_streams, pushes, nacks } = &*self.0;
        let values = [
            ("mcp_streams", "Open MCP streams", MetricType::Gauge, open_streams.value()),
            ("mcp_pushes", "Responses sent over MCP", MetricType::Counter, pushes.value()),
            ("mcp_nacks", "Responses that an MCP client refused", MetricType::Counter, nacks.value()),
        ];
        for (name, help, kind, value) in values {
            encode_samples(&mut encoder, (name, help), kind, std::iter::once((Vec::new(), value)))?;
        }
        Ok(())
    }
}

/// How an admission review ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReviewResult {
    /// The object is valid, or needs no validation.
    Allowed,
    /// The object is invalid.
    Denied,
    /// The request is not an admission review.
    Invalid,
    /// The queue was full, or the review took too long.
    Unavailable,
}

/// Metrics of the admission webhook. Clones share the same values.
#[derive(Clone, Debug)]
pub struct WebhookMetrics {
    reviews: Family<ReviewLabels, Counter>,
    review_duration: Histogram,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReviewLabels {
    result: &'static str,
}

impl Default for WebhookMetrics {
    /// Creates metrics that are not exported.
    fn default() -> Self {
        let metrics = Self {
            reviews: Family::default(),
            // From 100 µs to 3.3 s: a small review takes less than a millisecond, and the longest may take 4 s.
            review_duration: Histogram::new(exponential_buckets(0.0001, 2.0, 16)),
        };
        // Exported from the start, so that the first event is an increase.
        for result in ReviewResult::ALL {
            drop(metrics.reviews.get_or_create(&ReviewLabels { result: result.as_str() }));
        }
        metrics
    }
}

impl WebhookMetrics {
    /// Registers the metrics of the webhook.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("webhook_reviews", "Admission reviews, by result", metrics.reviews.clone());
        let help = "Duration of an admission review in seconds, with the time in the queue";
        registry.register("webhook_review_duration_seconds", help, metrics.review_duration.clone());
        metrics
    }

    pub(crate) fn record_review(&self, result: ReviewResult, duration: Duration) {
        self.reviews.get_or_create(&ReviewLabels { result: result.as_str() }).inc();
        self.review_duration.observe(duration.as_secs_f64());
    }
}

impl ReviewResult {
    const ALL: [Self; 4] = [Self::Allowed, Self::Denied, Self::Invalid, Self::Unavailable];

    /// Returns the result as the value of a label.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Invalid => "invalid",
            Self::Unavailable => "unavailable",
        }
    }
}

#[cfg(test)]
mod tests;
