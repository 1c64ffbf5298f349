//! The transport over real sockets on loopback, with real certificates and, in some modules, hostile peers.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "shared helpers are test code too, but clippy recognises only the tests themselves"
)]

#[path = "transport/counters.rs"]
mod counters;
#[path = "transport/flapping.rs"]
mod flapping;
#[path = "transport/floods.rs"]
mod floods;
#[path = "transport/frames.rs"]
mod frames;
#[path = "transport/hostile.rs"]
mod hostile;
#[path = "transport/leak.rs"]
mod leak;
#[path = "transport/mesh.rs"]
mod mesh;
#[path = "transport/neighbours.rs"]
mod neighbours;
#[path = "transport/raw.rs"]
mod raw;
#[path = "transport/recorder.rs"]
mod recorder;
#[path = "transport/scripted.rs"]
mod scripted;
#[path = "transport/secrets.rs"]
mod secrets;
#[path = "transport/streams.rs"]
mod streams;
#[path = "transport/tls.rs"]
mod tls;
#[path = "transport/tls_changes.rs"]
mod tls_changes;

// Attacks that hold: docs/proofs/attacks-that-hold.md.
#[path = "transport/odd_clients.rs"]
mod odd_clients;
