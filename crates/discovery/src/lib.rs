//! Discovery between meshes: announcements as Kubernetes EndpointSlices, over incremental (delta) xDS with mTLS. Also
//! serves istiod through MCP.
//!
//! Both ends of a stream without a network: the mesh `m2` announces a service to its peer `m1`.
//!
//! ```
//! use std::time::Instant;
//!
//! use emcee_discovery::PeerRef;
//! use emcee_discovery::delta::cache::{PeerVisibility, ResourceCache};
//! use emcee_discovery::delta::client_stream::{AnnouncementEvent, DeltaClient, DeltaClientSettings};
//! use emcee_discovery::delta::server_stream::{DeltaServerStream, DeltaStreamLimits};
//! # use emcee_core::catalogue::Announcement;
//! # use emcee_core::key::ObjectKey;
//! # use emcee_core::mode::Mode;
//! # use emcee_core::protocol::Protocol;
//! let announcement = Announcement {
//!     key: ObjectKey::new("shop", "reviews"),
//!     mode: Mode::Boundary,
//!     server_name: "reviews.shop.blue.emcee.internal".to_owned(),
//!     protocol: Protocol::Http,
//!     port: 9080,
//!     endpoints: vec!["203.0.113.7:15443".parse().expect("an endpoint")],
//!     identities: Vec::new(),
//!     trust_domain: "m2.example".to_owned(),
//!     root_hash: None,
//! };
//! let mut cache = ResourceCache::default();
//! let changed = cache.announce("blue", &announcement, &PeerVisibility::All)?;
//! assert!(changed.includes_peer(&PeerRef::new("blue", "m1")));
//!
//! let mut server = DeltaServerStream::new(PeerRef::new("blue", "m1"), DeltaStreamLimits::default());
//! let mut client = DeltaClient::new(DeltaClientSettings::default(), Instant::now());
//!
//! server.handle_request(&client.start_stream(), &cache)?;
//! let response = server.next_response(&cache)?.expect("the first subscription is always answered");
//!
//! // The client accepts everything that its policy allows, and acknowledges the response.
//! let (events, ack) = client.handle_response(response, &|_| Ok(()), Instant::now())?;
//! assert_eq!(events, [AnnouncementEvent::Announced(announcement)]);
//! assert_eq!(ack.error_detail, None);
//!
//! server.handle_request(&ack, &cache)?;
//! assert_eq!(server.in_flight(), 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod backoff;
pub mod client;
pub mod counters;
pub mod deadline;
pub mod delta;
pub mod formats;
pub mod mcp;
mod peer_ref;
pub mod server;
pub mod transport;
pub mod wire;

pub use peer_ref::PeerRef;
