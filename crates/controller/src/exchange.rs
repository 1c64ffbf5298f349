//! Channels between the controller and what talks to other processes: discovery and MCP.
//!
//! The controller never waits for the other side. Changes from the other side arrive like watch updates.

use emcee_core::catalogue::CatalogueUpdate;
use emcee_core::inputs::InputChange;
use emcee_core::plan::GeneratedObject;
use tokio::sync::{mpsc, watch};

/// The controller's end of the channels.
pub(crate) struct Exchange {
    published: mpsc::UnboundedSender<Vec<CatalogueUpdate>>,
    said: mpsc::Receiver<Vec<InputChange>>,
    objects: watch::Sender<Vec<GeneratedObject>>,
}

/// Discovery's end of the channels.
pub struct Counterpart {
    /// Relationships and announcements: everything after the initial sync, then only changes.
    pub published: mpsc::UnboundedReceiver<Vec<CatalogueUpdate>>,
    /// Takes changes that peers have announced.
    pub say: mpsc::Sender<Vec<InputChange>>,
    /// All objects of Istio's kinds, if istiod receives them over MCP; otherwise empty.
    pub objects: watch::Receiver<Vec<GeneratedObject>>,
}

/// Number of batches of changes that may wait. One reconnect of a peer sends more than a controller needs at
/// once.
const SAID: usize = 64;

pub(crate) fn exchange() -> (Exchange, Counterpart) {
    let (publish, published) = mpsc::unbounded_channel();
    let (say, said) = mpsc::channel(SAID);
    let (objects, seen) = watch::channel(Vec::new());
    (Exchange { published: publish, said, objects }, Counterpart { published, say, objects: seen })
}

impl Exchange {
    pub(crate) fn publish(&self, news: Vec<CatalogueUpdate>) {
        if !news.is_empty() {
            // Without discovery, there is no receiver.
            let _no_receiver = self.published.send(news);
        }
    }

    pub(crate) fn show(&self, objects: Vec<GeneratedObject>) {
        self.objects.send_replace(objects);
    }

    /// Returns the next batch of changes. Never completes once the other end is gone.
    pub(crate) async fn hear(&mut self) -> Vec<InputChange> {
        match self.said.recv().await {
            Some(changes) => changes,
            None => std::future::pending().await,
        }
    }
}
