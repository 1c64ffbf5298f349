//! Emcee as a library: what the commands are made of.
//!
//! ```text
//!  cli ──► manifest (files, with lines) ──► intake (objects → changes) ──► emcee-core ──► plan
//!   │                                                                                     │
//!   ├──► certs                        standalone (a folder in, a folder out) ◄────────────┘
//!   └──► console: all that is printed
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
