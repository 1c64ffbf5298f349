//! The discovery server and client of a mesh, on loopback.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use emcee_core::catalogue::Announcement;
use emcee_core::endpoint::Endpoint;
use emcee_core::key::ObjectKey;
use emcee_core::mode::Mode;
use emcee_core::names;
use emcee_core::protocol::Protocol;
use emcee_discovery::PeerRef;
use emcee_discovery::client::{
    AnnouncementValidator, PeerEvent, PeerTarget, PeerTaskHandle, UnreachableReason, subscribe_to_peer,
};
use emcee_discovery::counters::DiscoveryCounters;
use emcee_discovery::delta::cache::PeerVisibility;
use emcee_discovery::delta::client_stream::{AnnouncementEvent, DeltaClientSettings};
use emcee_discovery::server::{ServerLimits, SharedCache, XdsServer};
use emcee_discovery::transport::tls::{TlsRelationship, TlsRelationships};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::secrets;

/// Time limit for every operation. A test that waits this long has failed.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// Capacity of the queue of events, as in a mesh.
pub(crate) const EVENT_QUEUE_SIZE: usize = 256;

/// The discovery server of a mesh.
pub(crate) struct TestMesh {
    pub(crate) cache: Arc<SharedCache>,
    pub(crate) relationships: watch::Sender<Arc<TlsRelationships>>,
    pub(crate) server: XdsServer,
    pub(crate) counters: Arc<DiscoveryCounters>,
    pub(crate) address: SocketAddr,
    shutdown: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl TestMesh {
    /// Starts m1 with blue (m2, m3) and yellow (m4), synced.
    pub(crate) async fn start_m1() -> Self {
        Self::start_m1_with(ServerLimits::default()).await
    }

    pub(crate) async fn start_m1_with(limits: ServerLimits) -> Self {
        let mesh = Self::start_unsynced(secrets::relationships_of_m1(), limits).await;
        mesh.cache.mark_synced();
        mesh
    }

    pub(crate) async fn start_unsynced(relationships: TlsRelationships, limits: ServerLimits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let announcer = Arc::new(SharedCache::new());
        let (relationships, current) = watch::channel(Arc::new(relationships));
        let counters = Arc::<DiscoveryCounters>::default();
        let server = XdsServer::new(Arc::clone(&announcer), current, limits, Arc::clone(&counters));
        let (end, ending) = oneshot::channel::<()>();
        let task = tokio::spawn({
            let server = server.clone();
            async move { server.serve(listener, async { drop(ending.await) }).await }
        });
        Self { cache: announcer, relationships, server, counters, address, shutdown: Some(end), task }
    }

    pub(crate) fn announce(&self, relationship: &str, name: &str, seen_by: &PeerVisibility) {
        let service = announcement(relationship, name, 1);
        self.cache.try_update(|cache| cache.announce(relationship, &service, seen_by)).unwrap();
    }

    pub(crate) fn replace_relationship(&self, relationship: Arc<TlsRelationship>) {
        self.relationships.send_modify(|all| {
            let mut new = TlsRelationships::clone(all);
            new.insert(Arc::clone(relationship.name()), relationship);
            *all = Arc::new(new);
        });
    }

    pub(crate) fn close_relationship(&self, relationship: &str) {
        self.relationships.send_modify(|all| {
            let mut new = TlsRelationships::clone(all);
            new.remove(relationship);
            *all = Arc::new(new);
        });
    }

    /// Shuts down the server, and waits for it.
    pub(crate) async fn shut_down(mut self) {
        drop(self.shutdown.take());
        timeout(TIMEOUT, self.task).await.expect("the server ends in time").unwrap();
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        self.address.to_string().parse().unwrap()
    }

    /// Starts a client that follows this mesh as `mesh` of a relationship.
    pub(crate) fn followed_by(&self, mesh: &str, relationship: &str) -> TestPeer {
        TestPeer::new(secrets::relationship(relationship, mesh, &["m1"]), [self.endpoint()])
    }
}

/// A client that follows m1.
pub(crate) struct TestPeer {
    pub(crate) relationships: watch::Sender<Arc<TlsRelationships>>,
    pub(crate) validator: watch::Sender<AnnouncementValidator>,
    pub(crate) events: mpsc::Receiver<((), PeerEvent)>,
    _task: PeerTaskHandle,
}

impl TestPeer {
    pub(crate) fn new(
        relationship: Arc<TlsRelationship>,
        addresses: impl IntoIterator<Item = Endpoint>,
    ) -> Self {
        let target = peer_target(relationship.name(), addresses);
        Self::start(target, secrets::relationships([relationship]))
    }

    pub(crate) fn start(target: PeerTarget, relationships: TlsRelationships) -> Self {
        let (relationships, current) = watch::channel(Arc::new(relationships));
        let accept: AnnouncementValidator = Arc::new(|_| Ok(()));
        let (validator, judges) = watch::channel(accept);
        let (queue, events) = mpsc::channel(EVENT_QUEUE_SIZE);
        Self {
            relationships,
            validator,
            events,
            _task: subscribe_to_peer(target, current, judges, (), queue),
        }
    }

    pub(crate) async fn next_event(&mut self) -> PeerEvent {
        let event = timeout(TIMEOUT, self.events.recv()).await.expect("an event in time");
        event.expect("the client never stops").1
    }

    pub(crate) async fn wait_connected(&mut self) -> Endpoint {
        match self.next_event().await {
            PeerEvent::Connected { address } => address,
            other => panic!("not connected: {other:?}"),
        }
    }

    pub(crate) async fn wait_unreachable(&mut self) -> UnreachableReason {
        match self.next_event().await {
            PeerEvent::Unreachable(why) => why,
            other => panic!("not unreachable: {other:?}"),
        }
    }

    /// Waits for the next change of an announcement. Returns its name, and whether it is announced.
    pub(crate) async fn next_change(&mut self) -> (String, bool) {
        loop {
            match self.next_event().await {
                PeerEvent::Changed(AnnouncementEvent::Announced(announcement)) => {
                    return (announcement.key.name.to_string(), true);
                }
                PeerEvent::Changed(AnnouncementEvent::Withdrawn(key)) => {
                    return (key.name.to_string(), false);
                }
                PeerEvent::Connected { .. } => {}
                other => panic!("not a change of an announcement: {other:?}"),
            }
        }
    }
}

pub(crate) fn peer_target(relationship: &str, addresses: impl IntoIterator<Item = Endpoint>) -> PeerTarget {
    PeerTarget {
        peer: PeerRef::new(relationship, "m1"),
        addresses: addresses.into_iter().collect(),
        egress_gateways: None,
        settings: DeltaClientSettings::default(),
        restored: Vec::new(),
        budget: None,
        counters: Arc::default(),
    }
}

/// Builds the announcement of a service in a relationship.
pub(crate) fn announcement(relationship: &str, name: &str, port: u16) -> Announcement {
    Announcement {
        key: ObjectKey::new("default", name),
        mode: Mode::Boundary,
        server_name: names::server_name(name, "default", relationship),
        protocol: Protocol::Http,
        port,
        endpoints: vec!["203.0.113.7:15443".parse().unwrap()],
        identities: Vec::new(),
        trust_domain: "m1.example".into(),
        root_hash: None,
    }
}

pub(crate) fn visible_to(peer: &str) -> PeerVisibility {
    PeerVisibility::Peers(BTreeSet::from([Arc::from(peer)]))
}
