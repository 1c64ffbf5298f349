//! The steps. Two rules keep them fast: no `RUSTFLAGS`, since a change of them rebuilds every dependency;
//! and steps that share artefacts (clippy, alone, doc) follow each other.

use anyhow::{Context, Result};
use serde_json::Value;

use super::deny;
use super::openapi;
use super::static_binary;
use super::tally::Tally;
use crate::bed;
use crate::command::{cargo, output_of, run, run_seeing};

/// A part of `cargo xtask test`.
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) run: fn(&mut Tally) -> Result<()>,
}

/// In the order in which they run.
///
/// The test bed's end-to-end tests are among the workspace's tests. Where something is missing for them they
/// are ignored with the reason, or fail if `CI=true`. The first run on a machine builds control planes, and does so
/// before any test, as other crates' tests use istioctl.
pub(super) const STEPS: &[Step] = &[
    Step { name: "fmt", about: "rustfmt has nothing to change", run: |_| fmt() },
    Step { name: "clippy", about: "no lint in any target", run: |_| clippy() },
    Step {
        name: "alone",
        about: "each crate compiles by itself, so its features are honest",
        run: |_| alone(),
    },
    Step { name: "doc", about: "the documentation builds and its links lead somewhere", run: |_| doc() },
    Step {
        name: "bed",
        about: "all tests compile, and the control planes they need are built",
        run: |_| bed::prepare(),
    },
    Step { name: "test", about: "all tests of the workspace", run: test },
    Step {
        name: "static",
        about: "the program of the image builds, and is static",
        run: |_| static_binary::check(),
    },
    Step {
        name: "openapi",
        about: "the OpenAPI catalogue passes a public validator",
        run: |_| openapi::check(),
    },
    Step { name: "deny", about: "dependencies: bans, licences, sources; advisories", run: |_| deny::check() },
];

fn fmt() -> Result<()> {
    run(&mut cargo(&["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    run(&mut cargo(&["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

fn alone() -> Result<()> {
    members()?.iter().try_for_each(|name| run(&mut cargo(&["check", "--locked", "--package", name])))
}

/// Private items as well: this documentation is for those who work on Emcee, so public items may link to them.
fn doc() -> Result<()> {
    let mut command = cargo(&["doc", "--locked", "--workspace", "--no-deps", "--document-private-items"]);
    run(command.env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links"))
}

fn test(tally: &mut Tally) -> Result<()> {
    let mut command = cargo(&["test", "--locked", "--workspace", "--no-fail-fast"]);
    // Built by that same command before the first test, so the test bed need not build it once more by itself.
    command.env("EMCEE_BIN", bed::program("emcee")?);
    run_seeing(&mut command, |line| tally.see(line))
}

/// The names of the workspace's packages.
fn members() -> Result<Vec<String>> {
    let json = output_of(&mut cargo(&["metadata", "--locked", "--no-deps", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&json)?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists packages")?;
    Ok(packages.iter().filter_map(|package| Some(package["name"].as_str()?.to_owned())).collect())
}
