//! Metrics of a controller, for Prometheus.

use emcee_api::Reason;
use emcee_core::key::ObjectKey;
use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Metrics of a controller. Clones share the same values.
#[derive(Clone, Debug)]
pub struct Metrics {
    writes: Family<WriteLabels, Counter>,
    write_duration: Histogram,
    watch_failures: Family<KindLabels, Counter>,
    watch_relists: Family<KindLabels, Counter>,
    resources: Family<ResourceLabels, Gauge>,
    certificate_expiry: Family<RelationshipLabels, Gauge>,
    leader: Gauge,
    write_queue_depth: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    operation: &'static str,
    kind: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResourceLabels {
    kind: &'static str,
    ready: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RelationshipLabels {
    namespace: String,
    name: String,
}

/// Whether a resource is ready, and the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Readiness {
    pub(crate) ready: bool,
    pub(crate) reason: Reason,
}

impl Metrics {
    /// Registers the metrics in a registry with the prefix `emcee`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::unregistered();
        let clone = metrics.clone();
        registry.register("writes", "Requests that write an object, or read it before a write", clone.writes);
        let help = "Duration of these requests in seconds";
        registry.register("write_duration_seconds", help, clone.write_duration);
        let help = "Failures of watches, which are retried";
        registry.register("watch_failures", help, clone.watch_failures);
        let help = "Lists that watches made again";
        registry.register("watch_relists", help, clone.watch_relists);
        let help = "User resources by readiness and reason";
        registry.register("resources", help, clone.resources);
        let help = "Expiry of the certificate that a relationship uses, or of its CA, as Unix time";
        registry.register("certificate_expiry_timestamp_seconds", help, clone.certificate_expiry);
        registry.register("leader", "Whether this replica is the leader", clone.leader);
        registry.register("write_queue_depth", "Writes that wait in the queue", clone.write_queue_depth);
        metrics
    }

    /// Creates metrics that are not exported.
    pub(crate) fn unregistered() -> Self {
        Self {
            writes: Family::default(),
            // From 1 ms to 33 s.
            write_duration: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            watch_failures: Family::default(),
            watch_relists: Family::default(),
            resources: Family::default(),
            certificate_expiry: Family::default(),
            leader: Gauge::default(),
            write_queue_depth: Gauge::default(),
        }
    }

    pub(crate) fn record_write(
        &self,
        operation: &'static str,
        kind: &'static str,
        is_success: bool,
        seconds: f64,
    ) {
        let result = if is_success { "success" } else { "error" };
        self.writes.get_or_create(&WriteLabels { operation, kind, result }).inc();
        self.write_duration.observe(seconds);
    }

    pub(crate) fn record_watch_failure(&self, kind: &'static str) {
        self.watch_failures.get_or_create(&KindLabels { kind }).inc();
    }

    pub(crate) fn record_relist(&self, kind: &'static str) {
        self.watch_relists.get_or_create(&KindLabels { kind }).inc();
    }

    #[cfg(test)]
    pub(crate) fn relist_count(&self, kind: &'static str) -> u64 {
        self.watch_relists.get_or_create(&KindLabels { kind }).get()
    }

    /// Moves a resource from one readiness to another.
    pub(crate) fn move_readiness(
        &self,
        kind: &'static str,
        before: Option<Readiness>,
        now: Option<Readiness>,
    ) {
        if let Some(before) = before {
            self.resources.get_or_create(&before.metric_labels(kind)).dec();
        }
        if let Some(now) = now {
            self.resources.get_or_create(&now.metric_labels(kind)).inc();
        }
    }

    /// Removes the counts of resources: a replica that does not lead does not evaluate them.
    pub(crate) fn clear_resources(&self) {
        self.resources.clear();
    }

    /// Sets when the certificate of a relationship expires; `None` if it has none that can be used.
    pub(crate) fn set_certificate_expiry(&self, fed_config: &ObjectKey, end: Option<Timestamp>) {
        let (namespace, name) = (fed_config.namespace.to_string(), fed_config.name.to_string());
        let labels = RelationshipLabels { namespace, name };
        match end {
            Some(end) => drop(self.certificate_expiry.get_or_create(&labels).set(end.as_second())),
            None => drop(self.certificate_expiry.remove(&labels)),
        }
    }

    pub(crate) fn set_leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    pub(crate) fn set_write_queue_depth(&self, waiting: usize) {
        self.write_queue_depth.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }
}

