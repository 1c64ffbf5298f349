//! Policy for the addresses, host names and server names that a peer, or a user of a namespace, may use.
//!
//! [`EndpointPolicy`] checks every source of endpoints: announcements, also those stored in a status,
//! `spec.endpoints` of bindings, Services that point to the Emcee of a peer, and addresses that a peer
//! announces for its own Emcee. [`server_name::check_allowed`] checks the server name that a binding
//! requests. Only the administrator, through the MeshFedConfig, can extend what the others may use.

mod address_ranges;
mod endpoint;
mod host_name;
pub(crate) mod server_name;

pub(crate) use address_ranges::{canonical_address, is_special};
pub(crate) use endpoint::{
    EndpointAuthor, EndpointPolicy, MeshOwnership, OwnNetwork, PeerLimits, never_allowed,
};
