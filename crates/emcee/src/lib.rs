//! Library behind the `emcee` binary: the commands, and the parts that they share.
//!
//! ```text
//!  cli ──► emcee-yaml (files, with lines) ──► inputs (objects → changes) ──► emcee-core ──► plan
//!   │                                                                                        │
//!   ├──► certs                        file_mode (one folder in, one folder out) ◄────────────┘
//!   └──► console (everything that is printed)
//! ```

pub mod catalogue;
pub mod certs;
pub mod cli;
pub mod cluster;
pub mod console;
#[cfg(feature = "demo")]
mod demo;
pub mod http_server;
pub mod inputs;
pub mod install;
mod logging;
pub mod metrics;
pub mod run;
mod text_table;
pub mod webhook;
