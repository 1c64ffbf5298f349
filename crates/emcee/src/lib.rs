//! Library behind the `emcee` binary: the commands, and the parts that they share.
//!
//! ```text
//!  cli ──► yaml (files, with lines) ──► inputs (objects → changes) ──► emcee-core ──► plan
//!   │                                                                                  │
//!   ├──► certs                        file_mode (one folder in, one folder out) ◄──────┘
//!   └──► console (everything that is printed)
//! ```

pub mod admin;
pub mod catalogue;
pub mod certs;
pub mod cli;
pub mod cluster;
pub mod console;
mod demo;
mod discovery;
mod ending;
pub mod intake;
pub mod manifest;
pub mod manifests;
mod mcp;
pub mod server;
pub mod standalone;
mod table;
pub mod webhook;
