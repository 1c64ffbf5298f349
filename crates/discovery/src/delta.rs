//! Incremental (delta) xDS without a network: what each peer may see, and both ends of a stream.

pub mod cache;
pub mod client_stream;
pub(crate) mod nack;
pub mod server_stream;
