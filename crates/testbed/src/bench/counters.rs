//! The API server's own request counters, from its `/metrics`.

use std::collections::BTreeMap;

const COUNTER: &str = "apiserver_request_total{";
const WRITES: [&str; 6] = ["POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"];

/// The labels by which writes are counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestLabels {
    /// The verb, such as POST or APPLY.
    pub verb: String,
    /// The resource and, if any, its subresource, such as expositions/status.
    pub resource: String,
    /// The HTTP status code, such as 200.
    pub code: String,
}

/// Number of writes of each kind; leases are left out.
pub type Writes = BTreeMap<RequestLabels, u64>;

/// Counts the writes in a response of `/metrics`.
#[must_use]
pub fn count_writes(metrics: &str) -> Writes {
    let mut all = Writes::new();
    for (key, count) in metrics.lines().filter_map(parse_sample) {
        if WRITES.contains(&key.verb.as_str()) && key.resource != "leases" {
            *all.entry(key).or_default() += count;
        }
    }
    all
}

/// The writes between two readings.
#[must_use]
pub fn writes_between(before: &Writes, after: &Writes) -> Writes {
    let grown = |(key, count): (&RequestLabels, &u64)| {
        let more = count.saturating_sub(before.get(key).copied().unwrap_or_default());
        (more > 0).then(|| (key.clone(), more))
    };
    after.iter().filter_map(grown).collect()
}

fn parse_sample(line: &str) -> Option<(RequestLabels, u64)> {
    let (labels, count) = line.strip_prefix(COUNTER)?.rsplit_once("} ")?;
    // No label of this counter has a quote or a comma in its value.
    let label = |name: &str| {
        let pairs = labels.split(',').filter_map(|pair| pair.split_once('='));
        let mut values = pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.trim_matches('"'));
        values.next().unwrap_or_default().to_owned()
    };
    let subresource = label("subresource");
    let separator = if subresource.is_empty() { "" } else { "/" };
    let resource = format!("{}{separator}{subresource}", label("resource"));
    Some((RequestLabels { verb: label("verb"), resource, code: label("code") }, parse_count(count)?))
}

/// Prometheus prints large counts as floating point: 1.234567e+06.
fn parse_count(count: &str) -> Option<u64> {
    count.parse().ok().or_else(|| format!("{:.0}", count.parse::<f64>().ok()?).parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = r#"# TYPE apiserver_request_total counter
apiserver_request_total{code="200",component="apiserver",dry_run="",group="g",resource="expositions",scope="resource",subresource="status",verb="APPLY",version="v1"} 7
apiserver_request_total{code="200",component="apiserver",dry_run="",group="g",resource="expositions",scope="resource",subresource="",verb="GET",version="v1"} 5
apiserver_request_total{code="200",component="apiserver",dry_run="",group="coordination.k8s.io",resource="leases",scope="resource",subresource="",verb="PUT",version="v1"} 9
apiserver_request_total{code="201",component="apiserver",dry_run="",group="",resource="services",scope="resource",subresource="",verb="POST",version="v1"} 1.5e+06
"#;

    fn key(verb: &str, resource: &str, code: &str) -> RequestLabels {
        RequestLabels { verb: verb.to_owned(), resource: resource.to_owned(), code: code.to_owned() }
    }

    #[test]
    fn writes_are_counted_without_reads_and_leases() {
        let status = (key("APPLY", "expositions/status", "200"), 7);
        let services = (key("POST", "services", "201"), 1_500_000);
        assert_eq!(count_writes(METRICS), Writes::from([status, services]));
    }

    #[test]
    fn unchanged_counts_are_left_out() {
        let before = count_writes(METRICS);
        let mut after = before.clone();
        after.insert(key("APPLY", "expositions/status", "200"), 10);
        assert_eq!(
            writes_between(&before, &after),
            Writes::from([(key("APPLY", "expositions/status", "200"), 3)])
        );
        assert_eq!(writes_between(&before, &before), Writes::new());
    }
}
