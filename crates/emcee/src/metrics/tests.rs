use emcee_core::inputs::TranslationSettings;
use emcee_core::translate::Translation;
use emcee_discovery::PeerRef;
use emcee_testkit::metrics::{documented_metrics, exported_metrics};

use super::*;
use crate::inputs::DocumentInputs;
use emcee_yaml as yaml;

fn scrape(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).expect("a string takes everything");
    text
}

/// Sets the peers of relationship blue, as its MeshFedConfig does; none removes it.
fn configure(metrics: &DiscoveryMetrics, relationship: &str, peers: &[&str]) {
    let peer = |peer: &&str| {
        format!("  - {{name: {peer}, subject_alt_names: [{peer}.example], discovery: '127.0.0.1:1'}}\n")
    };
    let peers = peers.iter().map(peer).collect::<Vec<_>>().concat();
    let text = format!(
        "apiVersion: mm.ibm.istio.io/v1\nkind: MeshFedConfig\nmetadata: {{name: blue, namespace: blue}}\n\
         spec:\n  mode: FLAT\n  relationship: {relationship}\n  tls_context_selector: {{relationship: {relationship}}}\n  peers:\n{peers}"
    );
    let reading = yaml::read_text("mesh.yaml", text.as_bytes());
    let inputs = DocumentInputs::from_documents(&reading.documents, "cluster.local");
    assert!(inputs.refusals.is_empty(), "{:?}", inputs.refusals);
    let mut translation = Translation::new(TranslationSettings::default());
    let units = translation.update(inputs.changes);
    for update in translation.catalogue_updates(&units) {
        if let emcee_core::catalogue::CatalogueUpdate::PeerPolicy(fed_config, policy) = update {
            metrics.set_policy(&fed_config, policy.as_deref());
        }
    }
}

#[test]
fn the_reference_page_lists_all_metrics() {
    let page = include_str!("../../../../docs/reference/metrics.md");
    let mut registry = new_registry();
    let discovery = DiscoveryMetrics::register(&mut registry);
    configure(&discovery, "blue", &["m2"]);
    let last = "emcee_discovery_last_exchange_timestamp_seconds";
    let mut exported = exported_metrics(&scrape(&registry));
    assert!(exported[last].1.is_empty(), "no message has arrived yet");
    let mut documented = documented_metrics(page, "Discovery");
    // These have no samples before a peer connects. The tests of the transport see them.
    for name in [last, "emcee_discovery_peer_connected", "emcee_discovery_resources_received"] {
        let kind = exported.remove(name).expect("an exported metric").0;
        assert_eq!(documented.remove(name).expect("a documented metric").0, kind);
    }
    assert_eq!(exported, documented);
    let mut registry = new_registry();
    let _counters = register_mcp(&mut registry);
    assert_eq!(exported_metrics(&scrape(&registry)), documented_metrics(page, "MCP"));
    let mut registry = new_registry();
    let _metrics = WebhookMetrics::register(&mut registry);
    assert_eq!(exported_metrics(&scrape(&registry)), documented_metrics(page, "Webhook"));
}

#[test]
fn the_series_of_a_peer_or_relationship_end_with_it() {
    let mut registry = new_registry();
    let metrics = DiscoveryMetrics::register(&mut registry);
    let has = |label: &str| scrape(&registry).contains(label);
    configure(&metrics, "blue", &["m2", "m3"]);
    assert!(has(r#"peer="m2""#) && has(r#"peer="m3""#));
    // A connection of m3 that has not ended yet still counts.
    let late = metrics.counters.peer(&PeerRef::new("blue", "m3"));
    configure(&metrics, "blue", &["m2"]);
    assert!(has(r#"peer="m2""#) && !has("m3"), "{}", scrape(&registry));
    configure(&metrics, "yellow", &["m2"]);
    assert!(has(r#"relationship="yellow""#) && !has("blue"), "{}", scrape(&registry));
    metrics.set_policy(&emcee_core::key::ObjectKey::new("blue", "blue"), None);
    assert!(!has("relationship="), "{}", scrape(&registry));
    drop(late);
}

#[test]
fn clients_that_no_configuration_names_have_no_labels() {
    let mut registry = new_registry();
    let metrics = DiscoveryMetrics::register(&mut registry);
    let _stranger = metrics.counters.peer(&PeerRef::new("red", "stranger"));
    let text = scrape(&registry);
    assert!(text.contains("\nemcee_discovery_unauthenticated_connections_total 0\n"), "{text}");
    assert!(!text.contains('{'), "{text}");
}

#[test]
fn each_review_counts_once() {
    let mut registry = new_registry();
    let metrics = WebhookMetrics::register(&mut registry);
    metrics.record_review(ReviewResult::Denied, Duration::from_millis(3));
    let text = scrape(&registry);
    for line in [
        r#"emcee_webhook_reviews_total{result="denied"} 1"#,
        r#"emcee_webhook_reviews_total{result="allowed"} 0"#,
        "emcee_webhook_review_duration_seconds_count 1",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} in\n{text}");
    }
}
