//! Discovery stops when it is asked to, even if the receiver of its changes is not reading.

use emcee_core::inputs::TranslationSettings;
use emcee_core::translate::Translation;
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::*;
use crate::inputs::DocumentInputs;

/// Longer than any machine takes: a test that waits for it has failed.
const DEADLINE: Duration = Duration::from_secs(30);

/// Catalogue updates of a relationship whose peer never answers.
pub(super) fn updates_for_relationship(name: &str) -> Vec<CatalogueUpdate> {
    let text = format!(
        "apiVersion: mm.ibm.istio.io/v1\nkind: MeshFedConfig\nmetadata: {{name: {name}, namespace: {name}}}\n\
         spec:\n  mode: FLAT\n  tls_context_selector: {{relationship: {name}}}\n  peers:\n  \
         - {{name: m2, subject_alt_names: [m2.example], discovery: '127.0.0.1:1'}}\n"
    );
    let reading = emcee_yaml::read_text("mesh.yaml", text.as_bytes());
    let inputs = DocumentInputs::from_documents(&reading.documents, "cluster.local");
    assert!(inputs.refusals.is_empty(), "{:?}", inputs.refusals);
    let mut translation = Translation::new(TranslationSettings::default());
    let units = translation.update(inputs.changes);
    translation.catalogue_updates(&units)
}

/// Discovery has a change to send, the queue is full, and the receiver does not read.
#[tokio::test]
async fn discovery_stops_while_its_change_queue_is_full() {
    let discovery = MeshDiscovery::open(&DiscoveryArgs::default(), DiscoveryMetrics::default())
        .expect("it opens no port");
    let (publish, updates) = mpsc::unbounded_channel();
    let (say, queue) = mpsc::channel(1);
    let (_leads, is_subscriber) = watch::channel(true);
    let (until, ended) = oneshot::channel::<()>();
    let ends = DiscoveryChannels { updates, peer_changes: say.clone(), is_subscriber };
    let running = tokio::spawn(discovery.run(ends, async { drop(ended.await) }));
    publish.send(updates_for_relationship("blue")).expect("it listens");
    while say.capacity() > 0 {
        yield_now().await;
    }
    publish.send(updates_for_relationship("yellow")).expect("it listens");
    // The runtime has one thread, so these yields let discovery run until it waits for room in the queue.
    for _ in 0..100 {
        yield_now().await;
    }
    drop(until);
    timeout(DEADLINE, running).await.expect("it ends").expect("it does not panic");
    assert_eq!(queue.len(), 1, "the queue had no room for more");
}
