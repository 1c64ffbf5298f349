//! What a peer, or a user of a namespace, may name: addresses, host names and server names.
//!
//! One judge for every source of endpoints ([`EndpointPolicy`]): announcements, also those that a status kept,
//! `spec.endpoints` of bindings, Services that name the Emcee of a peer, and addresses that a peer's Emcee says to be at.
//! One judge for the server name that a binding asks for ([`server_name::judge`]). The MeshFedConfig is the
//! administrator's word; all others are limited by it.

mod endpoint;
mod host_name;
mod ranges;
pub(crate) mod server_name;

pub(crate) use endpoint::{Author, EndpointPolicy, Limits, Own, OwnNetwork, never};
pub(crate) use ranges::{canonical, is_special};
