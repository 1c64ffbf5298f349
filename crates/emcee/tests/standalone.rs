//! `emcee run --dir DIR --out OUT` as a process: the files that it writes, keeps, restores and does not touch.
//!
//! The tests do not sleep. Each waits for a line that the program prints, or for a file that it writes.

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
