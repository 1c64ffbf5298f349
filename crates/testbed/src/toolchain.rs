//! The binaries that a bed runs. They are built once and cached outside the repository, by what they are built from.

mod build;
mod cache;
pub mod doctor;
mod envoy;
mod golang;

pub use build::build;
pub use cache::{Binaries, CACHE_VARIABLE, binary_names};
