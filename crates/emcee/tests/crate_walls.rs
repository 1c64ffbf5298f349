//! Checks the dependencies between the crates: which crates each crate may use, and which libraries it must not depend
//! on.
//!
//! The test runs `cargo tree` for one crate at a time. `cargo metadata` resolves features for the whole workspace, and
//! would show `kube-client` as a dependency of the core because the binary enables it.

use std::process::Command;

use serde_json::Value;

/// The allowed dependencies of a crate in the workspace.
struct Walls {
    name: &'static str,
    /// Crates of the workspace that it may use.
    may_use: &'static [&'static str],
    /// Crates that must not be direct or transitive dependencies.
    never: &'static [&'static str],
}

const IO: &[&str] = &["tokio", "hyper", "kube-client", "tonic", "reqwest"];

/// The dependencies in the architecture, from `emcee-api` up to `emcee`.
const TABLE: &[Walls] = &[
    Walls { name: "emcee-api", may_use: &[], never: IO },
    Walls { name: "emcee-core", may_use: &["emcee-api"], never: IO },
    Walls { name: "emcee-discovery", may_use: &["emcee-api", "emcee-core"], never: &["kube-client"] },
    Walls { name: "emcee-controller", may_use: &["emcee-api", "emcee-core"], never: &["tonic"] },
    Walls {
        name: "emcee",
        may_use: &["emcee-api", "emcee-core", "emcee-controller", "emcee-discovery"],
        never: &["emcee-testkit", "emcee-testbed"],
    },
    Walls {
        name: "emcee-testkit",
        may_use: &["emcee-api"],
        never: &["emcee-core", "emcee-controller", "emcee-discovery"],
    },
    Walls { name: "emcee-testbed", may_use: &["emcee-api", "emcee-testkit"], never: &["emcee-core"] },
    Walls { name: "xtask", may_use: &[], never: &["emcee-api"] },
];

/// Additional crates that the tests of every crate may use.
const FOR_TESTS: &[&str] = &["emcee-testkit"];

#[test]
fn every_crate_has_a_row() {
    for package in workspace() {
        assert!(
            row(&package.name).is_some(),
            "the crate `{}` is not in TABLE of crates/emcee/tests/crate_walls.rs: add a row with the \
             crates of the workspace that it may use and the libraries that it must not depend on, and a row to \
             the table in CONTRIBUTING.md",
            package.name
        );
    }
}

#[test]
fn crates_use_only_whom_they_may() {
    let workspace = workspace();
    let mut broken = Vec::new();
    for package in &workspace {
        let Some(walls) = row(&package.name) else { continue };
        for (used, for_tests) in &package.uses {
            let inside = workspace.iter().any(|other| other.name == *used);
            let allowed =
                walls.may_use.contains(&used.as_str()) || *for_tests && FOR_TESTS.contains(&used.as_str());
            if inside && !allowed {
                broken.push(format!("{} must not use {used} (it may use {:?})", package.name, walls.may_use));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn nothing_forbidden_is_behind_a_crate() {
    let broken: Vec<_> = workspace()
        .iter()
        .filter_map(|package| row(&package.name))
        .flat_map(|walls| forbidden_paths(walls, &tree(walls.name)))
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn a_forbidden_crate_is_reported_with_the_way_to_it() {
    let walls = Walls { name: "a", may_use: &[], never: &["tokio", "tonic"] };
    let tree = "0a v0.1.0 (/somewhere/a)\n1b v1.0.0\n2c v1.0.0\n1d v2.0.0\n2tokio v1.50.0\n3mio v1.0.0\n1b v1.0.0 (*)\n";
    assert_eq!(forbidden_paths(&walls, tree), ["a must not depend on tokio: a → d → tokio"]);
}

struct Package {
    name: String,
    /// Each dependency, and whether it is a dev dependency.
    uses: Vec<(String, bool)>,
}

fn row(name: &str) -> Option<&'static Walls> {
    TABLE.iter().find(|walls| walls.name == name)
}

/// Returns the packages of the workspace with the dependencies in their manifests.
fn workspace() -> Vec<Package> {
    let json = cargo(&["metadata", "--locked", "--no-deps", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&json).expect("cargo prints JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    packages.iter().map(package).collect()
}

fn package(json: &Value) -> Package {
    let name = |json: &Value| json["name"].as_str().expect("a name").to_owned();
    let dependencies = json["dependencies"].as_array().expect("a list of dependencies");
    let uses = dependencies.iter().map(|used| (name(used), used["kind"] == "dev"));
    Package { name: name(json), uses: uses.collect() }
}

/// Returns everything that is linked into the crate, with the depth before each name. Repeated subtrees are omitted, so
/// each crate has at least one path.
fn tree(package: &str) -> String {
    cargo(&["tree", "--locked", "--package", package, "--edges", "normal,no-proc-macro", "--prefix", "depth"])
}

fn forbidden_paths(walls: &Walls, tree: &str) -> Vec<String> {
    let mut way: Vec<&str> = Vec::new();
    let mut found = Vec::new();
    for line in tree.lines() {
        let digits = line.find(|c: char| !c.is_ascii_digit()).expect("a name after the depth");
        let (depth, rest) = line.split_at(digits);
        way.truncate(depth.parse().expect("a depth before the name"));
        let name = rest.split(' ').next().expect("at least one part");
        way.push(name);
        if walls.never.contains(&name) && !rest.ends_with("(*)") {
            found.push(format!("{} must not depend on {name}: {}", walls.name, way.join(" → ")));
        }
    }
    found
}

fn cargo(args: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(args).output().expect("cargo runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {} failed:\n{errors}", args.join(" "));
    String::from_utf8(output.stdout).expect("cargo prints UTF-8")
}
