//! Reads the metrics that a text in the OpenMetrics format exports, and those that the reference page documents.

use std::collections::{BTreeMap, BTreeSet};

/// Type and label names of each metric, by its full name.
pub type MetricTable = BTreeMap<String, (String, BTreeSet<String>)>;

/// Reads the metrics with their types, and the labels of their samples.
pub fn exported_metrics(text: &str) -> MetricTable {
    let mut metrics = MetricTable::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' ')) {
            let suffix = if kind == "counter" { "_total" } else { "" };
            metrics.insert(format!("{name}{suffix}"), (kind.to_owned(), BTreeSet::new()));
        } else if let Some((name, labels)) = line.split_once('{') {
            // The samples of a histogram have suffixes, and the label `le` of its buckets.
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
            let known = [Some(name), base].into_iter().flatten().find(|name| metrics.contains_key(*name));
            let known = known.expect("a line TYPE before the samples").to_owned();
            let names = labels.split("\",").filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
            metrics.entry(known).or_default().1.extend(names.filter(|label| label != "le"));
        }
    }
    metrics
}

/// Reads the table of a section of the page: name, type and labels (`–` for none) are its first three columns.
pub fn documented_metrics(page: &str, section: &str) -> MetricTable {
    let lines = page.lines().skip_while(|line| *line != format!("## {section}")).skip(1);
    let rows = lines.take_while(|line| !line.starts_with("## ")).filter(|line| line.starts_with("| `emcee_"));
    let metrics = rows.map(|row| {
        let mut cells = row.trim_matches('|').split('|').map(str::trim);
        let mut next_cell = || cells.next().expect("name, type, labels and meaning");
        let (name, kind, labels) = (next_cell(), next_cell(), next_cell());
        let labels = labels.split(',').filter_map(|label| label.split('`').nth(1)).map(str::to_owned);
        (name.replace('`', ""), (kind.to_owned(), labels.collect()))
    });
    metrics.collect()
}
