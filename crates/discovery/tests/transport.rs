//! The transport over real sockets on loopback, with real certificates and, where it says so, peers that mean harm.

#[path = "transport/raw.rs"]
mod raw;
#[path = "transport/secrets.rs"]
mod secrets;
#[path = "transport/tls.rs"]
mod tls;
#[path = "transport/tls_changes.rs"]
mod tls_changes;