impl Readiness {
    fn metric_labels(self, kind: &'static str) -> ResourceLabels {
        let ready = if self.ready { "true" } else { "false" };
        ResourceLabels { kind, ready, reason: self.reason.as_str() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use emcee_testkit::metrics::{documented_metrics, exported_metrics};

    /// The page and the registry list the same metrics, with the same types and labels.
    #[test]
    fn the_reference_page_lists_all_metrics() {
        let mut registry = Registry::with_prefix("emcee");
        let metrics = Metrics::register(&mut registry);
        // A metric without label values is not exported.
        metrics.record_write("create", "Gateway", true, 0.1);
        metrics.record_watch_failure("Gateway");
        metrics.move_readiness(
            "ServiceBinding",
            None,
            Some(Readiness { ready: true, reason: Reason::Ready }),
        );
        metrics.set_certificate_expiry(&ObjectKey::new("blue", "blue"), Some(Timestamp::UNIX_EPOCH));
        metrics.record_relist("Gateway");
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("a string takes everything");
        let page = include_str!("../../../docs/reference/metrics.md");
        assert_eq!(exported_metrics(&text), documented_metrics(page, "Controller"));
    }

    #[test]
    fn a_removed_certificate_is_not_exported() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let exported_line = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry)
                .expect("a string takes everything");
            text.lines()
                .find(|line| line.starts_with("certificate_expiry_timestamp_seconds{"))
                .map(str::to_owned)
        };
        let blue = ObjectKey::new("fed", "blue");
        metrics.set_certificate_expiry(&blue, Some(Timestamp::from_second(86400).expect("a time")));
        let expected = r#"certificate_expiry_timestamp_seconds{namespace="fed",name="blue"} 86400"#;
        assert_eq!(exported_line().as_deref(), Some(expected));
        metrics.set_certificate_expiry(&blue, None);
        assert_eq!(exported_line(), None);
    }

    #[test]
    fn a_resource_is_counted_once() {
        let metrics = Metrics::unregistered();
        let kind = "ServiceBinding";
        let fine = Readiness { ready: true, reason: Reason::Ready };
        let conflict = Readiness { ready: false, reason: Reason::Conflict };
        metrics.move_readiness(kind, None, Some(conflict));
        metrics.move_readiness(kind, Some(conflict), Some(fine));
        let count =
            |readiness: Readiness| metrics.resources.get_or_create(&readiness.metric_labels(kind)).get();
        assert_eq!((count(fine), count(conflict)), (1, 0));
    }

    fn exported_text(registry: &Registry) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, registry).expect("a string takes everything");
        text
    }

    #[test]
    fn writes_are_counted_by_result_and_their_durations_together() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        metrics.record_write("apply", "Gateway", true, 0.5);
        metrics.record_write("apply", "Gateway", false, 1.0);
        metrics.record_write("apply", "Gateway", false, 1.5);
        let text = exported_text(&registry);
        for line in [
            r#"writes_total{operation="apply",kind="Gateway",result="success"} 1"#,
            r#"writes_total{operation="apply",kind="Gateway",result="error"} 2"#,
            "write_duration_seconds_sum 3.0",
            "write_duration_seconds_count 3",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
        }
    }

    /// A replica that does not lead does not evaluate resources, but all replicas export their relationships.
    #[test]
    fn a_lost_leadership_removes_the_resources_and_nothing_else() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let ready = Readiness { ready: true, reason: Reason::Ready };
        metrics.move_readiness("ServiceBinding", None, Some(ready));
        metrics.set_certificate_expiry(&ObjectKey::new("fed", "blue"), Some(Timestamp::UNIX_EPOCH));
        metrics.set_leader(true);
        assert!(exported_text(&registry).contains("\nleader 1\n"));
        metrics.set_leader(false);
        metrics.clear_resources();
        let text = exported_text(&registry);
        assert!(text.contains("\nleader 0\n") && !text.contains("resources{"), "{text}");
        assert!(text.contains("certificate_expiry_timestamp_seconds{"), "{text}");
    }

    #[test]
    fn a_resource_that_is_gone_is_no_longer_counted() {
        let metrics = Metrics::unregistered();
        let ready = Readiness { ready: true, reason: Reason::Ready };
        for _ in 0..2 {
            metrics.move_readiness("ServiceBinding", None, Some(ready));
        }
        metrics.move_readiness("ServiceBinding", Some(ready), None);
        let count = |kind| metrics.resources.get_or_create(&ready.metric_labels(kind)).get();
        assert_eq!((count("ServiceBinding"), count("ServiceExposition")), (1, 0));
    }
}
