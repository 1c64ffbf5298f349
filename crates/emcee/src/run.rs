//! What `emcee run` runs: the controller or file mode, discovery, MCP, and the ports.

pub mod admin;
pub(crate) mod controller;
pub(crate) mod discovery;
pub mod file_mode;
pub(crate) mod mcp;
pub(crate) mod shutdown;
