//! Controllers against an API server in memory, which can fail in ways that a real one cannot be made to.

mod api_errors;
mod chaos;
mod conversions;
mod copies;
mod events;
mod imports;
mod lease;
mod leftovers;
mod manual_changes;
mod mcp;
mod mesh_trust;
mod retries;
mod snapshot;
mod uninstall;
mod watches;
mod work_slices;
mod world;
mod write_counts;
mod writes;

pub(crate) use world::options;
