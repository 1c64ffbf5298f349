//! Controllers against an API server in memory, which can fail in ways that a real one cannot be made to.

mod chaos;
mod copies;
mod faults;
mod hands;
mod imports;
mod lease;
mod leftovers;
mod slices;
mod snapshot;
mod trust;
mod uninstall;
mod world;
