//! The steps. Two rules keep them fast: no step sets `RUSTFLAGS`, because a change of them rebuilds every dependency (`fuzz`
//! has a target folder of its own); and
//! steps that share artefacts (clippy, alone, doc) follow each other.

use anyhow::{Context, Result};
use serde_json::Value;

use super::TestOutput;
use super::deny;
use super::language;
use super::openapi;
use super::static_binary;
use crate::bed;
use crate::command::{cargo, output_of, run, run_with_lines};
use crate::fuzz;

/// A step of `cargo xtask test`.
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) run: fn(&mut TestOutput) -> Result<()>,
}

/// Time for new inputs of each fuzz target, in seconds. `cargo xtask proof fuzz` takes longer.
const FUZZ_SECONDS: u32 = 10;

/// All steps, in the order in which they run.
///
/// The end-to-end tests of the test bed are part of the workspace's tests. If they lack something, they are ignored and
/// say why, or fail with `CI=true`. The first run on a machine builds control planes. It does so before any test,
/// because tests of other crates use istioctl.
pub(super) const STEPS: &[Step] = &[
    Step { name: "fmt", about: "rustfmt has nothing to change", run: |_| check_format() },
    Step {
        name: "language",
        about: "names and prose keep the rules that can be counted",
        run: |_| language::check(),
    },
    Step { name: "clippy", about: "no lint in any target", run: |_| check_lints() },
    Step {
        name: "alone",
        about: "each crate compiles by itself, so its features are honest",
        run: |_| check_each_crate(),
    },
    Step {
        name: "doc",
        about: "the documentation builds and its links lead somewhere",
        run: |_| build_documentation(),
    },
    Step {
        name: "bed",
        about: "all tests compile, and the control planes they need are built",
        run: |_| bed::build_for_tests(),
    },
    Step { name: "test", about: "all tests of the workspace", run: run_tests },
    Step {
        name: "fuzz",
        about: "the fuzz targets find no fault in their corpora, and none in ten seconds each",
        run: |_| fuzz::check(FUZZ_SECONDS),
    },
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

fn check_format() -> Result<()> {
    run(&mut cargo(&["fmt", "--all", "--check"]))?;
    // The fuzz targets are another workspace.
    run(&mut cargo(&["fmt", "--check", "--manifest-path", "fuzz/Cargo.toml"]))
}

fn check_lints() -> Result<()> {
    run(&mut cargo(&["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

fn check_each_crate() -> Result<()> {
    package_names()?
        .iter()
        .try_for_each(|name| run(&mut cargo(&["check", "--locked", "--package", name])))?;
    // The only crate with a default feature. Code that only the demo uses has to be behind the feature too: it would be
    // a warning here. Clippy, because it can refuse warnings without `RUSTFLAGS`.
    run(&mut cargo(&[
        "clippy",
        "--locked",
        "--package",
        "emcee",
        "--no-default-features",
        "--",
        "-D",
        "warnings",
    ]))
}

/// Includes private items: this documentation is for developers of Emcee, so public items may link to private ones.
fn build_documentation() -> Result<()> {
    let mut command = cargo(&["doc", "--locked", "--workspace", "--no-deps", "--document-private-items"]);
    run(command.env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links"))
}

fn run_tests(output: &mut TestOutput) -> Result<()> {
    let mut command = cargo(&["test", "--locked", "--workspace", "--no-fail-fast"]);
    // The same command builds it before the first test, so the test bed need not build it again.
    command.env("EMCEE_BIN", bed::debug_program("emcee")?);
    run_with_lines(&mut command, |line| output.read_line(line))
}

/// Names of the workspace's packages.
fn package_names() -> Result<Vec<String>> {
    let json = output_of(&mut cargo(&["metadata", "--locked", "--no-deps", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&json)?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists packages")?;
    Ok(packages.iter().filter_map(|package| Some(package["name"].as_str()?.to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workflow_runs_each_step() {
        let workflow =
            std::fs::read_to_string(bed::workspace_root().unwrap().join(".github/workflows/ci.yaml"))
                .unwrap();
        let words: Vec<_> = workflow.split_whitespace().collect();
        let runs = |step: &&Step| words.windows(2).any(|pair| pair == ["--only", step.name]);
        let missing: Vec<_> = STEPS.iter().filter(|step| !runs(step)).map(|step| step.name).collect();
        assert_eq!(missing, Vec::<&str>::new());
    }
}
