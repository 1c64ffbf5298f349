//! Channels between the controller and what talks to other processes: discovery and MCP.
//!
//! The controller never waits for the other side. Changes from the other side arrive like watch updates.

use emcee_core::catalogue::CatalogueUpdate;
use emcee_core::inputs::InputChange;
use emcee_core::plan::GeneratedObject;
use tokio::sync::{mpsc, watch};

/// The controller's end of the channels.
pub(crate) struct DiscoveryLink {
    catalogue_updates: mpsc::UnboundedSender<Vec<CatalogueUpdate>>,
    peer_changes: mpsc::Receiver<Vec<InputChange>>,
    mcp_objects: watch::Sender<Vec<GeneratedObject>>,
}

/// Discovery's end of the channels.
pub struct DiscoveryHandle {
    /// Relationships and announcements: everything after the initial sync, then only changes.
    pub catalogue_updates: mpsc::UnboundedReceiver<Vec<CatalogueUpdate>>,
    /// Takes changes that peers have announced.
    pub peer_changes: mpsc::Sender<Vec<InputChange>>,
    /// All objects of Istio's kinds, if istiod receives them over MCP; otherwise empty.
    pub mcp_objects: watch::Receiver<Vec<GeneratedObject>>,
}

/// Number of batches of changes that may wait. One reconnect of a peer sends more than a controller needs at
/// once.
const PEER_CHANGES_CAPACITY: usize = 64;

pub(crate) fn create_link() -> (DiscoveryLink, DiscoveryHandle) {
    let (publish, published) = mpsc::unbounded_channel();
    let (say, receiver) = mpsc::channel(PEER_CHANGES_CAPACITY);
    let (objects, seen) = watch::channel(Vec::new());
    (
        DiscoveryLink { catalogue_updates: publish, peer_changes: receiver, mcp_objects: objects },
        DiscoveryHandle { catalogue_updates: published, peer_changes: say, mcp_objects: seen },
    )
}

impl DiscoveryLink {
    pub(crate) fn publish(&self, updates: Vec<CatalogueUpdate>) {
        if !updates.is_empty() {
            // Without discovery, there is no receiver.
            let _no_receiver = self.catalogue_updates.send(updates);
        }
    }

    pub(crate) fn set_mcp_objects(&self, objects: Vec<GeneratedObject>) {
        self.mcp_objects.send_replace(objects);
    }

    /// Returns the next batch of changes. Never completes once the other end is gone.
    pub(crate) async fn next_peer_changes(&mut self) -> Vec<InputChange> {
        match self.peer_changes.recv().await {
            Some(changes) => changes,
            None => std::future::pending().await,
        }
    }
}
