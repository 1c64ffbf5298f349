//! Port numbers that several parts of Emcee use.

/// Port for TLS between meshes, as in Istio's own gateways: default port of a gateway's Service, port of the pods of a
/// created gateway, of the relays behind an egress gateway, and of discovery. It is unprivileged.
pub const INTER_MESH_PORT: u16 = 15443;

/// Port of a facade Service if neither the binding nor the announcement has one. It is the port of the first
/// prototype.
pub const DEFAULT_FACADE_PORT: u16 = 5000;
