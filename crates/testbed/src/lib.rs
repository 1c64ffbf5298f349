//! Real Kubernetes control planes, istiods and Envoys on one machine, without containers.
//!
//! ```text
//! toolchain ──► bed ──► mesh (a value that tests use)
//!                │
//!     network ◄──┼──► cluster ──► istio ──► node (runs Pods as processes)
//! ```
//!
//! Everything that a bed creates is in network namespaces with our prefix and in one state folder, so that what a
//! killed run has left can be found and removed. This is a tool for developers, so all errors are `anyhow`: each is one
//! line that says what is wrong and how to fix it.

pub mod bed;
pub mod bench;
pub mod cli;
pub mod cluster;
pub mod interrupt;
pub mod istio;
pub mod mesh;
pub mod network;
pub mod node;
pub mod process;
pub mod progress;
pub mod state;
pub mod suite;
pub mod toolchain;
pub mod workload;

pub use bed::{Bed, Options};
pub use mesh::Mesh;
