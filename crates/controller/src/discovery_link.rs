//! Channels between the controller and what talks to other processes: discovery and MCP.
//!
//! The controller never waits for the other side. Changes from the other side arrive like watch updates.

use emcee_core::catalogue::CatalogueUpdate;
use emcee_core::inputs::InputChange;
use emcee_core::plan::GeneratedObject;
use emcee_core::translate::Unit;
use tokio::sync::mpsc;

/// A change of the objects that istiod receives over MCP.
#[derive(Debug)]
pub enum McpUpdate {
    /// All objects of Istio's kinds that a unit asks for now. They replace those that it asked for before.
    Objects(Unit, Vec<GeneratedObject>),
    /// All updates so far belong together, and no object is incomplete: istiod may receive them.
    Complete,
}

/// The controller's end of the channels.
pub(crate) struct DiscoveryLink {
    catalogue_updates: mpsc::UnboundedSender<Vec<CatalogueUpdate>>,
    peer_changes: mpsc::Receiver<Vec<InputChange>>,
    mcp_updates: mpsc::UnboundedSender<Vec<McpUpdate>>,
}

/// Discovery's end of the channels.
pub struct DiscoveryHandle {
    /// Relationships and announcements: everything after the initial sync, then only changes.
    pub catalogue_updates: mpsc::UnboundedReceiver<Vec<CatalogueUpdate>>,
    /// Takes changes that peers have announced.
    pub peer_changes: mpsc::Sender<Vec<InputChange>>,
    /// Changed objects of Istio's kinds, if istiod receives them over MCP.
    pub mcp_updates: mpsc::UnboundedReceiver<Vec<McpUpdate>>,
}

/// Number of batches of changes that may wait. One reconnect of a peer sends more than a controller needs at
/// once.
const PEER_CHANGES_CAPACITY: usize = 64;

pub(crate) fn create_link() -> (DiscoveryLink, DiscoveryHandle) {
    let (publish, published) = mpsc::unbounded_channel();
    let (say, receiver) = mpsc::channel(PEER_CHANGES_CAPACITY);
    let (change, changed) = mpsc::unbounded_channel();
    (
        DiscoveryLink { catalogue_updates: publish, peer_changes: receiver, mcp_updates: change },
        DiscoveryHandle { catalogue_updates: published, peer_changes: say, mcp_updates: changed },
    )
}

impl DiscoveryLink {
    pub(crate) fn publish(&self, updates: Vec<CatalogueUpdate>) {
        if !updates.is_empty() {
            // Without discovery, there is no receiver.
            let _no_receiver = self.catalogue_updates.send(updates);
        }
    }

    pub(crate) fn update_mcp(&self, updates: Vec<McpUpdate>) {
        if !updates.is_empty() {
            // Without MCP, there is no receiver.
            let _no_receiver = self.mcp_updates.send(updates);
        }
    }

    /// Returns the next batch of changes. Never completes once the other end is gone.
    pub(crate) async fn next_peer_changes(&mut self) -> Vec<InputChange> {
        match self.peer_changes.recv().await {
            Some(changes) => changes,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use emcee_core::key::ObjectKey;
    use futures_util::FutureExt as _;

    use super::*;

    fn policy_update(name: &str) -> CatalogueUpdate {
        CatalogueUpdate::PeerPolicy(ObjectKey::new("fed", name), None)
    }

    fn namespace_change(name: &str) -> InputChange {
        InputChange::Namespace(name.into(), true)
    }

    #[test]
    fn updates_arrive_in_order_and_without_empty_batches() {
        let (link, mut handle) = create_link();
        link.publish(vec![policy_update("a"), policy_update("b")]);
        link.publish(Vec::new());
        link.publish(vec![policy_update("c")]);
        let lengths: Vec<_> = std::iter::from_fn(|| handle.catalogue_updates.try_recv().ok()).collect();
        assert_eq!(lengths.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
        assert!(matches!(&lengths[1][0], CatalogueUpdate::PeerPolicy(key, None) if *key.name == *"c"));
    }

    #[test]
    fn a_controller_without_discovery_publishes_to_no_receiver() {
        let (link, handle) = create_link();
        drop(handle);
        link.publish(vec![policy_update("a")]);
        link.update_mcp(vec![McpUpdate::Complete]);
    }

    #[test]
    fn mcp_updates_arrive_in_order_and_without_empty_batches() {
        let (link, mut handle) = create_link();
        let unit = Unit::ServiceBinding(ObjectKey::new("shop", "details"));
        link.update_mcp(Vec::new());
        link.update_mcp(vec![McpUpdate::Objects(unit, Vec::new()), McpUpdate::Complete]);
        let batch = handle.mcp_updates.try_recv().expect("one batch");
        assert!(matches!(&batch[..], [McpUpdate::Objects(..), McpUpdate::Complete]), "{batch:?}");
        assert!(handle.mcp_updates.try_recv().is_err());
    }

    #[test]
    fn changes_of_peers_arrive_in_order_and_wait_if_there_are_too_many() {
        let (mut link, handle) = create_link();
        for number in 0..PEER_CHANGES_CAPACITY {
            handle.peer_changes.try_send(vec![namespace_change(&number.to_string())]).expect("there is room");
        }
        assert!(handle.peer_changes.try_send(Vec::new()).is_err(), "discovery has to wait");
        let first = link.next_peer_changes().now_or_never().expect("a batch waits");
        assert!(matches!(&first[..], [InputChange::Namespace(name, true)] if **name == *"0"), "{first:?}");
        assert!(handle.peer_changes.try_send(Vec::new()).is_ok());
    }

    /// Otherwise the control loop would spin.
    #[test]
    fn the_controller_waits_forever_once_discovery_is_gone() {
        let (mut link, handle) = create_link();
        handle.peer_changes.try_send(vec![namespace_change("last")]).expect("there is room");
        drop(handle);
        assert!(link.next_peer_changes().now_or_never().is_some(), "what was sent arrives");
        assert!(link.next_peer_changes().now_or_never().is_none());
    }
}
