//! Controllers against an API server in memory, which can fail in ways that a real one cannot be made to.

mod api_errors;
mod chaos;
mod copies;
mod imports;
mod lease;
mod leftovers;
mod manual_changes;
mod mesh_trust;
mod snapshot;
mod uninstall;
mod work_slices;
mod world;

pub(crate) use world::options;
