//! The command line of the real program: its exit codes and its complete output.
//!
//! The expected output is in `cli/snapshots`. After you change a text, run
//! `INSTA_UPDATE=always cargo test -p emcee --test cli`, and review the difference.

#[path = "cli/world.rs"]
mod world;

#[path = "cli/announcements.rs"]
mod announcements;
#[path = "cli/cluster.rs"]
mod cluster;
#[path = "cli/credentials.rs"]
mod credentials;
#[path = "cli/diff.rs"]
mod diff;
#[path = "cli/examples.rs"]
mod examples;
#[path = "cli/explain.rs"]
mod explain;
#[path = "cli/findings.rs"]
mod findings;
// The texts list all commands, so they are those of the default features.
#[cfg(feature = "demo")]
#[path = "cli/help.rs"]
mod help;
#[path = "cli/mistaken_files.rs"]
mod mistaken_files;
#[path = "cli/mistakes.rs"]
mod mistakes;
#[path = "cli/names.rs"]
mod names;
#[path = "cli/render.rs"]
mod render;
#[path = "cli/text.rs"]
mod text;
#[path = "cli/validate.rs"]
mod validate;
#[path = "cli/values.rs"]
mod values;
