//! Controllers against an API server in memory, which can be made to fail as a real one cannot.

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
