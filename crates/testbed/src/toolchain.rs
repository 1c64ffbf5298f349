//! The binaries a bed runs: built once, cached outside the repository, keyed by what they are built from.

mod build;
mod cache;
pub mod doctor;
mod envoy;
mod golang;

pub use build::build;
pub use cache::{Binaries, CACHE_VARIABLE, names};
