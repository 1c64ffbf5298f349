//! `emcee run --dir DIR --out OUT` as a process: the files that it writes, keeps, restores and does not touch.
//!
//! The tests do not sleep. Each waits for a line that the program prints, or for a file that it writes.

#[path = "file_mode/process.rs"]
mod process;

#[path = "file_mode/admin.rs"]
mod admin;
#[path = "file_mode/changes.rs"]
mod changes;
#[path = "file_mode/failures.rs"]
mod failures;
#[path = "file_mode/foreign.rs"]
mod foreign;
#[path = "file_mode/isolation.rs"]
mod isolation;
#[path = "file_mode/logs.rs"]
mod logs;
#[path = "file_mode/paths.rs"]
mod paths;
#[path = "file_mode/restarts.rs"]
mod restarts;
#[path = "file_mode/signals.rs"]
mod signals;
