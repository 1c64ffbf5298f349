//! `emcee run --dir DIR --out OUT` as a process: what it writes, keeps, restores and leaves alone.
//!
//! No test waits for a time: each waits for the line that the program prints, or for the file that it writes.

#[path = "standalone/process.rs"]
mod process;

#[path = "standalone/admin.rs"]
mod admin;
#[path = "standalone/ending.rs"]
mod ending;
#[path = "standalone/failures.rs"]
mod failures;
#[path = "standalone/following.rs"]
mod following;
#[path = "standalone/foreign.rs"]
mod foreign;
#[path = "standalone/isolation.rs"]
mod isolation;
#[path = "standalone/paths.rs"]
mod paths;
#[path = "standalone/restarts.rs"]
mod restarts;
